//! Files that examples leave behind.

use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

/// Writes a file that is never seen half-written.
///
/// # Errors
/// When the file cannot be written; the one that was there, if any, is unchanged.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}.tmp", std::process::id()));
    let written = fs::write(&beside, bytes).and_then(|()| fs::rename(&beside, path));
    written.with_context(|| {
        // The first failure is what the user needs to hear.
        let _ = fs::remove_file(&beside);
        format!("writing {}", path.display())
    })
}

/// Makes a folder and those above it.
///
/// # Errors
/// When it cannot be made.
pub fn make_folder(path: &Path) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("making the folder {}", path.display()))
}
