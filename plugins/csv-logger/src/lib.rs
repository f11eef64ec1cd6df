//! A keros callback plugin that writes a CSV file, a row per epoch, while the training runs.

#![doc = include_str!("../README.md")]

mod columns;
mod config;
mod file;

pub use config::Config;

use columns::Columns;
use file::Rows;
use keros_plugin::{
    BoxError, Callback, CallbackResult, Context, Decision, EventKind, EventSet, Level, state,
};
use serde::{Deserialize, Serialize};

keros_plugin::export_plugin!(CsvLogger::new, schema: Config);

/// Writes a row per epoch.
#[derive(Debug)]
pub struct CsvLogger {
    config: Config,
    training: Option<Training>,
}

/// A training that has begun and not ended.
#[derive(Debug)]
struct Training {
    rows: Rows,
    /// Known from the first row on.
    columns: Option<Columns>,
    /// Whether the user knows that a log has no column.
    told: bool,
    counts: Counts,
}

/// What this epoch was trained on so far.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Counts {
    batches: u64,
    samples: u64,
}

/// What is kept in checkpoints.
#[derive(Debug, Serialize, Deserialize)]
struct State {
    counts: Counts,
    /// Length of the file after the last row.
    bytes: u64,
}

impl CsvLogger {
    /// A logger that opens its file when the training begins.
    ///
    /// # Errors
    /// When the separator is not one a CSV file can have, or the path is empty.
    pub fn new(config: Config) -> Result<CsvLogger, BoxError> {
        config.check()?;
        Ok(CsvLogger {
            config,
            training: None,
        })
    }

    fn training(&mut self) -> Result<&mut Training, BoxError> {
        self.training
            .as_mut()
            .ok_or_else(|| "the training has not begun".into())
    }
}

impl Callback for CsvLogger {
    /// That of the plugin, whether it is loaded or linked in: its state is found by it.
    fn name(&self) -> &'static str {
        env!("CARGO_PKG_NAME")
    }

    fn events(&self) -> EventSet {
        EventSet::of(&[
            EventKind::TrainBegin,
            EventKind::EpochBegin,
            EventKind::TrainBatchEnd,
            EventKind::EpochEnd,
            EventKind::TrainEnd,
        ])
    }

    fn on_train_begin(&mut self, _: &mut Context<'_>) -> CallbackResult {
        let (rows, header) = Rows::open(&self.config)?;
        let columns = match header {
            Some(names) => Some(Columns::of_header(names, &self.config.path)?),
            None => None,
        };
        self.training = Some(Training {
            rows,
            columns,
            told: false,
            counts: Counts::default(),
        });
        Ok(Decision::CONTINUE)
    }

    fn on_epoch_begin(&mut self, _: &mut Context<'_>) -> CallbackResult {
        self.training()?.counts = Counts::default();
        Ok(Decision::CONTINUE)
    }

    fn on_train_batch_end(&mut self, cx: &mut Context<'_>) -> CallbackResult {
        let samples = cx.event().samples;
        let counts = &mut self.training()?.counts;
        counts.batches += 1;
        counts.samples += samples;
        Ok(Decision::CONTINUE)
    }

    fn on_epoch_end(&mut self, cx: &mut Context<'_>) -> CallbackResult {
        let epoch = cx.event().epoch;
        let info = cx.info().clone();
        let logs = cx.logs()?;
        let training = self.training()?;
        let columns = match &mut training.columns {
            Some(columns) => columns,
            none => {
                let columns = Columns::of_first_epoch(logs, &info);
                training.rows.write(&columns.header())?;
                none.insert(columns)
            }
        };
        let Counts { batches, samples } = training.counts;
        let counts = [epoch, batches, samples];
        training.rows.write(&columns.row(counts, logs))?;
        training.rows.flush()?;
        if let Some(key) = columns.lacking(logs).filter(|_| !training.told) {
            let sentence = format!(
                "the log `{key}` appeared after the first row and has no column in {}",
                training.rows.path().display()
            );
            training.told = true;
            cx.message(Level::Warning, sentence);
        }
        Ok(Decision::CONTINUE)
    }

    fn on_train_end(&mut self, _: &mut Context<'_>) -> CallbackResult {
        if let Some(mut training) = self.training.take() {
            training.rows.flush()?;
        }
        Ok(Decision::CONTINUE)
    }

    fn save_state(&self) -> Result<Option<Vec<u8>>, BoxError> {
        let state = self.training.as_ref().map(|training| State {
            counts: training.counts,
            bytes: training.rows.bytes(),
        });
        state.as_ref().map(state::to_bytes).transpose()
    }

    fn load_state(&mut self, bytes: &[u8]) -> Result<(), BoxError> {
        let training = self.training()?;
        let State { counts, bytes } = state::from_bytes(bytes)?;
        training.rows.cut(bytes)?;
        if training.rows.bytes() == 0 {
            training.columns = None;
        }
        training.counts = counts;
        Ok(())
    }
}
