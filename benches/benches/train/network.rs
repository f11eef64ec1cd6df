//! keros's networks, built with the graph API.

use anyhow::Result;
use keros::prelude::*;

use crate::model::Model;

/// A network whose inputs are floats, or bytes that it scales.
pub(crate) fn network(model: Model, scaled: bool, device: &Device) -> Result<Graph> {
    let mut graph = Graph::builder();
    let mut x = graph.input("image", model.sample_shape().to_vec());
    if scaled {
        x = graph.layer(Rescaling::new(1.0 / 255.0), x);
    }
    let x = match model {
        Model::MnistConvnet => mnist_convnet(&mut graph, x),
        Model::Cifar10Cnn => cifar10_cnn(&mut graph, x),
        Model::Mlp => {
            let x = graph.layer(Dense::new(512).activation("relu"), x);
            graph.layer(Dense::new(512).activation("relu"), x)
        }
        Model::Resnet18 => resnet18(&mut graph, x),
    };
    let class = graph.layer(Dense::new(model.classes()).activation("softmax"), x);
    Ok(graph.build(&[("class", class)], device, 1)?)
}

fn mnist_convnet(graph: &mut GraphBuilder, mut x: Node) -> Node {
    for filters in [32, 64] {
        x = graph.layer(Conv2D::new(filters, 3).activation("relu"), x);
        x = graph.layer(MaxPooling2D::new(2), x);
    }
    let x = graph.layer(Flatten::new(), x);
    graph.layer(Dropout::new(0.5), x)
}

fn cifar10_cnn(graph: &mut GraphBuilder, mut x: Node) -> Node {
    for filters in [32, 64] {
        let conv = || Conv2D::new(filters, 3).activation("relu");
        x = graph.layer(conv().padding(Padding::Same), x);
        x = graph.layer(conv(), x);
        x = graph.layer(MaxPooling2D::new(2), x);
        x = graph.layer(Dropout::new(0.25), x);
    }
    let x = graph.layer(Flatten::new(), x);
    let x = graph.layer(Dense::new(512).activation("relu"), x);
    graph.layer(Dropout::new(0.5), x)
}

fn resnet18(graph: &mut GraphBuilder, x: Node) -> Node {
    let mut x = convolution(graph, x, 64, 7, 2);
    x = graph.layer(ReLU::new(), x);
    let pool = MaxPooling2D::new(3).strides(2).padding(Padding::Same);
    x = graph.layer(pool, x);
    let mut channels = 64;
    for filters in [64, 64, 128, 128, 256, 256, 512, 512] {
        let stride = if filters == channels { 1 } else { 2 };
        let shortcut = match stride {
            1 => x,
            _ => convolution(graph, x, filters, 1, stride),
        };
        let y = convolution(graph, x, filters, 3, stride);
        let y = graph.layer(ReLU::new(), y);
        let y = convolution(graph, y, filters, 3, 1);
        let sum = graph.merge(Add::new(), &[y, shortcut]);
        x = graph.layer(ReLU::new(), sum);
        channels = filters;
    }
    graph.layer(GlobalAveragePooling2D::new(), x)
}

/// A convolution, normalized.
fn convolution(
    graph: &mut GraphBuilder,
    x: Node,
    filters: usize,
    size: usize,
    stride: usize,
) -> Node {
    let layer = Conv2D::new(filters, size)
        .strides(stride)
        .padding(Padding::Same)
        .use_bias(false);
    let x = graph.layer(layer, x);
    graph.layer(BatchNormalization::new(), x)
}
