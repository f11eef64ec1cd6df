//! The event files of one training, opened when there is something to write.

use crate::event_file::EventFile;
use keros_plugin::BoxError;
use std::path::Path;

/// A file for each of TensorBoard's runs.
#[derive(Debug, Default)]
pub(crate) struct Files {
    train: Option<EventFile>,
    validation: Option<EventFile>,
}

impl Files {
    pub(crate) fn train(&mut self, log_dir: &Path) -> Result<&mut EventFile, BoxError> {
        open(&mut self.train, log_dir, "train")
    }

    pub(crate) fn validation(&mut self, log_dir: &Path) -> Result<&mut EventFile, BoxError> {
        open(&mut self.validation, log_dir, "validation")
    }

    pub(crate) fn flush(&mut self) -> Result<(), BoxError> {
        for file in [&mut self.train, &mut self.validation]
            .into_iter()
            .flatten()
        {
            file.flush()?;
        }
        Ok(())
    }
}

fn open<'a>(
    file: &'a mut Option<EventFile>,
    log_dir: &Path,
    run: &str,
) -> Result<&'a mut EventFile, BoxError> {
    match file {
        Some(file) => Ok(file),
        none => Ok(none.insert(EventFile::create(&log_dir.join(run))?)),
    }
}
