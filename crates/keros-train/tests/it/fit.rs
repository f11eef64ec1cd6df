//! `fit`, `evaluate` and `predict` on arrays in memory.

use crate::support::{Recorder, network, problem, trainer, weights};
use crate::test_device::test_device;
use keros_callbacks::{CallbackList, Verbose};
use keros_data::{Array, ArraySequence, Batch, Shuffle};
use keros_nn::{
    Initializer, L2, Layer, LayerBuilder, NnError, ParamOptions, Pass, Sequential, Sgd, UnitNorm,
};
use keros_tensor::access::{read, write};
use keros_tensor::{ParamId, Tensor};
use keros_train::{
    EvaluateOptions, FitGeneratorOptions, FitOptions, PredictOptions, TrainError, Trainer,
};
use std::sync::Arc;

fn quiet<'a>() -> FitOptions<'a> {
    FitOptions {
        verbose: Verbose::Silent,
        ..FitOptions::default()
    }
}

fn evaluate_quiet<'a>() -> EvaluateOptions<'a> {
    EvaluateOptions {
        verbose: Verbose::Silent,
        ..EvaluateOptions::default()
    }
}

#[test]
fn a_network_learns_and_history_tells_it() {
    let (x, y) = problem(600);
    let mut trainer = trainer();
    let options = FitOptions {
        epochs: 30,
        validation_split: 0.2,
        ..quiet()
    };
    let history = trainer.fit(x.clone(), y.clone(), options).unwrap();
    assert_eq!(
        history.keys(),
        ["loss", "accuracy", "val_loss", "val_accuracy"]
    );
    assert_eq!(history.get("loss").len(), 30);
    assert_eq!(history.params().steps, Some(15));
    assert!(history.last("val_accuracy").unwrap() > 0.85, "{history:?}");
    assert_eq!(trainer.optimizer().iterations(), 30 * 15);
    let logs = trainer
        .evaluate(
            x.slice(480..600).unwrap(),
            y.slice(480..600).unwrap(),
            evaluate_quiet(),
        )
        .unwrap();
    assert_eq!(logs.number("loss"), history.last("val_loss"));
    assert_eq!(logs.number("accuracy"), history.last("val_accuracy"));
}

#[test]
fn the_epoch_loss_is_the_mean_over_samples_not_over_batches() {
    // Learning rate 0: every batch sees the same weights.
    let (x, y) = problem(40);
    let mut trainer = Trainer::builder(network(0.0))
        .optimizer(keros_nn::Sgd::new(0.0).unwrap())
        .loss("sparse_categorical_crossentropy")
        .metric("accuracy")
        .compile()
        .unwrap();
    let before = weights(&trainer);
    let history = trainer.fit(x.clone(), y.clone(), quiet()).unwrap();
    assert_eq!(weights(&trainer), before);
    let options = EvaluateOptions {
        batch_size: Some(7),
        ..evaluate_quiet()
    };
    let logs = trainer.evaluate(x, y, options).unwrap();
    for key in ["loss", "accuracy"] {
        let (fit, evaluate) = (history.last(key).unwrap(), logs.number(key).unwrap());
        assert!(
            (fit - evaluate).abs() < 1e-6,
            "{key}: {fit} is not {evaluate}"
        );
    }
}

#[test]
fn sample_weights_scale_the_loss_by_rows_and_leave_metrics_alone() {
    let (x, y) = problem(20);
    let mut trainer = trainer();
    let plain = trainer
        .evaluate(x.clone(), y.clone(), evaluate_quiet())
        .unwrap();
    let mut each = Vec::new();
    for row in 0..20 {
        let (x, y) = (
            x.slice(row..row + 1).unwrap(),
            y.slice(row..row + 1).unwrap(),
        );
        each.push(
            trainer
                .test_on_batch(&Batch::new(x, y))
                .unwrap()
                .number("loss")
                .unwrap(),
        );
    }
    let weight = |row: usize| (row % 3) as f32 * 0.5;
    let weights = Array::from_vec(&[20], (0..20).map(weight).collect()).unwrap();
    let options = EvaluateOptions {
        sample_weight: Some(weights.into()),
        ..evaluate_quiet()
    };
    let weighted = trainer.evaluate(x, y, options).unwrap();
    let expected: f64 = (0..20)
        .map(|row| f64::from(weight(row)) * each[row])
        .sum::<f64>()
        / 20.0;
    assert!((weighted.number("loss").unwrap() - expected).abs() < 1e-6);
    assert_eq!(weighted.number("accuracy"), plain.number("accuracy"));
}

#[test]
fn the_split_keeps_the_last_rows_and_their_weights() {
    let (x, y) = problem(14);
    let mut split = trainer();
    let weights: Vec<f32> = (0..14).map(|row| row as f32).collect();
    let weights = Array::from_vec(&[14], weights).unwrap();
    let options = FitOptions {
        validation_split: 0.25,
        sample_weight: Some(weights.clone().into()),
        ..quiet()
    };
    let by_split = split.fit(x.clone(), y.clone(), options).unwrap();
    let part = |range: std::ops::Range<usize>| {
        let [x, y, w] = [&x, &y, &weights].map(|array| array.slice(range.clone()).unwrap());
        (x, y, w)
    };
    // floor(14 · 0.75) = 10
    let (x, y, w) = part(0..10);
    let options = FitOptions {
        validation_data: Some(part(10..14).into()),
        sample_weight: Some(w.into()),
        ..quiet()
    };
    let by_hand = trainer().fit(x, y, options).unwrap();
    assert_eq!(by_split, by_hand);
}

#[test]
fn steps_per_epoch_cuts_epochs_from_one_endless_run_over_the_data() {
    let (x, y) = problem(96);
    let whole = trainer()
        .fit(
            x.clone(),
            y.clone(),
            FitOptions {
                epochs: 2,
                ..quiet()
            },
        )
        .unwrap();
    let mut cut = trainer();
    let options = FitOptions {
        batch_size: Some(32),
        epochs: 6,
        steps_per_epoch: Some(1),
        ..quiet()
    };
    let pieces = cut.fit(x, y, options).unwrap();
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    for (epoch, loss) in whole.get("loss").iter().enumerate() {
        let found = mean(&pieces.get("loss")[3 * epoch..3 * epoch + 3]);
        assert!((found - loss).abs() < 1e-9, "{found} is not {loss}");
    }
}

#[test]
fn initial_epoch_continues_a_run_bit_for_bit() {
    let (x, y) = problem(100);
    let epochs = |from, to| FitOptions {
        initial_epoch: from,
        epochs: to,
        ..quiet()
    };
    let mut once = trainer();
    let whole = once.fit(x.clone(), y.clone(), epochs(0, 4)).unwrap();
    let mut twice = trainer();
    let first = twice.fit(x.clone(), y.clone(), epochs(0, 2)).unwrap();
    let second = twice.fit(x.clone(), y.clone(), epochs(2, 4)).unwrap();
    assert_eq!(weights(&once), weights(&twice));
    assert_eq!(
        whole.get("loss"),
        [first.get("loss"), second.get("loss")].concat()
    );
    assert_eq!(second.epochs()[0].epoch, 2);
    // Nothing is left to do, and the events say so.
    let mut recorder = Recorder::default();
    let options = FitOptions {
        callbacks: CallbackList::new().with(&mut recorder),
        ..epochs(4, 4)
    };
    let nothing = twice.fit(x, y, options).unwrap();
    assert!(nothing.epochs().is_empty());
    assert_eq!(recorder.lines.len(), 2, "{:?}", recorder.lines);
}

#[test]
fn predictions_come_in_the_order_of_the_rows() {
    let (x, _) = problem(50);
    let mut trainer = trainer();
    let options = |batch_size| PredictOptions {
        batch_size: Some(batch_size),
        verbose: Verbose::Silent,
        ..PredictOptions::default()
    };
    let all = trainer.predict(x.clone(), options(50)).unwrap();
    let pieces = trainer.predict(x.clone(), options(7)).unwrap();
    assert_eq!(all[0].shape(), [50, 3]);
    let (all, pieces) = (
        all[0].as_slice::<f32>().unwrap(),
        pieces[0].as_slice::<f32>().unwrap(),
    );
    for (a, b) in all.iter().zip(pieces) {
        assert!((a - b).abs() < 1e-6);
    }
    for row in all.chunks(3) {
        assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5);
    }
    let one = trainer.predict_on_batch(x.slice(20..21).unwrap()).unwrap();
    for (a, b) in one[0].as_slice::<f32>().unwrap().iter().zip(&all[60..63]) {
        assert!((a - b).abs() < 1e-6);
    }
}

/// Of 40 rows: two batches.
const MANY: Option<u64> = Some(5);

#[test]
fn a_prediction_or_evaluation_of_more_batches_than_there_are_is_one_of_all() {
    let (x, y) = problem(40);
    let mut trainer = trainer();
    let mut recorder = Recorder::default();
    let predict = PredictOptions {
        batch_size: Some(32),
        steps: MANY,
        callbacks: CallbackList::new().with(&mut recorder),
        verbose: Verbose::Silent,
    };
    let many = trainer.predict(x.clone(), predict).unwrap();
    let all = PredictOptions {
        verbose: Verbose::Silent,
        ..PredictOptions::default()
    };
    assert_eq!(many, trainer.predict(x.clone(), all).unwrap());
    assert_eq!(many[0].shape(), [40, 3]);
    let text =
        "the prediction ended after 2 batches because the data ran out; 3 more were asked for";
    assert_eq!(recorder.messages, [text]);

    let mut recorder = Recorder::default();
    let evaluate = EvaluateOptions {
        batch_size: Some(32),
        steps: MANY,
        callbacks: CallbackList::new().with(&mut recorder),
        ..evaluate_quiet()
    };
    let many = trainer.evaluate(x.clone(), y.clone(), evaluate).unwrap();
    assert_eq!(many, trainer.evaluate(x, y, evaluate_quiet()).unwrap());
    assert_eq!(
        recorder.messages,
        [text.replace("prediction", "evaluation")]
    );
}

#[test]
fn a_validation_of_more_batches_than_there_are_is_one_of_all() {
    let (x, y) = problem(32);
    let run = |validation_steps, limit_batches| {
        let mut recorder = Recorder::default();
        let options = FitOptions {
            epochs: 2,
            validation_data: Some(problem(40).into()),
            validation_batch_size: Some(32),
            validation_steps,
            limit_batches,
            callbacks: CallbackList::new().with(&mut recorder),
            ..quiet()
        };
        let history = trainer().fit(x.clone(), y.clone(), options).unwrap();
        let tested = recorder
            .lines
            .iter()
            .filter(|line| line.starts_with("test_batch_end"));
        (history, tested.count(), recorder.messages.len())
    };
    let (all, tested, messages) = run(None, None);
    assert_eq!((tested, messages), (4, 0));
    assert_eq!(run(MANY, None), (all.clone(), 4, 2));
    // A limit asks for nothing.
    assert_eq!(run(None, MANY), (all, 4, 0));
}

#[test]
fn steps_without_a_batch_size_are_those_of_all_rows() {
    let (x, y) = problem(100);
    let sizes = |recorder: Recorder, kind: &str| {
        let lines = recorder.lines.iter();
        let ends = lines.filter(|line| line.starts_with(kind));
        let samples = ends.map(|line| line.split(" n").nth(1).unwrap().parse().unwrap());
        samples.collect::<Vec<u64>>()
    };
    let given = [
        (None, None, vec![32, 32, 32, 4]),
        (None, Some(3), vec![34, 34, 32]),
        (None, Some(2), vec![50, 50]),
        (Some(40), Some(2), vec![40, 40]),
    ];
    for (batch_size, steps, expected) in given {
        let (mut trainer, mut recorder) = (trainer(), Recorder::default());
        let options = EvaluateOptions {
            batch_size,
            steps,
            callbacks: CallbackList::new().with(&mut recorder),
            ..evaluate_quiet()
        };
        trainer.evaluate(x.clone(), y.clone(), options).unwrap();
        assert_eq!(sizes(recorder, "test_batch_end"), expected);

        let mut recorder = Recorder::default();
        let options = PredictOptions {
            batch_size,
            steps,
            callbacks: CallbackList::new().with(&mut recorder),
            verbose: Verbose::Silent,
        };
        let predicted = trainer.predict(x.clone(), options).unwrap();
        let rows: u64 = expected.iter().sum();
        assert_eq!(predicted[0].shape(), [rows as usize, 3]);
        assert_eq!(sizes(recorder, "predict_batch_end"), expected);

        // A batch size of the training is one of the validation, a number of steps is not.
        for (of_training, of_validation) in [(None, batch_size), (batch_size, None)] {
            let mut recorder = Recorder::default();
            let options = FitOptions {
                batch_size: of_training,
                steps_per_epoch: Some(4),
                validation_data: Some((x.clone(), y.clone()).into()),
                validation_batch_size: of_validation,
                validation_steps: steps,
                callbacks: CallbackList::new().with(&mut recorder),
                ..quiet()
            };
            trainer.fit(x.clone(), y.clone(), options).unwrap();
            assert_eq!(sizes(recorder, "test_batch_end"), expected);
        }
        let mut recorder = Recorder::default();
        let options = FitGeneratorOptions {
            validation_data: Some((x.clone(), y.clone()).into()),
            validation_batch_size: batch_size,
            validation_steps: steps,
            callbacks: CallbackList::new().with(&mut recorder),
            verbose: Verbose::Silent,
            ..FitGeneratorOptions::default()
        };
        let source = ArraySequence::new(x.clone(), y.clone()).unwrap();
        trainer.fit_generator(source, options).unwrap();
        assert_eq!(sizes(recorder, "test_batch_end"), expected);
    }
}

#[test]
fn shuffling_is_new_each_epoch_and_can_be_switched_off() {
    let (x, y) = problem(64);
    let run = |shuffle| {
        let options = FitOptions { shuffle, ..quiet() };
        trainer()
            .fit(x.clone(), y.clone(), options)
            .unwrap()
            .get("loss")
    };
    assert_ne!(run(Shuffle::Samples), run(Shuffle::No));
    assert_eq!(run(Shuffle::Samples), run(Shuffle::Samples));
}

#[test]
fn arguments_are_checked_before_anything_changes() {
    let (x, y) = problem(20);
    let (_, short) = problem(19);
    let cases: Vec<(&str, FitOptions<'_>, Array, &str)> = vec![
        (
            "split above",
            FitOptions {
                validation_split: 1.0,
                ..quiet()
            },
            y.clone(),
            "validation_split",
        ),
        (
            "split below",
            FitOptions {
                validation_split: -0.1,
                ..quiet()
            },
            y.clone(),
            "validation_split",
        ),
        (
            "split nan",
            FitOptions {
                validation_split: f64::NAN,
                ..quiet()
            },
            y.clone(),
            "validation_split",
        ),
        (
            "split empty",
            FitOptions {
                validation_split: 0.99,
                ..quiet()
            },
            y.clone(),
            "validation_split",
        ),
        (
            "batch size",
            FitOptions {
                batch_size: Some(0),
                ..quiet()
            },
            y.clone(),
            "batch_size",
        ),
        (
            "steps",
            FitOptions {
                steps_per_epoch: Some(0),
                ..quiet()
            },
            y.clone(),
            "steps_per_epoch",
        ),
        (
            "validation steps",
            FitOptions {
                validation_split: 0.5,
                validation_steps: Some(0),
                ..quiet()
            },
            y.clone(),
            "validation_steps",
        ),
        (
            "weights",
            FitOptions {
                sample_weight: Some(Array::from_vec(&[3], vec![1.0_f32; 3]).unwrap().into()),
                ..quiet()
            },
            y.clone(),
            "sample_weight",
        ),
        ("lengths", quiet(), short, "expected 20, found 19"),
    ];
    for (name, options, y, word) in cases {
        let mut trainer = trainer();
        let before = weights(&trainer);
        let error = trainer.fit(x.clone(), y, options).unwrap_err();
        assert!(error.to_string().contains(word), "{name}: {error}");
        assert_eq!(weights(&trainer), before, "{name}");
        assert_eq!(trainer.optimizer().iterations(), 0, "{name}");
    }
}

#[test]
fn compiling_needs_known_names_an_optimizer_and_a_loss() {
    let compile = |optimizer: &'static str, loss: &'static str, metric: &'static str| {
        let builder = Trainer::builder(network(0.0))
            .optimizer(optimizer)
            .loss(loss);
        builder
            .metric("accuracy")
            .metric(metric)
            .compile()
            .map(|_| ())
    };
    let text = |result: Result<(), TrainError>| result.unwrap_err().to_string();
    assert!(text(compile("adams", "mse", "acc")).contains("unknown optimizer `adams`"));
    assert!(text(compile("adam", "mean", "acc")).contains("unknown loss `mean`"));
    assert!(text(compile("adam", "mse", "precise")).contains("unknown metric `precise`"));
    assert!(text(compile("adam", "mse", "acc")).contains("metrics of different names"));
    let bare = Trainer::builder(network(0.0))
        .loss("mse")
        .compile()
        .map(|_| ());
    assert_eq!(
        text(bare),
        "compiling: invalid optimizer (expected a name or a value, found nothing)"
    );
}

#[test]
fn the_moving_averages_take_the_place_of_the_weights_at_the_end() {
    let (x, y) = problem(64);
    let run = |sgd: Sgd| {
        let mut trainer = Trainer::builder(network(0.0))
            .optimizer(sgd)
            .loss("sparse_categorical_crossentropy")
            .compile()
            .unwrap();
        let start = weights(&trainer);
        trainer.fit(x.clone(), y.clone(), quiet()).unwrap();
        (start, weights(&trainer))
    };
    // Two batches: the average is half of the weights after each of them.
    let two = || Sgd::new(0.5).unwrap();
    let (start, plain) = run(two());
    let (_, averaged) = run(two().use_ema(0.5, None).unwrap());
    // A momentum of 1 keeps the weights of the first update.
    let (_, first) = run(two().use_ema(1.0, None).unwrap());
    assert!(first != start && first != plain);
    for (average, (a, b)) in averaged.iter().zip(first.iter().zip(&plain)) {
        assert_eq!(*average, 0.5 * a + 0.5 * b);
    }
}

/// A layer that adds its parameter `w`, ones at first, to its input.
struct Shift(ParamOptions, Option<ParamId>);

impl Layer for Shift {
    fn class_name(&self) -> &'static str {
        "Shift"
    }

    fn name(&self) -> Option<&str> {
        None
    }

    fn build(
        &mut self,
        input: &[usize],
        builder: &mut LayerBuilder<'_>,
    ) -> Result<Vec<usize>, NnError> {
        let options = self.0.clone();
        self.1 = Some(builder.param_with("w", &[1], Initializer::Ones, options)?);
        Ok(input.to_vec())
    }

    fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor, NnError> {
        let w = pass.value(self.1.ok_or(NnError::NotBuilt)?);
        Ok(x.affine(1.0, f64::from(read::<f32>(w)?[0]))?)
    }

    fn backward(&self, dy: &Tensor, pass: &mut Pass<'_>) -> Result<Option<Tensor>, NnError> {
        let grad = pass.grad(self.1.ok_or(NnError::NotBuilt)?);
        let sum = read::<f32>(dy)?.iter().sum();
        write(grad, |grad: &mut [f32]| grad.fill(sum))?;
        Ok(Some(dy.clone()))
    }
}

#[test]
fn penalties_are_part_of_the_loss_and_constraints_hold_after_updates() {
    // One parameter w = 1, targets equal to w + x: the loss is the penalty alone.
    let zeros = Array::from_vec(&[4, 1], vec![0.0_f32; 4]).unwrap();
    let ones = Array::from_vec(&[4, 1], vec![1.0_f32; 4]).unwrap();
    let fit = |options: ParamOptions| {
        let network = Sequential::builder([1])
            .layer(Shift(options, None))
            .build(test_device(), 0)
            .unwrap();
        let mut trainer = Trainer::builder(network)
            .optimizer(Sgd::new(0.25).unwrap())
            .loss("mean_squared_error")
            .compile()
            .unwrap();
        let batch = Batch::new(zeros.clone(), ones.clone());
        let tested = trainer.test_on_batch(&batch).unwrap().number("loss");
        let trained = trainer.train_on_batch(&batch).unwrap().number("loss");
        assert_eq!(tested, trained);
        (trained.unwrap(), weights(&trainer)[0])
    };
    let regularizer = Some(Arc::new(L2::new(0.5).unwrap()) as _);
    let penalized = ParamOptions {
        regularizer: regularizer.clone(),
        ..ParamOptions::default()
    };
    assert_eq!(fit(ParamOptions::default()), (0.0, 1.0));
    assert_eq!(fit(penalized), (0.5, 0.75));
    let (loss, w) = fit(ParamOptions {
        regularizer,
        constraint: Some(Arc::new(UnitNorm::default())),
        ..ParamOptions::default()
    });
    assert!(loss == 0.5 && (w - 1.0).abs() < 1e-6, "{loss}, {w}");
}
