//! Single layers and merges against finite differences, and the same bits with any number of
//! threads.

use crate::test_device::test_device;
use keros_nn::layers::{
    Activation, Add, Average, Concatenate, Conv2D, Cropping2D, Dense, ELU, Embedding,
    Interpolation, LeakyReLU, Maximum, Minimum, Multiply, PReLU, Permute, ReLU, RepeatVector,
    Rescaling, Reshape, Softmax, Subtract, UpSampling2D, ZeroPadding2D,
};
use keros_nn::{
    Activation as Kind, Initializer, Layer, LayerBuilder, Merge, Mode, ParamRules, Pass,
};
use keros_tensor::access::{read, write};
use keros_tensor::parallel::with_threads;
use keros_tensor::{Params, Stream, Tensor, Workspace};

const MODE: Mode = Mode::Training { seed: 3, step: 5 };

fn random(shape: &[usize], stream: u64) -> Tensor {
    let mut values = vec![0.0; shape.iter().product()];
    Stream::new(17, stream).fill_uniform(0, -2.0, 2.0, &mut values);
    Tensor::from_vec(values, shape, test_device()).unwrap()
}

fn values(tensor: &Tensor) -> Vec<f32> {
    read::<f32>(tensor).unwrap().to_vec()
}

fn dot(a: &Tensor, b: &Tensor) -> f64 {
    let (a, b) = (values(a), values(b));
    a.iter()
        .zip(&b)
        .map(|(a, b)| f64::from(*a) * f64::from(*b))
        .sum()
}

/// Compares `analytic` with central differences of `loss` in every element of `x`, as a whole.
fn compare(what: &str, x: &Tensor, analytic: &[f32], mut loss: impl FnMut() -> f64) {
    let step = 2e-3;
    let (mut error, mut norm) = (0.0, 0.0);
    for i in 0..analytic.len() {
        let mut nudged = |by: f32| {
            write(x, |x: &mut [f32]| x[i] += by).unwrap();
            loss()
        };
        let up = nudged(step);
        let down = nudged(-2.0 * step);
        nudged(step);
        let numeric = (up - down) / (2.0 * f64::from(step));
        error += (numeric - f64::from(analytic[i])).powi(2);
        norm += numeric.powi(2);
    }
    assert!(norm > 1e-8, "{what} has no gradient to compare with");
    let relative = (error / norm).sqrt();
    assert!(
        relative < 3e-3,
        "{what} is off by {relative:.5} of its length"
    );
}

fn forward(layer: &dyn Layer, params: &Params, x: &Tensor) -> Tensor {
    let (mut workspace, mut tape) = (Workspace::new(test_device()), Vec::new());
    let mut pass = Pass::new(&mut workspace, params, &mut tape, MODE);
    layer.forward(x, &mut pass).unwrap()
}

/// Checks the gradients of the input and of all parameters, and that two threads change no bit.
fn check(what: &str, mut layer: impl Layer, x: &Tensor) {
    let mut params = Params::new();
    let mut rules = ParamRules::default();
    let mut builder = LayerBuilder::new(&mut params, &mut rules, "layer", test_device(), 4);
    let output = layer.build(&x.dims()[1..], &mut builder).unwrap();
    let upstream = random(&[&x.dims()[..1], &output].concat(), 2);
    let run = || {
        let (mut workspace, mut tape) = (Workspace::new(test_device()), Vec::new());
        let mut pass = Pass::new(&mut workspace, &params, &mut tape, MODE);
        let y = layer.forward(x, &mut pass).unwrap();
        assert_eq!(y.dims(), upstream.dims(), "{what}");
        let y = values(&y);
        let dy = upstream.copy().unwrap();
        let dx = layer.backward(&dy, &mut pass).unwrap().unwrap();
        let dx = values(&dx);
        assert!(tape.is_empty(), "{what} leaves something on the tape");
        let grads: Vec<_> = params.iter().map(|(_, p)| values(p.grad())).collect();
        (y, dx, grads)
    };
    let result = run();
    assert!(result == with_threads(1, run), "{what} depends on threads");
    let (_, dx, grads) = result;
    let loss = || dot(&forward(&layer, &params, x), &upstream);
    if what != "embedding" {
        compare(what, x, &dx, loss);
    }
    for ((_, param), grad) in params.iter().zip(&grads) {
        let what = format!("{what}: {}", param.name());
        compare(&what, param.value(), grad, loss);
    }
}

const KINDS: [Kind; 18] = [
    Kind::Linear,
    Kind::Relu,
    Kind::Relu6,
    Kind::LeakyRelu,
    Kind::Elu,
    Kind::Selu,
    Kind::Gelu,
    Kind::Silu,
    Kind::Mish,
    Kind::Sigmoid,
    Kind::HardSigmoid,
    Kind::HardSilu,
    Kind::Tanh,
    Kind::Softplus,
    Kind::Softsign,
    Kind::Exponential,
    Kind::Softmax,
    Kind::LogSoftmax,
];

#[test]
fn activations_alone_in_dense_and_in_conv2d() {
    for kind in KINDS {
        assert_eq!(kind.name().parse::<Kind>().unwrap(), kind);
        let name = kind.name();
        check(name, Activation::new(kind), &random(&[3, 4, 5], 1));
        let dense = Dense::new(4).activation(kind);
        check(&format!("dense {name}"), dense, &random(&[3, 5], 1));
        let conv = Conv2D::new(3, 2).activation(kind);
        check(&format!("conv2d {name}"), conv, &random(&[2, 4, 3, 2], 1));
    }
}

#[test]
fn extreme_inputs_stay_finite_where_keras_does() {
    let x = Tensor::new(&[[-100.0_f32, -30.0, 0.0, 30.0, 80.0]], test_device()).unwrap();
    let ws = &mut Workspace::new(test_device());
    for kind in KINDS {
        let y = kind.apply(ws, &x).unwrap();
        assert!(values(&y).iter().all(|y| y.is_finite()), "{kind:?}: {y}");
        let kept = if kind.keeps_output() { &y } else { &x };
        let dx = kind.backward(ws, kept, &x.ones_like().unwrap()).unwrap();
        assert!(
            values(&dx).iter().all(|dx| dx.is_finite()),
            "{kind:?}: {dx}"
        );
    }
}

#[test]
fn activation_layers() {
    let x = &random(&[3, 4, 5], 1);
    let relu = || ReLU::new().negative_slope(0.1).threshold(0.3);
    check("relu", relu().max_value(1.2), x);
    check("relu without threshold", ReLU::new().max_value(1.0), x);
    check("leaky relu", LeakyReLU::new(), x);
    check("falling relu", LeakyReLU::new().negative_slope(-0.5), x);
    check("elu", ELU::new().alpha(0.7), x);
    check("falling elu", ELU::new().alpha(-0.7), x);
    let prelu = || {
        PReLU::new().alpha_initializer(Initializer::RandomUniform {
            minval: 0.1,
            maxval: 0.4,
        })
    };
    check("prelu", prelu(), x);
    check("prelu with shared axes", prelu().shared_axes([1]), x);
    check("prelu with one slope", prelu().shared_axes([2, 1]), x);
    check(
        "prelu with an axis named twice",
        prelu().shared_axes([1, 1]),
        x,
    );
    check("softmax", Softmax::new(), x);
    check("softmax of a middle axis", Softmax::new().axis(1), x);
    check("softmax of two axes", Softmax::new().axes([-1, 1]), x);
    check(
        "softmax of two of three",
        Softmax::new().axes([1, 3]),
        &random(&[2, 3, 2, 3], 1),
    );
}

#[test]
fn shapes_borders_and_tables() {
    let image = &random(&[2, 4, 5, 3], 1);
    check("reshape", Reshape::new([5, -1, 2]), image);
    check("permute", Permute::new([3, 1, 2]), image);
    check(
        "permute that keeps the last",
        Permute::new([2, 1, 3]),
        image,
    );
    check("repeat vector", RepeatVector::new(3), &random(&[3, 4], 1));
    check("zero padding", ZeroPadding2D::new(((0, 2), (1, 3))), image);
    check("cropping", Cropping2D::new(((1, 0), (2, 1))), image);
    check("nearest", UpSampling2D::new((3, 2)), image);
    let bilinear = |size| UpSampling2D::new(size).interpolation(Interpolation::Bilinear);
    check("bilinear", bilinear((2, 3)), image);
    check(
        "bilinear of a row",
        bilinear((3, 4)),
        &random(&[2, 1, 3, 1], 1),
    );
    check("rescaling", Rescaling::new(0.5).offset(-1.0), image);
    check(
        "rescaling channels",
        Rescaling::new([0.5, 2.0, -1.0]).offset([1.0, 0.0, 2.0]),
        image,
    );
    let words = Tensor::new(&[[0.0_f32, 4.0, 1.0], [4.0, 4.0, 2.0]], test_device()).unwrap();
    check("embedding", Embedding::new(5, 3), &words);
}

/// Larger than one task, so that several threads take part.
#[test]
fn large_inputs_do_not_depend_on_threads() {
    let image = random(&[3, 70, 90, 2], 1);
    let run = |layer: &mut dyn Layer| {
        let mut params = Params::new();
        let mut rules = ParamRules::default();
        let mut builder = LayerBuilder::new(&mut params, &mut rules, "layer", test_device(), 4);
        layer.build(&image.dims()[1..], &mut builder).unwrap();
        let (mut workspace, mut tape) = (Workspace::new(test_device()), Vec::new());
        let mut pass = Pass::new(&mut workspace, &params, &mut tape, MODE);
        let y = layer.forward(&image, &mut pass).unwrap();
        let (y, dy) = (values(&y), y.copy().unwrap());
        let dx = layer.backward(&dy, &mut pass).unwrap().unwrap();
        let grads: Vec<_> = params.iter().map(|(_, p)| values(p.grad())).collect();
        (y, values(&dx), grads)
    };
    let mut layers: Vec<Box<dyn Layer>> = vec![
        Box::new(Activation::new(Kind::Gelu)),
        Box::new(PReLU::new().shared_axes([1, 2])),
        Box::new(PReLU::new()),
        Box::new(Softmax::new().axis(1)),
        Box::new(Permute::new([3, 2, 1])),
        Box::new(ZeroPadding2D::default()),
        Box::new(UpSampling2D::default().interpolation(Interpolation::Bilinear)),
    ];
    for layer in &mut layers {
        let name = layer.class_name();
        assert!(
            run(&mut **layer) == with_threads(1, || run(&mut **layer)),
            "{name}"
        );
    }
}

fn check_merge(what: &str, mut merge: impl Merge, inputs: &[Tensor]) {
    let shapes: Vec<Vec<usize>> = inputs.iter().map(|x| x.dims()[1..].to_vec()).collect();
    let output = merge.build(&shapes).unwrap();
    let upstream = random(&[&[2], &output[..]].concat(), 9);
    let params = Params::new();
    let (mut workspace, mut tape) = (Workspace::new(test_device()), Vec::new());
    let mut pass = Pass::new(&mut workspace, &params, &mut tape, MODE);
    assert_eq!(
        merge.forward(inputs, &mut pass).unwrap().dims(),
        upstream.dims()
    );
    let dy = upstream.copy().unwrap();
    let grads = merge.backward(&dy, &mut pass).unwrap();
    assert_eq!(grads.len(), inputs.len());
    for (k, (x, grad)) in inputs.iter().zip(&grads).enumerate() {
        assert_eq!(x.dims(), grad.dims());
        compare(&format!("{what}, input {k}"), x, &values(grad), || {
            let (mut workspace, mut tape) = (Workspace::new(test_device()), Vec::new());
            let mut pass = Pass::new(&mut workspace, &params, &mut tape, MODE);
            dot(&merge.forward(inputs, &mut pass).unwrap(), &upstream)
        });
    }
}

#[test]
fn merges_also_of_shapes_that_broadcast() {
    let two = &[random(&[2, 3, 4], 1), random(&[2, 3, 4], 5)];
    let many = &[
        random(&[2, 3, 4], 1),
        random(&[2, 4], 5),
        random(&[2, 5, 1, 1], 6),
    ];
    check_merge("subtract", Subtract::new(), two);
    check_merge("subtract, broadcast", Subtract::new(), &many[..2]);
    for inputs in [&two[..], &many[..]] {
        check_merge("add", Add::new(), inputs);
        check_merge("multiply", Multiply::new(), inputs);
        check_merge("average", Average::new(), inputs);
        check_merge("maximum", Maximum::new(), inputs);
        check_merge("minimum", Minimum::new(), inputs);
    }
    check_merge("concatenate", Concatenate::default(), two);
    let three = &[
        random(&[2, 1, 4], 1),
        random(&[2, 3, 4], 5),
        random(&[2, 2, 4], 6),
    ];
    check_merge("concatenate along the first", Concatenate::new(1), three);
}
