//! Layers and networks in candle's operations.

use crate::test_device::test_device;
use candle_core::Module;
use candle_nn::{Conv2dConfig, VarBuilder, VarMap, batch_norm, conv2d, linear};
use keros_nn::layers::{Autograd, CandleModule, Conv2D, Dense, ForwardOnly, Lambda, Values};
use keros_nn::{
    Activation, CandleNetwork, Initializer, LayerBuilder, Loss, Mode, Network, NnError, Optimizer,
    Port, Resolve, Sequential, Target,
};
use keros_tensor::access::read;
use keros_tensor::{DType, ParamId, Tensor, Workspace};

const TRAINING: Mode = Mode::Training { seed: 1, step: 0 };

fn waves(shape: &[usize]) -> Tensor {
    let values = (0..shape.iter().product()).map(|i: usize| (1.3 * i as f32 + 0.2).sin());
    Tensor::from_vec(values.collect::<Vec<f32>>(), shape, &test_device()).unwrap()
}

/// `Dense` in candle's operations; `units` is what it says its output has.
struct Forward {
    units: usize,
    said: usize,
    params: Option<(ParamId, ParamId)>,
}

impl Forward {
    fn new(units: usize) -> Forward {
        Forward {
            units,
            said: units,
            params: None,
        }
    }
}

impl ForwardOnly for Forward {
    fn class_name(&self) -> &'static str {
        "Forward"
    }

    fn build(
        &mut self,
        input: &[usize],
        builder: &mut LayerBuilder<'_>,
    ) -> Result<Vec<usize>, NnError> {
        let kernel = builder.param(
            "kernel",
            &[input[0], self.units],
            Initializer::GlorotUniform,
        )?;
        let bias = builder.param("bias", &[self.units], Initializer::Zeros)?;
        self.params = Some((kernel, bias));
        Ok(vec![self.said])
    }

    fn forward(&self, x: &Tensor, values: &Values) -> candle_core::Result<Tensor> {
        let (kernel, bias) = self.params.unwrap();
        x.matmul(&values[kernel])?
            .broadcast_add(&values[bias])?
            .tanh()
    }
}

/// Runs a batch forward and back; returns output and all gradients.
fn run(network: &mut dyn Network, x: &Tensor) -> Vec<Vec<f32>> {
    let ws = &mut Workspace::new(&test_device());
    let outputs = network
        .forward(ws, std::slice::from_ref(x), TRAINING)
        .unwrap();
    let y = &outputs[0].logits;
    let mut all = vec![read::<f32>(y).unwrap().to_vec()];
    let dy = waves(y.dims());
    network.backward(ws, &[dy]).unwrap();
    for (_, param) in network.params().iter() {
        all.push(read::<f32>(param.grad()).unwrap().to_vec());
    }
    all
}

fn assert_close(found: &[Vec<f32>], expected: &[Vec<f32>]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found.len(), expected.len());
        for (f, e) in found.iter().zip(expected) {
            assert!((f - e).abs() < 1e-4, "{f} is not {e}");
        }
    }
}

fn copy_params(from: &dyn Network, to: &dyn Network) {
    for (id, param) in from.params().iter() {
        to.params()[id].set(param.value()).unwrap();
    }
}

#[test]
fn a_forward_pass_alone_has_the_gradients_of_the_built_in_layer() {
    let mut own = Sequential::builder([5])
        .layer(Dense::new(4))
        .layer(Autograd::new(Forward::new(3)))
        .layer(Lambda::new(|x| {
            x.affine(2.0, 1.0)?.transpose(0, 1)?.transpose(0, 1)
        }))
        .layer(Dense::new(2))
        .build(&test_device(), 1)
        .unwrap();
    let mut built_in = Sequential::builder([5])
        .layer(Dense::new(4))
        .layer(Dense::new(3).activation("tanh"))
        .layer(keros_nn::layers::Rescaling::new(2.0).offset(1.0))
        .layer(Dense::new(2))
        .build(&test_device(), 2)
        .unwrap();
    copy_params(&own, &built_in);
    let x = waves(&[6, 5]);
    assert_close(&run(&mut own, &x), &run(&mut built_in, &x));
    own.set_trainable("forward", false).unwrap();
    built_in.set_trainable("dense_1", false).unwrap();
    let (found, expected) = (run(&mut own, &x), run(&mut built_in, &x));
    assert_close(&found[..3], &expected[..3]);
}

#[test]
fn a_module_of_candle_has_the_gradients_of_the_built_in_layer() {
    let vars = VarMap::new();
    let config = Conv2dConfig {
        padding: 1,
        ..Conv2dConfig::default()
    };
    let builder = VarBuilder::from_varmap(&vars, DType::F32, &test_device());
    let module = conv2d(3, 4, 3, config, builder).unwrap();
    let variables = vars.data().lock().unwrap().clone();
    let mut own = Sequential::builder([6, 5, 2])
        .layer(Conv2D::new(3, 1))
        .layer(
            CandleModule::new(module, variables)
                .channels_first(true)
                .name("conv"),
        )
        .build(&test_device(), 1)
        .unwrap();
    let mut built_in = Sequential::builder([6, 5, 2])
        .layer(Conv2D::new(3, 1))
        .layer(
            Conv2D::new(4, 3)
                .padding(keros_nn::layers::Padding::Same)
                .name("conv"),
        )
        .build(&test_device(), 2)
        .unwrap();
    let value = |network: &Sequential, name: &str| {
        network
            .params()
            .by_name(name)
            .unwrap()
            .value()
            .as_tensor()
            .clone()
    };
    let names: Vec<&str> = own.params().iter().map(|(_, param)| param.name()).collect();
    assert_eq!(
        names,
        ["conv2d/kernel", "conv2d/bias", "conv/bias", "conv/weight"]
    );
    for (name, from) in [
        ("conv2d/kernel", "conv2d/kernel"),
        ("conv/bias", "conv/bias"),
    ] {
        built_in
            .params()
            .by_name(name)
            .unwrap()
            .set(&value(&own, from))
            .unwrap();
    }
    // [out, in, h, w] is [h, w, in, out] there.
    let to_keras = |weight: &Tensor| weight.permute((2, 3, 1, 0)).unwrap().contiguous().unwrap();
    let weight = to_keras(&value(&own, "conv/weight"));
    built_in
        .params()
        .by_name("conv/kernel")
        .unwrap()
        .set(&weight)
        .unwrap();
    let x = waves(&[2, 6, 5, 2]);
    let found = run(&mut own, &x);
    let mut expected = run(&mut built_in, &x);
    let slope = to_keras(own.params().by_name("conv/weight").unwrap().grad());
    assert_close(
        &[read::<f32>(&slope).unwrap().to_vec()],
        &[expected.remove(3)],
    );
    assert_close(&found[..4], &expected);
}

/// Losses of a few steps of SGD that brings the output to zeros.
fn train(network: &mut dyn Network, x: &Tensor) -> Vec<f64> {
    let ws = &mut Workspace::new(&test_device());
    let mut optimizer: Box<dyn Optimizer> = "sgd".resolve().unwrap();
    optimizer.set_learning_rate(0.1).unwrap();
    let loss: Box<dyn Loss> = "mean_squared_error".resolve().unwrap();
    let mut losses = Vec::new();
    for step in 0..20 {
        ws.recycle();
        let mode = Mode::Training { seed: 1, step };
        let outputs = network.forward(ws, std::slice::from_ref(x), mode).unwrap();
        let target = Target::Values(outputs[0].logits.zeros_like().unwrap());
        let scale = loss.scale(&outputs[0], &target, None).unwrap();
        let found = loss
            .compute(ws, &outputs[0], &target, None, scale as f32)
            .unwrap();
        losses.push(
            read::<f32>(&found.per_sample)
                .unwrap()
                .iter()
                .map(|l| f64::from(*l))
                .sum(),
        );
        network.backward(ws, &[found.grad]).unwrap();
        optimizer.step(network.params()).unwrap();
    }
    losses
}

#[test]
fn training_lowers_the_loss_and_moves_the_modules_own_variables() {
    let vars = VarMap::new();
    let builder = VarBuilder::from_varmap(&vars, DType::F32, &test_device());
    let first = linear(4, 6, builder.pp("first")).unwrap();
    let norm = batch_norm(6, 1e-3, builder.pp("norm")).unwrap();
    let module = candle_nn::seq().add(first).add_fn(|x| x.relu());
    struct WithNorm(candle_nn::Sequential, candle_nn::BatchNorm);
    impl candle_core::ModuleT for WithNorm {
        fn forward_t(&self, x: &Tensor, train: bool) -> candle_core::Result<Tensor> {
            self.1.forward_t(&self.0.forward(x)?, train)
        }
    }
    let variables = vars.data().lock().unwrap().clone();
    let kept = variables["first.weight"].clone();
    let before = kept.copy().unwrap();
    let mut network = Sequential::builder([4])
        .layer(CandleModule::new(WithNorm(module, norm), variables))
        .layer(Dense::new(2))
        .build(&test_device(), 1)
        .unwrap();
    let trained = |name: &str| network.params().by_name(name).unwrap().trainable();
    assert!(trained("candle_module/norm.weight") && !trained("candle_module/norm.running_var"));
    let losses = train(&mut network, &waves(&[8, 4]));
    assert!(losses[19] < 0.5 * losses[0], "{losses:?}");
    assert_ne!(*read::<f32>(&kept).unwrap(), *read::<f32>(&before).unwrap());
}

#[test]
fn a_whole_network_of_candle_is_trained() {
    let vars = VarMap::new();
    let builder = VarBuilder::from_varmap(&vars, DType::F32, &test_device());
    let first = linear(4, 6, builder.pp("first")).unwrap();
    let unused = linear(4, 6, builder.pp("unused")).unwrap();
    let variables = vars.data().lock().unwrap().clone();
    let forward = move |inputs: &[Tensor], _: bool| {
        let _ = &unused;
        Ok(vec![first.forward(&inputs[0])?])
    };
    let ports = ([Port::new("x", [4])], [Port::new("y", [6])]);
    let mut network = CandleNetwork::new(ports.0, ports.1, variables, forward).unwrap();
    let losses = train(&mut network, &waves(&[8, 4]));
    assert!(losses[19] < losses[0], "{losses:?}");
    let unused = network.params().by_name("unused.weight").unwrap();
    assert!(
        read::<f32>(unused.grad())
            .unwrap()
            .iter()
            .all(|g| *g == 0.0)
    );
    let network = network.activation("y", Activation::Softmax).unwrap();
    assert!(network.activation("z", Activation::Softmax).is_err());
}

#[test]
fn outputs_of_another_shape_are_told_by_layer() {
    let mut wrong = Forward::new(3);
    wrong.said = 4;
    let mut network = Sequential::builder([5])
        .layer(Autograd::new(wrong).name("mine"))
        .build(&test_device(), 1)
        .unwrap();
    let ws = &mut Workspace::new(&test_device());
    for mode in [Mode::Inference, TRAINING] {
        let error = network.forward(ws, &[waves(&[2, 5])], mode).unwrap_err();
        assert_eq!(
            error.to_string(),
            "layer `mine`: output of type F32: wrong shape (expected F32 [2, 4], found [2, 3])"
        );
    }
    let error = Sequential::builder([5])
        .layer(Lambda::new(|x| x.sum_all()))
        .build(&test_device(), 1)
        .map(drop);
    assert!(
        error
            .unwrap_err()
            .to_string()
            .starts_with("layer `lambda`: output of one sample")
    );
    let error = network.backward(ws, &[waves(&[2, 4])]).unwrap_err();
    assert!(
        matches!(error, NnError::Layer { .. } | NnError::NoForward),
        "{error}"
    );
}
