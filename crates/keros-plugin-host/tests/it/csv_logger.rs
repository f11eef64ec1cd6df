//! The Rust plugin of this repository: loaded, it does what it does linked in.

use crate::build;
use crate::run::FakeRun;
use ::csv_logger::{Config, CsvLogger};
use keros_callbacks::{Callback, CallbackList, EventKind};
use keros_plugin_host::{Plugin, PluginError};
use std::fs;
use std::path::Path;

fn config(path: &Path) -> String {
    serde_json::json!({ "path": path }).to_string()
}

#[test]
fn loaded_and_linked_in_write_the_same_file() {
    let folder = tempfile::tempdir().unwrap();
    let (loaded, linked) = (
        folder.path().join("loaded.csv"),
        folder.path().join("linked.csv"),
    );
    let callback = keros_plugin_host::load(build::csv_logger(), &config(&loaded)).unwrap();
    assert_eq!(callback.name(), "csv-logger");
    let own = CsvLogger::new(Config::new(&linked)).unwrap();
    assert_eq!(callback.events(), own.events());
    let mut callbacks = CallbackList::new().with(callback).with(own);
    FakeRun::new().fit_evaluate_predict(&mut callbacks).unwrap();
    let written = fs::read_to_string(loaded).unwrap();
    assert_eq!(written, fs::read_to_string(linked).unwrap());
    assert_eq!(
        written.lines().take(3).collect::<Vec<_>>(),
        [
            "epoch,batches,samples,loss,accuracy,val_loss,val_accuracy",
            "0,3,21,1,0.5,NA,NA",
            "1,3,21,0.5,0.75,0.625,0.75",
        ]
    );
    assert_eq!(written.lines().count(), 6);
}

#[test]
fn logs_are_computed_at_epoch_ends_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("epochs.csv");
    let callback = keros_plugin_host::load(build::csv_logger(), &config(&path)).unwrap();
    assert!(!callback.events().contains(EventKind::TestBegin));
    let mut run = FakeRun::new();
    run.fit_evaluate_predict(&mut CallbackList::new().with(callback))
        .unwrap();
    assert_eq!(run.computations, run.info.epochs);
}

#[test]
fn the_plugin_tells_what_it_is() {
    let plugin = Plugin::load(build::csv_logger()).unwrap();
    assert_eq!(plugin.id(), "csv-logger");
    assert_eq!(plugin.version(), env!("CARGO_PKG_VERSION"));
    assert_eq!(plugin.license(), "MIT OR Apache-2.0");
    assert_eq!(
        plugin.summary(),
        "A keros callback plugin that writes a CSV row per epoch"
    );
    assert!(
        plugin.build().starts_with("Rust, keros-plugin "),
        "{}",
        plugin.build()
    );
    assert_eq!(plugin.abi(), (1, 1));
    assert!(plugin.path().is_absolute());
    assert_eq!(plugin.extension("no.such/1"), None);
}

#[test]
fn instances_of_one_plugin_are_independent() {
    let folder = tempfile::tempdir().unwrap();
    let paths = ["a.csv", "b.csv"].map(|name| folder.path().join(name));
    let plugin = Plugin::load(build::csv_logger()).unwrap();
    let again = Plugin::load(build::csv_logger()).unwrap();
    let mut first = CallbackList::new().with(plugin.callback(&config(&paths[0])).unwrap());
    let mut second = CallbackList::new().with(again.callback(&config(&paths[1])).unwrap());
    let mut run = FakeRun::new();
    run.ping(&mut first, EventKind::TrainBegin).unwrap();
    run.ping(&mut second, EventKind::TrainBegin).unwrap();
    run.ping(&mut first, EventKind::TrainBatchEnd).unwrap();
    run.ping(&mut first, EventKind::EpochEnd).unwrap();
    drop(first);
    run.ping(&mut second, EventKind::EpochEnd).unwrap();
    assert_eq!(
        fs::read_to_string(&paths[0]).unwrap().lines().nth(1),
        Some("0,1,0,1,NA,NA")
    );
    assert_eq!(
        fs::read_to_string(&paths[1]).unwrap().lines().nth(1),
        Some("0,0,0,1,NA,NA")
    );
}

fn check_refused(config: &str, expected: &str) {
    let error = keros_plugin_host::load(build::csv_logger(), config).unwrap_err();
    let PluginError::Create { text, id, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!((id.as_str(), text.as_str()), ("csv-logger", expected));
    assert!(error.to_string().contains("KEROS_E_CONFIG"), "{error}");
}

#[test]
fn a_wrong_config_is_refused_with_the_field() {
    check_refused("", "config: missing field `path` at line 1 column 2");
    check_refused(
        r#"{"path": "a", "sep": ";"}"#,
        "config field `sep`: unknown field `sep`, expected one of `path`, `separator`, `append` at line 1 column 19",
    );
    check_refused(
        r#"{"path": "a", "append": 1}"#,
        "config field `append`: invalid type: integer `1`, expected a boolean at line 1 column 25",
    );
    check_refused(
        r#"{"path": "a", "separator": "x"}"#,
        "config field `separator`: expected a tab, a space or an ASCII punctuation mark other than \
         \" . - + _, found 'x'",
    );
}

#[test]
fn a_failure_names_plugin_status_and_reason() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("missing/epochs.csv");
    let callback = keros_plugin_host::load(build::csv_logger(), &config(&path)).unwrap();
    let mut callbacks = CallbackList::new().with(callback);
    let error = FakeRun::new()
        .ping(&mut callbacks, EventKind::TrainBegin)
        .unwrap_err();
    let expected = format!(
        "callback `csv-logger` failed at train_begin: plugin `csv-logger`: KEROS_E_IO: creating {}: ",
        path.display()
    );
    assert!(error.to_string().starts_with(&expected), "{error}");
}
