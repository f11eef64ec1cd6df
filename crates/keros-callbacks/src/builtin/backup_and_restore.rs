//! Keeps checkpoints of the whole run, and goes on from the last one.

use super::monitor::Monitor;
use super::{Mode, SaveFreq};
use crate::callback::{Callback, CallbackResult};
use crate::context::Context;
use crate::decision::Decision;
use crate::error::{ArgumentError, BoxError};
use crate::event::{EventKind, EventSet};
use crate::state;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::{fs, io};

/// Keras's `BackupAndRestore`: a training that died and is started again with the same arguments goes
/// on where its last checkpoint was written, and ends as if it had never died.
///
/// A checkpoint holds everything that the next batch depends on: parameters, optimizer, metrics,
/// epoch, batch, position in the data, the states of the callbacks, the history. Keras keeps less and
/// begins an interrupted epoch anew. Its arguments `double_checkpoint` (see
/// [`keep_last`](Self::keep_last)) and `save_before_preemption` (a notice of one cloud) have no
/// counterpart.
///
/// Put it last in the list: it deletes its checkpoints at train end, and if a callback after it fails
/// there, there is none to go on from.
///
/// If the last checkpoint is damaged, a training goes on from the one before that
/// [`keep_last`](Self::keep_last) has kept, and says so.
///
/// The files are `checkpoint-{epoch}-{batch}.safetensors` in the folder, epoch and batch being those
/// that come next, counted from 0, and `best.safetensors`; other files there are left alone.
#[derive(Clone, Debug)]
pub struct BackupAndRestore {
    folder: PathBuf,
    save_freq: SaveFreq,
    delete_checkpoint: bool,
    keep_last: usize,
    best: Option<Monitor>,
    seen: Seen,
    /// The value of the epoch whose checkpoint is to be the best one, until it is written.
    better: Option<f64>,
    /// Checkpoints that this run could not go on from, until they are written anew.
    damaged: Vec<PathBuf>,
}

/// What it remembers of a run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Seen {
    /// Batches since a checkpoint was asked for.
    batches: u64,
    best: Option<f64>,
}

const BEST: &str = "best.safetensors";

impl BackupAndRestore {
    /// Keeps its files in `folder`, which is made if it is missing.
    #[must_use]
    pub fn new(folder: impl AsRef<Path>) -> BackupAndRestore {
        BackupAndRestore {
            folder: folder.as_ref().to_owned(),
            save_freq: SaveFreq::Epoch,
            delete_checkpoint: true,
            keep_last: 1,
            best: None,
            seen: Seen::default(),
            better: None,
            damaged: Vec::new(),
        }
    }

    /// When to write a checkpoint. Default: at the end of every epoch.
    ///
    /// # Errors
    /// After every 0 batches.
    pub fn save_freq(mut self, save_freq: SaveFreq) -> Result<BackupAndRestore, ArgumentError> {
        if save_freq == SaveFreq::Batches(0) {
            return Err(ArgumentError::new("save_freq", "at least 1 batch", 0));
        }
        self.save_freq = save_freq;
        Ok(self)
    }

    /// Whether the checkpoints are deleted when the training has come to its end; the best one stays.
    /// Default true.
    #[must_use]
    pub fn delete_checkpoint(mut self, delete: bool) -> BackupAndRestore {
        self.delete_checkpoint = delete;
        self
    }

    /// How many checkpoints are kept, the newest ones. Default 1.
    ///
    /// # Errors
    /// No checkpoint at all.
    pub fn keep_last(mut self, checkpoints: usize) -> Result<BackupAndRestore, ArgumentError> {
        if checkpoints == 0 {
            return Err(ArgumentError::new("keep_last", "at least 1", 0));
        }
        self.keep_last = checkpoints;
        Ok(self)
    }

    /// Whether the checkpoint of the best epoch is kept too, as `best.safetensors`.
    #[must_use]
    pub fn keep_best(mut self, monitor: impl Into<String>, mode: Mode) -> BackupAndRestore {
        let mut best = Monitor::new(monitor);
        best.mode = mode;
        self.best = Some(best);
        self
    }

    /// The checkpoint that a training would go on from, unless it is damaged.
    ///
    /// # Errors
    /// When the folder is there and cannot be read.
    pub fn newest(&self) -> io::Result<Option<PathBuf>> {
        match self.checkpoints() {
            Ok(mut paths) => Ok(paths.pop()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn file(&self, epoch: u64, batch: u64) -> PathBuf {
        self.folder
            .join(format!("checkpoint-{epoch}-{batch}.safetensors"))
    }

    /// The checkpoints that are there, oldest first.
    fn checkpoints(&self) -> io::Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if let Some(place) = place(&path) {
                found.push((place, path));
            }
        }
        found.sort_unstable();
        Ok(found.into_iter().map(|(_, path)| path).collect())
    }

    /// Those of them that are not known to be damaged.
    fn usable(&self) -> io::Result<Vec<PathBuf>> {
        let mut paths = self.checkpoints()?;
        paths.retain(|path| !self.damaged.contains(path));
        Ok(paths)
    }

    /// What a run that was killed while it wrote has left.
    fn clean(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            let ours = |name: &str| name.starts_with("checkpoint-") || name.starts_with(BEST);
            if name.is_some_and(|name| ours(name) && name.ends_with(".tmp")) {
                fs::remove_file(&path)?;
            }
        }
        Ok(())
    }

    fn failed(&self, doing: &str, error: io::Error) -> BoxError {
        format!(
            "{doing} the checkpoints in {}: {error}",
            self.folder.display()
        )
        .into()
    }
}

/// Epoch and batch of a checkpoint's file name.
fn place(path: &Path) -> Option<(u64, u64)> {
    let name = path.file_name()?.to_str()?;
    let name = name
        .strip_prefix("checkpoint-")?
        .strip_suffix(".safetensors")?;
    let (epoch, batch) = name.split_once('-')?;
    Some((epoch.parse().ok()?, batch.parse().ok()?))
}

impl Callback for BackupAndRestore {
    fn events(&self) -> EventSet {
        EventSet::of(&[
            EventKind::TrainBegin,
            EventKind::TrainBatchEnd,
            EventKind::EpochEnd,
            EventKind::CheckpointSaved,
            EventKind::TrainEnd,
        ])
    }

    fn on_train_begin(&mut self, _: &mut Context<'_>) -> CallbackResult {
        if let Some(best) = &mut self.best {
            best.resolve()?;
        }
        (self.seen, self.better) = (Seen::default(), None);
        self.damaged.clear();
        let newest = fs::create_dir_all(&self.folder)
            .and_then(|()| self.clean())
            .and_then(|()| self.checkpoints())
            .map_err(|error| self.failed("looking for", error))?;
        Ok(match newest.last() {
            Some(path) => Decision::resume(path),
            None => Decision::CONTINUE,
        })
    }

    fn on_train_batch_end(&mut self, cx: &mut Context<'_>) -> CallbackResult {
        let SaveFreq::Batches(every) = self.save_freq else {
            return Ok(Decision::CONTINUE);
        };
        self.seen.batches += 1;
        if self.seen.batches < every {
            return Ok(Decision::CONTINUE);
        }
        self.seen.batches = 0;
        let event = cx.event();
        Ok(Decision::checkpoint(
            self.file(event.epoch, event.batch + 1),
        ))
    }

    fn on_epoch_end(&mut self, cx: &mut Context<'_>) -> CallbackResult {
        let mut decision = Decision::CONTINUE;
        self.better = None;
        // Before the one that a run goes on from, whose state says that the best one is there.
        if let Some(monitor) = &mut self.best
            && let Some(value) = monitor.value(cx)?
            && monitor.improves(value, self.seen.best)
        {
            self.better = Some(value);
            decision.checkpoints.push(self.folder.join(BEST));
        }
        if self.save_freq == SaveFreq::Epoch {
            let file = self.file(cx.event().epoch + 1, 0);
            decision.checkpoints.push(file);
        }
        Ok(decision)
    }

    fn on_checkpoint_saved(&mut self, cx: &mut Context<'_>) -> CallbackResult {
        let best = self.folder.join(BEST).display().to_string();
        if cx.detail() == Some(best.as_str()) {
            self.seen.best = self.better.take().or(self.seen.best);
        }
        let saved = cx.detail().map(Path::new);
        self.damaged.retain(|path| Some(path.as_path()) != saved);
        // A damaged one would seem to be newer than those that are written now.
        let old = self.usable().and_then(|checkpoints| {
            let old = checkpoints.len().saturating_sub(self.keep_last);
            checkpoints[..old].iter().try_for_each(fs::remove_file)
        });
        old.map_err(|error| self.failed("deleting", error))?;
        Ok(Decision::CONTINUE)
    }

    fn on_train_end(&mut self, _: &mut Context<'_>) -> CallbackResult {
        if self.delete_checkpoint {
            self.checkpoints()
                .and_then(|paths| paths.iter().try_for_each(fs::remove_file))
                .map_err(|error| self.failed("deleting", error))?;
        }
        Ok(Decision::CONTINUE)
    }

    fn on_damaged_checkpoint(&mut self, path: &Path) -> Option<PathBuf> {
        self.damaged.push(path.to_owned());
        self.usable().ok()?.pop()
    }

    fn save_state(&self) -> Result<Option<Vec<u8>>, BoxError> {
        state::to_bytes(&self.seen).map(Some)
    }

    fn load_state(&mut self, bytes: &[u8]) -> Result<(), BoxError> {
        self.seen = state::from_bytes(bytes)?;
        Ok(())
    }
}
