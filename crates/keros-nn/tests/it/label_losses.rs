//! Losses of labels that are no cross-entropy, against numbers of Keras 3.15 on JAX.

use crate::test_device::test_device;
use keros_nn::losses::{CategoricalGeneralizedCrossEntropy, Circle, Ctc};
use keros_nn::{Activation, Loss, Output, Reduction, Target};
use keros_tensor::access::read;
use keros_tensor::{Tensor, Workspace};

/// Embeddings of length 1, their classes, and weights.
const EMBEDDINGS: [f32; 18] = [
    0.55860233,
    0.59486896,
    0.578009,
    -0.78464663,
    -0.46561632,
    -0.40930566,
    0.7312345,
    0.051319167,
    -0.68019295,
    0.999084,
    -0.036143333,
    -0.022909582,
    0.40925884,
    -0.90888536,
    -0.080215834,
    0.68933636,
    0.66721976,
    0.2821935,
];
const CLASSES: [u32; 6] = [0, 1, 0, 2, 1, 1];
const WEIGHTS: [f32; 6] = [1.0, 2.0, 0.0, 1.0, 0.5, 1.0];

/// Two sequences of four steps.
const SEQUENCES: [f32; 24] = [
    -0.6100321,
    1.9111563,
    -1.2257336,
    0.18551241,
    0.49340197,
    0.36088297,
    0.5286925,
    -0.43503422,
    -0.0014094033,
    -0.8339873,
    0.97517985,
    0.6283193,
    -1.8241149,
    0.6272008,
    0.24499792,
    0.6185646,
    -1.8506738,
    -1.3135402,
    1.2002754,
    0.55105245,
    1.5707932,
    0.79671156,
    0.2567903,
    1.6985422,
];

const PROBABILITIES: [f32; 12] = [
    0.41033876, 0.36335045, 0.22631079, 0.4229455, 0.33409575, 0.24295874, 0.21891928, 0.5175453,
    0.26353544, 0.14088799, 0.2937984, 0.56531364,
];

fn output(values: &[f32], dims: &[usize]) -> Output {
    Output {
        logits: Tensor::from_vec(values.to_vec(), dims, test_device()).unwrap(),
        activation: Activation::Linear,
    }
}

fn labels(labels: &[u32], dims: &[usize]) -> Target {
    Target::Labels(Tensor::from_vec(labels.to_vec(), dims, test_device()).unwrap())
}

fn close(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    for (f, e) in found.iter().zip(expected) {
        assert!(
            (f - e).abs() < 2e-5 * e.abs().max(1.0),
            "{found:?} is not {expected:?}"
        );
    }
}

/// The losses, that of the batch, and the gradient.
fn run(
    loss: &dyn Loss,
    output: &Output,
    target: &Target,
    weights: Option<&[f32]>,
) -> (Vec<f32>, f32, Vec<f32>) {
    let ws = &mut Workspace::new(test_device());
    let weights = weights.map(|weights| Tensor::new(weights, test_device()).unwrap());
    let weights = weights.as_ref();
    loss.check_target(output, target).unwrap();
    let scale = loss.scale(output, target, weights).unwrap();
    let found = loss
        .compute(ws, output, target, weights, scale as f32)
        .unwrap();
    let losses = read::<f32>(&found.per_sample).unwrap().to_vec();
    let weights = weights.map(|weights| read::<f32>(weights).unwrap().to_vec());
    let weight = |i: usize| weights.as_ref().map_or(1.0, |weights| weights[i]);
    let sum: f32 = losses
        .iter()
        .enumerate()
        .map(|(i, loss)| loss * weight(i))
        .sum();
    (
        losses,
        sum * scale as f32,
        read::<f32>(&found.grad).unwrap().to_vec(),
    )
}

#[test]
fn circles_are_those_of_keras() {
    let (embeddings, classes) = (output(&EMBEDDINGS, &[6, 3]), labels(&CLASSES, &[6]));
    let gentle = || Circle::new().gamma(10.0).unwrap();
    let cases = [
        (
            Circle::new(),
            [118.68837, 297.44308, 91.55146, 0.0, 135.28598, 355.39978],
            199.67375,
            227.32347,
        ),
        (
            gentle().margin(0.25).unwrap(),
            [16.788582, 39.166756, 13.423944, 0.0, 19.342852, 46.385403],
            27.02151,
            30.235786,
        ),
        (
            gentle().remove_diagonal(false),
            [
                14.839329, 38.032936, 11.477499, 2.747399, 17.533104, 44.435406,
            ],
            21.510946,
            24.47576,
        ),
    ];
    for (circle, losses, mean, weighted) in cases {
        let (found, total, _) = run(&circle, &embeddings, &classes, None);
        close(&found, &losses);
        close(&[total], &[mean]);
        close(
            &[run(&circle, &embeddings, &classes, Some(&WEIGHTS)).1],
            &[weighted],
        );
    }
    let (_, _, grads) = run(&gentle().margin(0.25).unwrap(), &embeddings, &classes, None);
    close(
        &grads,
        &[
            -0.3992399,
            4.6201854,
            7.3118052,
            -10.847747,
            -10.499603,
            -4.4407206,
            -1.248574,
            -4.8916135,
            -4.495989,
            2.5812094,
            -0.82696044,
            -2.043162,
            -2.4118826,
            -3.619695,
            -1.7388613,
            14.378172,
            16.692482,
            11.2022,
        ],
    );
}

#[test]
fn ctc_is_that_of_keras() {
    let (sequences, truth) = (
        output(&SEQUENCES, &[2, 4, 3]),
        labels(&[1, 2, 2, 0], &[2, 2]),
    );
    let (losses, mean, grads) = run(&Ctc::new(), &sequences, &truth, None);
    close(&losses, &[1.245113, 2.5719292]);
    close(&[mean], &[1.9085212]);
    close(
        &grads,
        &[
            0.013978733,
            -0.033296347,
            0.019317642,
            -0.005743703,
            -0.06686361,
            0.0726073,
            0.024654537,
            0.047469392,
            -0.072123945,
            -0.020930888,
            0.26728043,
            -0.24634953,
            -0.15587936,
            0.28271958,
            -0.12684022,
            0.07439083,
            0.034424495,
            -0.10881531,
            -0.083586544,
            0.0879271,
            -0.0043405294,
            -0.14678861,
            0.07200494,
            0.0747837,
        ],
    );
    let summed = Ctc::new().with_reduction(Reduction::Sum);
    close(&[run(&summed, &sequences, &truth, None).1], &[2.0 * mean]);
    // A single label needs no axis of its own.
    let (column, row) = (labels(&[1, 2], &[2, 1]), labels(&[1, 2], &[2]));
    let of = |truth| run(&Ctc::new(), &sequences, truth, None);
    assert_eq!(of(&column), of(&row));
}

#[test]
fn generalized_cross_entropies_are_those_of_keras() {
    let (probabilities, truth) = (output(&PROBABILITIES, &[4, 3]), labels(&[0, 2, 1, 1], &[4]));
    let (losses, _, grads) = run(
        &CategoricalGeneralizedCrossEntropy::new(),
        &probabilities,
        &truth,
        None,
    );
    close(&losses, &[0.7188462, 1.014183, 0.5611876, 0.9159366]);
    close(
        &grads,
        &[
            -0.3902732,
            -0.0,
            -0.0,
            -0.0,
            -0.0,
            -0.50719357,
            -0.0,
            -0.34750882,
            -0.0,
            -0.0,
            -0.46122763,
            -0.0,
        ],
    );
    let gentler = CategoricalGeneralizedCrossEntropy::new().q(0.2).unwrap();
    let (losses, ..) = run(&gentler, &probabilities, &truth, None);
    close(&losses, &[0.81593424, 1.2322984, 0.6171191, 1.0863688]);

    // The logits behind a softmax give the same, and a gradient with respect to them.
    let logits: Vec<f32> = PROBABILITIES.iter().map(|p| p.ln()).collect();
    let softmax = Output {
        activation: Activation::Softmax,
        ..output(&logits, &[4, 3])
    };
    let (of_logits, _, grads) = run(&gentler, &softmax, &truth, None);
    close(&of_logits, &losses);
    for (row, (p, label)) in grads
        .chunks(3)
        .zip(PROBABILITIES.chunks(3).zip([0, 2, 1, 1]))
    {
        let expected = |class: usize| {
            let truth = f32::from(u8::from(class == label));
            p[label].powf(0.2) * (p[class] - truth) / 4.0
        };
        close(row, &[expected(0), expected(1), expected(2)]);
    }
}

#[test]
fn what_they_cannot_take_is_refused() {
    let ws = &mut Workspace::new(test_device());
    for q in [0.0, 1.0, f64::NAN] {
        let error = CategoricalGeneralizedCrossEntropy::new().q(q).unwrap_err();
        assert!(
            error.to_string().contains("a number between 0 and 1"),
            "{error}"
        );
    }
    let mut refused = |loss: &dyn Loss, output: &Output, target: &Target, words: &str| {
        let error = loss
            .compute(ws, output, target, None, 1.0)
            .map(drop)
            .unwrap_err()
            .to_string();
        assert!(error.contains(words), "{error} does not say {words}");
    };
    let sequences = output(&SEQUENCES, &[2, 4, 3]);
    let softmax = Output {
        activation: Activation::Softmax,
        ..sequences.clone()
    };
    let truth = labels(&[1, 2, 2, 0], &[2, 2]);
    refused(
        &Ctc::new(),
        &softmax,
        &truth,
        "expected an output of logits, without a softmax",
    );
    let flat = output(&SEQUENCES, &[2, 12]);
    refused(
        &Ctc::new(),
        &flat,
        &truth,
        "expected [samples, steps, classes], found [2, 12]",
    );
    let three = labels(&[1, 2, 2], &[3, 1]);
    refused(
        &Ctc::new(),
        &sequences,
        &three,
        "expected [2, labels], found [3, 1]",
    );
    refused(
        &Circle::new(),
        &sequences,
        &truth,
        "expected [samples, features], found [2, 4, 3]",
    );
    refused(
        &Circle::new(),
        &flat,
        &three,
        "labels: wrong shape (expected [2], found [3, 1])",
    );
    refused(
        &CategoricalGeneralizedCrossEntropy::new(),
        &flat,
        &three,
        "expected [2], one for each row of the output, found [3, 1]",
    );
    let values = Target::Values(sequences.logits.clone());
    refused(
        &Ctc::new(),
        &sequences,
        &values,
        "expected labels, found values",
    );

    let after_zero = labels(&[0, 2, 2, 0], &[2, 2]);
    let error = Ctc::new()
        .check_target(&sequences, &after_zero)
        .unwrap_err();
    assert!(
        error.to_string().contains("2 after a 0 in sample 0"),
        "{error}"
    );
}

#[test]
fn they_have_names() {
    for name in ["circle", "ctc", "categorical_generalized_cross_entropy"] {
        let loss: Box<dyn Loss> = name.parse().unwrap();
        assert_eq!(loss.name(), name);
    }
}
