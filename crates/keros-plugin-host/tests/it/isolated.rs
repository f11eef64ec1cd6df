//! Plugin files in processes of their own: they see and do what they do in this one, and what ends them
//! ends nothing else.

use crate::build::{self, EXTENSIONS, RECORDER, c_plugin, odd};
use crate::c_recorder::check_recorder;
use crate::extensions::check_every_extension;
use crate::run::FakeRun;
use keros_callbacks::{
    Callback, CallbackError, CallbackList, CallbackResult, Context, Decision, EventKind,
    FailurePolicy, Level, Message,
};
use keros_plugin_host::{IsolateError, IsolateOptions, IsolatedCallback, external, isolate};
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Generous: the machine may be busy.
pub(crate) fn options() -> IsolateOptions {
    IsolateOptions {
        start_limit: Duration::from_secs(60),
        event_limit: Duration::from_secs(60),
        end_limit: Duration::from_secs(60),
        runner: Some(env!("CARGO_BIN_EXE_keros-plugin-run").into()),
    }
}

fn hostile() -> Option<&'static Path> {
    static LIBRARY: OnceLock<Option<(TempDir, PathBuf)>> = OnceLock::new();
    let library = LIBRARY.get_or_init(|| c_plugin(include_str!("c/hostile.c"), &[]));
    library.as_ref().map(|(_, path)| path.as_path())
}

fn config(mode: &str) -> String {
    serde_json::json!(mode).to_string()
}

fn started(mode: &str, options: &IsolateOptions) -> Option<IsolatedCallback> {
    Some(isolate(hostile()?, &config(mode), options).unwrap())
}

/// Collects what is said to the user.
#[derive(Default)]
pub(crate) struct Messages(pub(crate) Vec<Message>);

impl Callback for Messages {
    fn on_event(&mut self, _: &mut Context<'_>) -> CallbackResult {
        Ok(Decision::CONTINUE)
    }
    fn on_message(&mut self, message: &Message) {
        self.0.push(message.clone());
    }
}

#[test]
fn a_c_plugin_sees_and_steers_the_run_from_its_own_process() {
    if let Some((folder, library)) = c_plugin(RECORDER, &[]) {
        check_recorder(folder.path(), |config| {
            isolate(&library, config, &options()).unwrap()
        });
    }
}

#[test]
fn every_extension_works_from_another_process() {
    if let Some((_folder, library)) = c_plugin(EXTENSIONS, &[]) {
        check_every_extension(&mut isolate(&library, "", &options()).unwrap());
    }
}

#[test]
fn loaded_and_isolated_write_the_same_file() {
    let folder = tempfile::tempdir().unwrap();
    let paths = ["loaded.csv", "isolated.csv"].map(|name| folder.path().join(name));
    let [loaded, isolated] = paths
        .each_ref()
        .map(|path| serde_json::json!({"path": path}).to_string());
    let isolated = isolate(build::csv_logger(), &isolated, &options()).unwrap();
    let loaded = keros_plugin_host::load(build::csv_logger(), &loaded).unwrap();
    assert_eq!(isolated.name(), "csv-logger");
    assert_eq!(isolated.version(), loaded.plugin().version());
    assert_eq!(isolated.events(), loaded.events());
    let mut callbacks = CallbackList::new().with(loaded).with(isolated);
    FakeRun::new().fit_evaluate_predict(&mut callbacks).unwrap();
    drop(callbacks);
    let [loaded, isolated] = paths.map(|path| std::fs::read_to_string(path).unwrap());
    assert_eq!(isolated, loaded);
    assert_eq!(isolated.lines().count(), 6);
}

#[test]
fn logs_are_computed_where_they_are_read_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = serde_json::json!({"path": folder.path().join("epochs.csv")}).to_string();
    let mut run = FakeRun::new();
    let callback = isolate(build::csv_logger(), &path, &options()).unwrap();
    run.fit_evaluate_predict(&mut CallbackList::new().with(callback))
        .unwrap();
    assert_eq!(run.computations, run.info.epochs);
}

#[test]
fn a_plugin_that_stops_asking_for_logs_is_sent_them_once_more() {
    let Some(callback) = started("read at first batches", &options()) else {
        return;
    };
    let mut run = FakeRun::new();
    run.fit_evaluate_predict(&mut CallbackList::new().with(callback))
        .unwrap();
    // At the first batch of an epoch, and with the second.
    assert_eq!(run.computations, 2 * run.info.epochs);
}

#[test]
fn a_plugin_is_refused_in_the_words_of_the_loader() {
    let mut check = vec![
        (build::csv_logger(), r#"{"path": "a", "sep": ";"}"#),
        (build::csv_logger(), ""),
        (Path::new("no/such/file.so"), ""),
        (Path::new(env!("CARGO_MANIFEST_DIR")), ""),
        (
            Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")),
            "",
        ),
    ];
    check.extend(odd().map(|odd| (odd, r#""refused""#)));
    for (path, config) in check {
        let expected = keros_plugin_host::load(path, config)
            .unwrap_err()
            .to_string();
        let error = isolate(path, config, &options()).unwrap_err();
        assert!(matches!(error, IsolateError::Plugin { .. }), "{error}");
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn failures_and_wrong_answers_are_told_in_the_words_of_the_loader() {
    let Some(odd) = odd() else { return };
    for mode in [
        "unknown status",
        "no reason",
        "told twice",
        "bad fail text",
        "unknown actions",
        "bad reason",
        "nan rate",
        "misuse",
        "thread",
    ] {
        let answer = |callback: Box<dyn Callback>| {
            let mut messages = Messages::default();
            let mut callbacks = CallbackList::new().with(callback).with(&mut messages);
            let outcome = FakeRun::new().ping(&mut callbacks, EventKind::TrainBatchEnd);
            drop(callbacks);
            let outcome = outcome.map_err(|error| error.to_string());
            (outcome, messages.0)
        };
        let loaded = answer(Box::new(
            keros_plugin_host::load(odd, &config(mode)).unwrap(),
        ));
        let isolated = answer(Box::new(isolate(odd, &config(mode), &options()).unwrap()));
        assert_eq!(isolated, loaded, "{mode}");
    }
}

/// What becomes of a training whose plugin does this, by each policy.
fn check_contained(mode: &str, options: &IsolateOptions, expected: &str) {
    let Some(callback) = started(mode, options) else {
        return;
    };
    let mut callbacks = CallbackList::new().with(callback);
    let mut run = FakeRun::new();
    run.ping(&mut callbacks, EventKind::TrainBegin).unwrap();
    let error = run
        .ping(&mut callbacks, EventKind::TrainBatchEnd)
        .unwrap_err();
    let expected = format!("plugin `hostile`: its process {expected}; it gets no more events");
    let CallbackError::Failed { source, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(source.to_string(), expected, "{mode}");

    let mut messages = Messages::default();
    let mut callbacks = CallbackList::new();
    callbacks.push_with(started(mode, options).unwrap(), FailurePolicy::Log);
    callbacks.push(&mut messages);
    FakeRun::new().fit_evaluate_predict(&mut callbacks).unwrap();
    // A checkpoint can be written all the same.
    assert_eq!(callbacks.states().unwrap(), []);
    drop(callbacks);
    // At the batch, and when a lone evaluation and a prediction begin.
    let errors = messages
        .0
        .iter()
        .filter(|message| message.level == Level::Error);
    let errors: Vec<_> = errors.map(|message| message.text.as_str()).collect();
    assert_eq!(errors.len(), 3, "{errors:#?}");
    assert!(
        errors.iter().all(|error| error.contains(&expected)),
        "{errors:#?}"
    );
}

#[test]
#[cfg(target_os = "linux")]
fn a_crash_costs_a_message() {
    check_contained("abort", &options(), "ended with signal: 6 (SIGABRT)");
    check_contained("kill", &options(), "ended with signal: 9 (SIGKILL)");
    check_contained("segfault", &options(), "ended with signal: 11 (SIGSEGV)");
    check_contained("exit", &options(), "ended with exit status: 3");
    let words = "ended with exit status: 3, its last words: the cable is out";
    check_contained("dying words", &options(), words);
}

#[test]
fn a_hang_costs_its_time_and_a_message() {
    let limits = IsolateOptions {
        event_limit: Duration::from_millis(200),
        ..options()
    };
    let begin = Instant::now();
    check_contained("hang", &limits, "did not answer in time and was killed");
    check_contained("spin", &limits, "did not answer in time and was killed");
    assert!(begin.elapsed() < Duration::from_secs(60));
}

#[test]
#[cfg(target_os = "linux")]
fn a_plugin_that_does_not_start_is_an_error() {
    let Some(path) = hostile() else { return };
    let error = isolate(path, &config("abort at start"), &options()).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("its process ended with signal: 6 (SIGABRT)"),
        "{error}"
    );
    let limits = IsolateOptions {
        start_limit: Duration::from_millis(300),
        ..options()
    };
    let error = isolate(path, &config("hang at start"), &limits).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("its process did not answer in time and was killed"),
        "{error}"
    );
}

#[test]
fn a_plugin_that_does_not_end_is_ended() {
    let limits = IsolateOptions {
        end_limit: Duration::from_millis(200),
        ..options()
    };
    let begin = Instant::now();
    drop(started("hang at the end", &limits));
    assert!(begin.elapsed() < Duration::from_secs(30));
}

/// More than a plugin gets that has lost its host.
#[test]
#[cfg(unix)]
fn a_plugin_that_ends_slowly_gets_the_time_it_was_given() {
    let Some(library) = hostile() else { return };
    let folder = tempfile::tempdir().unwrap();
    let status = folder.path().join("status");
    let mut command = Command::new("sh");
    command
        .args(["-c", r#""$RUN" "$LIBRARY"; echo $? > "$STATUS""#])
        .env("RUN", env!("CARGO_BIN_EXE_keros-plugin-run"))
        .env("LIBRARY", library)
        .env("STATUS", &status);
    drop(external(command, &config("slow at the end"), &options()).unwrap());
    assert_eq!(std::fs::read_to_string(status).unwrap(), "0\n");
}

#[test]
fn a_plugin_that_hangs_does_not_outlive_a_host_that_said_goodbye() {
    let Some(library) = hostile() else { return };
    let mut helper = Command::new(env!("CARGO_BIN_EXE_keros-plugin-run"))
        .arg(library)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    // A host that says goodbye and is gone before it can end what does not go.
    let mut stdin = helper.stdin.take().unwrap();
    let create = serde_json::json!({
        "type": "create", "wire": {"major": 1, "minor": 0}, "host": "", "version": "",
        "config": config("hang at the end"),
    });
    let begin = Instant::now();
    let bye = serde_json::json!({ "type": "bye", "limit_ns": 200_000_000 });
    writeln!(stdin, "{create}\n{bye}").unwrap();
    drop(stdin);
    assert_eq!(helper.wait().unwrap().code(), Some(1));
    assert!(begin.elapsed() < Duration::from_secs(4));
}

#[test]
fn a_plugin_may_have_all_the_time_there_is_to_end() {
    let limits = IsolateOptions {
        end_limit: Duration::MAX,
        ..options()
    };
    drop(started("", &limits));
}

#[test]
fn what_a_plugin_prints_is_shown_and_harms_nothing() {
    let Some(callback) = started("print", &options()) else {
        return;
    };
    let mut callback = callback;
    let mut messages = Messages::default();
    let mut run = FakeRun::new();
    let begin = Instant::now();
    // What is said on stderr comes with the next event after it is read.
    for line in ["to stdout", "to stderr"] {
        let is_said = |message: &Message| {
            message.level == Level::Info && message.source == "hostile" && message.text == line
        };
        while !messages.0.iter().any(is_said) {
            assert!(begin.elapsed() < Duration::from_secs(60), "{line}");
            let mut callbacks = CallbackList::new().with(&mut callback).with(&mut messages);
            run.ping(&mut callbacks, EventKind::TrainBatchEnd).unwrap();
        }
    }
}

#[test]
fn a_failure_of_the_training_is_told_and_its_panic_goes_on() {
    let Some(odd) = odd() else { return };
    let broken = |callback: &mut dyn Callback| {
        let mut run = FakeRun::new();
        run.broken = Some("the device is lost");
        let mut callbacks = CallbackList::new().with(callback);
        let error = run.ping(&mut callbacks, EventKind::TrainBatchEnd);
        error.unwrap_err().to_string()
    };
    let mut callback = isolate(odd, &config("logs"), &options()).unwrap();
    let told = broken(&mut callback);
    assert!(told.contains("the device is lost"), "{told}");

    let mut run = FakeRun::new();
    run.panics = true;
    let panic = catch_unwind(AssertUnwindSafe(|| {
        let mut callbacks = CallbackList::new().with(&mut callback);
        run.ping(&mut callbacks, EventKind::TrainBatchEnd)
    }));
    let panic = panic.unwrap_err();
    assert_eq!(panic.downcast_ref(), Some(&"the training itself panics"));
    assert!(!callback.is_running());
}

#[test]
fn a_runner_that_is_not_there_is_told() {
    let Some(path) = odd() else { return };
    let options = IsolateOptions {
        runner: Some("/no/such/runner".into()),
        ..options()
    };
    let error = isolate(path, "", &options).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("starting `/no/such/runner`: "),
        "{error}"
    );
    // This test program has not called `run_if_asked`, and is never started again by accident.
    let options = IsolateOptions {
        runner: None,
        ..options
    };
    if std::env::var_os("KEROS_PLUGIN_RUN").is_none() {
        let error = isolate(path, "", &options).unwrap_err();
        assert!(matches!(error, IsolateError::NoRunner { .. }), "{error}");
    }
}
