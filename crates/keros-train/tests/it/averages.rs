//! Moving averages of the weights: evaluated in their place, saved beside them, left at the end.

use crate::support::{network, problem, weights};
use keros_callbacks::{
    BackupAndRestore, Callback, CallbackList, CallbackResult, Context, Decision, EventKind,
    History, LambdaCallback, SwapEmaWeights, Verbose,
};
use keros_data::{ArraySequence, Batch};
use keros_nn::Sequential;
use keros_nn::optimizers::Sgd;
use keros_train::{EvaluateOptions, FitOptions, LoopOptions, PredictOptions, TrainError, Trainer};
use std::path::Path;

fn averaging() -> Trainer<Sequential> {
    let optimizer = Sgd::new(0.5).unwrap().momentum(0.9, false).unwrap();
    Trainer::builder(network(0.0))
        .optimizer(optimizer.use_ema(0.8, None).unwrap())
        .loss("sparse_categorical_crossentropy")
        .seed(3)
        .compile()
        .unwrap()
}

fn fit(
    trainer: &mut Trainer<Sequential>,
    epochs: u64,
    callbacks: CallbackList<'_>,
) -> Result<History, TrainError> {
    let (x, y) = problem(40);
    let options = FitOptions {
        epochs,
        batch_size: Some(8),
        validation_data: Some(problem(40).into()),
        verbose: Verbose::Silent,
        callbacks,
        ..FitOptions::default()
    };
    trainer.fit(x, y, options)
}

fn evaluate(trainer: &mut Trainer<Sequential>) -> f64 {
    let (x, y) = problem(40);
    // In batches as in the validation: a GPU sums the products of other sizes in other orders.
    let silent = EvaluateOptions {
        batch_size: Some(8),
        verbose: Verbose::Silent,
        ..EvaluateOptions::default()
    };
    trainer
        .evaluate(x, y, silent)
        .unwrap()
        .number("loss")
        .unwrap()
}

#[test]
fn the_validation_is_that_of_the_averages_which_are_left_at_the_end() {
    for swap_on_epoch in [false, true] {
        let mut trainer = averaging();
        let swap = SwapEmaWeights::new().swap_on_epoch(swap_on_epoch);
        let history = fit(&mut trainer, 3, CallbackList::new().with(swap)).unwrap();
        assert_eq!(history.last("val_loss"), Some(evaluate(&mut trainer)));
        let mut plain = averaging();
        let other = fit(&mut plain, 3, CallbackList::new()).unwrap();
        assert_eq!(other.get("loss"), history.get("loss"));
        assert_ne!(other.get("val_loss"), history.get("val_loss"));
        assert_eq!(weights(&plain), weights(&trainer));
    }
}

#[test]
fn averages_that_were_left_in_the_model_are_still_the_averages() {
    let folder = tempfile::tempdir().unwrap();
    let later = |swap_on_epoch| {
        let mut trainer = averaging();
        let swap = || SwapEmaWeights::new().swap_on_epoch(swap_on_epoch);
        fit(&mut trainer, 3, CallbackList::new().with(swap())).unwrap();
        let path = folder.path().join(format!("{swap_on_epoch}.safetensors"));
        trainer.save(&path).unwrap();
        let plain = evaluate(&mut trainer);
        let (x, y) = problem(40);
        let options = EvaluateOptions {
            batch_size: Some(8),
            callbacks: CallbackList::new().with(swap()),
            verbose: Verbose::Silent,
            ..EvaluateOptions::default()
        };
        let logs = trainer.evaluate(x, y, options).unwrap();
        assert_eq!(logs.number("loss"), Some(plain));
        let history = fit(&mut trainer, 2, CallbackList::new().with(swap())).unwrap();
        (std::fs::read(path).unwrap(), history, weights(&trainer))
    };
    assert!(
        later(true) == later(false),
        "files, histories or weights differ"
    );
}

/// Averages swapped at epoch ends, and checkpoints; fails after `dies` batches.
fn fit_backed_up(folder: &Path, dies: Option<u64>) -> (Option<History>, Vec<f32>) {
    let mut trainer = averaging();
    let mut batches = 0;
    let callbacks = CallbackList::new()
        .with(SwapEmaWeights::new().swap_on_epoch(true))
        .with(BackupAndRestore::new(folder))
        .with(LambdaCallback::new().on(EventKind::TrainBatchBegin, |_| {
            batches += 1;
            match dies == Some(batches) {
                true => Err("killed".into()),
                false => Ok(Decision::CONTINUE),
            }
        }));
    let history = fit(&mut trainer, 3, callbacks).ok();
    (history, weights(&trainer))
}

#[test]
fn a_run_with_averages_in_the_model_resumes_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let whole = fit_backed_up(&folder.path().join("whole"), None);
    for batch in [6, 8, 11] {
        let path = folder.path().join(batch.to_string());
        assert!(fit_backed_up(&path, Some(batch)).0.is_none());
        assert_eq!(fit_backed_up(&path, None), whole, "died at batch {batch}");
    }
}

#[test]
fn a_loop_that_is_left_with_averages_in_the_model_leaves_the_weights() {
    let (x, y) = problem(40);
    let batch = Batch::new(x.clone(), y.clone());
    // An epoch of a loop, and what is in the model after it.
    let left = |swaps: bool| {
        let mut trainer = averaging();
        let mut callbacks = CallbackList::new();
        if swaps {
            callbacks.push(SwapEmaWeights::new().swap_on_epoch(true));
        }
        let mut events = trainer
            .on_train_begin(LoopOptions {
                epochs: 3,
                verbose: Verbose::Silent,
                callbacks,
                ..LoopOptions::default()
            })
            .unwrap();
        events.on_epoch_begin(&mut trainer).unwrap();
        for _ in 0..3 {
            events.train_on_batch(&mut trainer, &batch).unwrap();
        }
        events.on_epoch_end(&mut trainer).unwrap();
        let loss = evaluate(&mut trainer);
        (trainer, loss)
    };
    let begin = |trainer: &mut Trainer<Sequential>| {
        let begun = trainer.on_train_begin(LoopOptions {
            verbose: Verbose::Silent,
            ..LoopOptions::default()
        });
        drop(begun.unwrap());
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("weights.safetensors");
    averaging().save_weights(&file).unwrap();
    type Then<'a> = &'a dyn Fn(&mut Trainer<Sequential>);
    let silent = || PredictOptions {
        verbose: Verbose::Silent,
        ..PredictOptions::default()
    };
    let then: [(&str, Then<'_>); 10] = [
        ("evaluate", &|trainer| {
            evaluate(trainer);
        }),
        ("predict", &|trainer| {
            trainer.predict(x.clone(), silent()).unwrap();
        }),
        ("fit", &|trainer| {
            fit(trainer, 1, CallbackList::new()).unwrap();
        }),
        ("loop", &begin),
        ("dry run", &|trainer| {
            let data = ArraySequence::new(x.clone(), y.clone()).unwrap();
            trainer.dry_run(data, None).unwrap();
        }),
        ("train_on_batch", &|trainer| {
            trainer.train_on_batch(&batch).unwrap();
        }),
        ("test_on_batch", &|trainer| {
            trainer.test_on_batch(&batch).unwrap();
        }),
        ("predict_on_batch", &|trainer| {
            trainer.predict_on_batch(x.clone()).unwrap();
        }),
        ("load_weights", &|trainer| {
            trainer.load_weights(&file).unwrap();
            trainer.predict_on_batch(x.clone()).unwrap();
        }),
        ("load_weights_skip_mismatch", &|trainer| {
            let _ = trainer.load_weights_skip_mismatch(&file).unwrap();
            trainer.predict_on_batch(x.clone()).unwrap();
        }),
    ];
    for (name, then) in then {
        let (mut plain, of_weights) = left(false);
        let (mut swapping, of_averages) = left(true);
        assert_ne!(of_averages, of_weights, "the loop goes on");
        assert_ne!(weights(&swapping), weights(&plain));
        then(&mut plain);
        then(&mut swapping);
        assert_eq!(weights(&swapping), weights(&plain), "{name}");
    }
}

/// Breaks in the validation, and fails again when it is told of that.
struct Broken;

impl Callback for Broken {
    fn on_test_batch_end(&mut self, _: &mut Context<'_>) -> CallbackResult {
        Err("it is broken".into())
    }
    fn on_error(&mut self, _: &mut Context<'_>) -> CallbackResult {
        Err("it is still broken".into())
    }
}

#[test]
fn a_run_that_a_callback_ends_in_its_validation_leaves_the_weights() {
    let [plain, swapping] = [false, true].map(|swaps| {
        let mut trainer = averaging();
        let mut callbacks = CallbackList::new().with(Broken);
        if swaps {
            callbacks.push(SwapEmaWeights::new());
        }
        fit(&mut trainer, 1, callbacks).unwrap_err();
        weights(&trainer)
    });
    assert_eq!(swapping, plain);
}
