//! Layers, networks, losses, metrics and optimizers with Keras's semantics on candle tensors.
//!
//! Layers work channels-last (`[N, H, W, C]`, kernels `[kh, kw, in, out]`), as Keras does. The
//! reverse pass is written out: a layer saves on a tape what its gradient needs, and
//! [`Layer::backward`] takes it off again. After the first step nothing allocates: all intermediate
//! values live in a [`Workspace`](keros_tensor::Workspace). What a user writes in candle's operations
//! goes back by candle's autograd instead ([`layers::Autograd`], [`CandleNetwork`]).
//!
//! A network is a chain of layers ([`Sequential`]) or a graph with several inputs and outputs,
//! merges and shared layers ([`Graph`]).
//!
//! A network whose last layer ends in a softmax or sigmoid hands out the values *before* it,
//! together with the activation ([`Output`]): losses and metrics work on the logits, where nothing
//! is clipped, as Keras does on TensorFlow.
//!
//! **Determinism.** The same seed, data and sequence of calls give the same bits, whatever the number
//! of threads.
//!
//! ```
//! use keros_nn::layers::{Conv2D, Dense, Dropout, Flatten, MaxPooling2D};
//! use keros_nn::{Activation, Sequential};
//! use keros_tensor::Device;
//!
//! let network = Sequential::builder([28, 28, 1])
//!     .layer(Conv2D::new(32, 3).activation(Activation::Relu))
//!     .layer(MaxPooling2D::new(2))
//!     .layer(Flatten::new())
//!     .layer(Dropout::new(0.5))
//!     .layer(Dense::new(10).activation(Activation::Softmax))
//!     .build(&Device::Cpu, 42)?;
//! assert_eq!(network.params().num_elements(true), 320 + 54_090);
//! # use keros_nn::Network;
//! # Ok::<(), keros_nn::NnError>(())
//! ```

mod activation;
mod autograd;
mod candle_network;
mod config;
mod constraint;
mod dtype_policy;
mod error;
mod graph;
mod initializer;
#[cfg(feature = "keras-files")]
mod keras_weights;
mod layer;
pub mod layers;
pub mod losses;
pub mod metrics;
mod names;
mod network;
pub mod optimizers;
mod param_rules;
mod part;
mod penalty;
mod regularizer;
mod resolve;
mod schedule;
mod sequential;
mod setter;
mod summary;
mod target;

pub use activation::Activation;
pub use candle_network::CandleNetwork;
pub use config::{Arguments, Config, Registry};
#[cfg(feature = "keras-files")]
pub use config::{load_keras_model, load_keras_model_with};
pub use constraint::{Constraint, MaxNorm, MinMaxNorm, NonNeg, UnitNorm};
pub use dtype_policy::DtypePolicy;
pub use error::{NnError, StateDifference, StateMismatch};
pub use graph::{Graph, GraphBuilder, Node, SharedLayer};
pub use initializer::{Distribution, Fan, Initializer};
#[cfg(feature = "keras-files")]
pub use keras_weights::{load_keras_weights, load_keras_weights_with};
#[cfg(feature = "keras-files")]
pub use keros_tensor::LoadKeras;
pub use layer::{Layer, LayerBuilder, Merge, Pass};
pub use losses::{
    CategoricalCrossentropy, Loss, LossOutput, MeanSquaredError, Reduction,
    SparseCategoricalCrossentropy,
};
pub use metrics::{Accuracy, Metric, WeightedMean};
pub use network::{Connection, IndexInput, LayerInfo, Mode, Network, Output, Port};
pub use optimizers::{
    Adadelta, Adafactor, Adagrad, Adam, AdamW, Adamax, Ftrl, Lamb, Lion, LossScaleOptimizer, Muon,
    Nadam, Optimizer, RmsProp, Sgd,
};
pub use param_rules::{ParamOptions, ParamRules};
pub use penalty::Penalty;
pub use regularizer::{L1, L1L2, L2, OrthogonalMode, OrthogonalRegularizer, Regularizer};
pub use resolve::Resolve;
pub use schedule::{
    CosineDecay, CosineDecayRestarts, ExponentialDecay, InverseTimeDecay, LearningRate,
    PiecewiseConstantDecay, PolynomialDecay, Schedule,
};
pub use sequential::{Sequential, SequentialBuilder};
pub use summary::summary;
pub use target::{Target, TargetKind};

/// The code of the README, so that it compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
