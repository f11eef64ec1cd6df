//! The callbacks of Keras, with its arguments and defaults.
//!
//! All of them are built with setters and hand their state to checkpoints, so that a run that is
//! resumed does what it would have done. Where Keras has a defect, ours does the right thing; the
//! page of each callback says so.

mod backup_and_restore;
mod csv_logger;
mod early_stopping;
mod learning_rate_scheduler;
mod model_checkpoint;
mod monitor;
mod path_template;
mod reduce_lr_on_plateau;
#[cfg(feature = "remote")]
mod remote_monitor;
mod swap_ema_weights;
mod terminate_on_nan;

pub use backup_and_restore::BackupAndRestore;
pub use csv_logger::CsvLogger;
pub use early_stopping::EarlyStopping;
pub use learning_rate_scheduler::LearningRateScheduler;
pub use model_checkpoint::ModelCheckpoint;
pub use monitor::Mode;
pub use reduce_lr_on_plateau::ReduceLrOnPlateau;
#[cfg(feature = "remote")]
pub use remote_monitor::RemoteMonitor;
pub use swap_ema_weights::SwapEmaWeights;
pub use terminate_on_nan::TerminateOnNan;

/// When something is saved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SaveFreq {
    /// At the end of every epoch.
    #[default]
    Epoch,
    /// After every so many train batches, counted across epochs.
    Batches(u64),
}
