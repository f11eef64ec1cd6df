//! plugins/grad-watch, in C: norms of known gradients and weights, and what it does when they explode.

use crate::build::c_plugin;
use keros_callbacks::{
    BoxError, Callback, CallbackError, CallbackList, CallbackResult, Context, Decision, Event,
    EventKind, Level, Logs, Message, ParamInfo, Run, RunInfo,
};
use keros_plugin_host::{Plugin, PluginError};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;
use tempfile::TempDir;

/// The library, compiled once. `None` without a C compiler.
fn library() -> Option<&'static Path> {
    const SOURCE: &str = include_str!("../../../../plugins/grad-watch/grad-watch.c");
    static LIBRARY: OnceLock<Option<(TempDir, PathBuf)>> = OnceLock::new();
    let library = LIBRARY.get_or_init(|| c_plugin(SOURCE, &[]));
    library.as_ref().map(|(_, path)| path.as_path())
}

/// A run of a network with known weights and gradients.
struct Net {
    info: RunInfo,
    logs: Logs,
    params: Vec<ParamInfo>,
    /// What the gradients are multiplied with.
    scale: f32,
    /// Whether the optimizer scales the loss.
    scales_loss: bool,
}

impl Net {
    fn new() -> Net {
        let param = |name: &str, shape: &[usize], trainable| ParamInfo {
            name: name.to_owned(),
            shape: shape.to_vec(),
            trainable,
        };
        Net {
            info: RunInfo::default(),
            logs: Logs::new(),
            params: vec![
                param("dense/kernel", &[2, 3], true),
                param("dense/bias", &[1], true),
                param("a \"b\", c", &[], false),
            ],
            scale: 1.0,
            scales_loss: false,
        }
    }

    fn send(
        &mut self,
        callbacks: &mut CallbackList<'_>,
        kind: EventKind,
        epoch: u64,
        batch: u64,
    ) -> Result<Decision, CallbackError> {
        self.logs = [("loss", 0.5)].into_iter().collect();
        let event = Event {
            kind,
            epoch,
            batch,
            step: 10 * epoch + batch,
            samples: 1,
            nested: false,
        };
        callbacks.dispatch(&event, self)
    }

    fn begin(&mut self, callbacks: &mut CallbackList<'_>) {
        self.send(callbacks, EventKind::TrainBegin, 0, 0).unwrap();
    }

    /// A batch whose gradients are multiplied with `scale`; what is decided before the update and
    /// at the end.
    fn batch(
        &mut self,
        callbacks: &mut CallbackList<'_>,
        epoch: u64,
        batch: u64,
        scale: f32,
    ) -> [Decision; 2] {
        self.scale = scale;
        [EventKind::AfterBackward, EventKind::TrainBatchEnd]
            .map(|kind| self.send(callbacks, kind, epoch, batch).unwrap())
    }

    /// An epoch of batches with these scales.
    fn epoch(&mut self, callbacks: &mut CallbackList<'_>, epoch: u64, scales: &[f32]) {
        self.send(callbacks, EventKind::EpochBegin, epoch, 0)
            .unwrap();
        for (batch, scale) in (0..).zip(scales) {
            self.batch(callbacks, epoch, batch, *scale);
        }
        self.send(callbacks, EventKind::EpochEnd, epoch, 0).unwrap();
    }

    fn end(&mut self, callbacks: &mut CallbackList<'_>) {
        self.send(callbacks, EventKind::TrainEnd, 0, 0).unwrap();
    }
}

impl Run for Net {
    fn info(&self) -> &RunInfo {
        &self.info
    }
    fn logs(&mut self) -> Result<&mut Logs, BoxError> {
        Ok(&mut self.logs)
    }
    fn learning_rate(&self) -> Option<f64> {
        None
    }
    fn data_wait(&self) -> Duration {
        Duration::ZERO
    }
    fn optimizer_numbers(&self) -> Vec<(String, f64)> {
        let mut numbers = vec![("learning_rate".to_owned(), 0.1)];
        if self.scales_loss {
            numbers.push(("dynamic_scale".to_owned(), 32768.0));
        }
        numbers
    }
    fn params(&self) -> &[ParamInfo] {
        &self.params
    }
    fn read_param(&mut self, index: usize, values: &mut Vec<f32>) -> Result<(), BoxError> {
        // Norms 3, 4 and 12: 13 together.
        let known: &[f32] = [&[1.0, -2.0, 2.0, 0.0, 0.0, 0.0][..], &[-4.0], &[12.0]][index];
        known.clone_into(values);
        Ok(())
    }
    fn read_gradient(&mut self, index: usize, values: &mut Vec<f32>) -> Result<(), BoxError> {
        // Norms 3 and 4: 5 together.
        let known: &[f32] = match index {
            0 => &[1.0, 1.0, 1.0, 2.0, -1.0, -1.0],
            1 => &[4.0],
            _ => return Err("it is not trainable".into()),
        };
        values.clear();
        values.extend(known.iter().map(|value| value * self.scale));
        Ok(())
    }
}

/// Keeps the logs of batch and epoch ends, and the messages.
#[derive(Default)]
struct Record {
    batches: Vec<Logs>,
    epochs: Vec<Logs>,
    messages: Vec<Message>,
}

impl Callback for Record {
    fn on_train_batch_end(&mut self, cx: &mut Context<'_>) -> CallbackResult {
        self.batches.push(cx.logs()?.clone());
        Ok(Decision::CONTINUE)
    }
    fn on_epoch_end(&mut self, cx: &mut Context<'_>) -> CallbackResult {
        self.epochs.push(cx.logs()?.clone());
        Ok(Decision::CONTINUE)
    }
    fn on_message(&mut self, message: &Message) {
        self.messages.push(message.clone());
    }
}

/// What happens to a training with this configuration. `None` without a C compiler.
fn watch(config: &str, training: impl FnOnce(&mut Net, &mut CallbackList<'_>)) -> Option<Record> {
    let mut record = Record::default();
    let callback = keros_plugin_host::load(library()?, config).unwrap();
    let mut callbacks = CallbackList::new().with(callback).with(&mut record);
    let mut net = Net::new();
    net.begin(&mut callbacks);
    training(&mut net, &mut callbacks);
    net.end(&mut callbacks);
    drop(callbacks);
    Some(record)
}

fn logs(values: &[(&str, f64)]) -> Logs {
    values.iter().copied().collect()
}

#[test]
fn norms_are_logs_of_batches_and_epochs() {
    let Some(record) = watch(r#"{"per_parameter": true}"#, |net, callbacks| {
        net.epoch(callbacks, 0, &[1.0, 2.0]);
        net.epoch(callbacks, 1, &[4.0]);
    }) else {
        return;
    };
    let expected = |grad: f64| {
        logs(&[
            ("loss", 0.5),
            ("grad_norm", 5.0 * grad),
            ("weight_norm", 13.0),
            ("grad_norm/dense/kernel", 3.0 * grad),
            ("weight_norm/dense/kernel", 3.0),
            ("grad_norm/dense/bias", 4.0 * grad),
            ("weight_norm/dense/bias", 4.0),
            ("weight_norm/a \"b\", c", 12.0),
        ])
    };
    assert_eq!(record.batches, [1.0, 2.0, 4.0].map(expected));
    assert_eq!(record.epochs, [1.5, 4.0].map(expected));
    assert!(record.messages.is_empty());
}

#[test]
fn fewer_batches_and_fewer_logs_are_a_choice() {
    let config = r#"{"every": 2}"#;
    let Some(record) = watch(config, |net, callbacks| {
        net.epoch(callbacks, 0, &[1.0, 100.0, 3.0]);
    }) else {
        return;
    };
    let known = |grad| logs(&[("loss", 0.5), ("grad_norm", grad), ("weight_norm", 13.0)]);
    assert_eq!(
        record.batches,
        [known(5.0), logs(&[("loss", 0.5)]), known(15.0)]
    );
    assert_eq!(record.epochs, [known(10.0)]);
}

#[test]
fn gradients_that_explode_are_not_applied_and_stop_the_run() {
    for (scale, reason) in [
        (
            1000.0,
            "the norm of the gradients is 5000, more than 100, in epoch 1, batch 2",
        ),
        (
            f32::NAN,
            "the gradient of dense/kernel is not finite in epoch 1, batch 2",
        ),
        (
            f32::INFINITY,
            "the gradient of dense/kernel is not finite in epoch 1, batch 2",
        ),
    ] {
        watch(r#"{"max_norm": 1e2}"#, |net, callbacks| {
            let fine = net.batch(callbacks, 0, 0, 20.0);
            assert_eq!(fine, [Decision::CONTINUE, Decision::CONTINUE]);
            let [update, end] = net.batch(callbacks, 0, 1, scale);
            assert_eq!(update, Decision::skip_batch());
            assert_eq!(end, Decision::stop(reason));
        });
    }
}

#[test]
fn gradients_that_overflow_are_left_to_an_optimizer_that_scales_the_loss() {
    let config = r#"{"max_norm": 1e2}"#;
    let Some(record) = watch(config, |net, callbacks| {
        net.scales_loss = true;
        net.epoch(callbacks, 0, &[1.0, f32::INFINITY, f32::NAN, 3.0]);
        for scale in [f32::INFINITY, f32::NAN] {
            let decisions = net.batch(callbacks, 1, 0, scale);
            assert_eq!(decisions, [Decision::CONTINUE, Decision::CONTINUE]);
        }
        // What is too large without that is an explosion still.
        let [update, end] = net.batch(callbacks, 1, 1, 1000.0);
        assert_eq!(update, Decision::skip_batch());
        assert!(end.stop.is_some());
    }) else {
        return;
    };
    assert_eq!(record.batches[1].number("grad_norm"), Some(f64::INFINITY));
    assert_eq!(record.epochs[0].number("grad_norm"), Some(10.0));
    assert!(record.messages.is_empty());
}

#[test]
fn or_are_warned_of_once_an_epoch() {
    let config = r#"{"max_norm": 100, "stop": false}"#;
    let Some(record) = watch(config, |net, callbacks| {
        for epoch in 0..2 {
            net.send(callbacks, EventKind::EpochBegin, epoch, 0)
                .unwrap();
            for batch in 0..3 {
                let decisions = net.batch(callbacks, epoch, batch, f32::NAN);
                assert_eq!(decisions, [Decision::CONTINUE, Decision::CONTINUE]);
            }
        }
    }) else {
        return;
    };
    let texts: Vec<&str> = record
        .messages
        .iter()
        .map(|message| message.text.as_str())
        .collect();
    let expected = "the gradient of dense/kernel is not finite in epoch";
    assert_eq!(
        texts,
        [
            format!("{expected} 1, batch 1"),
            format!("{expected} 2, batch 1")
        ]
    );
    assert_eq!(record.messages[0].level, Level::Warning);
}

#[test]
fn a_csv_file_has_a_row_per_parameter_and_batch() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("norms µ.csv");
    let check = |append: bool, expected: &str| {
        // A path with an escape: JSON may write any letter as its code.
        let config = serde_json::json!({ "csv": path, "append": append }).to_string();
        let config = config.replace('µ', "\\u00b5");
        let record = watch(&config, |net, callbacks| {
            net.epoch(callbacks, 3, &[1.0, 0.5]);
            net.epoch(callbacks, 4, &[f32::NAN]);
        });
        if record.is_some() {
            assert_eq!(fs::read_to_string(&path).unwrap(), expected);
        }
    };
    let rows = "3,0,30,all,13,5\n\
        3,0,30,dense/kernel,3,3\n\
        3,0,30,dense/bias,4,4\n\
        3,0,30,\"a \"\"b\"\", c\",12,\n\
        3,1,31,all,13,2.5\n\
        3,1,31,dense/kernel,3,1.5\n\
        3,1,31,dense/bias,4,2\n\
        3,1,31,\"a \"\"b\"\", c\",12,\n\
        4,0,40,all,13,nan\n\
        4,0,40,dense/kernel,3,nan\n\
        4,0,40,dense/bias,4,nan\n\
        4,0,40,\"a \"\"b\"\", c\",12,\n";
    let header = "epoch,batch,step,parameter,weight_norm,grad_norm\n";
    check(false, &format!("{header}{rows}"));
    check(false, &format!("{header}{rows}"));
    // A run that died has left half a row.
    fs::write(&path, format!("{header}3,0")).unwrap();
    check(true, &format!("{header}3,0\n{rows}"));
}

#[test]
fn a_file_that_cannot_be_written_is_an_error_when_the_training_begins() {
    let Some(library) = library() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("missing/norms.csv");
    let config = serde_json::json!({ "csv": path }).to_string();
    let callback = keros_plugin_host::load(library, &config).unwrap();
    let mut callbacks = CallbackList::new().with(callback);
    let error = Net::new()
        .send(&mut callbacks, EventKind::TrainBegin, 0, 0)
        .unwrap_err();
    let expected = format!(
        "KEROS_E_IO: opening {}: it cannot be written",
        path.display()
    );
    assert!(error.to_string().ends_with(&expected), "{error}");
}

#[test]
fn a_run_without_parameters_is_refused() {
    let Some(library) = library() else {
        return;
    };
    let mut callbacks = CallbackList::new().with(keros_plugin_host::load(library, "").unwrap());
    let mut net = Net::new();
    net.params.clear();
    let error = net
        .send(&mut callbacks, EventKind::TrainBegin, 0, 0)
        .unwrap_err();
    let expected = "KEROS_E_UNSUPPORTED: this run does not show its parameters";
    assert!(error.to_string().ends_with(expected), "{error}");
}

#[test]
fn an_epoch_goes_on_from_a_checkpoint() {
    let Some(library) = library() else {
        return;
    };
    let load = || keros_plugin_host::load(library, "").unwrap();
    let mut net = Net::new();
    let mut before = CallbackList::new().with(load());
    net.begin(&mut before);
    net.send(&mut before, EventKind::EpochBegin, 0, 0).unwrap();
    net.batch(&mut before, 0, 0, 1.0);
    net.batch(&mut before, 0, 1, 2.0);
    let states = before.states().unwrap();
    drop(before);

    let mut record = Record::default();
    let mut after = CallbackList::new().with(load()).with(&mut record);
    net.begin(&mut after);
    after.load_states(states.clone()).unwrap();
    net.batch(&mut after, 0, 2, 6.0);
    net.send(&mut after, EventKind::EpochEnd, 0, 0).unwrap();
    // The checkpoint of another network.
    net.params.truncate(1);
    net.begin(&mut after);
    let error = after.load_states(states).unwrap_err().to_string();
    assert!(
        error.contains("the state in the checkpoint is that of another network"),
        "{error}"
    );
    drop(after);
    assert_eq!(record.epochs[0].number("grad_norm"), Some(15.0));
}

#[test]
fn rows_after_the_checkpoint_are_replaced() {
    let Some(library) = library() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("norms.csv");
    let load = |append: bool| {
        let config = serde_json::json!({ "csv": path, "append": append }).to_string();
        CallbackList::new().with(keros_plugin_host::load(library, &config).unwrap())
    };
    let (mut net, mut killed) = (Net::new(), load(false));
    net.begin(&mut killed);
    net.batch(&mut killed, 0, 0, 1.0);
    let states = killed.states().unwrap();
    let at_checkpoint = fs::read_to_string(&path).unwrap();
    assert_eq!(at_checkpoint.lines().count(), 5);
    net.batch(&mut killed, 0, 1, 2.0);
    drop(killed);
    let expected = fs::read_to_string(&path).unwrap();
    assert_eq!(expected.lines().count(), 9);
    fs::write(&path, format!("{expected}0,2")).unwrap();

    let mut resumed = load(true);
    net.begin(&mut resumed);
    resumed.load_states(states).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), at_checkpoint);
    net.batch(&mut resumed, 0, 1, 2.0);
    net.end(&mut resumed);
    assert_eq!(fs::read_to_string(&path).unwrap(), expected);

    // The rows of another run stay where that of the checkpoint had none.
    let mut without = CallbackList::new().with(keros_plugin_host::load(library, "").unwrap());
    net.begin(&mut without);
    let states = without.states().unwrap();
    let mut with = load(true);
    net.begin(&mut with);
    with.load_states(states).unwrap();
    drop(with);
    assert_eq!(fs::read_to_string(&path).unwrap(), expected);
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
fn it_tells_its_configuration_and_tests_itself() {
    let Some(library) = library() else {
        return;
    };
    let plugin = Plugin::load(library).unwrap();
    assert_eq!((plugin.id(), plugin.abi()), ("grad-watch", (1, 1)));
    let schema: serde_json::Value =
        serde_json::from_str(plugin.config_schema().unwrap().unwrap()).unwrap();
    for (field, about) in schema["properties"].as_object().unwrap() {
        let value = about
            .get("default")
            .cloned()
            .unwrap_or_else(|| "norms.csv".into());
        assert!(
            plugin
                .callback(&serde_json::json!({ field: value }).to_string())
                .is_ok(),
            "{field}"
        );
    }
    assert_eq!(schema["properties"].as_object().unwrap().len(), 6);
    assert!(plugin.self_test().unwrap());
}

#[test]
fn a_wrong_config_is_refused_with_the_field() {
    check_refused("[]", "config: expected an object");
    let name = "config: expected the name of a field, and `:` after it";
    for config in [
        "{7}",
        r#"{"every" 7}"#,
        r#"{"ev\qery": 7}"#,
        r#"{"every"#,
        r#"{"every": 7,}"#,
    ] {
        check_refused(config, name);
    }
    check_refused(
        r#"{"every": 7 "#,
        "config: expected `,` or `}` after a field",
    );
    check_refused(
        r#"{"every": 7} 8"#,
        "config: expected nothing after the object",
    );
    for wrong in ["0", "-1", "1e999", "true", "\"5\"", ".", "1e", "null"] {
        let config = format!(r#"{{"max_norm": {wrong}}}"#);
        check_refused(
            &config,
            "config field `max_norm`: expected a number above 0",
        );
    }
    for wrong in ["0", "1.5", "1e10", "[1]"] {
        let config = format!(r#"{{"every": {wrong}}}"#);
        let expected = "config field `every`: expected a whole number from 1 to 1000000000";
        check_refused(&config, expected);
    }
    for field in ["stop", "per_parameter", "append"] {
        let config = format!(r#"{{"{field}": 1}}"#);
        check_refused(
            &config,
            &format!("config field `{field}`: expected true or false"),
        );
    }
    for wrong in [
        "1",
        r#""""#,
        r#""a"#,
        r#""\ud83d""#,
        r#""\u12""#,
        "\"a\nb\"",
        r#""\u0000""#,
    ] {
        let config = format!(r#"{{"csv": {wrong}}}"#);
        check_refused(
            &config,
            "config field `csv`: expected the path of a file as a text",
        );
    }
    check_refused(
        r#"{"max_nrom": 1}"#,
        "config field `max_nrom`: unknown field, expected one of `max_norm`, `every`, `stop`, \
         `per_parameter`, `csv`, `append`",
    );
}
