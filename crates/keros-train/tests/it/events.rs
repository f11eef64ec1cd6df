//! Which events come when, what logs they carry, and what decisions do.

use crate::support::{Recorder, endless, problem, trainer};
use keros_callbacks::{
    CallbackList, Decision, EventKind, FailurePolicy, LambdaCallback, Level, Verbose,
};
use keros_data::{ArraySequence, Batch};
use keros_nn::Sequential;
use keros_train::{
    EvaluateOptions, FitGeneratorOptions, FitOptions, GeneratorOptions, LoopOptions,
    PredictOptions, Source, TrainError, Trainer,
};

fn options<'a>(callbacks: CallbackList<'a>, epochs: u64) -> FitOptions<'a> {
    FitOptions {
        epochs,
        callbacks,
        verbose: Verbose::Silent,
        ..FitOptions::default()
    }
}

#[test]
fn fit_sends_events_in_keras_order_with_keras_logs() {
    let (x, y) = problem(60);
    let mut recorder = Recorder {
        with_logs: true,
        ..Recorder::default()
    };
    let fit = FitOptions {
        validation_split: 1.0 / 3.0,
        ..options(CallbackList::new().with(&mut recorder), 1)
    };
    trainer().fit(x, y, fit).unwrap();
    assert_eq!(
        recorder.lines,
        [
            "train_begin e0 b0 s0 n0 []",
            "epoch_begin e0 b0 s0 n0 []",
            "train_batch_begin e0 b0 s0 n32 []",
            "train_batch_end e0 b0 s1 n32 [loss accuracy]",
            "train_batch_begin e0 b1 s1 n8 []",
            "train_batch_end e0 b1 s2 n8 [loss accuracy]",
            "test_begin e0 b0 s2 n0 nested []",
            "test_batch_begin e0 b0 s2 n20 nested []",
            "test_batch_end e0 b0 s2 n20 nested [loss accuracy]",
            "test_end e0 b0 s2 n0 nested [loss accuracy]",
            "epoch_end e0 b0 s2 n0 [loss accuracy val_loss val_accuracy]",
            "train_end e0 b0 s2 n0 [loss accuracy val_loss val_accuracy]",
        ]
    );
}

#[test]
fn evaluate_and_predict_send_their_own_events() {
    let (x, y) = problem(40);
    let mut trainer = trainer();
    let mut recorder = Recorder::default();
    let evaluate = EvaluateOptions {
        batch_size: Some(32),
        callbacks: CallbackList::new().with(&mut recorder),
        verbose: Verbose::Silent,
        steps: Some(1),
        ..EvaluateOptions::default()
    };
    trainer.evaluate(x.clone(), y, evaluate).unwrap();
    let predict = PredictOptions {
        callbacks: CallbackList::new().with(&mut recorder),
        verbose: Verbose::Silent,
        ..PredictOptions::default()
    };
    trainer.predict(x, predict).unwrap();
    assert_eq!(
        recorder.lines,
        [
            "test_begin e0 b0 s0 n0",
            "test_batch_begin e0 b0 s0 n32",
            "test_batch_end e0 b0 s0 n32",
            "test_end e0 b0 s0 n0",
            "predict_begin e0 b0 s0 n0",
            "predict_batch_begin e0 b0 s0 n32",
            "predict_batch_end e0 b0 s0 n32",
            "predict_batch_begin e0 b1 s0 n8",
            "predict_batch_end e0 b1 s0 n8",
            "predict_end e0 b0 s0 n0",
        ]
    );
}

#[test]
fn a_stop_ends_the_epoch_with_validation_and_the_run_with_train_end() {
    let (x, y) = problem(128);
    let mut recorder = Recorder::default();
    let stopper = LambdaCallback::new().on(EventKind::TrainBatchEnd, |cx| {
        Ok(match cx.event().step {
            2 => Decision::stop("enough"),
            _ => Decision::CONTINUE,
        })
    });
    let fit = FitOptions {
        validation_data: Some(problem(10).into()),
        ..options(CallbackList::new().with(stopper).with(&mut recorder), 5)
    };
    let history = trainer().fit(x, y, fit).unwrap();
    assert_eq!(history.get("val_loss").len(), 1);
    let kinds: Vec<&str> = recorder
        .lines
        .iter()
        .map(|l| l.split(' ').next().unwrap())
        .collect();
    assert_eq!(
        kinds[4..],
        [
            "train_batch_begin",
            "train_batch_end",
            "test_begin",
            "test_batch_begin",
            "test_batch_end",
            "test_end",
            "epoch_end",
            "train_end",
        ]
    );
}

#[test]
fn a_stop_ends_the_run_with_the_batch_that_it_is_asked_at_or_the_next() {
    use EventKind::{
        AfterBackward, BeforeStep, CheckpointSaved, EpochBegin, TrainBatchBegin, TrainBatchEnd,
        TrainBegin,
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.safetensors");
    let cases = [
        (TrainBegin, (1, 1)),
        (EpochBegin, (2, 1)),
        (TrainBatchBegin, (2, 2)),
        (AfterBackward, (2, 2)),
        (BeforeStep, (2, 2)),
        (TrainBatchEnd, (2, 2)),
        (CheckpointSaved, (2, 2)),
    ];
    for (kind, expected) in cases {
        let (x, y) = problem(128);
        let mut recorder = Recorder::default();
        // In the second epoch, at its second batch.
        let stopper = LambdaCallback::new().on(kind, |cx| {
            let early = [TrainBegin, EpochBegin].contains(&kind);
            let (epoch, batch) = (cx.event().epoch, cx.event().batch);
            Ok(
                match kind == TrainBegin || (epoch == 1 && (early || batch == 1)) {
                    true => Decision::stop("enough"),
                    false => Decision::CONTINUE,
                },
            )
        });
        let saver = LambdaCallback::new().on(TrainBatchEnd, |_| Ok(Decision::checkpoint(&path)));
        let list = CallbackList::new().with(stopper).with(saver);
        let fit = FitOptions {
            validation_data: Some(problem(10).into()),
            ..options(list.with(&mut recorder), 5)
        };
        let history = trainer().fit(x, y, fit).unwrap();
        let epochs = history.get("val_loss").len();
        let last = format!("train_batch_end e{}", epochs - 1);
        let batches = recorder.lines.iter().filter(|line| line.starts_with(&last));
        assert_eq!((epochs, batches.count()), expected, "{kind}");
    }
}

#[test]
fn a_stop_at_a_checkpoint_of_an_epoch_starts_no_other_and_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.safetensors");
    let callbacks = || {
        let saver = LambdaCallback::new()
            .on(EventKind::EpochEnd, |_| Ok(Decision::checkpoint(&path)))
            .on(EventKind::CheckpointSaved, |_| Ok(Decision::stop("saved")));
        CallbackList::new().with(saver)
    };
    let (x, y) = problem(32);
    let history = trainer().fit(x, y, options(callbacks(), 5)).unwrap();
    assert_eq!(history.epochs().len(), 1);

    let mut trainer = trainer();
    let own = LoopOptions {
        epochs: 5,
        callbacks: callbacks(),
        verbose: Verbose::Silent,
        ..LoopOptions::default()
    };
    let mut events = trainer.on_train_begin(own).unwrap();
    events.on_epoch_begin(&mut trainer).unwrap();
    events.on_epoch_end(&mut trainer).unwrap();
    assert_eq!(events.stop_training(), Some("saved"));
    assert_eq!(events.on_epoch_begin(&mut trainer).unwrap(), None);
}

#[test]
fn a_stop_at_epoch_end_or_in_validation_starts_no_other_epoch() {
    for kind in [
        EventKind::EpochEnd,
        EventKind::TestBatchEnd,
        EventKind::TestEnd,
    ] {
        let (x, y) = problem(32);
        let stopper = LambdaCallback::new().on(kind, |_| Ok(Decision::stop("enough")));
        let fit = FitOptions {
            validation_data: Some(problem(10).into()),
            ..options(CallbackList::new().with(stopper), 5)
        };
        let history = trainer().fit(x, y, fit).unwrap();
        assert_eq!(history.epochs().len(), 1, "{kind}");
    }
}

#[test]
fn a_stop_of_a_lone_evaluation_or_prediction_ends_it_after_a_batch() {
    use EventKind::{PredictBatchBegin, PredictBegin, TestBatchBegin, TestBatchEnd, TestBegin};
    let (x, y) = problem(100);
    for kind in [TestBegin, TestBatchBegin, TestBatchEnd] {
        let mut recorder = Recorder::default();
        let stopper = LambdaCallback::new().on(kind, |_| Ok(Decision::stop("enough")));
        let evaluate = EvaluateOptions {
            callbacks: CallbackList::new().with(stopper).with(&mut recorder),
            verbose: Verbose::Silent,
            ..EvaluateOptions::default()
        };
        trainer().evaluate(x.clone(), y.clone(), evaluate).unwrap();
        assert_eq!(recorder.lines.len(), 4, "{kind}: {:?}", recorder.lines);
        assert!(recorder.messages.is_empty(), "{:?}", recorder.messages);
    }
    for kind in [PredictBegin, PredictBatchBegin] {
        let stopper = LambdaCallback::new().on(kind, |_| Ok(Decision::stop("enough")));
        let predict = PredictOptions {
            callbacks: CallbackList::new().with(stopper),
            verbose: Verbose::Silent,
            ..PredictOptions::default()
        };
        let outputs = trainer().predict(x.clone(), predict).unwrap();
        assert_eq!(outputs[0].shape(), [32, 3], "{kind}");
    }
}

#[test]
fn an_epoch_that_is_cut_short_leaves_the_next_one_whole() {
    let (x, y) = problem(128);
    let mut recorder = Recorder::default();
    let cutter = LambdaCallback::new().on(EventKind::TrainBatchEnd, |cx| {
        Ok(match cx.event().epoch {
            0 => Decision::stop_epoch(),
            _ => Decision::CONTINUE,
        })
    });
    let list = CallbackList::new().with(cutter).with(&mut recorder);
    trainer().fit(x, y, options(list, 2)).unwrap();
    let begun = |epoch: &str| {
        let begins = recorder
            .lines
            .iter()
            .filter(|l| l.starts_with("train_batch_begin"));
        begins.filter(|l| l.contains(epoch)).count()
    };
    assert_eq!((begun("e0"), begun("e1")), (1, 4));
}

#[test]
fn a_skipped_batch_is_not_trained_on() {
    let (x, y) = problem(96);
    let skipper = LambdaCallback::new().on(EventKind::TrainBatchBegin, |cx| {
        Ok(match cx.event().batch {
            1 => Decision::skip_batch(),
            _ => Decision::CONTINUE,
        })
    });
    let mut trainer = trainer();
    let mut recorder = Recorder::default();
    let list = CallbackList::new().with(skipper).with(&mut recorder);
    trainer.fit(x, y, options(list, 1)).unwrap();
    assert_eq!(trainer.optimizer().iterations(), 2);
    let ends: Vec<_> = recorder
        .lines
        .iter()
        .filter(|l| l.starts_with("train_batch_end"))
        .collect();
    assert_eq!(
        ends,
        [
            "train_batch_end e0 b0 s1 n32",
            "train_batch_end e0 b2 s2 n32"
        ]
    );
}

#[test]
fn a_learning_rate_is_set_from_the_next_update_on() {
    let (x, y) = problem(64);
    let mut rates = Vec::new();
    let schedule = LambdaCallback::new()
        .on(EventKind::EpochBegin, |cx| {
            Ok(Decision::set_learning_rate(
                0.1 / (cx.event().epoch + 1) as f64,
            ))
        })
        .on(EventKind::TrainBatchEnd, |cx| {
            rates.push(cx.learning_rate().unwrap());
            Ok(Decision::CONTINUE)
        });
    let mut trainer = trainer();
    trainer
        .fit(x, y, options(CallbackList::new().with(schedule), 2))
        .unwrap();
    assert_eq!(rates, [0.1, 0.1, 0.05, 0.05]);
    assert_eq!(trainer.optimizer().learning_rate(), 0.05);
}

#[test]
fn a_learning_rate_can_be_set_back_at_train_end() {
    let (x, y) = problem(64);
    let schedule = LambdaCallback::new()
        .on(EventKind::EpochBegin, |_| {
            Ok(Decision::set_learning_rate(0.5))
        })
        .on(EventKind::TrainEnd, |_| {
            Ok(Decision::set_learning_rate(0.25))
        });
    let mut trainer = trainer();
    trainer
        .fit(x, y, options(CallbackList::new().with(schedule), 1))
        .unwrap();
    assert_eq!(trainer.optimizer().learning_rate(), 0.25);
}

#[test]
fn keys_that_callbacks_add_reach_the_history() {
    let (x, y) = problem(32);
    let adder = LambdaCallback::new().on(EventKind::EpochEnd, |cx| {
        let rate = cx.learning_rate().unwrap();
        cx.set_log("learning_rate", rate)?;
        Ok(Decision::CONTINUE)
    });
    let history = trainer()
        .fit(x, y, options(CallbackList::new().with(adder), 2))
        .unwrap();
    assert_eq!(history.keys(), ["loss", "accuracy", "learning_rate"]);
    assert_eq!(history.get("learning_rate"), [0.001, 0.001]);
}

#[test]
fn a_failing_callback_aborts_with_its_name_or_is_told_and_goes_on() {
    let failing =
        || LambdaCallback::new().on(EventKind::TrainBatchEnd, |_| Err("disk full".into()));
    let (x, y) = problem(64);
    let error = trainer()
        .fit(
            x.clone(),
            y.clone(),
            options(CallbackList::new().with(failing()), 1),
        )
        .unwrap_err();
    assert!(matches!(
        error,
        TrainError::Batch {
            epoch: 0,
            batch: 0,
            ..
        }
    ));
    let mut recorder = Recorder::default();
    let mut list = CallbackList::new();
    list.push_with(failing(), FailurePolicy::Disable);
    list.push(&mut recorder);
    trainer().fit(x, y, options(list, 1)).unwrap();
    assert_eq!(recorder.messages.len(), 1, "{:?}", recorder.messages);
}

#[test]
fn a_generator_that_ends_early_closes_its_epoch_and_ends_the_training() {
    let mut recorder = Recorder::default();
    let fit = FitGeneratorOptions {
        steps_per_epoch: Some(4),
        epochs: 3,
        callbacks: CallbackList::new().with(&mut recorder),
        verbose: Verbose::Silent,
        ..FitGeneratorOptions::default()
    };
    let six = Source::generator(endless(32, 8).take(6));
    let history = trainer().fit_generator(six, fit).unwrap();
    assert_eq!(history.epochs().len(), 2);
    assert_eq!(
        recorder.messages,
        [
            "epoch 2 ended after 2 of 4 batches because the data ran out",
            "the data ran out in epoch 2 of 3; training ends here",
        ]
    );
    let begins = recorder
        .lines
        .iter()
        .filter(|l| l.starts_with("train_batch_begin"))
        .count();
    assert_eq!(begins, 6, "no event for a batch that does not come");
    assert!(recorder.lines.last().unwrap().starts_with("train_end"));
}

#[test]
fn what_a_run_says_is_kept_where_nothing_is_shown() {
    let mut trainer = trainer();
    let texts = |trainer: &Trainer<Sequential>| {
        let messages = trainer.messages().into_iter();
        messages
            .map(|message| message.text)
            .collect::<Vec<String>>()
    };
    assert!(trainer.messages().is_empty());
    let fit = FitGeneratorOptions {
        steps_per_epoch: Some(4),
        epochs: 50,
        verbose: Verbose::Silent,
        ..FitGeneratorOptions::default()
    };
    let six = || Source::generator(endless(32, 8).take(6));
    trainer.fit_generator(six(), fit).unwrap();
    assert_eq!(
        texts(&trainer),
        [
            "epoch 2 ended after 2 of 4 batches because the data ran out",
            "the data ran out in epoch 2 of 50; training ends here",
        ]
    );
    let steps = GeneratorOptions {
        steps: Some(8),
        ..GeneratorOptions::default()
    };
    trainer.evaluate_generator(six(), steps).unwrap();
    let said = texts(&trainer);
    let [text] = &said[..] else {
        panic!("{:?}", trainer.messages());
    };
    assert!(text.contains("2 more were asked for"), "{text}");

    // Arguments that are refused begin no run.
    let sequence = || {
        let (x, y) = problem(8);
        Source::sequence(ArraySequence::new(x, y).unwrap())
    };
    let no_queue = || GeneratorOptions {
        max_queue_size: 0,
        ..GeneratorOptions::default()
    };
    for source in [sequence(), six()] {
        trainer.evaluate_generator(source, no_queue()).unwrap_err();
    }
    for source in [sequence(), six()] {
        trainer.predict_generator(source, no_queue()).unwrap_err();
    }
    assert_eq!(texts(&trainer), said);

    // A failure that ends nothing, then words at every batch.
    let (x, y) = problem(600);
    let talks = LambdaCallback::new().on(EventKind::TrainBatchEnd, |cx| {
        let step = cx.event().step;
        cx.message(Level::Info, format!("step {step}"));
        Ok(Decision::CONTINUE)
    });
    let fails = LambdaCallback::new().on(EventKind::TrainBegin, |_| Err("disk full".into()));
    let mut list = CallbackList::new();
    list.push_with(fails, FailurePolicy::Disable);
    list.push(talks);
    let mut events = trainer
        .on_train_begin(LoopOptions {
            callbacks: list,
            verbose: Verbose::Silent,
            ..LoopOptions::default()
        })
        .unwrap();
    let [message] = &trainer.messages()[..] else {
        panic!("{:?}", trainer.messages());
    };
    assert_eq!(message.level, Level::Error);
    assert!(message.text.contains("disk full"), "{}", message.text);
    events.on_epoch_begin(&mut trainer).unwrap();
    for row in 0..1100 {
        let row = row % 600;
        let [x, y] = [&x, &y].map(|array| array.slice(row..row + 1).unwrap());
        let batch = Batch::new(x, y);
        events.train_on_batch(&mut trainer, &batch).unwrap();
    }
    let texts = texts(&trainer);
    let last = format!("step {}", trainer.optimizer().iterations());
    assert_eq!((texts.len(), texts.last()), (1000, Some(&last)));
}

#[test]
fn a_generator_that_ends_with_an_epoch_starts_no_empty_one() {
    let mut recorder = Recorder::default();
    let fit = FitGeneratorOptions {
        steps_per_epoch: Some(3),
        epochs: 3,
        callbacks: CallbackList::new().with(&mut recorder),
        verbose: Verbose::Silent,
        ..FitGeneratorOptions::default()
    };
    let six = Source::generator(endless(32, 8).take(6));
    let history = trainer().fit_generator(six, fit).unwrap();
    assert_eq!(history.epochs().len(), 2);
    assert_eq!(
        recorder.messages,
        ["the data ran out after 2 of 3 epochs; training ends here"]
    );
    let begins = recorder
        .lines
        .iter()
        .filter(|l| l.starts_with("epoch_begin"))
        .count();
    assert_eq!(begins, 2);
}
