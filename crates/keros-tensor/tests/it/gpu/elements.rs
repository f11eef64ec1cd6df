//! Element-wise kernels, moves and optimizers start kernels only.

use keros_tensor::kernels::{
    Activation, Adafactor, FtrlStrengths, Function, L1L2, MergeOp, Muon, NormBounds, Update,
    accumulate, activation, activation_backward, adadelta_update, adafactor_update, adagrad_update,
    adam_update, adamax_update, add_l1_l2_gradient, affine, amsgrad_update, bound_norms, clamp,
    clip_global_norm, clip_norms, concatenate, copy, crop2d, dropout, dropout_backward, embedding,
    embedding_backward, fill, ftrl_update, function, function_backward, gaussian_dropout,
    gaussian_noise, lamb_update, lion_update, mean_of_accumulated, merge, merge_backward,
    moving_average, muon_update, nadam_update, non_negative, permute, prelu, prelu_backward,
    rmsprop_update, scale, sgd_update, slice_axis, u8_to_f32, weight_decay, zero_pad2d,
};
use keros_tensor::{Stream, Tensor};

use super::stays_on_the_gpu;
use crate::support::{random, tensor};
use crate::test_device::test_device;

#[test]
fn what_is_done_element_by_element_stays_on_the_gpu() {
    let (x, y) = (random(1, &[3, 7]), random(2, &[3, 7]));
    let bytes = Tensor::from_slice(&[1_u8, 2, 3], 3, test_device()).unwrap();
    stays_on_the_gpu(|ws| {
        for f in [
            Function::Relu {
                max_value: 6.0,
                negative_slope: 0.1,
                threshold: 0.0,
            },
            Function::Elu { alpha: 0.5 },
            Function::Selu,
            Function::Sigmoid,
            Function::Tanh,
            Function::Softplus,
            Function::Softsign,
            Function::Exponential,
            Function::HardSigmoid,
            Function::HardSilu,
            Function::Silu,
            Function::Gelu,
            Function::Mish,
        ] {
            function(ws, &x, f).unwrap();
            function_backward(ws, &x, &y, f).unwrap();
        }
        for kind in [Activation::Linear, Activation::Relu] {
            activation(ws, &x, kind).unwrap();
            activation_backward(ws, &x, &y, kind).unwrap();
        }
        u8_to_f32(ws, &bytes, 0.5).unwrap();
        affine(ws, &x, &[2.0], &[1.0]).unwrap();
        affine(ws, &x, &[2.0], &[1.0; 7]).unwrap();
        dropout(ws, &x, 0.5, Stream::new(1, 2)).unwrap();
        dropout_backward(ws, &x, 0.5, Stream::new(1, 2)).unwrap();
        gaussian_noise(ws, &x, 0.5, Stream::new(1, 2)).unwrap();
        gaussian_dropout(ws, &x, 0.5, Stream::new(1, 2)).unwrap();
        copy(&x, &y).unwrap();
        fill(&x, 1.0).unwrap();
    });
}

#[test]
fn merges_and_learned_slopes_stay_on_the_gpu() {
    let (x, y, alpha) = (random(1, &[3, 7]), random(2, &[3, 7]), random(3, &[7]));
    let (dy, dalpha) = (random(4, &[3, 7]), random(5, &[7]));
    let inputs = [x.clone(), y];
    stays_on_the_gpu(|ws| {
        for op in [
            MergeOp::Add,
            MergeOp::Subtract,
            MergeOp::Multiply,
            MergeOp::Average,
            MergeOp::Maximum,
            MergeOp::Minimum,
        ] {
            merge(ws, &inputs, op, Activation::Relu).unwrap();
            merge_backward(ws, &inputs, &dy, 1, op).unwrap();
        }
        prelu(ws, &x, &alpha).unwrap();
        prelu_backward(ws, &x, &alpha, &dy, &dalpha).unwrap();
    });
}

#[test]
fn values_that_only_move_stay_on_the_gpu() {
    let (x, table) = (random(1, &[2, 3, 4, 8]), random(2, &[5, 3]));
    let (dy, dtable) = (random(3, &[4, 3]), random(4, &[5, 3]));
    let places = tensor(&[0.0, 4.0, 4.0, 1.0], &[4]);
    stays_on_the_gpu(|ws| {
        permute(ws, &x, &[0, 3, 1, 2]).unwrap();
        permute(ws, &x, &[1, 0, 2, 3]).unwrap();
        zero_pad2d(ws, &x, ((1, 1), (2, 0))).unwrap();
        crop2d(ws, &x, ((1, 1), (2, 0))).unwrap();
        concatenate(ws, &[x.clone(), x.clone()], 2).unwrap();
        slice_axis(ws, &x, 3, 1, 3).unwrap();
        let (_, indices) = embedding(ws, &places, &table).unwrap();
        embedding_backward(ws, &indices, &dy, &dtable).unwrap();
    });
}

#[test]
fn updates_of_matrices_stay_on_the_gpu() {
    let (w, g, m) = (random(1, &[4, 9]), random(2, &[4, 9]), random(3, &[4, 9]));
    let (one, own, of_one) = (random(4, &[9]), random(5, &[9]), random(8, &[9]));
    let factors = [random(6, &[4]), random(7, &[9])];
    let update = |param, grad, state| Update { param, grad, state };
    let adafactor = Adafactor {
        rate: 0.1,
        beta2: 0.9,
        epsilon1: 1e-30,
        epsilon2: 1e-3,
        clip_threshold: 1.0,
    };
    let muon = Muon {
        lr: 0.1,
        momentum: 0.9,
        nesterov: true,
        coefficients: [3.4445, -4.775, 2.0315],
        steps: 5,
        rms_rate: Some(0.2),
    };
    stays_on_the_gpu(|ws| {
        let (of_m, v) = (std::slice::from_ref(&m), std::slice::from_ref(&of_one));
        let both = [update(&w, &g, &factors[..]), update(&one, &own, v)];
        adafactor_update(ws, &both, adafactor).unwrap();
        muon_update(ws, &[update(&w, &g, of_m)], muon).unwrap();
        let plain = Muon {
            nesterov: false,
            rms_rate: None,
            ..muon
        };
        muon_update(ws, &[update(&w, &g, of_m)], plain).unwrap();
    });
}

#[test]
fn updates_stay_on_the_gpu() {
    let (w, g) = (random(1, &[9]), random(2, &[9]));
    let state: Vec<Tensor> = (0..3).map(|i| random(3 + i, &[9])).collect();
    let of = |tensors: usize| {
        [Update {
            param: &w,
            grad: &g,
            state: &state[..tensors],
        }]
    };
    let strengths = FtrlStrengths {
        l1: 0.1,
        l2: 0.1,
        l2_shrinkage: 0.1,
    };
    stays_on_the_gpu(|ws| {
        adam_update(&of(2), 0.1, 0.9, 0.99, 1e-7).unwrap();
        amsgrad_update(&of(3), 0.1, 0.9, 0.99, 1e-7).unwrap();
        sgd_update(&of(0), None, 0.1, false).unwrap();
        sgd_update(&of(1), Some(0.9), 0.1, false).unwrap();
        sgd_update(&of(1), Some(0.9), 0.1, true).unwrap();
        rmsprop_update(&of(1), false, None, 0.1, 0.9, 1e-7).unwrap();
        rmsprop_update(&of(2), false, Some(0.9), 0.1, 0.9, 1e-7).unwrap();
        rmsprop_update(&of(2), true, None, 0.1, 0.9, 1e-7).unwrap();
        rmsprop_update(&of(3), true, Some(0.9), 0.1, 0.9, 1e-7).unwrap();
        adagrad_update(&of(1), 0.1, 1e-7).unwrap();
        adadelta_update(&of(2), 0.1, 0.9, 1e-7).unwrap();
        adamax_update(&of(2), 0.1, 0.9, 0.99, 1e-7).unwrap();
        nadam_update(&of(2), (0.1, 0.1), 1.0, 0.9, 0.99, 1e-7).unwrap();
        lion_update(&of(1), 0.1, 0.9, 0.99).unwrap();
        ftrl_update(&of(2), 0.1, -0.5, strengths).unwrap();
        ftrl_update(&of(2), 0.1, -0.7, strengths).unwrap();
        lamb_update(ws, &of(2), 0.1, (1.0, 1.0), 0.9, 0.99, 1e-7).unwrap();
        accumulate(&[(&state[0], &g)], 0.5).unwrap();
        mean_of_accumulated(&[(&g, &state[0])], 3).unwrap();
        moving_average(&[(&state[0], &w)], 0.9, 0.1).unwrap();
        weight_decay(&[&w], 0.1).unwrap();
        scale(&[&g], 0.5).unwrap();
        clamp(&[&g], 0.5).unwrap();
        clip_norms(ws, &[&g, &w], 0.5).unwrap();
        clip_global_norm(ws, &[&g, &w], 0.5).unwrap();
        let penalty = L1L2 {
            tensor: &w,
            l1: 0.1,
            l2: 0.2,
        };
        add_l1_l2_gradient(&g, penalty).unwrap();
        non_negative(&[&w]).unwrap();
        let bounds = NormBounds {
            min: 0.0,
            max: 1.0,
            rate: None,
        };
        bound_norms(&w, &[0], bounds).unwrap();
    });
}
