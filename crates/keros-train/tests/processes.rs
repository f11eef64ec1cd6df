//! The generator methods with worker processes. The workers are this program, started again, so it
//! has a `main` of its own.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "it/support.rs"]
#[allow(dead_code, reason = "shared with the other tests")]
mod support;
#[path = "it/test_device.rs"]
mod test_device;

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use keros_callbacks::{
    BackupAndRestore, CallbackList, EventKind, LambdaCallback, SaveFreq, Verbose,
};
use keros_data::{ArraySequence, Batch, DataError, Recipe, Sequence, Verdict, worker};
use keros_train::{FitGeneratorOptions, GeneratorOptions, Source};
use libtest_mimic::{Arguments, Trial};

use support::{endless, problem, trainer, weights};

fn main() -> ExitCode {
    worker::Registry::new()
        .with("fragile", |inner: ArraySequence| Ok(Fragile(inner)))
        .serve_if_asked();
    macro_rules! trials {
        ($($test:ident),* $(,)?) => {
            vec![$(Trial::test(stringify!($test), || { $test(); Ok(()) })),*]
        };
    }
    let trials = trials![
        processes_train_evaluate_and_predict_as_threads_do,
        a_run_with_processes_goes_on_from_its_checkpoint,
        a_batch_that_no_process_survives_ends_the_run_with_its_place,
        generators_and_sequences_without_a_recipe_are_refused,
        a_generator_validates_where_processes_prepare_the_training_data,
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// Ends every process that makes its batch 2.
struct Fragile(ArraySequence);

impl Sequence for Fragile {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn batch(&self, epoch: u64, index: usize) -> Result<Batch, DataError> {
        if index == 2 {
            worker::working_on(64, Some(Path::new("photos/odd.jpg")));
            std::process::abort();
        }
        self.0.batch(epoch, index)
    }

    fn recipe(&self) -> Result<Recipe<'_>, DataError> {
        Ok(Recipe::new("fragile", &self.0))
    }
}

fn sequence() -> Arc<ArraySequence> {
    let (x, y) = problem(100);
    Arc::new(ArraySequence::new(x, y).unwrap().seed(3))
}

fn options<'a>(use_multiprocessing: bool) -> FitGeneratorOptions<'a> {
    FitGeneratorOptions {
        epochs: 3,
        validation_data: Some(sequence().into()),
        workers: 2,
        use_multiprocessing,
        max_queue_bytes: Some(1 << 20),
        verbose: Verbose::Silent,
        ..FitGeneratorOptions::default()
    }
}

fn processes_train_evaluate_and_predict_as_threads_do() {
    let run = |use_multiprocessing| {
        let mut trainer = trainer();
        let history = trainer
            .fit_generator(sequence(), options(use_multiprocessing))
            .unwrap();
        let stats = trainer.loader_stats().unwrap();
        assert_eq!(stats.processes, use_multiprocessing);
        assert_ne!(stats.verdict(), Verdict::Unknown);
        let generator = || GeneratorOptions {
            workers: 2,
            use_multiprocessing,
            ..GeneratorOptions::default()
        };
        let evaluated = trainer.evaluate_generator(sequence(), generator()).unwrap();
        let evaluated = [evaluated.number("loss"), evaluated.number("accuracy")];
        let predicted = trainer.predict_generator(sequence(), generator()).unwrap();
        (
            history.get("val_loss"),
            weights(&trainer),
            evaluated,
            predicted,
        )
    };
    assert_eq!(run(false), run(true));
}

fn a_run_with_processes_goes_on_from_its_checkpoint() {
    let mut undisturbed = trainer();
    undisturbed
        .fit_generator(sequence(), options(false))
        .unwrap();

    let folder = tempfile::tempdir().unwrap();
    let backup = || {
        BackupAndRestore::new(folder.path())
            .save_freq(SaveFreq::Batches(1))
            .unwrap()
    };
    let mut seen = 0;
    let kill = LambdaCallback::new().on(EventKind::TrainBatchEnd, move |_| {
        seen += 1;
        match seen {
            6 => Err("killed".into()),
            _ => Ok(keros_callbacks::Decision::CONTINUE),
        }
    });
    let interrupted = FitGeneratorOptions {
        callbacks: CallbackList::new().with(backup()).with(kill),
        ..options(true)
    };
    trainer()
        .fit_generator(sequence(), interrupted)
        .unwrap_err();
    assert!(fs::read_dir(folder.path()).unwrap().next().is_some());
    let mut resumed = trainer();
    let rest = FitGeneratorOptions {
        callbacks: CallbackList::new().with(backup()),
        ..options(true)
    };
    resumed.fit_generator(sequence(), rest).unwrap();
    assert_eq!(weights(&resumed), weights(&undisturbed));
}

fn a_batch_that_no_process_survives_ends_the_run_with_its_place() {
    let (x, y) = problem(100);
    let fragile = Fragile(ArraySequence::new(x, y).unwrap());
    let options = FitGeneratorOptions {
        shuffle: false,
        validation_data: None,
        ..options(true)
    };
    let error = trainer()
        .fit_generator(Arc::new(fragile), options)
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with(
            "preparing batch 2 of epoch 0: preparing data in a worker process: it ended"
        ) && error.ends_with("twice, at sample 64, photos/odd.jpg"),
        "{error}"
    );
}

fn generators_and_sequences_without_a_recipe_are_refused() {
    let steps = FitGeneratorOptions {
        steps_per_epoch: Some(2),
        ..options(true)
    };
    let error = trainer()
        .fit_generator(Source::generator(endless(40, 8)), steps)
        .unwrap_err();
    assert!(
        error.to_string().contains("invalid use_multiprocessing"),
        "{error}"
    );
    let error = trainer()
        .fit_generator(Source::sequence(Plain(sequence())), options(true))
        .unwrap_err();
    assert!(error.to_string().contains("it has no `recipe`"), "{error}");

    let mut trainer = trainer();
    let to_validate = FitGeneratorOptions {
        validation_data: Some(Source::sequence(Plain(sequence())).into()),
        ..options(true)
    };
    let error = trainer.fit_generator(sequence(), to_validate).unwrap_err();
    assert!(error.to_string().contains("it has no `recipe`"), "{error}");
    assert_eq!(
        trainer.optimizer().iterations(),
        0,
        "before the first epoch"
    );
}

/// Cannot be made again in another process.
struct Plain(Arc<ArraySequence>);

impl Sequence for Plain {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn batch(&self, epoch: u64, index: usize) -> Result<Batch, DataError> {
        self.0.batch(epoch, index)
    }
}

fn a_generator_validates_where_processes_prepare_the_training_data() {
    let validate = |use_multiprocessing| {
        let options = FitGeneratorOptions {
            validation_data: Some(Source::generator(endless(40, 8)).into()),
            validation_steps: Some(3),
            ..options(use_multiprocessing)
        };
        let history = trainer().fit_generator(sequence(), options).unwrap();
        history.get("val_loss")
    };
    let values = validate(true);
    assert_eq!(values.len(), 3);
    assert_eq!(values, validate(false));
}
