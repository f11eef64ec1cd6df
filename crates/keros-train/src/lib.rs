//! The trainer of keros: `fit`, `fit_generator` and `train_on_batch` over one loop.
//!
//! A [`Trainer`] joins a [`Network`](keros_nn::Network), an optimizer, a loss and metrics, and offers
//! Keras's three methods:
//!
//! * [`Trainer::train_on_batch`]: one update on exactly the rows given; you write the loop.
//! * [`Trainer::fit`]: arrays in memory; the trainer cuts batches and shuffles.
//! * [`Trainer::fit_generator`]: batches from a [`Sequence`](keros_data::Sequence) or a generator,
//!   prepared by worker threads or processes beside the running model, in bounded memory.
//!
//! `evaluate` and `predict` come in the same three forms. Around
//! [`train_on_batch`](Trainer::train_on_batch) callbacks fire too if the loop sends
//! [`LoopEvents`], those of `fit`.
//!
//! A run can be kept in checkpoints and go on from one, to the bit, if a callback asks for it
//! ([`BackupAndRestore`](keros_callbacks::BackupAndRestore) does); [`Trainer::save`] and
//! [`Trainer::load`] keep the model between runs.
//!
//! **Semantics.** Epochs, events and logs are Keras's: the loss of a batch is
//! `Σ weight · loss / rows`; logs are running means over the epoch, weighted by rows; validation runs
//! in inference mode after the epoch's last batch; an optimizer update counts as one step.
//!
//! **Determinism.** The same network, data, seed and calls give the same bits, whatever the number of
//! workers or threads.
//!
//! **On a GPU** a step returns before it is done: losses and outputs travel to the host beside the next
//! steps and are added to the logs when a callback reads them, a few steps later, or when the epoch
//! ends. They are the same numbers in the same order as with a wait after each step.
//!
//! **Failure.** An error in the data, the network or a callback ends the call with an error that names
//! epoch and batch, if it is of one; train end is then not sent. The weights stay as the last finished
//! step left them.

mod checkpoint;
mod class_weight;
mod data;
mod dry_run;
mod error;
mod evaluate;
mod facts;
mod fit;
mod messages;
mod moments;
mod on_batch;
mod options;
mod own_loop;
mod pass;
mod plan;
mod positions;
mod predict;
mod run;
mod save;
mod seen;
mod settle;
mod source;
mod step;
mod tensor;
mod trackers;
mod trainer;

pub use class_weight::ClassWeight;
pub use error::TrainError;
pub use options::{
    EvaluateOptions, FitGeneratorOptions, FitOptions, GeneratorOptions, LoopOptions,
    PredictOptions, TestOnBatchOptions, TrainOnBatchOptions, ValidationFreq,
};
pub use own_loop::LoopEvents;
pub use save::{load_network, load_network_with};
pub use source::{Source, ValidationData};
pub use tensor::{array_from_tensor, tensor_from_array};
pub use trainer::{Trainer, TrainerBuilder};

/// The code of the README, so that it compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
