//! Which logs have a column, and the text of a row.

use keros_plugin::{BoxError, LogValue, Logs, RunInfo};
use std::path::Path;

/// The columns before the logs.
const COUNTS: [&str; 3] = ["epoch", "batches", "samples"];

/// The keys of the logs that have a column, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Columns(Vec<String>);

impl Columns {
    /// The keys of the first epoch; those of a validation that comes later are foreseen.
    pub(crate) fn of_first_epoch(logs: &Logs, info: &RunInfo) -> Columns {
        let mut keys: Vec<String> = logs.iter().map(|(key, _)| key.to_owned()).collect();
        let validated = keys.iter().any(|key| key.starts_with("val_"));
        if info.validation && !validated {
            let last_metric = keys.iter().rposition(|key| info.metrics.contains(key));
            let place = last_metric.map_or(keys.len(), |last| last + 1);
            let later = info.metrics.iter().map(|metric| format!("val_{metric}"));
            keys.splice(place..place, later);
        }
        Columns(keys)
    }

    /// The keys of a file that is there already.
    pub(crate) fn of_header(names: Vec<String>, path: &Path) -> Result<Columns, BoxError> {
        match names.strip_prefix(&COUNTS.map(str::to_owned)) {
            Some(keys) => Ok(Columns(keys.to_vec())),
            None => Err(format!(
                "appending to {}: expected columns that begin with {}, found {}",
                path.display(),
                COUNTS.join(", "),
                names.join(", ")
            )
            .into()),
        }
    }

    pub(crate) fn header(&self) -> Vec<String> {
        let counts = COUNTS.iter().map(|name| (*name).to_owned());
        counts.chain(self.0.iter().cloned()).collect()
    }

    pub(crate) fn row(&self, counts: [u64; COUNTS.len()], logs: &Logs) -> Vec<String> {
        let values = self.0.iter().map(|key| match logs.get(key) {
            Some(value) => value.to_string(),
            None => "NA".to_owned(),
        });
        counts.iter().map(u64::to_string).chain(values).collect()
    }

    /// The first log without a column.
    pub(crate) fn lacking<'a>(&self, logs: &'a Logs) -> Option<&'a str> {
        let mut keys = logs.iter().map(|(key, _): (&str, &LogValue)| key);
        keys.find(|key| !self.0.iter().any(|known| known == key))
    }
}
