//! plugins/timing, in C++: what it measures and says, and that its exceptions stay on its side.

use crate::build::cpp_plugin;
use crate::run::FakeRun;
use keros_callbacks::{
    Callback, CallbackList, CallbackResult, Context, Decision, EventKind, Logs, Message,
};
use keros_plugin_host::{Plugin, PluginError};
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;
use tempfile::TempDir;

/// The library, compiled once. `None` without a C++ compiler.
fn library() -> Option<&'static Path> {
    const SOURCE: &str = include_str!("../../../../plugins/timing/timing.cpp");
    static LIBRARY: OnceLock<Option<(TempDir, std::path::PathBuf)>> = OnceLock::new();
    let library = LIBRARY.get_or_init(|| cpp_plugin(SOURCE));
    library.as_ref().map(|(_, path)| path.as_path())
}

/// Keeps the logs of epoch ends, and the messages.
#[derive(Default)]
struct Record {
    epochs: Vec<Logs>,
    messages: Vec<Message>,
}

impl Callback for Record {
    fn on_epoch_end(&mut self, cx: &mut Context<'_>) -> CallbackResult {
        self.epochs.push(cx.logs()?.clone());
        Ok(Decision::CONTINUE)
    }

    fn on_message(&mut self, message: &Message) {
        self.messages.push(message.clone());
    }
}

fn record(config: &str) -> Option<Record> {
    let mut record = Record::default();
    let callback = keros_plugin_host::load(library()?, config).unwrap();
    let mut callbacks = CallbackList::new().with(callback).with(&mut record);
    FakeRun::new().fit_evaluate_predict(&mut callbacks).unwrap();
    drop(callbacks);
    Some(record)
}

#[test]
fn percentiles_are_set_per_epoch() {
    let Some(record) = record("") else {
        return;
    };
    assert_eq!(record.epochs.len(), 5);
    for logs in &record.epochs {
        let number = |key: &str| logs.number(key).expect(key);
        let batch = ["batch_ms_p50", "batch_ms_p95", "batch_ms_p99"].map(number);
        assert!(batch[0] <= batch[1] && batch[1] <= batch[2], "{batch:?}");
        // The made-up run has waited for 25 µs at its first batch of three, and no more since.
        assert_eq!(number("data_wait_ms_p50"), 0.0);
        assert!((number("data_wait_ms_p99") / 0.025 - 1.0).abs() < 0.011);
    }
    let text = &record.messages[0].text;
    assert!(
        text.starts_with("epoch 1: half of the batches take at most "),
        "{text}"
    );
    assert_eq!(record.messages.len(), 5);
    assert_eq!(record.messages[0].source, "timing");
}

#[test]
fn an_epoch_that_goes_on_from_a_checkpoint_begins_with_its_first_batch() {
    let Some(library) = library() else {
        return;
    };
    let mut record = Record::default();
    let callback = keros_plugin_host::load(library, "").unwrap();
    let mut callbacks = CallbackList::new().with(callback).with(&mut record);
    let mut run = FakeRun::new();
    run.wait = Duration::from_secs(20);
    for kind in [
        EventKind::TrainBegin,
        EventKind::TrainBatchBegin,
        EventKind::TrainBatchEnd,
        EventKind::EpochEnd,
    ] {
        run.send(&mut callbacks, kind, [2, 5, 8], &[], false)
            .unwrap();
    }
    drop(callbacks);
    let text = &record.messages[0].text;
    let (_, share) = text.split_once("waited for data ").unwrap();
    let share: f64 = share.split_once(" %").unwrap().0.parse().unwrap();
    assert!(share > 50.0, "{text}");
}

#[test]
fn a_percentile_leaves_out_what_lies_above_it() {
    let Some(library) = library() else {
        return;
    };
    let mut record = Record::default();
    let config = r#"{"percentiles": [99.9, 100]}"#;
    let callback = keros_plugin_host::load(library, config).unwrap();
    let mut callbacks = CallbackList::new().with(callback).with(&mut record);
    let mut run = FakeRun::new();
    run.wait = Duration::ZERO;
    run.ping(&mut callbacks, EventKind::TrainBegin).unwrap();
    run.ping(&mut callbacks, EventKind::EpochBegin).unwrap();
    for batch in 0..1000 {
        if batch == 500 {
            run.wait = Duration::from_secs(1);
        }
        for kind in [EventKind::TrainBatchBegin, EventKind::TrainBatchEnd] {
            run.send(&mut callbacks, kind, [0, batch, 8], &[], false)
                .unwrap();
        }
    }
    run.ping(&mut callbacks, EventKind::EpochEnd).unwrap();
    drop(callbacks);
    let number = |key: &str| record.epochs[0].number(key).expect(key);
    assert_eq!(number("data_wait_ms_p99.9"), 0.0);
    assert!((number("data_wait_ms_p100") / 1000.0 - 1.0).abs() < 0.011);
}

#[test]
fn percentiles_are_a_choice_and_the_message_too() {
    let config = r#" { "message" : false , "percentiles" : [ 0, 99.9 , 100 ] } "#;
    let Some(record) = record(config) else {
        return;
    };
    assert!(record.messages.is_empty());
    let keys: Vec<&str> = record.epochs[0].iter().map(|(key, _)| key).collect();
    let expected = [
        "batch_ms_p0",
        "data_wait_ms_p0",
        "batch_ms_p99.9",
        "data_wait_ms_p99.9",
        "batch_ms_p100",
        "data_wait_ms_p100",
    ];
    assert_eq!(keys[2..], expected);
}

#[test]
fn it_tells_its_configuration() {
    let Some(library) = library() else {
        return;
    };
    let plugin = Plugin::load(library).unwrap();
    let schema: serde_json::Value =
        serde_json::from_str(plugin.config_schema().unwrap().unwrap()).unwrap();
    let properties = schema["properties"].as_object().unwrap();
    let defaults = properties
        .iter()
        .map(|(field, about)| (field.clone(), about["default"].clone()));
    let config = serde_json::Value::Object(defaults.collect());
    assert_eq!(config.as_object().unwrap().len(), 2);
    assert!(plugin.callback(&config.to_string()).is_ok());
}

fn check_refused(config: &str, expected: &str) {
    let Some(library) = library() else {
        return;
    };
    let error = keros_plugin_host::load(library, config).unwrap_err();
    let PluginError::Create { text, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(text, expected, "{config}");
}

#[test]
fn a_wrong_config_is_refused_with_the_field() {
    check_refused("7", "config: expected an object");
    check_refused(r#"{"message": true"#, "config: expected `,` or `}`");
    check_refused(
        r#"{"message": true} 7"#,
        "config: expected nothing after the object",
    );
    check_refused(
        r#"{"message": 1}"#,
        "config field `message`: expected true or false",
    );
    check_refused(
        r#"{"massage": true}"#,
        "config field `massage`: unknown field, expected one of `percentiles`, `message`",
    );
    let numbers = "config field `percentiles`: expected 1 to 16 numbers from 0 to 100 in brackets";
    let many = format!("[{}]", ["1"; 17].join(","));
    for wrong in [
        "50", "[]", "[101]", "[-1]", "[1 2]", "[1.2.3]", "[\"1\"]", "[50", &many,
    ] {
        check_refused(&format!(r#"{{"percentiles": {wrong}}}"#), numbers);
    }
}

#[test]
fn exceptions_stay_on_their_side() {
    let Some(library) = library() else {
        return;
    };
    let mut callbacks = CallbackList::new().with(keros_plugin_host::load(library, "").unwrap());
    let mut run = FakeRun::new();
    for kind in [
        EventKind::EpochBegin,
        EventKind::TrainBatchBegin,
        EventKind::TrainBatchEnd,
    ] {
        run.ping(&mut callbacks, kind).unwrap();
    }
    // No log can be set, which the plugin throws; the host gets a status and the sentence.
    run.broken = Some("the device is gone");
    let error = run
        .ping(&mut callbacks, EventKind::EpochEnd)
        .unwrap_err()
        .to_string();
    let start = "callback `timing` failed at epoch_end: plugin `timing`: KEROS_E_OTHER: ";
    assert!(error.starts_with(start), "{error}");
    assert!(error.contains("setting a log"), "{error}");
}
