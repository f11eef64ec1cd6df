//! What the trainer itself costs: a step of a network that does nothing, on one number, with and
//! without callbacks.

use anyhow::Result;
use keros::callbacks::{
    Callback, CallbackList, CallbackResult, Context, Decision, EventKind, EventSet, Verbose,
};
use keros::data::{Array, Shuffle};
use keros::nn::Sequential;
use keros::nn::layers::Activation;
use keros::tensor::Device;
use keros::train::{FitOptions, Trainer};
use keros_bench_record::Results;
use keros_benches::{Figure, Sides, Suite, Times, show, timed};

/// Steps of one epoch, of one row each.
const STEPS: usize = 10_000;

/// What a step takes.
const STEP: Figure = Figure::time("µs a step", 1e6);

fn main() -> Result<()> {
    let times = Times {
        warm_up_s: 0.5,
        measurement_s: 5.0,
        rounds: 5,
    };
    let Some(mut suite) = Suite::from_args(times) else {
        return Ok(());
    };
    for (name, callbacks) in [
        ("none", 0),
        ("one, unread logs", 1),
        ("ten, unread logs", 10),
    ] {
        suite.case("callbacks", name, STEP, || {
            let mut trainer = trainer()?;
            let column = || Array::from_vec(&[STEPS, 1], vec![1.0_f32; STEPS]);
            let (x, y) = (column()?, column()?);
            Ok(Sides::of("keros", STEPS as f64, move |n| {
                timed(n, || {
                    let mut list = CallbackList::new();
                    for _ in 0..callbacks {
                        list.push(Batches::default());
                    }
                    let options = FitOptions {
                        batch_size: Some(1),
                        shuffle: Shuffle::No,
                        verbose: Verbose::Silent,
                        callbacks: list,
                        ..FitOptions::default()
                    };
                    trainer.fit(x.clone(), y.clone(), options)?;
                    Ok(())
                })
            }))
        });
    }
    show(&Results::of_suite("loop", suite.finish()))
}

/// A network without parameters.
fn trainer() -> Result<Trainer<Sequential>> {
    let network = Sequential::builder([1])
        .layer(Activation::new("linear"))
        .build(&Device::Cpu, 0)?;
    let trainer = Trainer::builder(network).optimizer("sgd").loss("mse");
    Ok(trainer.compile()?)
}

/// Counts batches.
#[derive(Default)]
struct Batches(u64);

impl Callback for Batches {
    fn events(&self) -> EventSet {
        EventSet::of(&[EventKind::TrainBatchBegin, EventKind::TrainBatchEnd])
    }

    fn on_train_batch_end(&mut self, _: &mut Context<'_>) -> CallbackResult {
        self.0 += 1;
        Ok(Decision::CONTINUE)
    }
}
