//! Data generators, worker threads and processes, and the ordered bounded queue that feeds a training.
//!
//! Data come as a [`Sequence`] (an index gives a batch: [`ArraySequence`], [`ImageFlow`],
//! [`ImageFileFlow`], or your own) or as a plain [`Generator`] (any iterator over batches). A [`Loader`] prepares the batches
//! on worker threads, or in worker processes ([`worker`]), and delivers them in order through a bounded queue.
//!
//! A batch of a [`Sequence`] is a pure function of (seed, epoch, index): the number of workers and
//! the length of the queue never change a value or an order. How seeds become random streams is
//! written in [`rng`].
//!
//! ```
//! use std::sync::Arc;
//! use keros_data::{Array, FlowOptions, ImageDataGenerator, Loader, LoaderOptions};
//!
//! # fn main() -> Result<(), keros_data::DataError> {
//! let images = Array::from_vec(&[100, 28, 28, 1], vec![0_u8; 100 * 28 * 28])?;
//! let labels = Array::from_vec(&[100], vec![0_i64; 100])?;
//! let flow = ImageDataGenerator::new()
//!     .rotation_range(15.0)
//!     .width_shift_range(0.1)
//!     .horizontal_flip(true)
//!     .rescale(1.0 / 255.0)
//!     .flow(images, Some(labels), FlowOptions { seed: 7, ..FlowOptions::default() })?;
//! let loader = Loader::from_sequence(Arc::new(flow), LoaderOptions { limit: Some(4), ..LoaderOptions::default() })?;
//! let sizes = loader.map(|loaded| Ok(loaded?.batch.len())).collect::<Result<Vec<_>, keros_data::DataError>>()?;
//! assert_eq!(sizes, [32, 32, 32, 4]);
//! # Ok(())
//! # }
//! ```

pub mod adapters;
mod array;
mod array_sequence;
mod array_serde;
mod arrays;
mod batch;
mod cancel;
mod class_mode;
mod directory;
mod epoch_order;
mod error;
mod generator;
pub mod idx;
mod image_data_generator;
mod image_file_flow;
mod image_flow;
mod layout;
mod loader;
mod passed_over;
mod path_serde;
mod pipeline;
mod ranges;
mod recycle;
pub mod rng;
mod sequence;
mod stats;
mod subset;
mod table;
mod table_flow;
mod verdict;
pub mod worker;

pub use adapters::{GeneratorExt, SequenceExt, repeat};
pub use array::{Array, DType, Element};
pub use array_sequence::{ArraySequence, Shuffle};
pub use arrays::Arrays;
pub use batch::Batch;
pub use cancel::CancelToken;
pub use class_mode::ClassMode;
pub use directory::DirectoryOptions;
pub use error::{DataError, Mismatch};
pub use generator::Generator;
pub use image_data_generator::{FitImages, ImageDataGenerator};
pub use image_file_flow::{BrokenFile, ImageFileFlow, OnBrokenFile};
pub use image_flow::{FlowOptions, ImageFlow};
pub use layout::DataFormat;
pub use loader::{LoadedBatch, Loader, LoaderOptions};
pub use pipeline::SaveImages;
pub use ranges::{ShiftRange, ZoomRange};
pub use recycle::Recycling;
pub use sequence::Sequence;
pub use stats::{LoaderStats, StatsHandle};
pub use subset::Subset;
pub use table::Table;
pub use table_flow::TableOptions;
pub use verdict::Verdict;
pub use worker::Recipe;

pub use keros_image::{
    BrightnessStyle, ColorMode, FillMode, Format, Geometry, ImageError, ImageParams, ImageShape,
    Interpolation, PixelParams, Statistics, TransformParams, Whitening,
};

/// The code of the README, so that it compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
