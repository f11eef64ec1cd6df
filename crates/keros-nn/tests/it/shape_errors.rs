//! What activations, shape layers and merges refuse, and in which words.

use crate::test_device::test_device;
use keros_nn::layers::{
    Add, Concatenate, Cropping2D, Dense, Embedding, PReLU, Permute, ReLU, RepeatVector, Rescaling,
    Reshape, Softmax, Subtract, UpSampling2D, ZeroPadding2D,
};
use keros_nn::{Graph, GraphBuilder, Layer, Merge, Mode, Network, Node, Sequential};
use keros_tensor::access::read;
use keros_tensor::{Tensor, Workspace};

fn refused(input: &[usize], layer: impl Layer + 'static) -> String {
    let builder = Sequential::builder(input).layer(layer);
    builder.build(test_device(), 0).err().unwrap().to_string()
}

#[test]
fn layers_name_the_expected_and_the_found() {
    let large = usize::MAX;
    for (found, expected) in [
        (
            refused(&[4], ReLU::new().max_value(-1.0)),
            "layer `re_lu`: max_value: value out of range (expected a number from 0, found -1)",
        ),
        (
            refused(&[4], PReLU::new().shared_axes([2])),
            "layer `p_re_lu`: shared_axes: value out of range (expected axes from 1 to 1, found 2)",
        ),
        (
            refused(&[4, 3], Softmax::new().axis(0)),
            "layer `softmax`: axis: value out of range (expected 1 to 2 or -2 to -1, found 0)",
        ),
        (
            refused(&[4, 3], Reshape::new([5, -1])),
            "layer `reshape`: target_shape: value out of range (expected a shape of 12 values, with \
             at most one -1, found [5, -1])",
        ),
        (
            refused(&[4, 3], Permute::new([1, 1])),
            "layer `permute`: dims: value out of range (expected each of 1 to 2 once, found [1, 1])",
        ),
        (
            refused(&[4, 3], RepeatVector::new(2)),
            "layer `repeat_vector`: input sample: wrong shape (expected [features], found [4, 3])",
        ),
        (
            refused(&[4, 4, 1], Cropping2D::new(2)),
            "layer `cropping2d`: cropping: value out of range (expected less than 4 rows and 4 \
             columns in all, found ((2, 2), (2, 2)))",
        ),
        (
            refused(&[4, 4, 3], Rescaling::new([1.0, 2.0])),
            "layer `rescaling`: scale: value out of range (expected 1 or 3 numbers, found 2)",
        ),
        (
            refused(&[4], Embedding::new(0, 3)),
            "layer `embedding`: input_dim: value out of range (expected a number from 1 to 16777216, \
             found 0)",
        ),
    ] {
        assert_eq!(found, expected);
    }
    for found in [
        refused(&[4, 4, 1], ZeroPadding2D::new(large)),
        refused(&[4, 4, 1], Cropping2D::new(large)),
        refused(&[4, 4, 1], UpSampling2D::new(large)),
        refused(&[4], RepeatVector::new(large)),
        refused(&[4], Reshape::new([isize::MAX, isize::MAX])),
        refused(&[4], Reshape::new([0, -1])),
    ] {
        assert!(
            found.contains("expected") && found.contains("found"),
            "{found}"
        );
    }
}

#[test]
fn an_index_out_of_the_table_is_named_with_its_row() {
    let mut network = Sequential::builder([2])
        .layer(Embedding::new(5, 3))
        .build(test_device(), 0)
        .unwrap();
    let ws = &mut Workspace::new(test_device());
    for (bad, text) in [(5.0, "5"), (-1.0, "-1"), (0.5, "0.5"), (f32::NAN, "NaN")] {
        let x = Tensor::new(&[[0.0_f32, 4.0], [1.0, 2.0], [3.0, bad]], test_device()).unwrap();
        let found = network.forward(ws, &[x], Mode::Inference);
        if !test_device().is_cpu() {
            // Nobody waits for a GPU to tell.
            let rows = read::<f32>(&found.unwrap()[0].logits).unwrap().to_vec();
            assert!(rows[..15].iter().all(|value| value.is_finite()), "{rows:?}");
            assert!(rows[15..].iter().all(|value| value.is_nan()), "{rows:?}");
            continue;
        }
        let error = found.err().unwrap();
        assert_eq!(
            error.to_string(),
            format!(
                "layer `embedding`: embedding: bad index (expected a whole number in 0..5, found \
                 {text} in row 2, position 1)"
            )
        );
    }
}

#[test]
fn merges_name_the_shapes() {
    let words = |merge: &mut dyn Merge, shapes: &[Vec<usize>]| {
        merge.build(shapes).err().unwrap().to_string()
    };
    assert_eq!(
        words(&mut Add::new(), &[vec![3], vec![4]]),
        "inputs: value out of range (expected at least one, of shapes that broadcast to one another, \
         found [[3], [4]])"
    );
    assert_eq!(
        words(&mut Subtract::new(), &[vec![3]]),
        "number of inputs: value out of range (expected 2, found 1)"
    );
    assert_eq!(
        words(&mut Concatenate::new(1), &[vec![3, 2], vec![4, 3]]),
        "input sample: wrong shape (expected [3, 2] but for axis 1 of the batch, found [4, 3])"
    );
    assert!(words(&mut Concatenate::new(2), &[vec![3, 2], vec![3]]).contains("found [3]"));
    assert!(words(&mut Concatenate::new(0), &[vec![3]]).starts_with("axis: "));
}

#[test]
fn graphs_that_cannot_be_built() {
    let refused = |make: &dyn Fn(&mut GraphBuilder) -> Vec<(&'static str, Node)>| {
        let mut g = Graph::builder();
        let outputs = make(&mut g);
        g.build(&outputs, test_device(), 0)
            .err()
            .unwrap()
            .to_string()
    };
    for (found, expected) in [
        (
            refused(&|g| {
                let x = g.input("x", [3]);
                g.layer(Dense::new(2), x);
                vec![("y", x)]
            }),
            "building the graph: value out of range (expected nodes that lead to an output, found \
             Dense (node 1) that does not)",
        ),
        (
            refused(&|g| {
                g.input("a", [3]);
                vec![("y", g.input("b", [3]))]
            }),
            "building the graph: value out of range (expected nodes that lead to an output, found \
             input `a` (node 0) that does not)",
        ),
        (
            refused(&|g| {
                let (a, b) = (g.input("a", [3]), g.input("b", [4]));
                let dense = g.shared(Dense::new(2).name("twin"));
                vec![("y", g.apply(dense, a)), ("z", g.apply(dense, b))]
            }),
            "layer `twin`: input sample: wrong shape (expected [3], as at its first use, found [4])",
        ),
        (
            refused(&|g| {
                let (a, b) = (g.input("a", [3]), g.input("a", [3]));
                vec![("y", g.merge(Add::new(), &[a, b]))]
            }),
            "building the network: two layers are called `a`; give one of them another name",
        ),
        (
            refused(&|_| {
                let mut other = Graph::builder();
                vec![("y", other.input("x", [3]))]
            }),
            "building the graph: value out of range (expected nodes of this builder, found another \
             for output `y`)",
        ),
        (
            refused(&|g| {
                let x = g.input("x", [3]);
                vec![("y", x), ("y", x)]
            }),
            "building the graph: value out of range (expected outputs of different names, found two \
             called `y`)",
        ),
        (
            refused(&|_| Vec::new()),
            "building the graph: value out of range (expected at least one output, found none)",
        ),
    ] {
        assert_eq!(found, expected);
    }
}

#[test]
fn inputs_of_a_graph_have_the_same_number_of_samples() {
    let mut g = Graph::builder();
    let (a, b) = (g.input("a", [3]), g.input("b", [3]));
    let sum = g.merge(Add::new(), &[a, b]);
    let mut network = g.build(&[("sum", sum)], test_device(), 0).unwrap();
    let ws = &mut Workspace::new(test_device());
    let zeros = |n| Tensor::zeros((n, 3), keros_tensor::DType::F32, test_device()).unwrap();
    let mut words = |inputs: &[Tensor]| {
        let error = network.forward(ws, inputs, Mode::Inference).err().unwrap();
        error.to_string()
    };
    assert_eq!(
        words(&[zeros(2), zeros(4)]),
        "input `b` of type F32: wrong shape (expected F32 [2, 3], found [4, 3])"
    );
    assert_eq!(
        words(&[zeros(2)]),
        "inputs of the network: value out of range (expected 2, found 1)"
    );
}
