//! Saves the model, or its weights, as the training goes on.

use super::monitor::Monitor;
use super::path_template::PathTemplate;
use super::{Mode, SaveFreq};
use crate::callback::{Callback, CallbackResult};
use crate::context::{Context, Level};
use crate::decision::Decision;
use crate::error::{ArgumentError, BoxError};
use crate::event::{EventKind, EventSet};
use crate::state;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;

/// Keras's `ModelCheckpoint`: saves at the end of epochs or after so many batches, all or only the
/// best.
///
/// The best value goes into the checkpoints of a run, so that a resumed run does not overwrite a
/// better file with a worse one, as Keras does; like there, it is kept from one training to the next.
/// To go on with a training that died, see [`BackupAndRestore`](super::BackupAndRestore).
#[derive(Clone, Debug)]
pub struct ModelCheckpoint {
    path: PathTemplate,
    /// Whether the file is one of numpy, which holds nothing but weights.
    is_npz: bool,
    monitor: Monitor,
    save_best_only: bool,
    save_weights_only: bool,
    save_freq: SaveFreq,
    verbose: bool,
    seen: Seen,
}

/// What it remembers of a run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Seen {
    best: Option<f64>,
    /// Batches since something was saved.
    batches: u64,
}

impl ModelCheckpoint {
    /// Saves to `filepath`, which ends in `.safetensors` (or `.npz` for weights alone) and may hold
    /// values: `{epoch}` and, where it saves after batches, `{batch}`, counted from 1, and every log, each
    /// with a format as `{epoch:02d}` or `{val_loss:.2f}`, which means what it means in Python; its letter
    /// is `d`, `e`, `f`, `g` or none. Missing folders are made.
    ///
    /// # Errors
    /// A file name with another ending, or one whose values cannot be read. `{batch}` where it saves at
    /// the end of epochs is an error at train begin.
    pub fn new(filepath: impl AsRef<Path>) -> Result<ModelCheckpoint, ArgumentError> {
        let path = filepath.as_ref();
        let extension = path.extension().and_then(|extension| extension.to_str());
        if !matches!(extension, Some("safetensors" | "npz")) {
            let expected = "a file name that ends in .safetensors or .npz";
            return Err(ArgumentError::new("filepath", expected, path.display()));
        }
        let is_npz = extension == Some("npz");
        Ok(ModelCheckpoint {
            path: PathTemplate::parse(path)?,
            is_npz,
            monitor: Monitor::new("val_loss"),
            save_best_only: false,
            save_weights_only: is_npz,
            save_freq: SaveFreq::Epoch,
            verbose: false,
            seen: Seen::default(),
        })
    }

    /// The log that tells which epoch is best. Default `val_loss`.
    #[must_use]
    pub fn monitor(mut self, monitor: impl Into<String>) -> ModelCheckpoint {
        self.monitor.name = monitor.into();
        self
    }

    /// Whether only an improvement is saved, which needs a value: nothing is saved in an epoch without
    /// the monitored log, such as one without a validation, where Keras 3 saves. Default false.
    #[must_use]
    pub fn save_best_only(mut self, best_only: bool) -> ModelCheckpoint {
        self.save_best_only = best_only;
        self
    }

    /// Whether the parameters alone are saved, without the state of the optimizer. Default false; true
    /// for `.npz`, where false is an error at train begin.
    #[must_use]
    pub fn save_weights_only(mut self, weights_only: bool) -> ModelCheckpoint {
        self.save_weights_only = weights_only;
        self
    }

    /// Which values are better. Default: by the name of the log.
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> ModelCheckpoint {
        self.monitor.mode = mode;
        self
    }

    /// When to save. Default: at the end of every epoch.
    ///
    /// # Errors
    /// After every 0 batches.
    pub fn save_freq(mut self, save_freq: SaveFreq) -> Result<ModelCheckpoint, ArgumentError> {
        if save_freq == SaveFreq::Batches(0) {
            return Err(ArgumentError::new("save_freq", "at least 1 batch", 0));
        }
        self.save_freq = save_freq;
        Ok(self)
    }

    /// The best value before the training: one that is not better is not saved. Default: none.
    #[must_use]
    pub fn initial_value_threshold(mut self, value: f64) -> ModelCheckpoint {
        self.seen.best = Some(value);
        self
    }

    /// Whether it is told what was saved and why not. Default false.
    #[must_use]
    pub fn verbose(mut self, verbose: bool) -> ModelCheckpoint {
        self.verbose = verbose;
        self
    }

    /// The best value so far.
    #[must_use]
    pub fn best(&self) -> Option<f64> {
        self.seen.best
    }

    fn save(&mut self, cx: &mut Context<'_>) -> Result<(), BoxError> {
        let (epoch, batch) = (cx.event().epoch + 1, cx.event().batch + 1);
        let (mut why, mut best_now) = (String::new(), self.seen.best);
        if self.save_best_only {
            let Some(value) = self.monitor.value(cx)? else {
                return Ok(());
            };
            let name = &self.monitor.name;
            let best = self.seen.best;
            let best_text = best.map_or_else(|| "nothing".to_owned(), |best| format!("{best:.5}"));
            if !self.monitor.improves(value, best) {
                if self.verbose {
                    let text = format!("epoch {epoch}: {name} did not improve from {best_text}");
                    cx.message(Level::Info, text);
                }
                return Ok(());
            }
            best_now = Some(value);
            why = format!("{name} improved from {best_text} to {value:.5}, ");
        }
        let path = self.path.path(epoch, batch, cx.logs()?)?;
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)
                .map_err(|error| format!("making the folder {}: {error}", folder.display()))?;
        }
        match self.save_weights_only {
            true => cx.save_weights(&path)?,
            false => cx.save_model(&path)?,
        }
        self.seen.best = best_now;
        if self.verbose {
            let what = if self.save_weights_only {
                "weights"
            } else {
                "model"
            };
            let text = format!("epoch {epoch}: {why}saved the {what} to {}", path.display());
            cx.message(Level::Info, text);
        }
        Ok(())
    }
}

impl Callback for ModelCheckpoint {
    fn events(&self) -> EventSet {
        let saves = match self.save_freq {
            SaveFreq::Epoch => EventKind::EpochEnd,
            SaveFreq::Batches(_) => EventKind::TrainBatchEnd,
        };
        EventSet::of(&[EventKind::TrainBegin, saves])
    }

    fn on_train_begin(&mut self, _: &mut Context<'_>) -> CallbackResult {
        if self.is_npz && !self.save_weights_only {
            let expected = "true for a file name that ends in .npz";
            return Err(ArgumentError::new("save_weights_only", expected, false).into());
        }
        if self.save_freq == SaveFreq::Epoch && self.path.has("batch") {
            let expected = "no {batch} in a file name of the end of an epoch";
            return Err(ArgumentError::new("filepath", expected, self.path.text()).into());
        }
        if self.save_best_only {
            self.monitor.resolve()?;
        }
        Ok(Decision::CONTINUE)
    }

    fn on_train_batch_end(&mut self, cx: &mut Context<'_>) -> CallbackResult {
        self.seen.batches += 1;
        // More than that if the run was resumed with another frequency.
        if let SaveFreq::Batches(every) = self.save_freq
            && self.seen.batches >= every
        {
            self.seen.batches = 0;
            self.save(cx)?;
        }
        Ok(Decision::CONTINUE)
    }

    fn on_epoch_end(&mut self, cx: &mut Context<'_>) -> CallbackResult {
        self.save(cx)?;
        Ok(Decision::CONTINUE)
    }

    fn save_state(&self) -> Result<Option<Vec<u8>>, BoxError> {
        state::to_bytes(&self.seen).map(Some)
    }

    fn load_state(&mut self, bytes: &[u8]) -> Result<(), BoxError> {
        self.seen = state::from_bytes(bytes)?;
        Ok(())
    }
}
