//! A training whose loss is scaled is the one whose loss is not, and half precision has it scaled.

use crate::support::{FEATURES, network, problem, weights};
use crate::test_device::test_device;
use keros_callbacks::{CallbackList, Decision, EventKind, History, LambdaCallback, Verbose};
use keros_data::{Array, Arrays};
use keros_nn::layers::{Dense, Dropout};
use keros_nn::{Adam, Graph, L2, LossScaleOptimizer, Network, Optimizer, Resolve, Sequential};
use keros_tensor::access::read;
use keros_train::{FitOptions, Trainer};

fn all_weights(params: &keros_tensor::Params) -> Vec<f32> {
    let values = params.iter();
    values
        .flat_map(|(_, param)| read::<f32>(param.value()).unwrap().to_vec())
        .collect()
}

/// A layer with a penalty of its weights and one of its output.
fn penalized() -> Dense {
    Dense::new(8)
        .activation("relu")
        .kernel_regularizer(L2::new(0.1).unwrap())
        .activity_regularizer(L2::new(0.1).unwrap())
}

fn chain() -> Sequential {
    Sequential::builder([FEATURES])
        .layer(penalized())
        .layer(Dropout::new(0.25))
        .layer(Dense::new(3).activation("softmax"))
        .build(test_device(), 5)
        .unwrap()
}

fn graph() -> Graph {
    let mut g = Graph::builder();
    let x = g.input("x", [FEATURES]);
    let hidden = g.layer(penalized(), x);
    let class = g.layer(Dense::new(3).activation("softmax"), hidden);
    let size = g.layer(Dense::new(1), hidden);
    g.build(&[("class", class), ("size", size)], test_device(), 5)
        .unwrap()
}

/// The history, the gradients that callbacks saw and the weights in the end.
fn train<N: Network>(
    mut trainer: Trainer<N>,
    targets: Arrays,
) -> (History, Vec<Vec<f32>>, Vec<f32>) {
    let mut seen = Vec::new();
    let looking = LambdaCallback::new().on(EventKind::BeforeStep, |cx| {
        let mut gradient = Vec::new();
        cx.read_gradient(0, &mut gradient)?;
        seen.push(gradient);
        Ok(Decision::CONTINUE)
    });
    let options = FitOptions {
        batch_size: Some(8),
        epochs: 3,
        verbose: Verbose::Silent,
        callbacks: CallbackList::new().with(looking),
        ..FitOptions::default()
    };
    let history = trainer.fit(problem(44).0, targets, options).unwrap();
    let weights = all_weights(trainer.network().params());
    (history, seen, weights)
}

/// Adam, and Adam whose loss is scaled by a power of two that grows and shrinks within the training.
fn optimizers() -> [Box<dyn Optimizer>; 2] {
    let scaled = LossScaleOptimizer::new("adam").unwrap();
    let scaled = scaled.dynamic_growth_steps(4).unwrap();
    ["adam".resolve().unwrap(), Box::new(scaled)]
}

#[test]
fn a_training_with_penalties_and_several_outputs_is_the_same_with_a_scale() {
    let labels = problem(44).1;
    let [plain, scaled] = optimizers().map(|optimizer| {
        let trainer = Trainer::builder(chain())
            .optimizer(optimizer)
            .loss("sparse_categorical_crossentropy")
            .metric("accuracy");
        train(trainer.compile().unwrap(), labels.clone().into())
    });
    assert_eq!(plain.1.len(), 18);
    assert_eq!((plain.1, plain.2), (scaled.1, scaled.2));
    assert_eq!(plain.0.get("loss"), scaled.0.get("loss"));

    let size = Array::from_vec(&[44, 1], vec![0.25_f32; 44]).unwrap();
    let targets = Arrays::from_pairs([("class", labels), ("size", size)]).unwrap();
    let [plain, scaled] = optimizers().map(|optimizer| {
        let trainer = Trainer::builder(graph())
            .optimizer(optimizer)
            .loss_for("class", "sparse_categorical_crossentropy")
            .loss_for("size", "mse")
            .loss_weight("size", 0.5);
        train(trainer.compile().unwrap(), targets.clone())
    });
    assert_eq!((plain.1, plain.2), (scaled.1, scaled.2));
    assert_eq!(plain.0.get("loss"), scaled.0.get("loss"));
}

#[test]
fn batches_that_are_skipped_because_they_overflow_lower_the_scale() {
    let scaled = LossScaleOptimizer::new("adam").unwrap();
    let mut trainer = Trainer::builder(network(0.0))
        .optimizer(scaled.initial_scale(f64::from(f32::MAX)).unwrap())
        .loss("sparse_categorical_crossentropy")
        .compile()
        .unwrap();
    let mut skipped = 0;
    let callbacks =
        CallbackList::new().with(LambdaCallback::new().on(EventKind::AfterBackward, |cx| {
            let (mut gradient, mut finite) = (Vec::new(), true);
            for index in 0..cx.params().len() {
                cx.read_gradient(index, &mut gradient)?;
                finite &= gradient.iter().all(|value| value.is_finite());
            }
            if finite {
                return Ok(Decision::CONTINUE);
            }
            skipped += 1;
            Ok(Decision::skip_batch())
        }));
    let (x, y) = problem(96);
    let heavy = Array::from_vec(&[96], vec![1000.0_f32; 96]).unwrap();
    let options = FitOptions {
        batch_size: Some(8),
        sample_weight: Some(heavy.into()),
        verbose: Verbose::Silent,
        callbacks,
        ..FitOptions::default()
    };
    trainer.fit(x, y, options).unwrap();
    assert!((1..12).contains(&skipped), "{skipped}");
    assert_eq!(trainer.optimizer().iterations(), 12 - skipped);
    let lowered = f64::from(f32::MAX) / f64::from(1 << skipped);
    assert_eq!(trainer.optimizer().loss_scale(), Some(lowered));
}

#[test]
fn half_precision_has_its_loss_scaled() {
    if test_device().is_cpu() {
        return;
    }
    let (x, y) = problem(96);
    let builder = || {
        Trainer::builder(network(0.0))
            .loss("sparse_categorical_crossentropy")
            .dtype_policy("mixed_float16")
    };
    let scale = |trainer: &Trainer<Sequential>| trainer.optimizer().loss_scale();
    let by_name = builder().optimizer("adam").compile().unwrap();
    assert_eq!(scale(&by_name), Some(32768.0));
    let unscaled = builder().optimizer("adam").auto_scale_loss(false);
    assert_eq!(scale(&unscaled.compile().unwrap()), None);
    // The network may know it before.
    let mut known = network(0.0);
    known
        .set_dtype_policy("mixed_float16".parse().unwrap())
        .unwrap();
    let known = Trainer::builder(known)
        .loss("mse")
        .optimizer("sgd")
        .compile();
    assert_eq!(scale(&known.unwrap()), Some(32768.0));

    // A scale that is far too large is given up, a step each time, and then the network learns.
    let own = LossScaleOptimizer::new(Adam::new(0.01).unwrap()).unwrap();
    let own = own.initial_scale(f64::from(1 << 30)).unwrap();
    let mut trainer = builder().optimizer(own).compile().unwrap();
    let before = weights(&trainer);
    let options = |epochs| FitOptions {
        batch_size: Some(8),
        epochs,
        verbose: Verbose::Silent,
        ..FitOptions::default()
    };
    trainer.fit(x.clone(), y.clone(), options(1)).unwrap();
    let passed_over = 12 - trainer.optimizer().iterations();
    assert!((1..12).contains(&passed_over), "{passed_over}");
    let expected = f64::from(1 << 30) / f64::from(1 << passed_over);
    assert_eq!(scale(&trainer), Some(expected));
    assert_ne!(weights(&trainer), before);
    let history = trainer.fit(x, y, options(12)).unwrap();
    let loss = history.get("loss");
    assert!(loss[11] < 0.8 * loss[0], "{loss:?}");
    assert!(weights(&trainer).iter().all(|w| w.is_finite()));
}
