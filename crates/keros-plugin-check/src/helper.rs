//! The helper process: takes the plugin through its stages, and says before each call what it is about to do.

use crate::report::Report;
use crate::training::{self, Heard};
use anyhow::Result;
use keros_callbacks::{Callback, EventKind, EventSet};
use keros_plugin_host::{LoadedCallback, Plugin};
use std::cell::RefCell;
use std::ffi::OsString;
use std::fmt::Display;
use std::fs::File;
use std::io::{self, Read, Write};
use std::process::{self, ExitCode};
use std::sync::Arc;
use std::thread;

/// Checks the plugin in this process. The checker has started it and reads its stdout.
pub(crate) fn run(path: Option<OsString>, config: Option<OsString>) -> ExitCode {
    let (Some(path), Ok(reporter)) = (path, Reporter::start()) else {
        return ExitCode::FAILURE;
    };
    let config = config.map(|config| config.to_string_lossy().into_owned());
    // A failure to report is one of the pipe: nobody listens.
    match stages(&reporter, path, config.as_deref()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn stages(reporter: &Reporter, path: OsString, config: Option<&str>) -> Result<()> {
    reporter.doing("loading the library")?;
    let plugin = reporter.stage("load", Plugin::load(path))?;
    reporter.passed("load")?;

    reporter.doing("asking for its schema")?;
    let schema = schema(reporter, &plugin)?;

    let instance = create(reporter, &plugin, config, schema.as_ref())?;
    reporter.passed("create")?;

    reporter.doing("testing itself")?;
    if reporter.stage("self-test", plugin.self_test())? {
        reporter.passed("self-test")?;
    }

    let (heard, state) = events(reporter, instance)?;
    reporter.doing("destroying the instance")?;
    drop(heard);
    reporter.passed("destroy")?;

    if let Some(state) = state {
        let mut instance = create(reporter, &plugin, config, schema.as_ref())?;
        training::resume(reporter, &mut instance, &state)?;
        reporter.doing("destroying the instance that went on from a state")?;
        drop(instance);
        reporter.passed(format!(
            "state: {} bytes, and a training that went on from them",
            state.len()
        ))?;
    }
    reporter.report(&Report::Done)
}

/// What the plugin tells about its configuration, if it does.
fn schema(reporter: &Reporter, plugin: &Plugin) -> Result<Option<serde_json::Value>> {
    let Some(text) = reporter.stage("schema", plugin.config_schema())? else {
        return Ok(None);
    };
    let schema: serde_json::Value = reporter.stage("schema", serde_json::from_str(text))?;
    if !schema.is_object() && !schema.is_boolean() {
        let error = format!("expected a JSON object, found {schema}");
        return reporter.failed("schema", error);
    }
    reporter.passed(format!("schema: {} bytes of JSON", text.len()))?;
    Ok(Some(schema))
}

fn create(
    reporter: &Reporter,
    plugin: &Arc<Plugin>,
    config: Option<&str>,
    schema: Option<&serde_json::Value>,
) -> Result<LoadedCallback> {
    reporter.doing("creating an instance")?;
    let created = plugin.callback(config.unwrap_or_default());
    if created.is_err() && config.is_none() {
        let required = schema.and_then(|schema| schema["required"].as_array());
        let required: Vec<String> = required
            .into_iter()
            .flatten()
            .map(ToString::to_string)
            .collect();
        let needs = if required.is_empty() {
            String::new()
        } else {
            format!("; its schema requires {}", required.join(", "))
        };
        reporter.note(format!(
            "no configuration was given: `--config JSON` gives one{needs}"
        ))?;
    }
    reporter.stage("create", created)
}

/// Sends the events, and tells which; what the plugin said, and its state after an epoch.
fn events(
    reporter: &Reporter,
    mut instance: LoadedCallback,
) -> Result<(LoadedCallback, Option<Vec<u8>>)> {
    let wanted = instance.events();
    let mut heard = Heard::default();
    let state = training::run(reporter, &mut instance, &mut heard)?;
    let mut said = heard.messages.iter();
    for message in said.by_ref().take(10) {
        let level = format!("{:?}", message.level).to_lowercase();
        reporter.note(format!(
            "its message ({level}): {}",
            message.text.escape_debug()
        ))?;
    }
    let more = said.count();
    if more > 0 {
        reporter.note(format!("and {more} more messages"))?;
    }
    if wanted == EventSet::NONE {
        reporter.note("it asks for no event".to_owned())?;
    }
    let of_wanted = EventKind::ALL
        .into_iter()
        .filter(|kind| wanted.contains(*kind));
    let unsent = of_wanted.filter(|kind| !heard.kinds.contains(*kind));
    let names: Vec<&str> = unsent.map(EventKind::name).collect();
    if !names.is_empty() {
        let names = names.join(", ");
        reporter.note(format!("it ended the training before there was: {names}"))?;
    }
    reporter.passed(format!("events: {} sent", heard.sent))?;
    Ok((instance, state))
}

/// Tells the checker what happens.
pub(crate) struct Reporter(RefCell<File>);

impl Reporter {
    /// Takes the pipes of this process away from the plugin, and ends the process when the checker is gone.
    fn start() -> io::Result<Reporter> {
        let (mut from, to) = streams()?;
        #[cfg(unix)]
        {
            use rustix::process::{Resource, Rlimit, setrlimit};
            // A crash is told; its memory need not be kept.
            let none = Rlimit {
                current: Some(0),
                maximum: Some(0),
            };
            setrlimit(Resource::Core, none)?;
        }
        thread::spawn(move || {
            // Nothing is ever sent: this waits for the end.
            let _ = from.read(&mut [0]);
            process::abort();
        });
        Ok(Reporter(RefCell::new(to)))
    }

    pub(crate) fn report(&self, report: &Report) -> Result<()> {
        let mut line = serde_json::to_string(report)?;
        line.push('\n');
        Ok(self.0.borrow_mut().write_all(line.as_bytes())?)
    }

    /// What is done next.
    pub(crate) fn doing(&self, what: impl Into<String>) -> Result<()> {
        self.report(&Report::Doing(what.into()))
    }

    fn passed(&self, what: impl Into<String>) -> Result<()> {
        self.report(&Report::Passed(what.into()))
    }

    /// Something to know.
    pub(crate) fn note(&self, what: String) -> Result<()> {
        self.report(&Report::Note(what))
    }

    /// The outcome of a stage, whose failure is reported and ends everything.
    pub(crate) fn stage<T, E: Display>(&self, stage: &str, outcome: Result<T, E>) -> Result<T> {
        outcome.or_else(|error| self.failed(stage, error.to_string()))
    }

    fn failed<T>(&self, stage: &str, error: String) -> Result<T> {
        let stage = stage.to_owned();
        self.report(&Report::Failed { stage, error })?;
        // Nothing more is asked of the plugin, not even to end its instance.
        process::exit(1)
    }
}

/// The pipes from and to the checker, kept from the plugin: its stdin is empty and its stdout is the stderr.
#[cfg(unix)]
fn streams() -> io::Result<(File, File)> {
    use rustix::io::fcntl_dupfd_cloexec;
    use rustix::stdio::{dup2_stdin, dup2_stdout, stderr, stdin, stdout};
    let from = fcntl_dupfd_cloexec(stdin(), 3)?;
    let to = fcntl_dupfd_cloexec(stdout(), 3)?;
    dup2_stdin(File::open("/dev/null")?)?;
    dup2_stdout(stderr())?;
    Ok((from.into(), to.into()))
}

/// The pipes from and to the checker; the plugin has them too.
#[cfg(windows)]
fn streams() -> io::Result<(File, File)> {
    use std::os::windows::io::AsHandle;
    let from = io::stdin().as_handle().try_clone_to_owned()?;
    let to = io::stdout().as_handle().try_clone_to_owned()?;
    Ok((from.into(), to.into()))
}
