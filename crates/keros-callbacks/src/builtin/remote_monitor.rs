//! Sends the logs of every epoch to a server.

use crate::callback::{Callback, CallbackResult};
use crate::context::{Context, Level};
use crate::decision::Decision;
use crate::error::{ArgumentError, BoxError};
use crate::event::{EventKind, EventSet};
use crate::logs::LogValue;
use serde_json::{Map, Value};
use std::time::Duration;

/// Keras's `RemoteMonitor`: posts `{"epoch": …, log: value, …}` at the end of every epoch, as a field
/// of a form or as JSON. Numbers that JSON does not have (NaN, infinity) are sent as `null`.
///
/// A server that does not answer within ten seconds, or refuses, costs a warning and nothing else.
pub struct RemoteMonitor {
    root: String,
    path: String,
    field: String,
    headers: Vec<(String, String)>,
    send_as_json: bool,
    agent: ureq::Agent,
}

impl RemoteMonitor {
    /// Posts to `root` followed by [`path`](Self::path); Keras's default root is
    /// `http://localhost:9000`.
    ///
    /// # Errors
    /// An address that does not begin with `http://`: there is no TLS here.
    pub fn new(root: impl Into<String>) -> Result<RemoteMonitor, ArgumentError> {
        let root = root.into();
        if !root.starts_with("http://") {
            let expected = "an address that begins with http://";
            return Err(ArgumentError::new("root", expected, root));
        }
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(10)))
            .build();
        Ok(RemoteMonitor {
            root,
            path: "/publish/epoch/end/".to_owned(),
            field: "data".to_owned(),
            headers: Vec::new(),
            send_as_json: false,
            agent: config.into(),
        })
    }

    /// What follows `root`. Default `/publish/epoch/end/`.
    #[must_use]
    pub fn path(mut self, path: impl Into<String>) -> RemoteMonitor {
        self.path = path.into();
        self
    }

    /// The field of the form that has the JSON text. Default `data`.
    #[must_use]
    pub fn field(mut self, field: impl Into<String>) -> RemoteMonitor {
        self.field = field.into();
        self
    }

    /// Adds a header to each request.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> RemoteMonitor {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Whether the body is the JSON text itself, of type `application/json`. Default false.
    #[must_use]
    pub fn send_as_json(mut self, json: bool) -> RemoteMonitor {
        self.send_as_json = json;
        self
    }

    fn post(&self, url: &str, body: &Value) -> Result<(), BoxError> {
        let mut request = self.agent.post(url);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let text = body.to_string();
        match self.send_as_json {
            true => request.content_type("application/json").send(&text)?,
            false => request.send_form([(self.field.as_str(), text.as_str())])?,
        };
        Ok(())
    }
}

impl Callback for RemoteMonitor {
    fn events(&self) -> EventSet {
        EventSet::of(&[EventKind::EpochEnd])
    }

    fn on_epoch_end(&mut self, cx: &mut Context<'_>) -> CallbackResult {
        let mut body = Map::new();
        body.insert("epoch".to_owned(), cx.event().epoch.into());
        for (name, value) in cx.logs()?.iter() {
            let value = match value {
                LogValue::Float(value) => (*value).into(),
                LogValue::Integer(value) => (*value).into(),
                LogValue::Bool(value) => (*value).into(),
                LogValue::Text(value) => value.as_str().into(),
            };
            body.insert(name.to_owned(), value);
        }
        let url = format!("{}{}", self.root, self.path);
        if let Err(error) = self.post(&url, &Value::Object(body)) {
            let text = format!("posting the logs to {url}: {error}");
            cx.message(Level::Warning, text);
        }
        Ok(Decision::CONTINUE)
    }
}
