//! A keros callback plugin that finds a learning rate: it sweeps the rate over a few updates, writes
//! the curve of the loss, suggests a rate, and leaves the model as it was.
//!
//! ```json
//! {
//!   "path": "learning_rates.csv",
//!   "svg": "learning_rates.svg",
//!   "min": 1e-7,
//!   "max": 10.0,
//!   "steps": 100,
//!   "smoothing": 0.98,
//!   "stop_factor": 4.0,
//!   "skip_begin": 10,
//!   "skip_end": 1
//! }
//! ```
//!
//! Only `path` is required; without `svg` no picture is drawn, and the other values are the defaults.
//! Relative paths are relative to the current directory of the program.
//!
//! Start a `fit` as the real one, and give it this callback: from one update to the next the learning
//! rate grows by the same factor, from `min` to `max` in `steps` updates, and the run stops after the
//! last one. It stops earlier when the smoothed loss is above `stop_factor` times the best so far.
//! This is the range test of [Smith, 2017](https://arxiv.org/abs/1506.01186) with the smoothing and
//! the limits of fastai and Lightning: the smoothed loss is an exponential moving average, without its
//! bias to zero.
//!
//! The rate at which the smoothed loss falls fastest, over the logarithm of the rate, is suggested: as
//! a message, and as the log `suggested_learning_rate` of the last epoch, so that it is in the
//! history. The first `skip_begin` and the last `skip_end` points are not looked at.
//!
//! The CSV file has a row per update: `step`, `learning_rate`, `loss` and `smoothed_loss`. The loss is
//! that of the batches of this update, not the mean since the beginning of the epoch that is in the
//! logs.
//!
//! Afterwards the learning rate and the parameters are what they were before the first update. What
//! the optimizer remembers, such as moments and the number of updates, is that of the sweep: train
//! with a new optimizer. A sweep is not kept in checkpoints; a resumed run begins a new one, at the
//! beginning of its next epoch if it goes on inside of one.

mod config;
mod curve;
mod finder;
mod loss;
mod sweep;

pub use config::Config;
pub use finder::LrFinder;

keros_plugin::export_plugin!(LrFinder::new, schema: Config);
