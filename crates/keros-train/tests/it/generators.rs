//! `fit_generator`, `evaluate_generator` and `predict_generator`.

use crate::support::{Recorder, endless, problem, trainer, weights};
use keros_callbacks::{CallbackList, Decision, EventKind, LambdaCallback, Verbose};
use keros_data::{
    Array, ArraySequence, Batch, ClassMode, ColorMode, DataError, DirectoryOptions,
    ImageDataGenerator, OnBrokenFile, Sequence, SequenceExt, Shuffle,
};
use keros_train::{FitGeneratorOptions, FitOptions, GeneratorOptions, Source, ValidationFreq};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

fn quiet<'a>() -> FitGeneratorOptions<'a> {
    FitGeneratorOptions {
        verbose: Verbose::Silent,
        ..FitGeneratorOptions::default()
    }
}

#[test]
fn fit_is_fit_generator_over_the_same_batches() {
    let (x, y) = problem(100);
    let held_out = problem(20);
    let mut by_fit = trainer();
    let fit = FitOptions {
        epochs: 3,
        verbose: Verbose::Silent,
        validation_data: Some(held_out.clone().into()),
        ..FitOptions::default()
    };
    let a = by_fit.fit(x.clone(), y.clone(), fit).unwrap();
    let mut by_generator = trainer();
    let sequence = ArraySequence::new(x.clone(), y.clone()).unwrap().seed(3);
    let held_out = ArraySequence::new(held_out.0, held_out.1).unwrap();
    let options = FitGeneratorOptions {
        epochs: 3,
        workers: 2,
        shuffle: false,
        validation_data: Some(held_out.shuffle(Shuffle::No).into()),
        ..quiet()
    };
    let b = by_generator.fit_generator(sequence, options).unwrap();
    assert_eq!((a, weights(&by_fit)), (b, weights(&by_generator)));

    let mut by_hand = trainer();
    let sequence = ArraySequence::new(x, y).unwrap().seed(3);
    for epoch in 0..3 {
        for index in 0..sequence.len() {
            by_hand
                .train_on_batch(&sequence.batch(epoch, index).unwrap())
                .unwrap();
        }
    }
    assert_eq!(weights(&by_hand), weights(&by_generator));
}

/// Counts what is read.
struct Counting {
    inner: ArraySequence,
    changes: bool,
    batches: AtomicUsize,
    ended: AtomicU64,
}

impl Sequence for Counting {
    fn len(&self) -> usize {
        self.inner.len()
    }
    fn batch(&self, epoch: u64, index: usize) -> Result<Batch, DataError> {
        self.batches.fetch_add(1, Ordering::SeqCst);
        self.inner.batch(epoch, index)
    }
    fn on_epoch_end(&self, _: u64) {
        self.ended.fetch_add(1, Ordering::SeqCst);
    }
    fn changes_on_epoch_end(&self) -> bool {
        self.changes
    }
}

#[test]
fn a_sequence_is_read_exactly_once_per_epoch_and_never_beyond() {
    for (workers, steps, changes) in [
        (0, None, false),
        (3, None, false),
        (2, None, true),
        (2, Some(2), false),
    ] {
        let (x, y) = problem(100);
        let sequence = Arc::new(Counting {
            inner: ArraySequence::new(x, y).unwrap(),
            changes,
            batches: AtomicUsize::new(0),
            ended: AtomicU64::new(0),
        });
        let options = FitGeneratorOptions {
            epochs: 4,
            workers,
            steps_per_epoch: steps,
            ..quiet()
        };
        trainer()
            .fit_generator(Arc::clone(&sequence), options)
            .unwrap();
        let (batches, ended) = match steps {
            None => (16, 4),
            Some(_) => (8, 2),
        };
        assert_eq!(
            sequence.batches.load(Ordering::SeqCst),
            batches,
            "{workers} workers, changes {changes}"
        );
        assert_eq!(
            sequence.ended.load(Ordering::SeqCst),
            ended,
            "{workers} workers, changes {changes}"
        );
    }
}

#[test]
fn batches_that_a_resume_reads_again_are_no_batches_of_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.safetensors");
    let run = |callbacks| {
        let options = FitGeneratorOptions {
            steps_per_epoch: Some(8),
            callbacks,
            ..quiet()
        };
        let mut trainer = trainer();
        let source = Source::generator(endless(64, 8));
        let done = trainer.fit_generator(source, options);
        (done, trainer.loader_stats().unwrap())
    };
    let killed = LambdaCallback::new()
        .on(EventKind::TrainBatchEnd, |cx| {
            Ok(match cx.event().batch {
                4 => Decision::checkpoint(&path),
                _ => Decision::CONTINUE,
            })
        })
        .on(EventKind::CheckpointSaved, |_| Err("killed".into()));
    run(CallbackList::new().with(killed)).0.unwrap_err();

    let mut delivered = Vec::new();
    let resumed = LambdaCallback::new()
        .on(EventKind::TrainBegin, |_| Ok(Decision::resume(&path)))
        .on(EventKind::TrainBatchBegin, |cx| {
            delivered.push(cx.queue().map(|queue| queue.delivered));
            Ok(Decision::CONTINUE)
        });
    let (done, stats) = run(CallbackList::new().with(resumed));
    done.unwrap();
    assert_eq!(stats.batches, 3);
    assert_eq!(delivered, [Some(1), Some(2), Some(3)]);
}

#[test]
fn a_validation_reads_one_epoch_of_a_sequence_and_not_more() {
    let (x, y) = problem(100);
    let sequence = Arc::new(Counting {
        inner: ArraySequence::new(x.clone(), y.clone()).unwrap(),
        changes: false,
        batches: AtomicUsize::new(0),
        ended: AtomicU64::new(0),
    });
    let options = FitGeneratorOptions {
        epochs: 3,
        workers: 2,
        validation_data: Some(Arc::clone(&sequence).into()),
        validation_steps: Some(6),
        ..quiet()
    };
    let training = ArraySequence::new(x, y).unwrap();
    trainer().fit_generator(training, options).unwrap();
    assert_eq!(sequence.batches.load(Ordering::SeqCst), 3 * 4);
    assert_eq!(sequence.ended.load(Ordering::SeqCst), 3);
}

#[test]
fn a_generator_without_steps_has_one_epoch_of_all_it_gives() {
    let source = Source::generator(endless(32, 8).take(7));
    let mut trainer = trainer();
    let history = trainer.fit_generator(source, quiet()).unwrap();
    assert_eq!(
        (history.epochs().len(), trainer.optimizer().iterations()),
        (1, 7)
    );
}

#[test]
fn a_validation_generator_goes_on_where_it_stopped() {
    let taken = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&taken);
    let validation = endless(32, 8).inspect(move |_| {
        counter.fetch_add(1, Ordering::SeqCst);
    });
    let options = FitGeneratorOptions {
        epochs: 3,
        steps_per_epoch: Some(2),
        validation_data: Some(Source::generator(validation).into()),
        validation_steps: Some(2),
        ..quiet()
    };
    let source = Source::generator(endless(64, 8));
    let history = trainer().fit_generator(source, options).unwrap();
    assert_eq!(history.get("val_loss").len(), 3);
    assert_eq!(taken.load(Ordering::SeqCst), 6);
}

#[test]
fn a_validation_generator_that_ends_leaves_the_later_epochs_without_validation() {
    let mut recorder = Recorder::default();
    let options = FitGeneratorOptions {
        epochs: 4,
        steps_per_epoch: Some(2),
        validation_data: Some(Source::generator(endless(32, 8).take(3)).into()),
        validation_steps: Some(2),
        callbacks: CallbackList::new().with(&mut recorder),
        ..quiet()
    };
    let source = Source::generator(endless(64, 8));
    let history = trainer().fit_generator(source, options).unwrap();
    assert_eq!(history.get("loss").len(), 4);
    let validated: Vec<bool> = history
        .epochs()
        .iter()
        .map(|epoch| epoch.logs.number("val_loss").is_some())
        .collect();
    assert_eq!(validated, [true, true, false, false]);
    let missing = |epoch: u64| {
        format!(
            "epoch {epoch} is not validated: validation_data has no batches left (a generator goes on where it stopped)"
        )
    };
    let [short, third, fourth] = &recorder.messages[..] else {
        panic!("{:?}", recorder.messages);
    };
    assert!(short.starts_with("the evaluation ended after 1 batches"));
    assert_eq!([third, fourth], [&missing(3), &missing(4)]);
    let begins = |line: &&String| line.starts_with("test_begin");
    assert_eq!(recorder.lines.iter().filter(begins).count(), 2);
}

#[test]
fn a_validation_generator_is_read_for_the_epochs_that_are_due_and_not_more() {
    let cases = [
        (ValidationFreq::Every(2), 0..5, 2),
        (ValidationFreq::Every(2), 3..5, 1),
        (ValidationFreq::Every(3), 0..2, 0),
        (ValidationFreq::After(vec![5, 1, 5, 9, 0]), 0..5, 2),
        (ValidationFreq::After(vec![5, 1]), 1..4, 0),
    ];
    for (freq, epochs, runs) in cases {
        let taken = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&taken);
        let validation = endless(32, 8).inspect(move |_| {
            counter.fetch_add(1, Ordering::SeqCst);
        });
        let options = FitGeneratorOptions {
            initial_epoch: epochs.start,
            epochs: epochs.end,
            steps_per_epoch: Some(1),
            validation_data: Some(Source::generator(validation).into()),
            validation_steps: Some(2),
            validation_freq: freq.clone(),
            ..quiet()
        };
        let source = Source::generator(endless(64, 8));
        let history = trainer().fit_generator(source, options).unwrap();
        assert_eq!(history.get("val_loss").len(), runs, "{freq:?} {epochs:?}");
        let taken = taken.load(Ordering::SeqCst);
        assert_eq!(taken, 2 * runs, "{freq:?} {epochs:?}");
    }
}

#[test]
fn a_training_of_any_number_of_epochs_ends_when_a_callback_ends_it() {
    for validates in [false, true] {
        let stopper = LambdaCallback::new().on(EventKind::EpochEnd, |cx| {
            Ok(match cx.event().epoch {
                2 => Decision::stop("enough"),
                _ => Decision::CONTINUE,
            })
        });
        let options = FitGeneratorOptions {
            epochs: u64::MAX,
            steps_per_epoch: Some(2),
            validation_data: validates.then(|| Source::generator(endless(32, 8)).into()),
            validation_steps: Some(1),
            callbacks: CallbackList::new().with(stopper),
            ..quiet()
        };
        let source = Source::generator(endless(64, 8));
        let history = trainer().fit_generator(source, options).unwrap();
        assert_eq!(history.epochs().len(), 3);
    }
    let options = FitGeneratorOptions {
        validation_freq: ValidationFreq::Every(0),
        ..quiet()
    };
    let source = Source::generator(endless(64, 8));
    let error = trainer().fit_generator(source, options).unwrap_err();
    assert!(error.to_string().contains("validation_freq"), "{error}");
}

#[test]
fn evaluation_and_prediction_by_generator_match_the_arrays() {
    let (x, y) = problem(90);
    let sequence = || {
        Arc::new(
            ArraySequence::new(x.clone(), y.clone())
                .unwrap()
                .shuffle(Shuffle::No),
        )
    };
    let mut trainer = trainer();
    let options = || GeneratorOptions {
        workers: 3,
        ..GeneratorOptions::default()
    };
    let by_sequence = trainer.evaluate_generator(sequence(), options()).unwrap();
    let silent = keros_train::EvaluateOptions {
        verbose: Verbose::Silent,
        ..Default::default()
    };
    assert_eq!(
        by_sequence,
        trainer.evaluate(x.clone(), y.clone(), silent).unwrap()
    );
    let all = trainer.predict_generator(sequence(), options()).unwrap();
    assert_eq!(all[0].shape(), [90, 3]);
    let two = GeneratorOptions {
        steps: Some(2),
        ..options()
    };
    let some = trainer.predict_generator(sequence(), two).unwrap();
    assert_eq!(some[0], all[0].slice(0..64).unwrap());
}

#[test]
fn files_that_were_skipped_are_told() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("a")).unwrap();
    for (name, bytes) in [("1.ppm", &b"P6 1 1 255\nrgb"[..]), ("2.ppm", b"text")] {
        std::fs::write(folder.path().join("a").join(name), bytes).unwrap();
    }
    let samples = || {
        let options = DirectoryOptions {
            target_size: (1, 1),
            color_mode: ColorMode::Rgba,
            class_mode: ClassMode::Sparse,
            on_broken_file: OnBrokenFile::Skip,
            ..DirectoryOptions::default()
        };
        let flow = ImageDataGenerator::new().flow_from_directory(folder.path(), options);
        flow.unwrap().map(|batch| {
            let pixels = batch.inputs.first().as_slice::<f32>().unwrap().to_vec();
            let inputs = Array::from_vec(&[batch.len(), 4], pixels)?.into();
            Ok(Batch { inputs, ..batch })
        })
    };
    let mut trainer = trainer();
    let told = |trainer: &keros_train::Trainer<_>| {
        let messages = trainer.messages().into_iter().map(|message| message.text);
        let of_files = |text: &String| text.contains("skipped or replaced");
        messages.filter(of_files).collect::<Vec<_>>()
    };
    let options = FitGeneratorOptions {
        epochs: 2,
        ..quiet()
    };
    trainer.fit_generator(samples(), options).unwrap();
    let expected = "samples that were skipped or replaced because their files are broken or missing: \
                    2 (broken_files of the flow finds them)";
    assert_eq!(told(&trainer), [expected]);
    // Each epoch that is cut short is a pass of its own.
    let cut = FitGeneratorOptions {
        epochs: 3,
        steps_per_epoch: Some(5),
        limit_batches: Some(1),
        workers: 0,
        ..quiet()
    };
    trainer.fit_generator(samples(), cut).unwrap();
    assert!(
        told(&trainer)[0].contains("missing: 3 ("),
        "{:?}",
        told(&trainer)
    );
    let options = GeneratorOptions {
        verbose: Verbose::Silent,
        ..GeneratorOptions::default()
    };
    trainer.predict_generator(samples(), options).unwrap();
    assert!(told(&trainer)[0].contains("missing: 1 ("));
    // One without an epoch takes none of the data.
    for epochs in [0, 1] {
        let (x, y) = problem(10);
        let silent = FitOptions {
            epochs,
            verbose: Verbose::Silent,
            ..FitOptions::default()
        };
        trainer.fit(x, y, silent).unwrap();
        assert!(told(&trainer).is_empty(), "{epochs} epochs");
    }
}
