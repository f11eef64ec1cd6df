//! plugins/report: a plugin in a language that knows nothing of the ABI.

use crate::isolated::{Messages, options};
use crate::run::FakeRun;
use keros_callbacks::{Callback, CallbackList, EventKind, Level};
use keros_plugin_host::{IsolateError, IsolatedCallback, external};
use serde_json::{Value, json};
use std::fs;
use std::io::Write as _;
use std::process::Command;

const SCRIPT: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../plugins/report/report.py"
);

/// `None`, with a word on stderr, if there is no Python.
fn report(config: &Value) -> Option<Result<IsolatedCallback, IsolateError>> {
    let version = Command::new("python3").arg("--version").output();
    if !version.is_ok_and(|output| output.status.success()) {
        let _ = writeln!(
            std::io::stderr(),
            "not run: plugins/report, since there is no python3; see CONTRIBUTING.md"
        );
        return None;
    }
    let mut python = Command::new("python3");
    python.arg(SCRIPT);
    Some(external(python, &config.to_string(), &options()))
}

#[test]
fn the_report_is_kept_up_to_date_and_the_run_is_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.md");
    // The accuracy gets better and better, which is no improvement of what is to be small.
    let config = json!({"path": path, "monitor": "accuracy", "mode": "min", "patience": 2});
    let Some(report) = report(&config) else {
        return;
    };
    let mut callbacks = CallbackList::new().with(report.unwrap());
    let mut run = FakeRun::new();
    run.ping(&mut callbacks, EventKind::TrainBegin).unwrap();
    let page = fs::read_to_string(&path).unwrap();
    assert!(page.contains("- Status: running\n"), "{page}");
    let stop = run.fit_evaluate_predict(&mut callbacks).unwrap();
    let reason = "accuracy has not improved for 2 epochs";
    assert_eq!(stop.as_deref(), Some(reason));
    let page = fs::read_to_string(&path).unwrap();
    for part in [
        "- Status: finished\n",
        "- Epochs: 3 done, the last would be 5\n",
        "- Best `accuracy`: 0.5 in epoch 1\n",
        "| epoch | loss | accuracy | val_loss | val_accuracy | learning rate |\n|---|---|---|---|---|---|\n",
        "| **1** | **1** | **0.5** |  |  | **0.1** |\n",
        "| 2 | 0.5 | 0.75 | 0.625 | 0.75 | 0.1 |\n",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn the_report_goes_on_from_a_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.md");
    let config = json!({"path": path, "monitor": "loss", "patience": 2});
    let Some(first) = report(&config) else { return };
    let mut first = first.unwrap();
    let mut run = FakeRun::new();
    let mut callbacks = CallbackList::new().with(&mut first);
    for (epoch, loss) in [(0, 0.5), (1, f64::NAN)] {
        let at = [epoch, 0, 0];
        let decision = run.send(
            &mut callbacks,
            EventKind::EpochEnd,
            at,
            &[("loss", loss)],
            false,
        );
        assert_eq!(decision.unwrap().stop, None);
    }
    drop(callbacks);
    let state = first.save_state().unwrap().unwrap();
    drop(first);
    let mut second = report(&config).unwrap().unwrap();
    let mut callbacks = CallbackList::new().with(&mut second);
    run.ping(&mut callbacks, EventKind::TrainBegin).unwrap();
    drop(callbacks);
    second.load_state(&state).unwrap();
    let mut callbacks = CallbackList::new().with(&mut second);
    let at = [2, 0, 0];
    let decision = run.send(
        &mut callbacks,
        EventKind::EpochEnd,
        at,
        &[("loss", 0.75)],
        false,
    );
    assert_eq!(
        decision.unwrap().stop.as_deref(),
        Some("loss has not improved for 2 epochs")
    );
    drop(callbacks);
    let page = fs::read_to_string(&path).unwrap();
    assert!(
        page.contains("| 2 | NaN | 0.1 |\n| 3 | 0.75 | 0.1 |\n"),
        "{page}"
    );
    let error = second.load_state(b"nonsense").unwrap_err().to_string();
    assert!(
        error.starts_with("plugin `report`: expected a state of this plugin: "),
        "{error}"
    );
}

#[test]
fn what_the_report_cannot_do_is_told() {
    for (config, expected) in [
        (
            json!({}),
            "config field `path`: expected the path of the report",
        ),
        (
            json!({"path": "a", "patience": 0}),
            "config field `patience`: expected a number of epochs from 1 on",
        ),
        (
            json!({"path": "a", "colour": 1}),
            "config field `colour`: expected one of path, monitor, mode, patience",
        ),
    ] {
        let Some(report) = report(&config) else {
            return;
        };
        let error = report.unwrap_err().to_string();
        assert_eq!(error, format!("starting `python3`: {expected}"));
    }
    let report = report(&json!({"path": "/no/such/folder/report.md"}))
        .unwrap()
        .unwrap();
    let mut callbacks = CallbackList::new().with(report);
    let error = FakeRun::new()
        .ping(&mut callbacks, EventKind::TrainBegin)
        .unwrap_err();
    let expected = "plugin `report`: writing /no/such/folder/report.md: No such file or directory";
    assert!(error.to_string().ends_with(expected), "{error}");
}

#[test]
fn a_log_that_is_missing_is_said_once() {
    let folder = tempfile::tempdir().unwrap();
    let Some(report) = report(&json!({"path": folder.path().join("report.md")})) else {
        return;
    };
    let mut messages = Messages::default();
    let mut callbacks = CallbackList::new()
        .with(report.unwrap())
        .with(&mut messages);
    FakeRun::new().fit_evaluate_predict(&mut callbacks).unwrap();
    drop(callbacks);
    let said: Vec<_> = messages
        .0
        .iter()
        .map(|m| (m.level, m.text.as_str()))
        .collect();
    assert_eq!(said, [(Level::Warning, "no number `val_loss` in epoch 1")]);
}
