//! The networks that are trained: 3 × 3 convolutions with pooling, and dense layers.

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
}

impl Model {
    pub(crate) const ALL: [Model; 3] = [Model::MnistConvnet, Model::Cifar10Cnn, Model::Mlp];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Model::MnistConvnet => "mnist_convnet",
            Model::Cifar10Cnn => "cifar10_cnn",
            Model::Mlp => "mlp",
        }
    }

    /// Channels last.
    pub(crate) fn sample_shape(self) -> &'static [usize] {
        match self {
            Model::MnistConvnet => &[28, 28, 1],
            Model::Cifar10Cnn => &[32, 32, 3],
            Model::Mlp => &[784],
        }
    }

    /// Images of an epoch that takes a second or two: a multiple of the usual batch sizes.
    pub(crate) fn images(self) -> usize {
        match self {
            Model::MnistConvnet => 12800,
            Model::Cifar10Cnn => 2560,
            Model::Mlp => 38400,
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
