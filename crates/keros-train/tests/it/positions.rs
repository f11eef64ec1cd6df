//! Labels and weights of the positions of a sample: the pixels of a mask.

use crate::test_device::test_device;
use keros_callbacks::Verbose;
use keros_data::{Array, Batch};
use keros_nn::layers::Conv2D;
use keros_nn::losses::{BinaryCrossentropy, Dice, Loss};
use keros_nn::metrics::LossMetric;
use keros_nn::{
    Activation, MeanSquaredError, Network, Reduction, Sequential, SparseCategoricalCrossentropy,
};
use keros_tensor::access::read;
use keros_train::{FitOptions, Trainer};

const SAMPLES: usize = 3;
const SIDE: usize = 4;
const PIXELS: usize = SAMPLES * SIDE * SIDE;
const CLASSES: usize = 3;

fn number(i: usize) -> f32 {
    ((i as f32 * 12.9898).sin() * 43.7585).fract()
}

fn array(last: &[usize], values: impl Fn(usize) -> f32) -> Array {
    let shape = [&[SAMPLES, SIDE, SIDE], last].concat();
    let count = shape.iter().product();
    Array::from_vec(&shape, (0..count).map(values).collect()).unwrap()
}

fn images() -> Array {
    array(&[2], number)
}

/// Each pixel's class is where its first channel lies.
fn labels(last: &[usize]) -> Array {
    array(last, |i| ((number(2 * i) + 1.0) * 1.49).floor())
}

fn weights(last: &[usize]) -> Array {
    array(last, |i| (i % 5) as f32 / 2.0)
}

fn trainer(loss: impl Loss + 'static, classes: usize, end: Activation) -> Trainer<Sequential> {
    let network = Sequential::builder([SIDE, SIDE, 2])
        .layer(Conv2D::new(classes, 1).activation(end))
        .build(test_device(), 7)
        .unwrap();
    Trainer::builder(network)
        .optimizer("sgd")
        .loss(loss)
        .metric("accuracy")
        .weighted_metric(weighted_accuracy(classes))
        .compile()
        .unwrap()
}

fn weighted_accuracy(classes: usize) -> &'static str {
    match classes {
        CLASSES => "sparse_categorical_accuracy",
        _ => "binary_accuracy",
    }
}

fn of_classes() -> Trainer<Sequential> {
    let loss = SparseCategoricalCrossentropy::new();
    trainer(loss, CLASSES, Activation::Softmax)
}

/// Loss, accuracy and weighted accuracy of a batch, and the parameters after it.
fn step(mut trainer: Trainer<Sequential>, batch: Batch) -> ([f64; 3], Vec<f32>) {
    let logs = trainer.train_on_batch(&batch).unwrap();
    let channels = trainer.network().outputs()[0].shape[2];
    let keys = ["loss", "accuracy", weighted_accuracy(channels)];
    let params = trainer.network().params().iter();
    let values = params.flat_map(|(_, p)| read::<f32>(p.value()).unwrap().to_vec());
    (keys.map(|key| logs.number(key).unwrap()), values.collect())
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-5 * b.abs().max(1.0)
}

/// What the network of [`of_classes`] makes of the pixels: the probabilities of each.
fn probabilities() -> Vec<f32> {
    let mut trainer = of_classes();
    let outputs = trainer.predict_on_batch(images()).unwrap();
    outputs[0].as_slice::<f32>().unwrap().to_vec()
}

#[test]
fn a_mask_of_labels_has_one_for_each_pixel() {
    let (expected, params) = step(of_classes(), Batch::new(images(), labels(&[])));
    let truth = labels(&[]);
    let truth = truth.as_slice::<f32>().unwrap();
    let p = probabilities();
    let (mut loss, mut hits) = (0.0, 0.0);
    for (label, p) in truth.iter().zip(p.chunks(CLASSES)) {
        loss -= f64::from(p[*label as usize]).ln();
        let best = (0..CLASSES).max_by(|a, b| p[*a].total_cmp(&p[*b])).unwrap();
        hits += f64::from(u8::from(best == *label as usize));
    }
    assert!(
        close(expected[0], loss / PIXELS as f64),
        "{expected:?}, {loss}"
    );
    assert!(
        close(expected[1], hits / PIXELS as f64),
        "{expected:?}, {hits}"
    );

    let bytes = truth.iter().map(|label| *label as u8).collect();
    let bytes = Array::from_vec(&[SAMPLES, SIDE, SIDE, 1], bytes).unwrap();
    let column = Batch::new(images(), bytes);
    assert_eq!(step(of_classes(), column), (expected, params));
}

#[test]
fn weights_of_pixels_weigh_loss_gradient_and_metrics() {
    let batch = || Batch::new(images(), labels(&[]));
    let (plain, params) = step(of_classes(), batch());
    let ones = array(&[], |_| 1.0);
    let (with_ones, of_ones) = step(of_classes(), batch().sample_weight(ones));
    assert!(close(with_ones[0], plain[0]));
    assert_eq!(with_ones[1..], plain[1..]);
    assert!(
        params
            .iter()
            .zip(&of_ones)
            .all(|(a, b)| (a - b).abs() < 1e-6)
    );

    // One weight for all pixels of a sample is the weight of the sample.
    let of_samples = Array::from_vec(&[SAMPLES], vec![0.5_f32, 2.0, 0.0]).unwrap();
    let of_pixels = array(&[1], |i| [0.5, 2.0, 0.0][i / (SIDE * SIDE)]);
    let (by_sample, a) = step(of_classes(), batch().sample_weight(of_samples));
    let (by_pixel, b) = step(of_classes(), batch().sample_weight(of_pixels));
    assert!(
        (0..3).all(|i| close(by_sample[i], by_pixel[i])),
        "{by_sample:?}, {by_pixel:?}"
    );
    assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-6));

    let (weighted, _) = step(of_classes(), batch().sample_weight(weights(&[])));
    let (truth, w) = (labels(&[]), weights(&[]));
    let (truth, w) = (
        truth.as_slice::<f32>().unwrap(),
        w.as_slice::<f32>().unwrap(),
    );
    let p = probabilities();
    let (mut loss, mut hits, mut total) = (0.0, 0.0, 0.0);
    for (i, p) in p.chunks(CLASSES).enumerate() {
        let (label, weight) = (truth[i] as usize, f64::from(w[i]));
        loss -= weight * f64::from(p[label]).ln();
        let best = (0..CLASSES).max_by(|a, b| p[*a].total_cmp(&p[*b])).unwrap();
        hits += weight * f64::from(u8::from(best == label));
        total += weight;
    }
    assert!(
        close(weighted[0], loss / PIXELS as f64),
        "{weighted:?}, {loss}"
    );
    assert_eq!(weighted[1], plain[1]);
    assert!(
        close(weighted[2], hits / total),
        "{weighted:?}, {hits}, {total}"
    );

    let mean = SparseCategoricalCrossentropy::new().with_reduction(Reduction::MeanWithSampleWeight);
    let mean = trainer(mean, CLASSES, Activation::Softmax);
    let (of_weights, _) = step(mean, batch().sample_weight(weights(&[])));
    assert!(close(of_weights[0], loss / total), "{of_weights:?}");
}

#[test]
fn pixels_without_weight_teach_nothing() {
    let first_rows = array(&[], |i| f32::from(i % (SIDE * SIDE) < SIDE));
    let wrong_below = array(&[], |i| match i % (SIDE * SIDE) < SIDE {
        true => ((number(2 * i) + 1.0) * 1.49).floor(),
        false => 0.0,
    });
    let batch = |labels| Batch::new(images(), labels).sample_weight(first_rows.clone());
    let ([loss, _, weighted], params) = step(of_classes(), batch(labels(&[])));
    let ([same, _, accuracy], others) = step(of_classes(), batch(wrong_below));
    assert_eq!((loss, weighted), (same, accuracy));
    assert_eq!(params, others);
}

#[test]
fn masks_of_one_value_and_losses_of_values_take_weights_of_pixels_too() {
    let target = || array(&[1], |i| (i % 2) as f32);
    let sigmoid = || trainer(BinaryCrossentropy::new(), 1, Activation::Sigmoid);
    let run = |w: Array| step(sigmoid(), Batch::new(images(), target()).sample_weight(w));
    assert_eq!(run(weights(&[])), run(weights(&[1])));
    let squares = || trainer(MeanSquaredError::new(), 2, Activation::Linear);
    let batch = Batch::new(images(), images()).sample_weight(weights(&[]));
    let ([loss, ..], _) = step(squares(), batch);
    assert!(loss.is_finite());
}

#[test]
fn an_axis_of_one_position_is_one_like_any_other() {
    let column = |last: &[usize], values: fn(usize) -> f32| {
        let shape = [&[SAMPLES, SIDE, 1], last].concat();
        let count = shape.iter().product();
        Array::from_vec(&shape, (0..count).map(values).collect()).unwrap()
    };
    let run = |labels: Array, shape: &[usize]| {
        let network = Sequential::builder([SIDE, 1, 2])
            .layer(Conv2D::new(CLASSES, 1).activation("softmax"))
            .build(test_device(), 7)
            .unwrap();
        let builder = Trainer::builder(network).optimizer("sgd");
        let builder = builder.loss("sparse_categorical_crossentropy");
        let mut trainer = builder.compile().unwrap();
        let weights = (0..SAMPLES * SIDE).map(|i| (i % 5) as f32 / 2.0).collect();
        let weights = Array::from_vec(shape, weights).unwrap();
        let batch = Batch::new(column(&[2], number), labels).sample_weight(weights);
        trainer.train_on_batch(&batch).unwrap().number("loss")
    };
    let labels = |last: &[usize]| column(last, |i| (i % 3) as f32);
    let shapes: [&[usize]; 3] = [
        &[SAMPLES, SIDE, 1],
        &[SAMPLES, SIDE],
        &[SAMPLES, SIDE, 1, 1],
    ];
    let expected = run(labels(&[]), shapes[0]);
    for shape in shapes {
        assert_eq!(run(labels(&[]), shape), expected, "{shape:?}");
        assert_eq!(run(labels(&[1]), shape), expected, "{shape:?}");
    }
}

#[test]
fn a_fit_takes_them_with_the_rows() {
    let options = || FitOptions {
        batch_size: Some(2),
        epochs: 3,
        sample_weight: Some(weights(&[]).into()),
        validation_data: Some((images(), labels(&[]), weights(&[])).into()),
        verbose: Verbose::Silent,
        ..FitOptions::default()
    };
    let history = of_classes().fit(images(), labels(&[]), options()).unwrap();
    let losses = history.get("loss");
    assert!(losses[2] < losses[0], "{losses:?}");
    assert_eq!(history.get("val_sparse_categorical_accuracy").len(), 3);
}

#[test]
fn weights_of_another_shape_are_refused() {
    let refused = |mut trainer: Trainer<Sequential>, y: Array, w: Array, words: &str| {
        let batch = Batch::new(images(), y).sample_weight(w);
        let error = trainer.train_on_batch(&batch).unwrap_err().to_string();
        assert!(error.contains(words), "{error} does not say {words}");
        assert_eq!(trainer.optimizer().iterations(), 0);
    };
    let flat = Array::from_vec(&[SAMPLES, SIDE * SIDE], vec![1.0_f32; PIXELS]).unwrap();
    refused(
        of_classes(),
        labels(&[]),
        flat,
        "sample weights have the wrong shape (expected [3], or [3, 4, 4] for those of positions, found [3, 16])",
    );
    let dice = trainer(Dice::new(), 1, Activation::Sigmoid);
    let mask = array(&[1], |i| (i % 2) as f32);
    refused(
        dice,
        mask,
        weights(&[]),
        "expected [3]: `dice` has no value for each position, found [3, 4, 4]",
    );
    let negative = array(&[], |i| if i == 21 { -1.0 } else { 0.0 });
    refused(
        of_classes(),
        negative,
        weights(&[]),
        "the label of row 1, position 5 is no class index (expected a whole number from 0, found -1)",
    );
}

#[test]
fn metrics_without_weights_see_whole_samples() {
    let dice = |weights: Option<Array>| {
        let network = Sequential::builder([SIDE, SIDE, 2])
            .layer(Conv2D::new(1, 1).activation(Activation::Sigmoid))
            .build(test_device(), 7)
            .unwrap();
        let mut trainer = Trainer::builder(network)
            .optimizer("sgd")
            .loss(BinaryCrossentropy::new())
            .metric(LossMetric::new(Dice::new().each_sample(true)))
            .compile()
            .unwrap();
        let mask = array(&[1], |i| f32::from(u8::from(i % 7 == 0)));
        let mut batch = Batch::new(images(), mask);
        if let Some(weights) = weights {
            batch = batch.sample_weight(weights);
        }
        trainer.train_on_batch(&batch).unwrap().number("dice")
    };
    assert_eq!(dice(Some(weights(&[]))), dice(None));
}
