//! A C plugin sees what a linked-in callback sees, in the same order, and steers the run.

use crate::build::{RECORDER, c_plugin};
use crate::run::FakeRun;
use keros_callbacks::{
    Callback, CallbackList, CallbackResult, Context, Decision, Level, LogValue, Message,
};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// Writes the same lines as `recorder.c`.
#[derive(Default)]
struct Trace {
    lines: String,
    messages: Vec<Message>,
}

impl Callback for Trace {
    fn on_event(&mut self, cx: &mut Context<'_>) -> CallbackResult {
        let event = cx.event();
        let line = &mut self.lines;
        write!(
            line,
            "{} {} {} {} {} {}",
            event.kind as u32,
            event.epoch,
            event.batch,
            event.step,
            event.samples,
            u8::from(event.nested)
        )?;
        let info = cx.info();
        let steps = info.steps.map_or("?".to_owned(), |steps| steps.to_string());
        let validation = u8::from(info.validation);
        write!(
            line,
            " | {} {} {steps} {validation}",
            info.epochs, info.initial_epoch
        )?;
        for metric in &info.metrics {
            write!(line, " {metric}")?;
        }
        match cx.learning_rate() {
            Some(rate) => write!(line, " | {rate:.6}")?,
            None => write!(line, " | none")?,
        }
        write!(line, " {} |", cx.data_wait().as_nanos())?;
        for (key, value) in cx.logs()?.iter() {
            match value {
                LogValue::Float(value) => write!(line, " {key}={value:.6}")?,
                value => write!(line, " {key}={value}")?,
            }
        }
        line.push('\n');
        Ok(Decision::CONTINUE)
    }

    fn on_message(&mut self, message: &Message) {
        self.messages.push(message.clone());
    }
}

/// Sets logs of every type, for the others to see.
struct Setter;

impl Callback for Setter {
    fn on_epoch_end(&mut self, cx: &mut Context<'_>) -> CallbackResult {
        cx.set_log("count", 3_i64)?;
        cx.set_log("flag", true)?;
        cx.set_log("text", "warm wax")?;
        Ok(Decision::CONTINUE)
    }
}

/// Looks at what the plugin left in the logs.
struct Half(Vec<Option<f64>>);

impl Callback for Half {
    fn on_epoch_end(&mut self, cx: &mut Context<'_>) -> CallbackResult {
        self.0.push(cx.logs()?.number("half_loss"));
        Ok(Decision::CONTINUE)
    }
}

#[test]
fn a_c_plugin_sees_and_steers_the_run() {
    if let Some((folder, library)) = c_plugin(RECORDER, &[]) {
        check_recorder(folder.path(), |config| {
            keros_plugin_host::load(&library, config).unwrap()
        });
    }
}

/// Compares what the recorder writes into the folder, however it is run, with what is seen here.
pub(crate) fn check_recorder<C: Callback>(folder: &Path, start: impl FnOnce(&str) -> C) {
    let record = folder.join("record.txt");
    let config = serde_json::json!(record).to_string();
    let mut trace = Trace::default();
    let mut half = Half(Vec::new());
    let mut run = FakeRun::new();
    let mut callbacks = CallbackList::new().with(Setter).with(&mut trace);
    let recorder = start(&config);
    callbacks.push(recorder);
    callbacks.push(&mut half);
    let stop = run.fit_evaluate_predict(&mut callbacks).unwrap();
    drop(callbacks);

    let recorded = fs::read_to_string(record).unwrap();
    assert_eq!(recorded, trace.lines);
    for kind in 0..14 {
        let start = format!("{kind} ");
        assert!(
            recorded.lines().any(|line| line.starts_with(&start)),
            "no event {kind}"
        );
    }
    // What it asked for has happened: a skipped batch, a shortened epoch, learning rates, a stop.
    let count = |start: &str| {
        recorded
            .lines()
            .filter(|line| line.starts_with(start))
            .count()
    };
    assert_eq!((count("4 0"), count("5 0")), (3, 2));
    assert_eq!((count("4 1"), count("5 1")), (2, 2));
    assert!(recorded.contains("\n5 1 0 3 8 0 | 5 0 3 1 loss accuracy | 0.250000 25000 | loss="));
    assert_eq!((count("2 2"), count("2 3")), (1, 0));
    assert_eq!(stop.as_deref(), Some("C has seen enough"));
    // Later callbacks see the log it set.
    assert_eq!(half.0, [Some(0.5), Some(0.25), Some(1.0 / 6.0)]);
    assert_eq!(
        trace.messages,
        [Message {
            level: Level::Info,
            source: "recorder".to_owned(),
            text: "recording in C".to_owned(),
        }]
    );
}
