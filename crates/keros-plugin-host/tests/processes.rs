//! Isolated plugins that run in this program, started again, and what is left of their processes: so it
//! has a `main` of its own.

// clippy.toml covers `#[test]` functions only, not their helpers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "it/build.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod build;

use keros_callbacks::{Callback, CallbackList, Event, EventKind, Logs, Run, RunInfo};
use keros_plugin_host::{IsolateOptions, isolate};
use libtest_mimic::{Arguments, Trial};
use std::process::ExitCode;
use std::time::Duration;

fn main() -> ExitCode {
    keros_plugin_host::run_if_asked();
    let mut trials = vec![trial("a_plugin_runs_in_this_program", in_this_program)];
    #[cfg(target_os = "linux")]
    trials.push(trial("nothing_is_left", nothing_is_left));
    let mut arguments = Arguments::from_args();
    // What is left is counted.
    arguments.test_threads = Some(1);
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn trial(name: &str, test: fn()) -> Trial {
    Trial::test(name, move || {
        test();
        Ok(())
    })
}

/// Generous: the machine may be busy.
fn options() -> IsolateOptions {
    IsolateOptions {
        start_limit: Duration::from_secs(60),
        event_limit: Duration::from_secs(60),
        end_limit: Duration::from_secs(60),
        runner: None,
    }
}

struct Plain(RunInfo, Logs);

impl Run for Plain {
    fn info(&self) -> &RunInfo {
        &self.0
    }
    fn logs(&mut self) -> Result<&mut Logs, keros_callbacks::BoxError> {
        Ok(&mut self.1)
    }
    fn learning_rate(&self) -> Option<f64> {
        None
    }
    fn data_wait(&self) -> Duration {
        Duration::ZERO
    }
}

fn send(callback: &mut dyn Callback) -> Result<(), String> {
    let event = Event {
        kind: EventKind::TrainBatchEnd,
        epoch: 0,
        batch: 0,
        step: 0,
        samples: 0,
        nested: false,
    };
    let mut run = Plain(RunInfo::default(), Logs::new());
    let mut callbacks = CallbackList::new().with(callback);
    let outcome = callbacks.dispatch(&event, &mut run);
    outcome.map(drop).map_err(|error| error.to_string())
}

fn in_this_program() {
    let Some(odd) = build::odd() else { return };
    let mut callback = isolate(odd, "\"no reason\"", &options()).unwrap();
    let error = send(&mut callback).unwrap_err();
    assert!(
        error.ends_with("plugin `odd`: KEROS_E_IO, without a reason"),
        "{error}"
    );
    assert!(callback.is_running());
    // The words of the loader.
    let expected = keros_plugin_host::load(odd, "\"refused\"").unwrap_err();
    let error = isolate(odd, "\"refused\"", &options()).unwrap_err();
    assert_eq!(error.to_string(), expected.to_string());
}

/// Processes that have ended, well or by force, with what they have started, leave no process, no file
/// and no thread.
#[cfg(target_os = "linux")]
fn nothing_is_left() {
    use std::fs;
    use std::process::Command;
    use std::time::Instant;

    let count = |folder: &str| fs::read_dir(folder).unwrap().count();
    let now = || (count("/proc/self/fd"), count("/proc/self/task"));
    let folder = tempfile::tempdir().unwrap();
    let pids = folder.path().join("pids");
    let limits = IsolateOptions {
        event_limit: Duration::from_millis(100),
        ..options()
    };
    let start = |script: &str| {
        let hello = r#"{"type":"hello","wire":{"major":1,"minor":0},"id":"shell","version":"1","events":["train_batch_end"]}"#;
        let mut command = Command::new("sh");
        let script = format!("read -r c; echo $$ >> \"$PIDS\"; {script}");
        command
            .args(["-c", &script])
            .env("HELLO", hello)
            .env("PIDS", &pids);
        keros_plugin_host::external(command, "", &limits)
    };
    let before = now();
    for _ in 0..5 {
        // Says goodbye.
        drop(start("echo \"$HELLO\"; read -r bye").unwrap());
        // Ends by itself.
        let mut callback = start("echo \"$HELLO\"; read -r e; exit 3").unwrap();
        send(&mut callback).unwrap_err();
        drop(callback);
        // Is ended, with what it has started.
        let mut callback =
            start("sleep 1000 & echo $! >> \"$PIDS\"; echo \"$HELLO\"; read -r e; sleep 1000")
                .unwrap();
        send(&mut callback).unwrap_err();
        drop(callback);
        // Does not start.
        start("exit 3").unwrap_err();
    }
    let pids = fs::read_to_string(pids).unwrap();
    assert_eq!(pids.lines().count(), 25);
    let begin = Instant::now();
    // An orphan stays as a zombie where nobody waits for orphans.
    let runs = |pid: &str| {
        fs::read_to_string(format!("/proc/{pid}/stat"))
            .is_ok_and(|stat| !stat.contains(") Z ") && !stat.contains(") X "))
    };
    // Fewer where what another test left was still ending before.
    let more = || {
        let (files, threads) = now();
        files > before.0 || threads > before.1
    };
    while more() || pids.lines().any(runs) {
        assert!(
            begin.elapsed() < Duration::from_secs(60),
            "{:?}, before {before:?}",
            now()
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}
