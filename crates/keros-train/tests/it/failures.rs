//! Data that fail in the middle: an error with its place, no hang, and weights as the last step left
//! them.

use crate::support::{Recorder, endless, network, problem, trainer, weights};
use keros_callbacks::{
    CallbackList, Decision, EventKind, FailurePolicy, LambdaCallback, Level, Verbose,
};
use keros_data::{Array, ArraySequence, Arrays, Batch, DataError, Sequence};
use keros_nn::{ExponentialDecay, Sgd};
use keros_train::{
    EvaluateOptions, FitGeneratorOptions, FitOptions, GeneratorOptions, PredictOptions, Source,
    TrainError, Trainer, ValidationData, ValidationFreq,
};
use std::path::Path;

fn options<'a>(workers: usize) -> FitGeneratorOptions<'a> {
    FitGeneratorOptions {
        steps_per_epoch: Some(4),
        epochs: 2,
        workers,
        shuffle: false,
        verbose: Verbose::Silent,
        ..FitGeneratorOptions::default()
    }
}

fn fails_at(bad: usize, failure: fn() -> Result<Batch, DataError>) -> Source {
    let batches = endless(32, 8).enumerate();
    Source::generator(batches.map(move |(i, batch)| if i == bad { failure() } else { batch }))
}

#[test]
fn an_error_of_the_generator_ends_the_run_after_the_batches_before_it() {
    for workers in [0, 1, 3] {
        let mut failed = trainer();
        let source = fails_at(5, || Err(DataError::source("the disk is gone")));
        let error = failed.fit_generator(source, options(workers)).unwrap_err();
        assert!(error.to_string().contains("the disk is gone"), "{error}");
        assert_eq!(failed.optimizer().iterations(), 5);
        let mut good = trainer();
        let source = Source::generator(endless(32, 8).take(5));
        let one_epoch = FitGeneratorOptions {
            steps_per_epoch: Some(5),
            epochs: 1,
            ..options(0)
        };
        good.fit_generator(source, one_epoch).unwrap();
        assert_eq!(weights(&failed), weights(&good));
    }
}

#[test]
fn a_panic_in_a_worker_is_an_error_of_its_batch() {
    struct Panics;
    impl Sequence for Panics {
        fn len(&self) -> usize {
            4
        }
        fn batch(&self, _: u64, index: usize) -> Result<Batch, DataError> {
            assert!(index != 2, "no third batch");
            let (x, y) = problem(8);
            Ok(Batch::new(x, y))
        }
    }
    for workers in [0, 2] {
        let mut trainer = trainer();
        let options = FitGeneratorOptions {
            steps_per_epoch: None,
            ..options(workers)
        };
        let error = trainer
            .fit_generator(Source::sequence(Panics), options)
            .unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("batch 2 of epoch 0") && text.contains("no third batch"),
            "{text}"
        );
        assert_eq!(trainer.optimizer().iterations(), 2);
    }
}

#[test]
fn a_batch_the_network_cannot_take_is_named_by_epoch_and_batch() {
    let wrong = || {
        let x = Array::from_vec(&[8, 9], vec![0.0_f32; 72])?;
        Ok(Batch::new(x, Array::from_vec(&[8], vec![0_i64; 8])?))
    };
    let error = trainer()
        .fit_generator(fails_at(6, wrong), options(1))
        .unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("epoch 2, batch 2: "), "{text}");
    assert!(text.contains("expected F32 [N, 4], found [8, 9]"), "{text}");
    assert!(matches!(
        error,
        TrainError::Batch {
            epoch: 1,
            batch: 2,
            ..
        }
    ));
}

#[test]
fn an_error_of_a_callback_names_its_epoch_and_batch() {
    use EventKind::{
        AfterBackward, BeforeStep, EpochBegin, EpochEnd, TestBatchBegin, TestBatchEnd, TestBegin,
        TestEnd, TrainBatchBegin, TrainBatchEnd, TrainBegin, TrainEnd,
    };
    let (x, y) = problem(32);
    let nowhere = Path::new("no such folder/run.safetensors");
    let fit = |kind: EventKind, decision: Option<Decision>| {
        let mut told = Vec::new();
        let fails = LambdaCallback::new().on(kind, move |cx| {
            let (epoch, batch) = (cx.event().epoch, cx.event().batch);
            let due = match kind {
                TrainBegin | TrainEnd => true,
                EpochBegin | EpochEnd | TestBegin | TestEnd => epoch == 1,
                _ => (epoch, batch) == (1, 2),
            };
            match due {
                true => decision.clone().ok_or_else(|| "disk full".into()),
                false => Ok(Decision::CONTINUE),
            }
        });
        let hears = LambdaCallback::new().on(EventKind::Error, |cx| {
            told.push((cx.event().epoch, cx.detail().map(str::to_owned)));
            Ok(Decision::CONTINUE)
        });
        let options = FitOptions {
            batch_size: Some(8),
            epochs: 3,
            validation_data: Some(problem(32).into()),
            callbacks: CallbackList::new().with(fails).with(hears),
            verbose: Verbose::Silent,
            ..FitOptions::default()
        };
        let error = trainer().fit(x.clone(), y.clone(), options).unwrap_err();
        let text = error.to_string();
        let [(epoch, detail)] = &told[..] else {
            panic!("{told:?}");
        };
        assert_eq!(detail.as_ref(), Some(&text));
        (text, *epoch)
    };
    let cases = [
        (TrainBegin, "", 0),
        (EpochBegin, "epoch 2: ", 1),
        (TrainBatchBegin, "epoch 2, batch 2: ", 1),
        (TestBegin, "validation after epoch 2: ", 1),
        (TestBatchEnd, "validation after epoch 2, batch 2: ", 1),
        (EpochEnd, "epoch 2: ", 1),
        (TrainEnd, "", 2),
    ];
    for (kind, place, epoch) in cases {
        let text = format!("{place}callback `LambdaCallback` failed at {kind}: disk full");
        assert_eq!(fit(kind, None), (text, epoch));
    }
    for kind in [AfterBackward, BeforeStep, TrainBatchEnd] {
        let (text, epoch) = fit(kind, None);
        assert!(text.starts_with("epoch 2, batch 2: callback"), "{text}");
        assert_eq!(epoch, 1);
    }
    for (kind, place) in [(TestBatchBegin, "2, batch 2: "), (TestEnd, "2: ")] {
        let (text, epoch) = fit(kind, None);
        let begin = format!("validation after epoch {place}callback");
        assert!(text.starts_with(&begin), "{text}");
        assert_eq!(epoch, 1);
    }
    for (kind, place) in [
        (TrainBatchEnd, "epoch 2, batch 2: "),
        (EpochEnd, "epoch 2: "),
    ] {
        let (text, epoch) = fit(kind, Some(Decision::checkpoint(nowhere)));
        let begin = format!("{place}callback `LambdaCallback` failed at {kind}: ");
        assert!(text.starts_with(&begin), "{text}");
        assert!(text.contains("run.safetensors"), "{text}");
        assert_eq!(epoch, 1);
    }
    let rate = fit(TestBegin, Some(Decision::set_learning_rate(0.1)));
    let begin = "validation after epoch 2: callback";
    assert!(rate.0.starts_with(begin), "{}", rate.0);
}

#[test]
fn an_error_of_the_data_is_told_with_the_epoch_that_the_run_is_in() {
    let mut told = Vec::new();
    let hears = LambdaCallback::new().on(EventKind::Error, |cx| {
        told.push(cx.event().epoch);
        Ok(Decision::CONTINUE)
    });
    let options = FitGeneratorOptions {
        callbacks: CallbackList::new().with(hears),
        ..options(1)
    };
    let source = fails_at(5, || Err(DataError::source("the disk is gone")));
    trainer().fit_generator(source, options).unwrap_err();
    assert_eq!(told, [1]);
}

#[test]
fn what_a_callback_asks_for_in_vain_is_a_failure_by_its_policy() {
    let (x, y) = problem(32);
    let nowhere = Path::new("no such folder/run.safetensors");
    for policy in [FailurePolicy::Disable, FailurePolicy::Log] {
        let mut asked = 0;
        let asks = LambdaCallback::new().on(EventKind::TrainBatchEnd, |_| {
            asked += 1;
            Ok(Decision::checkpoint(nowhere))
        });
        let mut recorder = Recorder::default();
        let mut list = CallbackList::new();
        list.push_with(asks, policy);
        list.push(&mut recorder);
        let fit = FitOptions {
            batch_size: Some(8),
            callbacks: list,
            verbose: Verbose::Silent,
            ..FitOptions::default()
        };
        trainer().fit(x.clone(), y.clone(), fit).unwrap();
        assert_eq!(asked, recorder.messages.len());
        let expected = if policy == FailurePolicy::Log { 4 } else { 1 };
        assert_eq!(asked, expected, "{:?}", recorder.messages);
        let text = &recorder.messages[0];
        let begin = "callback `LambdaCallback` failed at train_batch_end: ";
        assert!(text.starts_with(begin), "{text}");
    }
    // Neither does the button of a page, pressed in vain.
    let presses = LambdaCallback::new().on(EventKind::TrainBatchBegin, |cx| {
        cx.requests()?.save(nowhere)?;
        Ok(Decision::CONTINUE)
    });
    let mut trainer = trainer();
    let fit = FitOptions {
        callbacks: CallbackList::new().with(presses),
        verbose: Verbose::Silent,
        ..FitOptions::default()
    };
    trainer.fit(x, y, fit).unwrap();
    let [message] = &trainer.messages()[..] else {
        panic!("{:?}", trainer.messages());
    };
    assert_eq!(message.level, Level::Error);
    let begin = "the checkpoint no such folder/run.safetensors that was asked for is not written: ";
    assert!(message.text.starts_with(begin), "{}", message.text);
}

#[test]
fn a_rate_that_follows_a_schedule_is_refused_to_the_callback_that_sets_it() {
    let fit = |policy| {
        let (x, y) = problem(32);
        let schedule = ExponentialDecay::new(0.1, 10, 0.5).unwrap();
        let mut trainer = Trainer::builder(network(0.0))
            .optimizer(Sgd::new(schedule).unwrap())
            .loss("sparse_categorical_crossentropy")
            .compile()
            .unwrap();
        let sets = LambdaCallback::new().on(EventKind::EpochBegin, |_| {
            Ok(Decision::set_learning_rate(0.1))
        });
        let mut list = CallbackList::new();
        list.push_with(sets, policy);
        let fit = FitOptions {
            callbacks: list,
            verbose: Verbose::Silent,
            ..FitOptions::default()
        };
        let result = trainer.fit(x, y, fit).map(drop);
        (result, trainer.messages().len())
    };
    let (result, said) = fit(FailurePolicy::Log);
    result.unwrap();
    assert_eq!(said, 1);
    let error = fit(FailurePolicy::Abort).0.unwrap_err().to_string();
    let begin = "epoch 1: callback `LambdaCallback` asked at epoch_begin to set the learning rate";
    assert!(error.starts_with(begin), "{error}");
}

#[test]
fn validation_data_that_cannot_work_are_refused_before_the_first_epoch() {
    struct Empty;
    impl Sequence for Empty {
        fn len(&self) -> usize {
            0
        }
        fn batch(&self, _: u64, _: usize) -> Result<Batch, DataError> {
            Err(DataError::source("there is none"))
        }
    }
    let mut trainer = trainer();
    let options = FitGeneratorOptions {
        validation_data: Some(Source::sequence(Empty).into()),
        ..options(1)
    };
    let source = Source::generator(endless(32, 8));
    let error = trainer.fit_generator(source, options).unwrap_err();
    assert_eq!(
        error.to_string(),
        "fit: invalid validation_data (expected at least one batch, found none)"
    );
    assert_eq!(trainer.optimizer().iterations(), 0);
}

#[test]
fn a_failure_in_the_validation_is_not_told_as_one_of_the_training() {
    type Failure = fn() -> Result<Batch, DataError>;
    struct Fails {
        at: usize,
        failure: Failure,
    }
    impl Sequence for Fails {
        fn len(&self) -> usize {
            3
        }
        fn batch(&self, _: u64, index: usize) -> Result<Batch, DataError> {
            if index == self.at {
                return (self.failure)();
            }
            let (x, y) = problem(8);
            Ok(Batch::new(x, y))
        }
    }
    let gone = || Err(DataError::source("the disk is gone"));
    let wrong = || {
        let x = Array::from_vec(&[8, 9], vec![0.0_f32; 72])?;
        Ok(Batch::new(x, Array::from_vec(&[8], vec![0_i64; 8])?))
    };
    let failures: [(Failure, &str); 2] = [
        (gone, "the disk is gone"),
        (
            wrong,
            "input `input` of type F32: wrong shape (expected F32 [N, 4], found [8, 9])",
        ),
    ];
    for workers in [0, 2] {
        for at in [0, 1] {
            for (failure, text) in failures {
                let mut told = Vec::new();
                let hears = LambdaCallback::new().on(EventKind::Error, |cx| {
                    told.push(cx.event().epoch);
                    Ok(Decision::CONTINUE)
                });
                let options = FitGeneratorOptions {
                    validation_data: Some(Source::sequence(Fails { at, failure }).into()),
                    validation_freq: ValidationFreq::Every(2),
                    callbacks: CallbackList::new().with(hears),
                    ..options(workers)
                };
                let source = Source::generator(endless(32, 8));
                let error = trainer().fit_generator(source, options).unwrap_err();
                assert!(matches!(error, TrainError::Validation { epoch: 1, .. }));
                let place = format!("validation after epoch 2, batch {at}: ");
                assert_eq!(error.to_string(), format!("{place}{text}"));
                assert_eq!(told, [1]);
            }
        }
    }
}

#[test]
fn arrays_to_validate_on_that_do_not_fit_are_refused_before_the_first_epoch() {
    let (x, y) = problem(8);
    let wide = Array::from_vec(&[8, 9], vec![0.0_f32; 72]).unwrap();
    let named = |name: &str, array: &Array| Arrays::from_pairs([(name, array.clone())]).unwrap();
    let cases: [(ValidationData, &str); 4] = [
        (
            (wide, y.clone()).into(),
            "input `input` of shape [N, 4], found [8, 9]",
        ),
        (
            (named("image", &x), y.clone()).into(),
            "inputs named `input`, found `image`",
        ),
        (
            (x.clone(), named("label", &y)).into(),
            "targets named `dense_1`, found `label`",
        ),
        (
            (x.clone(), y.clone(), named("label", &y)).into(),
            "sample weights named `dense_1`, found `label`",
        ),
    ];
    for (data, text) in cases {
        let mut trainer = trainer();
        let never = LambdaCallback::new().on(EventKind::TrainBegin, |_| panic!("it has begun"));
        let options = FitOptions {
            validation_data: Some(data),
            callbacks: CallbackList::new().with(never),
            verbose: Verbose::Silent,
            ..FitOptions::default()
        };
        let error = trainer.fit(x.clone(), y.clone(), options).unwrap_err();
        let expected = format!("fit: invalid validation_data (expected {text})");
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn sources_without_batches_and_arguments_out_of_range_are_refused() {
    let empty = || Source::generator(std::iter::empty());
    let error = trainer().fit_generator(empty(), options(1)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "fit: invalid data (expected at least one batch, found none)"
    );
    let error = trainer()
        .evaluate_generator(empty(), GeneratorOptions::default())
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "evaluating: invalid data (expected at least one batch, found none)"
    );
    let error = trainer()
        .predict_generator(empty(), GeneratorOptions::default())
        .unwrap_err();
    assert!(error.to_string().starts_with("predicting: "), "{error}");
    let endless_source = || Source::generator(endless(32, 8));
    let none = || GeneratorOptions {
        steps: Some(0),
        ..GeneratorOptions::default()
    };
    let error = trainer()
        .evaluate_generator(endless_source(), none())
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "evaluating: invalid steps (expected at least 1, or none for all batches, found 0)"
    );
    let error = trainer()
        .predict_generator(endless_source(), none())
        .unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("predicting: invalid steps"), "{text}");
    let (x, y) = problem(8);
    let evaluate = EvaluateOptions {
        steps: Some(0),
        ..EvaluateOptions::default()
    };
    let error = trainer()
        .evaluate(x.clone(), y, evaluate)
        .unwrap_err()
        .to_string();
    assert!(error.contains("invalid steps"), "{error}");
    let predict = PredictOptions {
        steps: Some(0),
        ..PredictOptions::default()
    };
    let error = trainer().predict(x, predict).unwrap_err().to_string();
    assert!(error.contains("invalid steps"), "{error}");
    let cases = [
        (
            FitGeneratorOptions {
                steps_per_epoch: Some(0),
                ..options(1)
            },
            "steps_per_epoch",
        ),
        (
            FitGeneratorOptions {
                max_queue_size: 0,
                ..options(1)
            },
            "max_queue_size",
        ),
        (
            FitGeneratorOptions {
                workers: 1 << 20,
                ..options(1)
            },
            "workers",
        ),
        (
            FitGeneratorOptions {
                validation_data: Some(endless_source().into()),
                ..options(1)
            },
            "validation_steps",
        ),
    ];
    for (options, argument) in cases {
        let mut trainer = trainer();
        let error = trainer
            .fit_generator(endless_source(), options)
            .unwrap_err();
        assert!(error.to_string().contains(argument), "{error}");
        assert_eq!(trainer.optimizer().iterations(), 0);
    }
    // Those of a sequence's loader too, before a callback hears of anything.
    for (workers, max_queue_size, argument) in [(1 << 20, 10, "workers"), (1, 0, "max_queue_size")]
    {
        let never = LambdaCallback::new().on(EventKind::TrainBegin, |_| panic!("it has begun"));
        let options = FitGeneratorOptions {
            workers,
            max_queue_size,
            callbacks: CallbackList::new().with(never),
            ..options(1)
        };
        let (x, y) = problem(8);
        let sequence = ArraySequence::new(x, y).unwrap();
        let error = trainer().fit_generator(sequence, options).unwrap_err();
        assert!(error.to_string().contains(argument), "{error}");
    }
}
