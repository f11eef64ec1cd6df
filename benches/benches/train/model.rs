//! The networks that are trained: 3 × 3 convolutions with pooling, dense layers, and a residual network.

use std::str::FromStr;

use anyhow::{Context as _, Error};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Model {
    /// Two convolutions.
    MnistConvnet,
    /// Four convolutions and a dense layer of 512 units.
    Cifar10Cnn,
    /// Dense layers of 512, 512 and 10 units.
    Mlp,
    /// Eighteen layers for images of 224 × 224 pixels: He et al., "Deep Residual Learning for Image Recognition", 2015.
    Resnet18,
}

impl Model {
    const ALL: [Model; 4] = [
        Model::MnistConvnet,
        Model::Cifar10Cnn,
        Model::Mlp,
        Model::Resnet18,
    ];

    /// Those of a contest that names none: what takes seconds there.
    pub(crate) fn usual(on_gpu: bool) -> [Model; 3] {
        let last = if on_gpu { Model::Resnet18 } else { Model::Mlp };
        [Model::MnistConvnet, Model::Cifar10Cnn, last]
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Model::MnistConvnet => "mnist_convnet",
            Model::Cifar10Cnn => "cifar10_cnn",
            Model::Mlp => "mlp",
            Model::Resnet18 => "resnet18",
        }
    }

    /// Channels last.
    pub(crate) fn sample_shape(self) -> &'static [usize] {
        match self {
            Model::MnistConvnet => &[28, 28, 1],
            Model::Cifar10Cnn => &[32, 32, 3],
            Model::Mlp => &[784],
            Model::Resnet18 => &[224, 224, 3],
        }
    }

    pub(crate) fn classes(self) -> usize {
        match self {
            Model::Resnet18 => 1000,
            _ => 10,
        }
    }

    /// Images of an epoch that takes a second or two: a multiple of the usual batch sizes.
    pub(crate) fn images(self, on_gpu: bool) -> usize {
        match (self, on_gpu) {
            (Model::MnistConvnet, false) => 12800,
            (Model::Cifar10Cnn, false) => 2560,
            (Model::Mlp, false) => 38400,
            (Model::Resnet18, false) => 256,
            (Model::MnistConvnet | Model::Mlp, true) => 204_800,
            (Model::Cifar10Cnn, true) => 102_400,
            (Model::Resnet18, true) => 8192,
        }
    }
}

impl FromStr for Model {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let found = Model::ALL.into_iter().find(|model| model.name() == name);
        found.with_context(|| {
            let names = Model::ALL.map(Model::name).join(", ");
            format!("there is no model `{name}`; there are: {names}")
        })
    }
}
