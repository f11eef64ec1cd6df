//! The file of a plugin: where it is, and all of its bytes.

use crate::error::PluginError;
use std::io;
use std::path::{Path, PathBuf};

/// The path made absolute: the dynamic linker would search its own folders for one without a slash.
pub(crate) fn absolute(path: &Path) -> Result<PathBuf, PluginError> {
    std::path::absolute(path).map_err(|source| PluginError::Read {
        path: path.to_owned(),
        source,
    })
}

/// The bytes of a file; of nothing else, so that no pipe or device keeps us waiting.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, PluginError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => PluginError::Missing {
            path: path.to_owned(),
        },
        _ => PluginError::Read {
            path: path.to_owned(),
            source,
        },
    };
    let metadata = std::fs::metadata(path).map_err(failed)?;
    if !metadata.is_file() {
        return Err(PluginError::NotAFile {
            path: path.to_owned(),
            found: if metadata.is_dir() {
                "a directory"
            } else {
                "something that is neither a file nor a directory"
            },
        });
    }
    std::fs::read(path).map_err(failed)
}
