//! Kernels that walk over elements or rows, of random sizes, on every path: against plain loops in
//! double precision, and bit for bit against the portable ones.

use keros_tensor::kernels::{
    Activation, MergeOp, Taps, activation, activation_backward, affine, check_indices, concatenate,
    copy, crop2d, dropout, dropout_backward, embedding, embedding_backward, fill, log_softmax,
    log_softmax_backward, map, merge, merge_backward, permute, prelu, prelu_backward, resample,
    slice_axis, u8_to_f32, zero_pad2d, zip_map,
};
use keros_tensor::{Stream, Tensor, Workspace};
use proptest::prelude::*;

use crate::support::{
    check_close, finite_differences, flat, flat64, found, masked, random, same_bits_on_every_path,
    tensor,
};
use crate::test_device::test_device;

/// Less than a vector, rests of vectors, and more than a task.
fn len() -> impl Strategy<Value = usize> {
    prop_oneof![8 => 1usize..70, 1 => 16_000usize..40_000]
}

fn workspace() -> Workspace {
    Workspace::new(test_device())
}

/// What a merge gives for the values of all inputs at one place.
fn merged(op: MergeOp, values: &[f64]) -> f64 {
    let sum: f64 = values.iter().sum();
    match op {
        MergeOp::Add => sum,
        MergeOp::Subtract => 2.0 * values[0] - sum,
        MergeOp::Multiply => values.iter().product(),
        MergeOp::Average => sum / values.len() as f64,
        MergeOp::Maximum => values.iter().copied().fold(f64::MIN, f64::max),
        _ => values.iter().copied().fold(f64::MAX, f64::min),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn maps_and_activations(len in len(), relu in any::<bool>()) {
        same_bits_on_every_path(|| {
            let ws = &mut workspace();
            let (x, dy) = (random(1, &[len]), random(2, &[len]));
            let (x64, dy64) = (flat64(&x), flat64(&dy));
            let kind = if relu { Activation::Relu } else { Activation::Linear };
            let y = activation(ws, &x, kind).unwrap();
            let expected: Vec<f64> =
                x64.iter().map(|x| if relu { x.max(0.0) } else { *x }).collect();
            check_close("activation", &y, &expected, 0.0);
            let dx = activation_backward(ws, &y, &dy, kind).unwrap();
            check_close("its gradient", &dx, &masked(&dy64, &flat(&y), relu), 0.0);

            let y = map(ws, &x, |x| x * x + 0.5).unwrap();
            let expected: Vec<f64> = x64.iter().map(|x| x * x + 0.5).collect();
            check_close("map", &y, &expected, 1e-6);
            let y = zip_map(ws, &x, &dy, |a, b| a * b - a).unwrap();
            let expected: Vec<f64> = x64.iter().zip(&dy64).map(|(a, b)| a * b - a).collect();
            check_close("zip_map", &y, &expected, 1e-6);

            let to = random(3, &[len]);
            copy(&x, &to).unwrap();
            check_close("copy", &to, &x64, 0.0);
            fill(&to, 0.75).unwrap();
            check_close("fill", &to, &vec![0.75; len], 0.0);

            let bytes: Vec<u8> = x64.iter().map(|x| (x * 127.0 + 128.0) as u8).collect();
            let x = Tensor::from_slice(&bytes, len, test_device()).unwrap();
            let y = u8_to_f32(ws, &x, 1.0 / 255.0).unwrap();
            let expected: Vec<f64> = bytes.iter().map(|&b| f64::from(b) / 255.0).collect();
            check_close("u8_to_f32", &y, &expected, 1e-6);
        });
    }

    #[test]
    fn merges(len in len(), inputs in 1usize..4, op in prop_oneof![
        Just(MergeOp::Add), Just(MergeOp::Subtract), Just(MergeOp::Multiply),
        Just(MergeOp::Average), Just(MergeOp::Maximum), Just(MergeOp::Minimum),
    ]) {
        same_bits_on_every_path(|| {
            let ws = &mut workspace();
            let tensors: Vec<Tensor> = (0..inputs).map(|i| random(i as u64, &[len])).collect();
            let values: Vec<Vec<f64>> = tensors.iter().map(flat64).collect();
            let at = |i: usize| -> Vec<f64> { values.iter().map(|values| values[i]).collect() };
            let y = merge(ws, &tensors, op, Activation::Linear).unwrap();
            let expected: Vec<f64> = (0..len).map(|i| merged(op, &at(i))).collect();
            check_close("merge", &y, &expected, 1e-6);
            let y = merge(ws, &tensors, op, Activation::Relu).unwrap();
            let positive: Vec<f64> = expected.iter().map(|y| y.max(0.0)).collect();
            check_close("merge and ReLU", &y, &positive, 1e-6);
            let dy = random(9, &[len]);
            let dy64 = flat64(&dy);
            for input in 0..inputs {
                let dx = merge_backward(ws, &tensors, &dy, input, op).unwrap();
                // Each place by itself: the whole would be quadratic.
                let expected: Vec<f64> = (0..len)
                    .map(|i| {
                        let mut values = at(i);
                        let x = [values[input]];
                        dy64[i] * finite_differences(&x, |x| {
                            values[input] = x[0];
                            merged(op, &values)
                        })[0]
                    })
                    .collect();
                check_close("its gradient", &dx, &expected, 1e-5);
            }
        });
    }

    #[test]
    fn scales_and_slopes_of_channels(rows in 1usize..9, channels in 1usize..40) {
        same_bits_on_every_path(|| {
            let ws = &mut workspace();
            let (x, dy) = (random(1, &[rows, channels]), random(2, &[rows, channels]));
            let (a, b) = (random(3, &[channels]), random(4, &[channels]));
            let (x64, a64, b64) = (flat64(&x), flat64(&a), flat64(&b));
            let y = affine(ws, &x, &flat(&a), &flat(&b)).unwrap();
            let of_channel = |i: usize| a64[i % channels] * x64[i] + b64[i % channels];
            let expected: Vec<f64> = (0..x64.len()).map(of_channel).collect();
            check_close("affine", &y, &expected, 1e-6);

            let y = prelu(ws, &x, &a).unwrap();
            let slope = |i: usize| if x64[i] < 0.0 { a64[i % channels] } else { 1.0 };
            let expected: Vec<f64> = (0..x64.len()).map(|i| slope(i) * x64[i]).collect();
            check_close("prelu", &y, &expected, 1e-6);
            let da = random(5, &[channels]);
            let dx = prelu_backward(ws, &x, &a, &dy, &da).unwrap();
            let dy64 = flat64(&dy);
            let expected: Vec<f64> = (0..x64.len()).map(|i| slope(i) * dy64[i]).collect();
            check_close("dx of prelu", &dx, &expected, 1e-6);
            let mut expected = vec![0.0; channels];
            for (i, x) in x64.iter().enumerate() {
                expected[i % channels] += x.min(0.0) * dy64[i];
            }
            check_close("dalpha of prelu", &da, &expected, 1e-5);
        });
    }

    #[test]
    fn log_softmax_and_its_gradient(samples in 1usize..5, classes in 1usize..40) {
        let formula = |x: &[f64]| -> Vec<f64> {
            let rows = x.chunks(classes);
            rows.flat_map(|row| {
                let log_sum = row.iter().map(|x| x.exp()).sum::<f64>().ln();
                row.iter().map(move |x| x - log_sum)
            })
            .collect()
        };
        same_bits_on_every_path(|| {
            let ws = &mut workspace();
            let (x, dy) = (random(1, &[samples, classes]), random(2, &[samples, classes]));
            let y = log_softmax(ws, &x).unwrap();
            check_close("y", &y, &formula(&flat64(&x)), 1e-6);
            let dx = log_softmax_backward(ws, &y, &dy).unwrap();
            let dy64 = flat64(&dy);
            let expected = finite_differences(&flat64(&x), |x| {
                formula(x).iter().zip(&dy64).map(|(y, dy)| y * dy).sum()
            });
            check_close("dx", &dx, &expected, 1e-5);
        });
    }

    #[test]
    fn resampling_there_and_back(
        (outer, inputs, inner, factor) in (1usize..4, 1usize..5, len(), 1usize..4),
        linear in any::<bool>(),
    ) {
        let taps = if linear { Taps::linear(inputs, factor) } else { Taps::repeat(inputs, factor) };
        // The weights of the outputs, one input at a time.
        let unit = |input: usize| {
            let mut x = vec![0.0; inputs];
            x[input] = 1.0;
            flat64(&resample(&mut workspace(), &tensor(&x, &[inputs]), 0, &taps).unwrap())
        };
        let weights: Vec<Vec<f64>> = (0..inputs).map(unit).collect();
        same_bits_on_every_path(|| {
            let ws = &mut workspace();
            let outputs = inputs * factor;
            let (x, dy) = (random(1, &[outer, inputs, inner]), random(2, &[outer, outputs, inner]));
            let (mut y64, mut dx64) = (vec![0.0; outer * outputs * inner], vec![0.0; outer * inputs * inner]);
            let (x64, dy64) = (flat64(&x), flat64(&dy));
            for (input, weights) in weights.iter().enumerate() {
                for (output, weight) in weights.iter().enumerate() {
                    for (o, i) in (0..outer).flat_map(|o| (0..inner).map(move |i| (o, i))) {
                        let from = (o * inputs + input) * inner + i;
                        let to = (o * outputs + output) * inner + i;
                        y64[to] += weight * x64[from];
                        dx64[from] += weight * dy64[to];
                    }
                }
            }
            check_close("y", &resample(ws, &x, 1, &taps).unwrap(), &y64, 1e-6);
            check_close("dx", &resample(ws, &dy, 1, &taps.transposed()).unwrap(), &dx64, 1e-6);
        });
    }

    #[test]
    fn values_that_only_move(
        (n, h, w, c) in (1usize..4, 1usize..6, 1usize..6, 1usize..40),
        (rows, lookups) in (1usize..20, 1usize..30),
    ) {
        same_bits_on_every_path(|| {
            let ws = &mut workspace();
            let x = random(1, &[n, h, w, c]);
            let y = permute(ws, &x, &[0, 3, 1, 2]).unwrap();
            let expected = x.permute([0, 3, 1, 2]).unwrap().contiguous().unwrap();
            check_close("permute", &y, &flat64(&expected), 0.0);
            let y = zero_pad2d(ws, &x, ((1, 2), (0, 3))).unwrap();
            let expected = x.pad_with_zeros(1, 1, 2).unwrap().pad_with_zeros(2, 0, 3).unwrap();
            check_close("zero_pad2d", &y, &flat64(&expected), 0.0);
            let back = crop2d(ws, &y, ((1, 2), (0, 3))).unwrap();
            check_close("crop2d", &back, &flat64(&x), 0.0);
            let y = concatenate(ws, &[x.clone(), x.clone()], 3).unwrap();
            let expected = Tensor::cat(&[&x, &x], 3).unwrap();
            check_close("concatenate", &y, &flat64(&expected), 0.0);
            let back = slice_axis(ws, &y, 3, c, c).unwrap();
            check_close("slice_axis", &back, &flat64(&x), 0.0);

            let table = random(2, &[rows, c]);
            let index = |i: usize| i * 7 % rows;
            let indices: Vec<f32> = (0..lookups).map(|i| index(i) as f32).collect();
            let (y, kept) = embedding(ws, &tensor(&indices, &[lookups]), &table).unwrap();
            check_indices(&indices, 1, rows).unwrap();
            let table64 = flat64(&table);
            let expected: Vec<f64> =
                (0..lookups * c).map(|i| table64[index(i / c) * c + i % c]).collect();
            check_close("embedding", &y, &expected, 0.0);
            let (dy, dtable) = (random(3, &[lookups, c]), random(4, &[rows, c]));
            embedding_backward(ws, &kept, &dy, &dtable).unwrap();
            let mut expected = vec![0.0; rows * c];
            for (i, dy) in flat64(&dy).iter().enumerate() {
                expected[index(i / c) * c + i % c] += dy;
            }
            check_close("its gradient", &dtable, &expected, 1e-5);
        });
    }

    #[test]
    fn dropout_masks_are_those_of_its_stream(len in len(), seed in any::<u64>()) {
        let stream = Stream::new(seed, 5);
        let mut words = vec![0; len];
        stream.fill_u32(0, &mut words);
        same_bits_on_every_path(|| {
            let ws = &mut workspace();
            let (x, dy) = (random(1, &[len]), random(2, &[len]));
            let kept = |values: &Tensor| -> Vec<f64> {
                let pairs = flat64(values).into_iter().zip(&words);
                pairs.map(|(x, &word)| if word >= 1 << 31 { 2.0 * x } else { 0.0 }).collect()
            };
            check_close("y", &dropout(ws, &x, 0.5, stream).unwrap(), &kept(&x), 0.0);
            check_close("dx", &dropout_backward(ws, &dy, 0.5, stream).unwrap(), &kept(&dy), 0.0);
            let mut again = vec![0; len];
            stream.fill_u32(0, &mut again);
            assert_eq!(again, words, "the stream itself");
            let mut normal = vec![0.0; len];
            stream.fill_normal(3, 0.0, 1.0, &mut normal);
            found("normal numbers", &tensor(&normal, &[len]));
        });
    }
}
