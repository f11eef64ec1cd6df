//! The CSV file: opened anew or at its end, written row by row, cut where a checkpoint was written.

use crate::config::Config;
use keros_plugin::BoxError;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// The rows of an open file.
#[derive(Debug)]
pub(crate) struct Rows {
    path: PathBuf,
    writer: csv::Writer<File>,
    /// Length of the file after the last row that is in it.
    bytes: u64,
}

impl Rows {
    /// Opens the file; with `append`, gives the header it has already, if it has one.
    pub(crate) fn open(config: &Config) -> Result<(Rows, Option<Vec<String>>), BoxError> {
        let path = &config.path;
        let failed = |doing: &'static str| move |error| during(doing, path, error);
        let mut file = if config.append {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false);
            options.open(path).map_err(failed("opening"))?
        } else {
            File::create(path).map_err(failed("creating"))?
        };
        let header = if config.append {
            end_last_row(&mut file).map_err(failed("reading"))?;
            let header = read_header(&mut file, config).map_err(failed("reading"))?;
            file.seek(SeekFrom::End(0)).map_err(failed("reading"))?;
            header
        } else {
            None
        };
        let bytes = length(&file).map_err(failed("reading"))?;
        let rows = Rows {
            path: path.clone(),
            bytes,
            writer: csv::WriterBuilder::new()
                .delimiter(config.separator_byte())
                .from_writer(file),
        };
        Ok((rows, header))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn write(&mut self, row: &[String]) -> Result<(), BoxError> {
        let written = self.writer.write_record(row);
        Ok(written.map_err(|error| during("writing", &self.path, error.into()))?)
    }

    pub(crate) fn flush(&mut self) -> Result<(), BoxError> {
        let flushed = self.writer.flush();
        let bytes = flushed.and_then(|()| length(self.writer.get_ref()));
        self.bytes = bytes.map_err(|error| during("writing", &self.path, error))?;
        Ok(())
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes away what stands after so many bytes.
    pub(crate) fn cut(&mut self, bytes: u64) -> Result<(), BoxError> {
        if bytes < self.bytes {
            let mut file = self.writer.get_ref();
            let end = file
                .set_len(bytes)
                .and_then(|()| file.seek(SeekFrom::End(0)));
            self.bytes = end.map_err(|error| during("writing", &self.path, error))?;
        }
        Ok(())
    }
}

/// A pipe has none.
fn length(file: &File) -> io::Result<u64> {
    Ok(file.metadata()?.len())
}

/// Says what was done to which file, and keeps the kind of the error.
fn during(doing: &str, path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{doing} {}: {error}", path.display()))
}

/// A run that died may have left half a row; ours shall not continue it.
fn end_last_row(file: &mut File) -> io::Result<()> {
    if file.seek(SeekFrom::End(0))? == 0 {
        return Ok(());
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    if last != *b"\n" {
        file.write_all(b"\n")?;
    }
    Ok(())
}

fn read_header(file: &mut File, config: &Config) -> io::Result<Option<Vec<String>>> {
    file.seek(SeekFrom::Start(0))?;
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(config.separator_byte())
        .has_headers(false)
        .flexible(true)
        .from_reader(file);
    let first = reader.records().next().transpose()?;
    Ok(first.map(|row| row.iter().map(str::to_owned).collect()))
}
