//! Writes the logs of every epoch to a CSV file.

use crate::callback::{Callback, CallbackResult};
use crate::context::Context;
use crate::decision::Decision;
use crate::error::{ArgumentError, BoxError};
use crate::event::{EventKind, EventSet};
use crate::logs::{LogValue, Logs};
use crate::state;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Keras's `CSVLogger`: a row per epoch, `epoch` (zero-based) and the numbers in the order of their
/// names, lines ending in CR LF, written when the epoch ends.
///
/// The columns are those of the first row; if it has no `val_` values, there is a `val_` column for
/// each of its numbers. What is missing in a row is `NA`. In a resumed run, rows that were written
/// after the checkpoint are replaced.
#[doc(alias = "CSVLogger")]
#[derive(Debug)]
pub struct CsvLogger {
    path: PathBuf,
    separator: u8,
    append: bool,
    file: Option<File>,
    written: Written,
}

/// What this run has written.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Written {
    columns: Vec<String>,
    /// Length of the file after the last row; `None` before the first one of a file that is replaced.
    bytes: Option<u64>,
}

impl CsvLogger {
    /// Writes to `path`, whose old contents are replaced when the first row is written.
    #[must_use]
    pub fn new(path: impl AsRef<Path>) -> CsvLogger {
        CsvLogger {
            path: path.as_ref().to_owned(),
            separator: b',',
            append: false,
            file: None,
            written: Written::default(),
        }
    }

    /// What stands between two values: one ASCII character. Default `,`.
    ///
    /// # Errors
    /// Another character, or one that separates lines or quotes values.
    pub fn separator(mut self, separator: char) -> Result<CsvLogger, ArgumentError> {
        self.separator = u8::try_from(separator)
            .ok()
            .filter(|byte| byte.is_ascii() && !b"\r\n\"".contains(byte))
            .ok_or_else(|| {
                let expected = "an ASCII character other than a quote or the end of a line";
                ArgumentError::new("separator", expected, separator.escape_default())
            })?;
        Ok(self)
    }

    /// Whether rows are added to a file that is there; the header is written if it is empty. Default
    /// false.
    #[must_use]
    pub fn append(mut self, append: bool) -> CsvLogger {
        self.append = append;
        self
    }

    /// Opens the file where the next row goes.
    fn open(&mut self) -> io::Result<File> {
        let mut file = open(&self.path)?;
        let len = file.metadata()?.len();
        // Where the rows of a resumed run are gone, the file is another one.
        let ours = |bytes: &u64| self.append || *bytes <= len;
        let kept = self.written.bytes.filter(ours).unwrap_or(0);
        file.set_len(kept.min(len))?;
        file.seek(SeekFrom::End(0))?;
        Ok(file)
    }

    fn write(&mut self, epoch: u64, logs: &Logs) -> io::Result<()> {
        let mut file = match self.file.take() {
            Some(file) => file,
            None => self.open()?,
        };
        let mut rows = csv::WriterBuilder::new()
            .delimiter(self.separator)
            .terminator(csv::Terminator::CRLF)
            .from_writer(Vec::new());
        if self.written.columns.is_empty() {
            self.written.columns = columns(logs);
        }
        if file.stream_position()? == 0 {
            let names = self.written.columns.iter().map(String::as_str);
            rows.write_record(std::iter::once("epoch").chain(names))?;
        }
        let values = self
            .written
            .columns
            .iter()
            .map(|name| match logs.get(name) {
                Some(value) => text(value),
                None => "NA".to_owned(),
            });
        rows.write_record(std::iter::once(epoch.to_string()).chain(values))?;
        let rows = rows.into_inner().map_err(|error| error.into_error())?;
        file.write_all(&rows)?;
        self.written.bytes = Some(file.stream_position()?);
        self.file = Some(file);
        Ok(())
    }

    fn failed(&self, error: io::Error) -> BoxError {
        format!("writing the logs to {}: {error}", self.path.display()).into()
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
}

/// Names of the logs in order, with the `val_` values that are still to come.
fn columns(logs: &Logs) -> Vec<String> {
    let mut names: Vec<String> = logs.iter().map(|(name, _)| name.to_owned()).collect();
    names.sort_unstable();
    if !names.iter().any(|name| name.starts_with("val_")) {
        let later: Vec<String> = names.iter().map(|name| format!("val_{name}")).collect();
        names.extend(later);
    }
    names
}

/// A value as Python writes it.
fn text(value: &LogValue) -> String {
    let LogValue::Float(value) = value else {
        return value.to_string();
    };
    if !value.is_finite() {
        return value.to_string().to_lowercase();
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.parse::<i32>() {
        Ok(exponent) if !(-4..16).contains(&exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
        }
        _ => format!("{value:?}"),
    }
}

impl Callback for CsvLogger {
    fn events(&self) -> EventSet {
        EventSet::of(&[
            EventKind::TrainBegin,
            EventKind::EpochEnd,
            EventKind::TrainEnd,
        ])
    }

    fn on_train_begin(&mut self, _: &mut Context<'_>) -> CallbackResult {
        (self.file, self.written) = (None, Written::default());
        // A path that cannot be written is told before anything is trained.
        let len = open(&self.path).and_then(|file| Ok(file.metadata()?.len()));
        let len = len.map_err(|error| self.failed(error))?;
        self.written.bytes = self.append.then_some(len);
        Ok(Decision::CONTINUE)
    }

    fn on_epoch_end(&mut self, cx: &mut Context<'_>) -> CallbackResult {
        let epoch = cx.event().epoch;
        let logs = cx.logs()?;
        self.write(epoch, logs)
            .map_err(|error| self.failed(error))?;
        Ok(Decision::CONTINUE)
    }

    fn on_train_end(&mut self, _: &mut Context<'_>) -> CallbackResult {
        self.file = None;
        Ok(Decision::CONTINUE)
    }

    fn save_state(&self) -> Result<Option<Vec<u8>>, BoxError> {
        state::to_bytes(&self.written).map(Some)
    }

    fn load_state(&mut self, bytes: &[u8]) -> Result<(), BoxError> {
        (self.file, self.written) = (None, state::from_bytes(bytes)?);
        Ok(())
    }
}
