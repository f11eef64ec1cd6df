//! A small problem, a small network and a callback that writes everything down.

use crate::test_device::test_device;
use keros_callbacks::{Callback, CallbackResult, Context, Decision, EventSet};
use keros_data::{Array, Batch, DataError};
use keros_nn::layers::{Dense, Dropout};
use keros_nn::{Activation, Network, Sequential};
use keros_tensor::access::read;
use keros_train::Trainer;

pub(crate) const FEATURES: usize = 4;

/// `rows` samples of 4 numbers; the class is the place of the largest of the first three.
pub(crate) fn problem(rows: usize) -> (Array, Array) {
    let mut values = Vec::new();
    let mut labels = Vec::new();
    for row in 0..rows {
        let sample: Vec<f32> = (0..FEATURES)
            .map(|i| ((row * FEATURES + i) as f32 * 12.9898).sin() * 43.7585 % 1.0)
            .collect();
        let best = (0..3)
            .max_by(|a, b| sample[*a].total_cmp(&sample[*b]))
            .unwrap();
        labels.push(best as i64);
        values.extend(sample);
    }
    (
        Array::from_vec(&[rows, FEATURES], values).unwrap(),
        Array::from_vec(&[rows], labels).unwrap(),
    )
}

pub(crate) fn network(dropout: f32) -> Sequential {
    Sequential::builder([FEATURES])
        .layer(Dense::new(16).activation(Activation::Relu))
        .layer(Dropout::new(dropout))
        .layer(Dense::new(3).activation(Activation::Softmax))
        .build(test_device(), 7)
        .unwrap()
}

pub(crate) fn trainer() -> Trainer<Sequential> {
    Trainer::builder(network(0.25))
        .optimizer("adam")
        .loss("sparse_categorical_crossentropy")
        .metric("accuracy")
        .seed(3)
        .compile()
        .unwrap()
}

pub(crate) fn weights(trainer: &Trainer<Sequential>) -> Vec<f32> {
    let params = trainer.network().params();
    params
        .iter()
        .flat_map(|(_, p)| read::<f32>(p.value()).unwrap().to_vec())
        .collect()
}

/// An endless generator over the problem's rows.
pub(crate) fn endless(
    rows: usize,
    batch: usize,
) -> impl Iterator<Item = Result<Batch, DataError>> + Send {
    let (x, y) = problem(rows);
    (0..rows / batch).cycle().map(move |i| {
        let range = i * batch..(i + 1) * batch;
        Ok(Batch::new(x.slice(range.clone())?, y.slice(range)?))
    })
}

/// Writes down events, with numbers and log keys.
#[derive(Default)]
pub(crate) struct Recorder {
    pub(crate) lines: Vec<String>,
    pub(crate) messages: Vec<String>,
    pub(crate) with_logs: bool,
}

impl Callback for Recorder {
    fn events(&self) -> EventSet {
        EventSet::KERAS
    }
    fn on_event(&mut self, cx: &mut Context<'_>) -> CallbackResult {
        let event = cx.event();
        let nested = if event.nested { " nested" } else { "" };
        let mut line = format!(
            "{} e{} b{} s{} n{}{nested}",
            event.kind, event.epoch, event.batch, event.step, event.samples
        );
        if self.with_logs {
            let keys: Vec<&str> = cx.logs()?.iter().map(|(key, _)| key).collect();
            line.push_str(&format!(" [{}]", keys.join(" ")));
        }
        self.lines.push(line);
        Ok(Decision::CONTINUE)
    }
    fn on_message(&mut self, message: &keros_callbacks::Message) {
        self.messages.push(message.text.clone());
    }
}
