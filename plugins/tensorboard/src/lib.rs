//! A keros callback plugin that writes event files for TensorBoard, laid out as Keras's callback of
//! that name does.
//!
//! ```json
//! {
//!   "log_dir": "logs",
//!   "update_freq": "epoch",
//!   "histogram_freq": 0,
//!   "write_graph": true,
//!   "write_images": false,
//!   "write_steps_per_second": false,
//!   "write_gradients": false,
//!   "images": 0,
//!   "data_format": "channels_last",
//!   "write_facts": true
//! }
//! ```
//!
//! These are the defaults; see [`Config`] for each. Keras's `profile_batch`, `embeddings_freq` and
//! `embeddings_metadata` are not known, and refused. Show the files with `tensorboard --logdir logs`.
//!
//! There are two of TensorBoard's runs, folders under `log_dir`:
//!
//! | run | tag | step | what |
//! |---|---|---|---|
//! | `train` | `epoch_loss`, … | epoch | every number in the logs of an epoch that does not begin with `val_`, and the learning rate |
//! | `train` | `batch_loss`, … | update | every number in the logs of a batch, as often as `update_freq` says |
//! | `train` | `epoch_steps_per_second`, `batch_steps_per_second` | | with `write_steps_per_second` |
//! | `train` | `NAME/histogram`, `NAME/gradient/histogram`, `NAME/image` | epoch | the parameter NAME |
//! | `train` | `NAME/samples` | epoch | images of the input NAME, or `input` if it has none |
//! | `train` | `keras` | 0 | the network |
//! | `train` | `facts` | 0 | how the run was set up |
//! | `validation` | `epoch_loss`, … | epoch | the logs of an epoch that begin with `val_`, without it |
//! | `validation` | `evaluation_loss_vs_iterations`, … | update | the logs at the end of an evaluation |
//!
//! An epoch counts from zero. An update counts from one in the life of the optimizer, so that a second
//! `fit`, or a resumed one, goes on where the first ended; Keras counts batches from the beginning of
//! each `fit`. If gradients are accumulated over several batches, the batch with the update is the one
//! that is written.
//!
//! Each run of the training opens a file of its own in the same folders, as TensorBoard expects. Files
//! are handed to the operating system at the end of each epoch and evaluation, and every few seconds
//! in between: a training that dies loses no epoch.

mod config;
mod event_file;
mod files;
mod histogram;
mod picture;
mod proto;
mod record;
mod summary;
mod tensorboard;

pub use config::{Config, DataFormat, UpdateFreq};
pub use tensorboard::TensorBoard;

keros_plugin::export_plugin!(TensorBoard::new, schema: Config);
