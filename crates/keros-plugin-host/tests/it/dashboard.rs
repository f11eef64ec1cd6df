//! plugins/dashboard, loaded: it serves its page, stops the run, and leaves no thread behind. Its own
//! tests, linked in, tell the rest.

use crate::build;
use crate::run::FakeRun;
use keros_callbacks::{Callback, CallbackList, EventKind, Message};
use keros_plugin_host::Plugin;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

/// Passes on what is said.
struct Messages(Sender<String>);

impl Callback for Messages {
    fn on_message(&mut self, message: &Message) {
        self.0.send(message.text.clone()).unwrap();
    }
}

/// The first line of the answer.
fn ask(host: &str, method: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(host).unwrap();
    let patience = Duration::from_secs(60);
    stream.set_read_timeout(Some(patience)).unwrap();
    write!(
        stream,
        "{method} /{path} HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.lines().next().unwrap().to_owned()
}

#[test]
fn the_loaded_dashboard_serves_stops_and_ends() {
    let (sender, messages) = channel();
    let mut run = FakeRun::new();
    let callback = keros_plugin_host::load(build::dashboard(), "").unwrap();
    assert!(!callback.events().contains(EventKind::AfterBackward));
    let mut callbacks = CallbackList::new().with(callback).with(Messages(sender));
    run.ping(&mut callbacks, EventKind::TrainBegin).unwrap();
    let message = messages.recv().unwrap();
    let url = message.strip_prefix("the dashboard is at http://").unwrap();
    let (host, path) = url.split_once('/').unwrap();
    assert_eq!(ask(host, "GET", path), "HTTP/1.1 200 OK");
    assert_eq!(ask(host, "GET", ""), "HTTP/1.1 403 Forbidden");

    run.ping(&mut callbacks, EventKind::EpochBegin).unwrap();
    let decision = run.ping(&mut callbacks, EventKind::TrainBatchEnd).unwrap();
    assert_eq!(decision.stop, None);
    assert_eq!(ask(host, "POST", &format!("{path}stop")), "HTTP/1.1 200 OK");
    let decision = run.ping(&mut callbacks, EventKind::TrainBatchEnd).unwrap();
    assert_eq!(decision.stop.as_deref(), Some("stopped in the dashboard"));

    // Let go of in the middle of the training, it is gone.
    drop(callbacks);
    assert!(TcpStream::connect(host).is_err());
}

#[test]
fn it_tells_its_configuration() {
    let plugin = Plugin::load(build::dashboard()).unwrap();
    let schema: serde_json::Value =
        serde_json::from_str(plugin.config_schema().unwrap().unwrap()).unwrap();
    let interval = &schema["properties"]["interval_ms"];
    assert_eq!(
        (&interval["default"], &interval["maximum"]),
        (&250.into(), &60_000.into())
    );
}

#[test]
fn a_wrong_config_is_refused_with_the_field() {
    for (config, expected) in [
        (r#"{"port": 70000}"#, "config field `port`: "),
        (
            r#"{"linger_s": -1}"#,
            "config field `linger_s`: expected 0 to 86400, found -1",
        ),
        (
            r#"{"prot": 1}"#,
            "config field `prot`: unknown field `prot`, expected one of ",
        ),
    ] {
        let error = keros_plugin_host::load(build::dashboard(), config).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
}
