//! Writes the logs of every epoch to a CSV file.

use crate::callback::{Callback, CallbackResult};
use crate::context::{Context, Level};
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
/// each of its numbers. What is missing in a row is `NA`; a number that comes later and has no column
/// is left out, with a warning. In a resumed run, rows that were written after the checkpoint are
/// replaced.
#[doc(alias = "CSVLogger")]
#[derive(Debug)]
pub struct CsvLogger {
    path: PathBuf,
    separator: u8,
    append: bool,
    file: Option<File>,
    written: Written,
    /// Names without a column that were told.
    told: Vec<String>,
}

/// The first column.
const EPOCH: &str = "epoch";

/// What this run has written.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Written {
    /// Behind `epoch`.
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
            told: Vec::new(),
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

    /// Whether rows are added to a file that is there, in the columns of its header, which is written
    /// if it is empty. Default false.
    ///
    /// A file whose first column is not `epoch` is an error when the training begins.
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

    /// The columns behind `epoch` of the file that is there.
    fn read_columns(&self) -> io::Result<Vec<String>> {
        let mut rows = csv::ReaderBuilder::new()
            .delimiter(self.separator)
            .from_path(&self.path)?;
        let mut columns = rows.headers()?.iter().map(str::to_owned);
        match columns.next() {
            Some(first) if first == EPOCH => Ok(columns.collect()),
            first => {
                let found = first.as_deref().unwrap_or("none");
                let text = format!(
                    "rows cannot be added to it (expected {EPOCH} as its first column, found {found})"
                );
                Err(io::Error::new(io::ErrorKind::InvalidData, text))
            }
        }
    }

    /// What is to be told of numbers that have no column, once for each.
    fn left_out(&mut self, logs: &Logs) -> Option<String> {
        let columns = &self.written.columns;
        let has_none = |name: &&str| !columns.iter().any(|column| column == name);
        let is_new = |name: &&str| !self.told.iter().any(|told| told == name);
        let names = logs.iter().map(|(name, _)| name);
        let names: Vec<&str> = names.filter(has_none).filter(is_new).collect();
        if names.is_empty() {
            return None;
        }
        let text = format!(
            "{} has no column for {}, which is left out",
            self.path.display(),
            names.join(", ")
        );
        self.told.extend(names.into_iter().map(str::to_owned));
        Some(text)
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
            rows.write_record(std::iter::once(EPOCH).chain(names))?;
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
        self.told.clear();
        // A path that cannot be written is told before anything is trained.
        let len = open(&self.path).and_then(|file| Ok(file.metadata()?.len()));
        let len = len.map_err(|error| self.failed(error))?;
        self.written.bytes = self.append.then_some(len);
        if self.append && len > 0 {
            self.written.columns = self.read_columns().map_err(|error| self.failed(error))?;
        }
        Ok(Decision::CONTINUE)
    }

    fn on_epoch_end(&mut self, cx: &mut Context<'_>) -> CallbackResult {
        let epoch = cx.event().epoch;
        let logs = cx.logs()?;
        self.write(epoch, logs)
            .map_err(|error| self.failed(error))?;
        if let Some(text) = self.left_out(logs) {
            cx.message(Level::Warning, text);
        }
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
