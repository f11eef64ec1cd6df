//! Event files: one per run and start of the training, appended to event by event.

use crate::proto::{Event, SourceMetadata, Summary, Value, What};
use crate::record;
use keros_plugin::BoxError;
use prost::Message;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The version that TensorBoard expects in the first event of a file.
const FILE_VERSION: &str = "brain.Event:2";

/// How long events may wait before TensorBoard can see them.
const FLUSH_INTERVAL: Duration = Duration::from_secs(10);

/// Numbers the files of this process, so that two of the same second have different names.
static FILES: AtomicU64 = AtomicU64::new(0);

/// The event file of one of TensorBoard's runs, such as `train`: a folder under the log folder.
#[derive(Debug)]
pub(crate) struct EventFile {
    path: PathBuf,
    out: BufWriter<File>,
    flushed: Instant,
}

impl EventFile {
    /// Makes a new file in the folder, which is made if it is not there. Files of earlier starts stay,
    /// and TensorBoard shows them as one run.
    pub(crate) fn create(folder: &Path) -> Result<EventFile, BoxError> {
        fs::create_dir_all(folder).map_err(|error| during("creating", folder, error))?;
        let (path, file) = new_file(folder)?;
        let mut this = EventFile {
            path,
            out: BufWriter::new(file),
            flushed: Instant::now(),
        };
        this.append(&Event {
            wall_time: now().as_secs_f64(),
            step: 0,
            what: Some(What::FileVersion(FILE_VERSION.to_owned())),
            source_metadata: Some(SourceMetadata {
                writer: concat!("keros.plugins.", env!("CARGO_PKG_NAME")).to_owned(),
            }),
        })?;
        this.flush()?;
        Ok(this)
    }

    /// Appends a value. It is on its way to the disk within seconds if more follow, or when
    /// [`flush`](Self::flush) is called.
    pub(crate) fn add(&mut self, step: u64, value: Value) -> Result<(), BoxError> {
        self.append(&Event {
            wall_time: now().as_secs_f64(),
            step: step.cast_signed(),
            what: Some(What::Summary(Summary { value: vec![value] })),
            source_metadata: None,
        })?;
        if self.flushed.elapsed() >= FLUSH_INTERVAL {
            self.flush()?;
        }
        Ok(())
    }

    /// Hands everything to the operating system, so that it outlives this process.
    pub(crate) fn flush(&mut self) -> Result<(), BoxError> {
        self.out
            .flush()
            .map_err(|error| during("writing", &self.path, error))?;
        self.flushed = Instant::now();
        Ok(())
    }

    fn append(&mut self, event: &Event) -> Result<(), BoxError> {
        record::write(&mut self.out, &event.encode_to_vec())
            .map_err(|error| during("writing", &self.path, error).into())
    }
}

/// A file of a new name: TensorBoard reads those with `tfevents` in their names, in the order of
/// their names, so the time comes first, and the number within a second has leading zeros.
fn new_file(folder: &Path) -> io::Result<(PathBuf, File)> {
    let host = gethostname::gethostname();
    let host = host.to_string_lossy();
    loop {
        let seconds = now().as_secs();
        let number = FILES.fetch_add(1, Ordering::Relaxed);
        let id = process::id();
        let name = format!("events.out.tfevents.{seconds:010}.{host}.{id}.{number:06}.v2");
        let path = folder.join(name);
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(file) => return Ok((path, file)),
            // A process of the same number on a machine of the same name, in the same second.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(during("creating", &path, error)),
        }
    }
}

/// Since 1970; a clock that stands before that counts as 1970.
fn now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// Says what was done to which file, and keeps the kind of the error.
fn during(doing: &str, path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{doing} {}: {error}", path.display()))
}
