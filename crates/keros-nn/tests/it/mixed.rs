//! Mixed precision: layers hand on `bf16` or `f16` on a GPU, and everything else stays `f32`. The CPU refuses it.

use crate::test_device::test_device;
use keros_nn::layers::{
    Add, AveragePooling1D, AveragePooling2D, BatchNormalization, Concatenate, Conv2D, Dense,
    DepthwiseConv2D, Dropout, Flatten, GaussianDropout, GaussianNoise, GlobalAveragePooling2D,
    Lambda, MaxPooling1D, MaxPooling2D, Padding, ReLU, Reshape, ZeroPadding1D, ZeroPadding2D,
};
use keros_nn::{DtypePolicy, Graph, L2, Mode, Network, Sequential};
use keros_tensor::{DType, Device, Stream, Tensor, Workspace};

const TRAINING: Mode = Mode::Training { seed: 1, step: 2 };

fn random(seed: u64, shape: &[usize]) -> Tensor {
    let mut values = vec![0.0; shape.iter().product()];
    Stream::new(seed, 0).fill_uniform(0, -1.0, 1.0, &mut values);
    Tensor::from_vec(values, shape, test_device()).unwrap()
}

/// The policies, each with how far gradients may be from those of `float32`, relative to their size.
const POLICIES: [(DtypePolicy, f32); 2] = [
    (DtypePolicy::MixedBfloat16, 0.05),
    (DtypePolicy::MixedFloat16, 0.01),
];

/// Branches, layers that have kernels for 16 bits and layers that have not.
fn network() -> Graph {
    let mut g = Graph::builder();
    let image = g.input("image", [8, 8, 3]);
    let conv = |filters| Conv2D::new(filters, 3).padding(Padding::Same);
    let x = g.layer(conv(8).activation("relu"), image);
    let y = g.layer(conv(8).use_bias(false), x);
    let y = g.layer(BatchNormalization::new(), y);
    let y = g.layer(ReLU::new(), y);
    let own = g.layer(DepthwiseConv2D::new(3).padding(Padding::Same), x);
    let sum = g.merge(Add::new(), &[y, own, x]);
    let small = g.layer(MaxPooling2D::new(2), sum);
    let mean = g.layer(AveragePooling2D::new(2), sum);
    let joined = g.merge(Concatenate::new(-1), &[small, mean]);
    let joined = g.layer(ZeroPadding2D::new(1), joined);
    let joined = g.layer(Dropout::new(0.25), joined);
    let pooled = g.layer(GlobalAveragePooling2D::new(), joined);
    let flat = g.layer(Flatten::new(), joined);
    let penalty = L2::new(0.01).unwrap();
    let hidden = Dense::new(6)
        .activation("gelu")
        .activity_regularizer(penalty);
    let hidden = g.layer(hidden, flat);
    let both = g.merge(Concatenate::new(-1), &[pooled, hidden]);
    let class = g.layer(Dense::new(4).activation("softmax"), both);
    g.build(&[("class", class)], test_device(), 3).unwrap()
}

/// Outputs and gradients of one batch, all as numbers.
fn step(network: &mut impl Network, input: &[usize]) -> Vec<Vec<f32>> {
    let mut ws = Workspace::new(test_device());
    let outputs = network
        .forward(&mut ws, &[random(1, input)], TRAINING)
        .unwrap();
    let flat = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let logits = &outputs[0].logits;
    assert_eq!(logits.dtype(), DType::F32);
    let mut all = vec![flat(logits)];
    network
        .backward(&mut ws, &[random(2, logits.dims())])
        .unwrap();
    let grads = network.params().iter().filter(|(_, p)| p.trainable());
    all.extend(grads.map(|(_, param)| flat(param.grad())));
    all
}

#[test]
fn a_step_is_close_to_that_of_float32() {
    if test_device().is_cpu() {
        return;
    }
    let input = [5, 8, 8, 3];
    let expected = step(&mut network(), &input);
    for (policy, tolerance) in POLICIES {
        let mut mixed = network();
        mixed.set_dtype_policy(policy).unwrap();
        assert_eq!(mixed.dtype_policy(), policy);
        let found = step(&mut mixed, &input);
        assert_ne!(expected, found);
        for (i, (expected, found)) in expected.iter().zip(&found).enumerate() {
            let norm = |x: &mut dyn Iterator<Item = f32>| x.map(|x| x * x).sum::<f32>().sqrt();
            let size = norm(&mut expected.iter().copied());
            let error = norm(&mut expected.iter().zip(found).map(|(a, b)| a - b));
            assert!(error <= tolerance * size, "{policy} {i}: {error} of {size}");
        }
        // And back.
        mixed.set_dtype_policy(DtypePolicy::Float32).unwrap();
        assert_eq!(step(&mut mixed, &input), expected);
        assert_eq!(network().to_json().unwrap(), mixed.to_json().unwrap());
    }
}

#[test]
fn a_chain_in_mixed_precision_stays_on_the_gpu() {
    if test_device().is_cpu() {
        return;
    }
    let mut network = Sequential::builder([8, 8, 4])
        .layer(Conv2D::new(8, 3).activation("relu"))
        .layer(MaxPooling2D::new(2))
        .layer(GaussianNoise::new(0.1))
        .layer(GaussianDropout::new(0.1))
        .layer(Reshape::new([-1, 8]))
        .layer(ZeroPadding1D::new((1, 0)))
        .layer(MaxPooling1D::new(2))
        .layer(AveragePooling1D::new(2))
        .layer(Flatten::new())
        .layer(Dense::new(3).activation("softmax"))
        .build(test_device(), 1)
        .unwrap();
    for (policy, _) in POLICIES {
        network.set_dtype_policy(policy).unwrap();
        let before = keros_tensor::access::host_copies();
        let found = step(&mut network, &[2, 8, 8, 4]);
        assert_eq!(keros_tensor::access::host_copies(), before);
        assert!(found.iter().flatten().all(|x| x.is_finite()));
    }
}

#[test]
fn what_a_layer_of_the_users_own_sees_is_float32() {
    if test_device().is_cpu() {
        return;
    }
    let twice = Lambda::new(|x| {
        assert_eq!(x.dtype(), DType::F32);
        x * 2.0
    });
    let mut network = Sequential::builder([4])
        .layer(Dense::new(3))
        .layer(twice)
        .layer(Dense::new(2))
        .build(test_device(), 1)
        .unwrap();
    network
        .set_dtype_policy(DtypePolicy::MixedBfloat16)
        .unwrap();
    let mut ws = Workspace::new(test_device());
    let x = random(1, &[2, 4]);
    network.forward(&mut ws, &[x], Mode::Inference).unwrap();
}

#[test]
fn the_cpu_refuses_it() {
    let mut network = Sequential::builder([4])
        .layer(Dense::new(3))
        .build(&Device::Cpu, 1)
        .unwrap();
    for (policy, _) in POLICIES {
        let error = network.set_dtype_policy(policy).unwrap_err().to_string();
        let found = format!("`{policy}`");
        assert!(
            error.contains("`float32` on the CPU") && error.contains(&found),
            "{error}"
        );
    }
    assert_eq!(network.dtype_policy(), DtypePolicy::Float32);
    network.set_dtype_policy(DtypePolicy::Float32).unwrap();
}
