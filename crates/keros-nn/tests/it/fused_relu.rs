//! A ReLU that the layer before takes over computes what one of its own computes, to the bit, and is left alone where
//! somebody else sees what is before it.

use crate::test_device::test_device;
use keros_nn::layers::{
    Activation, Add, BatchNormalization, Concatenate, Conv2D, Dense, DepthwiseConv2D, Flatten,
    Multiply, Padding, ReLU,
};
use keros_nn::{
    Graph, GraphBuilder, L2, Layer, LayerBuilder, Mode, Network, NnError, Node, Pass, Sequential,
};
use keros_tensor::{Stream, Tensor, Workspace};

const TRAINING: Mode = Mode::Training { seed: 1, step: 2 };

fn random(seed: u64, shape: &[usize]) -> Tensor {
    let mut values = vec![0.0; shape.iter().product()];
    Stream::new(seed, 0).fill_uniform(0, -1.0, 1.0, &mut values);
    Tensor::from_vec(values, shape, test_device()).unwrap()
}

fn flat(x: &Tensor) -> Vec<f32> {
    x.flatten_all().unwrap().to_vec1().unwrap()
}

/// A ReLU that may be taken over, or one that may not because it has a largest value.
fn relu(fuses: bool) -> ReLU {
    match fuses {
        true => ReLU::new(),
        false => ReLU::new().max_value(f32::MAX),
    }
}

/// Outputs in inference and in training, all gradients and what the training left in the parameters.
fn run(network: &mut impl Network, input: &[usize]) -> Vec<Vec<f32>> {
    let mut ws = Workspace::new(test_device());
    let mut all = Vec::new();
    // Twice, so that memory that was given back serves again.
    for batch in 0..2 {
        ws.recycle();
        let x = random(batch, input);
        let outputs = network.forward(&mut ws, std::slice::from_ref(&x), Mode::Inference);
        all.extend(outputs.unwrap().iter().map(|output| flat(&output.logits)));
        let outputs = network.forward(&mut ws, &[x], TRAINING).unwrap();
        all.extend(outputs.iter().map(|output| flat(&output.logits)));
        let grads: Vec<Tensor> = outputs
            .iter()
            .map(|output| random(7 + batch, output.logits.dims()))
            .collect();
        network.backward(&mut ws, &grads).unwrap();
        let params = network.params().iter();
        all.extend(params.flat_map(|(_, param)| [flat(param.value()), flat(param.grad())]));
    }
    all
}

#[track_caller]
fn agree<N: Network>(mut network: impl FnMut(bool) -> N, input: &[usize]) {
    let [expected, found] = [false, true].map(|fuses| run(&mut network(fuses), input));
    assert!(expected.iter().flatten().all(|x| x.is_finite()));
    assert_eq!(expected, found);
}

#[test]
fn in_a_chain() {
    let same = |filters| Conv2D::new(filters, 3).padding(Padding::Same);
    agree(
        |fuses| {
            Sequential::builder([6, 6, 2])
                .layer(same(4))
                .layer(relu(fuses))
                .layer(same(8).use_bias(false))
                .layer(BatchNormalization::new())
                .layer(relu(fuses))
                // Two in a row.
                .layer(relu(fuses))
                .layer(DepthwiseConv2D::new(3))
                .layer(relu(fuses))
                .layer(BatchNormalization::new().axis(1).trainable(false))
                .layer(relu(fuses))
                .layer(Flatten::new())
                .layer(Dense::new(5))
                .layer(relu(fuses))
                // An activation that is there already.
                .layer(Dense::new(5).activation("tanh"))
                .layer(relu(fuses))
                .layer(Dense::new(4))
                .layer(relu(fuses))
                .build(test_device(), 3)
                .unwrap()
        },
        &[3, 6, 6, 2],
    );
}

#[test]
fn a_penalty_sees_the_output_that_it_is_for() {
    let penalized = |before: bool, fuses: bool| {
        let penalty = || L2::new(0.1).unwrap();
        let (dense, mut relu) = (Dense::new(6), relu(fuses));
        let dense = match before {
            true => dense.activity_regularizer(penalty()),
            false => {
                relu = relu.activity_regularizer(penalty());
                dense
            }
        };
        Sequential::builder([5])
            .layer(dense)
            .layer(relu)
            .layer(Dense::new(3))
            .build(test_device(), 3)
            .unwrap()
    };
    for before in [true, false] {
        agree(|fuses| penalized(before, fuses), &[4, 5]);
        let [plain, fused] = [false, true].map(|fuses| {
            let mut network = penalized(before, fuses);
            let mut ws = Workspace::new(test_device());
            network
                .forward(&mut ws, &[random(1, &[4, 5])], TRAINING)
                .unwrap();
            network.activity_penalty().total().unwrap()
        });
        assert_eq!(plain, fused);
        assert!(plain > 0.0);
    }
}

/// A residual block whose parts are as they are given.
fn block(
    fuses: bool,
    outputs: impl Fn(&mut GraphBuilder, [Node; 4]) -> Vec<(&'static str, Node)>,
) -> Graph {
    let mut g = Graph::builder();
    let conv = |filters| Conv2D::new(filters, 3).padding(Padding::Same);
    let image = g.input("image", [5, 5, 3]);
    let first = g.layer(conv(4), image);
    let x = g.layer(relu(fuses), first);
    let norm = g.layer(BatchNormalization::new(), x);
    let y = g.layer(relu(fuses), norm);
    let y = g.layer(conv(4), y);
    let sum = g.merge(Add::new(), &[y, x]);
    let z = g.layer(relu(fuses), sum);
    let outputs = outputs(&mut g, [first, norm, sum, z]);
    g.build(&outputs, test_device(), 3).unwrap()
}

#[test]
fn in_a_graph() {
    let input = [2, 5, 5, 3];
    agree(|fuses| block(fuses, |_, [.., z]| vec![("z", z)]), &input);
    // Others that see what is before a ReLU: an output, another layer, a merge.
    agree(
        |fuses| block(fuses, |_, [_, norm, _, z]| vec![("z", z), ("norm", norm)]),
        &input,
    );
    agree(
        |fuses| {
            block(fuses, |g, [first, norm, sum, z]| {
                let seen = g.layer(Conv2D::new(2, 5), sum);
                let both = g.merge(Multiply::new(), &[first, norm]);
                let both = g.layer(relu(fuses), both);
                let both = g.layer(Conv2D::new(2, 5), both);
                let joined = g.merge(Concatenate::new(-1), &[seen, both]);
                vec![("z", z), ("joined", joined)]
            })
        },
        &input,
    );
}

#[test]
fn layers_that_are_used_twice_stay_as_they_are() {
    agree(
        |fuses| {
            let mut g = Graph::builder();
            let x = g.input("x", [4]);
            let dense = g.shared(Dense::new(4));
            let rectified = g.shared(relu(fuses));
            let once = g.apply(dense, x);
            let once = g.apply(rectified, once);
            let twice = g.apply(dense, once);
            // This one sees only the second use.
            let end = g.layer(relu(fuses), twice);
            let other = g.layer(Dense::new(4), end);
            let other = g.apply(rectified, other);
            g.build(&[("end", other)], test_device(), 3).unwrap()
        },
        &[3, 4],
    );
}

#[test]
fn the_configuration_is_that_of_the_layers_as_they_were_given() {
    let network = || {
        Sequential::builder([4])
            .layer(Dense::new(3))
            .layer(Activation::new("relu"))
            .layer(BatchNormalization::new())
            .layer(ReLU::new())
            .build(test_device(), 3)
            .unwrap()
    };
    let json = network().to_json().unwrap();
    assert_eq!(json.matches("\"linear\"").count(), 1, "{json}");
    let again = Graph::from_json(&json, test_device(), 3);
    let mut again = again.unwrap();
    assert_eq!(run(&mut network(), &[2, 4]), run(&mut again, &[2, 4]));
}

/// Says that it takes the ReLU over, and does not do it.
struct Forgetful;

impl Layer for Forgetful {
    fn class_name(&self) -> &'static str {
        "Forgetful"
    }

    fn name(&self) -> Option<&str> {
        None
    }

    fn build(&mut self, input: &[usize], _: &mut LayerBuilder<'_>) -> Result<Vec<usize>, NnError> {
        Ok(input.to_vec())
    }

    fn fuse_relu(&mut self) -> bool {
        true
    }

    fn forward(&self, x: &Tensor, _: &mut Pass<'_>) -> Result<Tensor, NnError> {
        Ok(x.clone())
    }

    fn backward(&self, dy: &Tensor, _: &mut Pass<'_>) -> Result<Option<Tensor>, NnError> {
        Ok(Some(dy.clone()))
    }
}

#[test]
fn a_relu_that_is_taken_over_does_nothing() {
    let x = Tensor::new(&[[-1.0_f32, 2.0]], test_device()).unwrap();
    let run = |network: &mut dyn Network| {
        let mut ws = Workspace::new(test_device());
        let outputs = network.forward(&mut ws, std::slice::from_ref(&x), Mode::Inference);
        flat(&outputs.unwrap()[0].logits)
    };
    let chain = Sequential::builder([2])
        .layer(Forgetful)
        .layer(Activation::new("relu"));
    assert_eq!(
        run(&mut chain.build(test_device(), 1).unwrap()),
        [-1.0, 2.0]
    );
    let mut g = Graph::builder();
    let input = g.input("x", [2]);
    let y = g.layer(Forgetful, input);
    let y = g.layer(ReLU::new(), y);
    let mut graph = g.build(&[("y", y)], test_device(), 1).unwrap();
    assert_eq!(run(&mut graph), [-1.0, 2.0]);
}

#[test]
fn a_layer_says_whether_it_is_a_relu() {
    assert!(ReLU::new().is_relu() && Activation::new("relu").is_relu());
    for other in [
        ReLU::new().max_value(6.0),
        ReLU::new().negative_slope(0.1),
        ReLU::new().threshold(0.5),
    ] {
        assert!(!other.is_relu());
    }
    assert!(!Activation::new("relu6").is_relu() && !Dense::new(1).activation("relu").is_relu());
}
