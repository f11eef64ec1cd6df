//! The record of a run: one row of logs per epoch.

use crate::callback::{Callback, CallbackResult};
use crate::context::Context;
use crate::decision::Decision;
use crate::error::BoxError;
use crate::event::{EventKind, EventSet};
use crate::logs::{EpochLogs, Logs};
use crate::run::RunInfo;
use crate::state;
use serde::ser::{SerializeMap, SerializeStruct};
use serde::{Serialize, Serializer};
use std::error::Error;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// Keras's `History`: what `fit` returns. `fit` records it after all callbacks, so that it has the
/// keys they add; in a loop of your own it is a callback like any other, the last of the list.
///
/// Serializes as Keras's object: `epoch` (list of indices), `history` (name → one number per epoch
/// in which the name appeared), `params`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    params: RunInfo,
    epochs: Vec<EpochLogs>,
}

impl History {
    /// An empty record.
    #[must_use]
    pub fn new() -> History {
        History::default()
    }

    /// The record of a run in which no epoch has ended.
    #[must_use]
    pub fn of(params: RunInfo) -> History {
        History {
            params,
            epochs: Vec::new(),
        }
    }

    /// Adds the logs of an epoch that has ended.
    pub fn push(&mut self, epoch: u64, logs: Logs) {
        self.epochs.push(EpochLogs { epoch, logs });
    }

    /// Facts of the run.
    #[must_use]
    pub fn params(&self) -> &RunInfo {
        &self.params
    }

    /// The epochs in order.
    #[must_use]
    pub fn epochs(&self) -> &[EpochLogs] {
        &self.epochs
    }

    /// Names of all numbers, in the order in which they first appeared.
    #[must_use]
    pub fn keys(&self) -> Vec<&str> {
        let mut keys: Vec<&str> = Vec::new();
        for row in &self.epochs {
            for (key, value) in row.logs.iter() {
                if value.as_number().is_some() && !keys.contains(&key) {
                    keys.push(key);
                }
            }
        }
        keys
    }

    /// The values of `key`, one per epoch in which it appeared; empty for an unknown key.
    #[must_use]
    pub fn get(&self, key: &str) -> Vec<f64> {
        self.points(key).map(|(_, value)| value).collect()
    }

    /// The last value of `key`.
    #[must_use]
    pub fn last(&self, key: &str) -> Option<f64> {
        self.points(key).last().map(|(_, value)| value)
    }

    pub(crate) fn points(&self, key: &str) -> impl Iterator<Item = (u64, f64)> {
        self.epochs
            .iter()
            .filter_map(move |row| Some((row.epoch, row.logs.number(key)?)))
    }

    /// Writes `epoch` (zero-based) and all [`keys`](History::keys) as CSV, a row per epoch; `NA`
    /// where an epoch lacks a value. The file appears whole or not at all.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_csv(&self, path: impl AsRef<Path>) -> Result<(), HistoryError> {
        let keys = self.keys();
        let mut writer = csv::Writer::from_writer(Vec::new());
        let to_io = |error: csv::Error| HistoryError::Io {
            path: path.as_ref().to_owned(),
            source: error.into(),
        };
        writer
            .write_record(std::iter::once("epoch").chain(keys.iter().copied()))
            .map_err(to_io)?;
        for row in &self.epochs {
            writer
                .write_record(
                    std::iter::once(row.epoch.to_string()).chain(keys.iter().map(|key| {
                        match row.logs.number(key) {
                            Some(value) => value.to_string(),
                            None => "NA".to_owned(),
                        }
                    })),
                )
                .map_err(to_io)?;
        }
        let bytes = writer.into_inner().map_err(|error| HistoryError::Io {
            path: path.as_ref().to_owned(),
            source: error.into_error(),
        })?;
        write_beside_and_rename(path.as_ref(), &bytes)
    }
}

/// Writes a file that is never seen half-written.
pub(crate) fn write_beside_and_rename(path: &Path, bytes: &[u8]) -> Result<(), HistoryError> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}.tmp", std::process::id()));
    fs::write(&beside, bytes)
        .and_then(|()| fs::rename(&beside, path))
        .map_err(|source| {
            // The rename's own failure is what the user needs to hear.
            let _ = fs::remove_file(&beside);
            HistoryError::Io {
                path: path.to_owned(),
                source,
            }
        })
}

/// A [`History`] could not be written.
#[derive(Debug)]
#[non_exhaustive]
pub enum HistoryError {
    /// The file could not be written.
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The picture could not be drawn.
    Plot {
        /// The file.
        path: PathBuf,
        /// Why, in the words of the drawing library.
        reason: String,
    },
}

impl fmt::Display for HistoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HistoryError::Io { path, source } => {
                write!(f, "writing the history to {}: {source}", path.display())
            }
            HistoryError::Plot { path, reason } => {
                write!(
                    f,
                    "drawing the learning curves for {}: {reason}",
                    path.display()
                )
            }
        }
    }
}

impl Error for HistoryError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            HistoryError::Io { source, .. } => Some(source),
            HistoryError::Plot { .. } => None,
        }
    }
}

impl Callback for History {
    fn events(&self) -> EventSet {
        EventSet::of(&[EventKind::TrainBegin, EventKind::EpochEnd])
    }

    fn on_train_begin(&mut self, cx: &mut Context<'_>) -> CallbackResult {
        *self = History::of(cx.info().clone());
        Ok(Decision::CONTINUE)
    }

    fn on_epoch_end(&mut self, cx: &mut Context<'_>) -> CallbackResult {
        let epoch = cx.event().epoch;
        let logs = cx.logs()?.clone();
        self.push(epoch, logs);
        Ok(Decision::CONTINUE)
    }

    fn save_state(&self) -> Result<Option<Vec<u8>>, BoxError> {
        state::to_bytes(&self.epochs).map(Some)
    }

    fn load_state(&mut self, bytes: &[u8]) -> Result<(), BoxError> {
        self.epochs = state::from_bytes(bytes)?;
        Ok(())
    }
}

impl Serialize for History {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Lists<'a>(&'a History);
        impl Serialize for Lists<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let keys = self.0.keys();
                let mut map = serializer.serialize_map(Some(keys.len()))?;
                for key in keys {
                    map.serialize_entry(key, &self.0.get(key))?;
                }
                map.end()
            }
        }
        let epochs: Vec<u64> = self.epochs.iter().map(|row| row.epoch).collect();
        let mut fields = serializer.serialize_struct("History", 3)?;
        fields.serialize_field("epoch", &epochs)?;
        fields.serialize_field("history", &Lists(self))?;
        fields.serialize_field("params", &self.params)?;
        fields.end()
    }
}
