//! Files that must survive: read whole, and written beside their place and renamed into it, so that
//! there is a whole file or none.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use crate::TensorError;

pub(crate) fn unreadable(path: &Path, source: io::Error) -> TensorError {
    TensorError::Io {
        action: "reading",
        path: path.into(),
        source,
    }
}

/// Lets `write` fill a new file beside `path` and renames it to `path`.
///
/// # Errors
/// [`TensorError::Io`] with the file; the file that was there, if any, is unchanged.
pub(crate) fn replace_file(
    path: &Path,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> Result<(), TensorError> {
    write_and_rename(path, write).map_err(|source| TensorError::Io {
        action: "writing",
        path: path.into(),
        source,
    })
}

fn write_and_rename(
    path: &Path,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    let mut name = path
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not a file name"))?
        .to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    let result = (|| {
        let mut file = File::create(&temporary)?;
        write(&mut file)?;
        file.sync_all()?;
        drop(file);
        fs::rename(&temporary, path)
    })();
    if result.is_err() {
        // The first error is the one to report.
        let _ = fs::remove_file(&temporary);
    }
    result
}
