//! The Keras way of training for candle: `fit`, `fit_generator` and `train_on_batch`, data generators
//! with workers, callbacks and plugins.
//!
//! This crate has no code of its own: it gathers the crates of keros, each of which can be used
//! alone.
//!
//! | module | crate | what for |
//! |---|---|---|
//! | [`train`] | `keros-train` | the trainer |
//! | [`nn`] | `keros-nn` | layers, networks, losses, metrics, optimizers |
//! | [`data`] | `keros-data` | sequences, generators, augmentation, workers |
//! | [`image`] | `keros-image` | augmentation of pixel buffers |
//! | [`callbacks`] | `keros-callbacks` | the callback trait, history, progress |
//! | [`tensor`] | `keros-tensor` | devices, parameters, kernels, weight files |
//! | `plugin_host` | `keros-plugin-host` | callbacks loaded from dynamic libraries (feature `plugins`) |
//!
//! ```
//! use keros::prelude::*;
//! use ndarray::{Array1, Array4};
//!
//! let x = Array4::<f32>::zeros((64, 8, 8, 1));
//! let y = Array1::<i64>::zeros(64);
//! let network = Sequential::builder([8, 8, 1])
//!     .layer(Conv2D::new(4, 3).activation(Activation::Relu))
//!     .layer(Flatten::new())
//!     .layer(Dense::new(2).activation(Activation::Softmax))
//!     .build(&Device::Cpu, 42)?;
//! let mut trainer = Trainer::builder(network)
//!     .optimizer("adam")
//!     .loss("sparse_categorical_crossentropy")
//!     .metric("accuracy")
//!     .compile()?;
//! let history = trainer.fit(
//!     x,
//!     y,
//!     FitOptions {
//!         epochs: 2,
//!         validation_split: 0.25,
//!         verbose: Verbose::Silent,
//!         ..FitOptions::default()
//!     },
//! )?;
//! assert_eq!(history.get("val_loss").len(), 2);
//! # Ok::<(), TrainError>(())
//! ```

pub use keros_callbacks as callbacks;
pub use keros_data as data;
pub use keros_image as image;
pub use keros_nn as nn;
#[cfg(feature = "plugins")]
pub use keros_plugin_host as plugin_host;
pub use keros_tensor as tensor;
pub use keros_train as train;

/// What most programs need, to be imported with `use keros::prelude::*`.
///
/// `Interpolation` is that of images that are resized; [`UpSampling2D`](prelude::UpSampling2D) has
/// one of its own in [`nn::layers`].
pub mod prelude {
    pub use keros_callbacks::{
        BackupAndRestore, Callback, CallbackList, CallbackResult, Context, CsvLogger, Decision,
        EarlyStopping, EventKind, FailurePolicy, History, LambdaCallback, LearningRateScheduler,
        Logs, Mode, ModelCheckpoint, ReduceLrOnPlateau, SaveFreq, SwapEmaWeights, TerminateOnNan,
        Verbose,
    };
    pub use keros_data::{
        Array, ArraySequence, Arrays, Batch, ClassMode, ColorMode, DataError, DirectoryOptions,
        FillMode, FitImages, FlowOptions, GeneratorExt, ImageDataGenerator, ImageFileFlow,
        ImageFlow, Interpolation, OnBrokenFile, Sequence, SequenceExt, Shuffle, Subset, Table,
        TableOptions,
    };
    pub use keros_nn::layers::{
        Add, Autograd, AveragePooling1D, AveragePooling2D, BatchNormalization, CandleModule,
        Concatenate, Conv1D, Conv2D, Conv2DTranspose, Dense, DepthwiseConv2D, Dropout, Embedding,
        Flatten, GlobalAveragePooling1D, GlobalAveragePooling2D, GlobalMaxPooling1D,
        GlobalMaxPooling2D, Lambda, LayerNormalization, MaxPooling1D, MaxPooling2D, Padding, ReLU,
        Rescaling, Reshape, SeparableConv2D, UpSampling2D, ZeroPadding2D,
    };
    pub use keros_nn::optimizers::{Adam, AdamW, RmsProp, Sgd};
    pub use keros_nn::{
        Activation, CandleNetwork, Graph, GraphBuilder, Network, Node, Sequential, summary,
    };
    pub use keros_tensor::{Device, parse_device};
    pub use keros_train::{
        ClassWeight, EvaluateOptions, FitGeneratorOptions, FitOptions, GeneratorOptions,
        LoopEvents, LoopOptions, PredictOptions, Source, TrainError, Trainer, ValidationData,
        ValidationFreq, array_from_tensor, load_network, tensor_from_array,
    };
}

/// The code of the README, so that it compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// The code of the README of the repository, so that it compiles.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct RepositoryReadme;

/// The code of the guides, so that it compiles and does what they say.
#[cfg(doctest)]
mod guides {
    #[doc = include_str!("../../../docs/first-classifier.md")]
    struct FirstClassifier;

    #[doc = include_str!("../../../docs/three-methods.md")]
    struct ThreeMethods;

    #[doc = include_str!("../../../docs/own-generator.md")]
    struct OwnGenerator;

    #[doc = include_str!("../../../docs/own-layer.md")]
    struct OwnLayer;

    #[doc = include_str!("../../../docs/resume.md")]
    struct Resume;

    #[doc = include_str!("../../../docs/performance.md")]
    struct Performance;

    #[doc = include_str!("../../../docs/gpu.md")]
    struct Gpu;
}
