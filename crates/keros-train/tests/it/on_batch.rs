//! Single batches.

use crate::support::{problem, trainer, weights};
use crate::test_device::test_device;
use keros_callbacks::Verbose;
use keros_data::{Array, Arrays, Batch};
use keros_nn::layers::{BatchNormalization, Dense};
use keros_nn::{Activation, CandleNetwork, L2, Port, Sequential};
use keros_tensor::{DType, Device, Tensor, Var};
use keros_train::{ClassWeight, FitOptions, TrainError, TrainOnBatchOptions, Trainer};

fn batch(range: std::ops::Range<usize>) -> Batch {
    let (x, y) = problem(200);
    Batch::new(x.slice(range.clone()).unwrap(), y.slice(range).unwrap())
}

#[test]
fn any_number_of_rows_is_one_update_and_the_loss_is_that_before_it() {
    let mut trainer = trainer();
    for (n, rows) in [32, 1, 57, 100].into_iter().enumerate() {
        let logs = trainer.train_on_batch(&batch(0..rows)).unwrap();
        assert_eq!(trainer.optimizer().iterations(), n as u64 + 1);
        assert_eq!(
            logs.iter().map(|(key, _)| key).collect::<Vec<_>>(),
            ["loss", "accuracy"]
        );
    }
    let before = trainer.test_on_batch(&batch(0..50)).unwrap();
    let again = trainer.test_on_batch(&batch(0..50)).unwrap();
    assert_eq!(
        before, again,
        "testing changes nothing and forgets the batches before"
    );
}

#[test]
fn labels_may_be_bytes_integers_or_floats_and_inputs_named() {
    let (x, y) = problem(10);
    let labels = y.as_slice::<i64>().unwrap();
    let bytes = Array::from_vec(&[10], labels.iter().map(|l| *l as u8).collect()).unwrap();
    let floats = Array::from_vec(&[10, 1], labels.iter().map(|l| *l as f32).collect()).unwrap();
    let expected = trainer()
        .test_on_batch(&Batch::new(x.clone(), y.clone()))
        .unwrap();
    for targets in [bytes, floats] {
        let found = trainer()
            .test_on_batch(&Batch::new(x.clone(), targets))
            .unwrap();
        assert_eq!(found, expected);
    }
    let inputs = Arrays::from_pairs([("input", x)]).unwrap();
    let targets = Arrays::from_pairs([("dense_1", y)]).unwrap();
    let found = trainer()
        .test_on_batch(&Batch::new(inputs, targets))
        .unwrap();
    assert_eq!(found, expected);
}

#[test]
fn batches_that_do_not_fit_are_refused_and_leave_the_weights() {
    let (x, y) = problem(4);
    let wrong_width = Array::from_vec(&[4, 5], vec![0.0_f32; 20]).unwrap();
    let labels = |values: Vec<f32>| Array::from_vec(&[values.len()], values).unwrap();
    let named = Arrays::from_pairs([("pixels", x.clone())]).unwrap();
    let cases: Vec<(Batch, &str)> = vec![
        (
            Batch::new(wrong_width, y.clone()),
            "expected F32 [N, 4], found [4, 5]",
        ),
        (
            Batch::new(named, y.clone()),
            "wrong names (expected `input`, found `pixels`)",
        ),
        (Batch::inputs_only(x.clone()), "no targets"),
        (
            Batch::new(x.clone(), labels(vec![0.0, 1.0, 2.0, 3.0])),
            "label of sample 3",
        ),
        (
            Batch::new(x.clone(), labels(vec![0.0, 1.5, 2.0, 0.0])),
            "row 1",
        ),
        (
            Batch::new(x.clone(), labels(vec![0.0, 1.0, -1.0, 0.0])),
            "row 2",
        ),
        (
            Batch::new(x.clone(), labels(vec![f32::NAN, 1.0, 1.0, 0.0])),
            "row 0",
        ),
        (
            Batch::new(x.clone(), labels(vec![0.0; 3])),
            "expected 4, found 3",
        ),
        (
            Batch::new(
                x.clone(),
                Array::from_vec(&[4, 3], vec![0.0_f32; 12]).unwrap(),
            ),
            "labels: wrong shape (expected [4], one for each row of the output, found [4, 3])",
        ),
        (
            Batch::new(x.clone(), y.clone())
                .sample_weight(Array::from_vec(&[4, 2], vec![1.0_f32; 8]).unwrap()),
            "sample weights have the wrong shape",
        ),
    ];
    for (batch, words) in cases {
        let mut trainer = trainer();
        let before = weights(&trainer);
        let error: TrainError = trainer.train_on_batch(&batch).unwrap_err();
        assert!(
            error.to_string().contains(words),
            "{error} does not say {words}"
        );
        assert_eq!(weights(&trainer), before);
        assert_eq!(trainer.optimizer().iterations(), 0);
    }
}

#[test]
fn a_batch_that_is_refused_leaves_no_trace_in_statistics() {
    let (x, y) = problem(4);
    let good = || Batch::new(x.clone(), y.clone());
    let labels = |values: Vec<f32>| Array::from_vec(&[4], values).unwrap();
    let ones = || Array::from_vec(&[4], vec![1.0_f32; 4]).unwrap();
    let named = |name| Arrays::from_pairs([(name, ones())]).unwrap();
    let two = || Array::from_vec(&[4, 2], vec![1.0_f32; 8]).unwrap();
    let weighs = || Some(ClassWeight::new([(1, 3.0)]).unwrap());
    let cases = [
        (Batch::inputs_only(x.clone()), None, "no targets"),
        (
            Batch::new(x.clone(), named("mask")),
            None,
            "expected `dense`, found `mask`",
        ),
        (
            Batch::new(x.clone(), labels(vec![0.0, 1.5, 2.0, 0.0])),
            None,
            "row 1",
        ),
        (good().sample_weight(named("mask")), None, "found `mask`"),
        (
            good().sample_weight(named("mask")),
            weighs(),
            "found `mask`",
        ),
        (
            good().sample_weight(two()),
            weighs(),
            "sample weights have the wrong shape (expected [4], found [4, 2])",
        ),
        (
            good().sample_weight(two()),
            None,
            "sample weights have the wrong shape (expected [4], found [4, 2])",
        ),
        (
            Batch::new(x.clone(), labels(vec![0.0, 1.0, -1.0, 0.0])),
            weighs(),
            "row 2",
        ),
    ];
    for (batch, class_weight, words) in cases {
        let network = Sequential::builder([4])
            .layer(BatchNormalization::new())
            .layer(Dense::new(3).activation("softmax"))
            .build(test_device(), 5)
            .unwrap();
        let mut trainer = Trainer::builder(network)
            .optimizer("sgd")
            .loss("sparse_categorical_crossentropy")
            .compile()
            .unwrap();
        let before = weights(&trainer);
        let options = TrainOnBatchOptions {
            class_weight,
            ..TrainOnBatchOptions::default()
        };
        let error = trainer.train_on_batch_with(&batch, &options).unwrap_err();
        let error = error.to_string();
        assert!(error.contains(words), "{error} does not say {words}");
        assert_eq!(weights(&trainer), before, "{words}");
        trainer.train_on_batch(&good()).unwrap();
        assert_ne!(weights(&trainer), before);
    }
}

#[test]
fn weights_of_classes_are_weights_of_samples_and_multiply_with_them() {
    let (x, y) = problem(30);
    let labels = y.as_slice::<i64>().unwrap();
    let by_class = |label: &i64| if *label == 1 { 3.0_f32 } else { 1.0 };
    let own: Vec<f32> = (0..30).map(|n| 0.5 + n as f32 / 30.0).collect();
    let array = |values: Vec<f32>| Array::from_vec(&[30], values).unwrap();
    let products = labels.iter().zip(&own).map(|(l, w)| by_class(l) * w);
    let products: Vec<f32> = products.collect();
    let column = Array::from_vec(&[30, 1], own.clone()).unwrap();
    let named = Arrays::from_pairs([("dense_1", column.clone())]).unwrap();
    let cases: [(Option<Arrays>, Vec<f32>); 4] = [
        (None, labels.iter().map(by_class).collect()),
        (Some(array(own).into()), products.clone()),
        (Some(column.into()), products.clone()),
        (Some(named), products),
    ];
    let options = TrainOnBatchOptions {
        class_weight: Some(ClassWeight::new([(1, 3.0)]).unwrap()),
        ..TrainOnBatchOptions::default()
    };
    for (sample_weight, product) in cases {
        let batch = Batch::new(x.clone(), y.clone());
        let given = match sample_weight {
            Some(weights) => batch.clone().sample_weight(weights),
            None => batch.clone(),
        };
        let expected = batch.sample_weight(array(product));
        let (mut weighted, mut reference) = (trainer(), trainer());
        assert_eq!(
            weighted.train_on_batch_with(&given, &options).unwrap(),
            reference.train_on_batch(&expected).unwrap()
        );
        assert_eq!(weights(&weighted), weights(&reference));
    }
    assert!(ClassWeight::new([(0, -1.0)]).is_err());
    assert!(ClassWeight::new([(0, f32::NAN)]).is_err());
    assert!(ClassWeight::new([(0, 1.0), (0, 2.0)]).is_err());
    let wrong = Array::from_vec(&[2], vec![0.0_f32, -1.0]).unwrap();
    let error = ClassWeight::default().sample_weight(&wrong).unwrap_err();
    assert!(error.to_string().contains("row 1"), "{error}");
}

#[test]
fn fit_weighs_classes_in_training_and_not_in_validation() {
    let (x, y) = problem(40);
    let labels = y.as_slice::<i64>().unwrap();
    let by_class = |label: &i64| if *label == 0 { 0.25_f32 } else { 1.0 };
    let rows = Array::from_vec(&[40], labels.iter().map(by_class).collect()).unwrap();
    let run = |class_weight, sample_weight| {
        let options = FitOptions {
            epochs: 2,
            verbose: Verbose::Silent,
            validation_data: Some((x.clone(), y.clone()).into()),
            class_weight,
            sample_weight,
            ..FitOptions::default()
        };
        let history = trainer().fit(x.clone(), y.clone(), options).unwrap();
        [
            history.get("loss").to_vec(),
            history.get("val_loss").to_vec(),
        ]
    };
    let classes = ClassWeight::new([(0, 0.25)]).unwrap();
    assert_eq!(run(Some(classes), None), run(None, Some(rows.into())));
}

#[test]
fn penalties_of_outputs_are_part_of_the_loss() {
    let trainer = |strength| {
        let network = Sequential::builder([3])
            .layer(Dense::new(4).activity_regularizer(L2::new(strength).unwrap()))
            .layer(Dense::new(2).activation("softmax"))
            .build(test_device(), 5)
            .unwrap();
        let builder = Trainer::builder(network).optimizer("sgd");
        builder
            .loss("sparse_categorical_crossentropy")
            .compile()
            .unwrap()
    };
    let x = Array::from_vec(&[4, 3], (0..12).map(|i| i as f32 / 5.0).collect()).unwrap();
    let y = Array::from_vec(&[4], vec![0_i64, 1, 1, 0]).unwrap();
    let batch = Batch::new(x, y);
    let loss = |strength| {
        trainer(strength)
            .test_on_batch(&batch)
            .unwrap()
            .number("loss")
            .unwrap()
    };
    let (none, one, two) = (loss(0.0), loss(0.1), loss(0.2));
    assert!(one > none, "{none} {one}");
    assert!(
        (two - none - 2.0 * (one - none)).abs() < 1e-6,
        "{none} {one} {two}"
    );
    let mut trained = trainer(0.2);
    assert_eq!(
        trained
            .train_on_batch(&batch)
            .unwrap()
            .number("loss")
            .unwrap(),
        two
    );
    assert!(
        trained
            .test_on_batch(&batch)
            .unwrap()
            .number("loss")
            .unwrap()
            < two
    );
}

#[test]
fn a_network_in_candles_operations_is_trained() {
    // On the CPU: how candle multiplies elsewhere is not ours to test.
    let weight = Var::zeros((3, 2), DType::F32, &Device::Cpu).unwrap();
    let kept = weight.clone();
    let forward = move |inputs: &[Tensor], _: bool| Ok(vec![inputs[0].matmul(&weight)?]);
    let (x, y) = (Port::new("x", [3]), Port::new("class", [2]));
    let network = CandleNetwork::new([x], [y], [("weight".to_owned(), kept)], forward).unwrap();
    let network = network.activation("class", Activation::Softmax).unwrap();
    let builder = Trainer::builder(network).optimizer("sgd");
    let mut trainer = builder
        .loss("sparse_categorical_crossentropy")
        .compile()
        .unwrap();
    let x = Array::from_vec(&[4, 3], (0..12).map(|i| (i as f32).sin()).collect()).unwrap();
    let y = Array::from_vec(&[4], vec![0_i64, 1, 1, 0]).unwrap();
    let batch = Batch::new(x, y);
    let mut losses = Vec::new();
    for _ in 0..30 {
        losses.push(
            trainer
                .train_on_batch(&batch)
                .unwrap()
                .number("loss")
                .unwrap(),
        );
    }
    assert!((losses[0] - std::f64::consts::LN_2).abs() < 1e-6);
    assert!(
        losses.windows(2).all(|pair| pair[1] < pair[0]),
        "{losses:?}"
    );
}
