//! A copy of a plugin's file that nobody else can change, for the dynamic linker to open.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Where a copy of `bytes`, named after `path`, can be opened by this process until it ends.
pub(crate) fn make(path: &Path, bytes: &[u8]) -> io::Result<PathBuf> {
    #[cfg(target_os = "linux")]
    return in_memory(path, bytes);
    #[cfg(not(target_os = "linux"))]
    return in_folder(path, bytes);
}

#[cfg(target_os = "linux")]
fn in_memory(path: &Path, bytes: &[u8]) -> io::Result<PathBuf> {
    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
    use std::os::fd::IntoRawFd;

    // The kernel takes 249 bytes; cut between characters.
    let name: String = path
        .file_name()
        .map(|name| name.to_string_lossy().chars().take(50).collect())
        .unwrap_or_default();
    let name = format!("keros:{name}");
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let copy = match memfd_create(&name, flags | MemfdFlags::EXEC) {
        // Before Linux 6.3 the flag is not known, and not needed.
        Err(rustix::io::Errno::INVAL) => memfd_create(&name, flags)?,
        made => made?,
    };
    let mut copy = std::fs::File::from(copy);
    copy.write_all(bytes)?;
    let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    fcntl_add_seals(&copy, seals)?;
    // Never closed: the dynamic linker knows a library by its path, and would take the next file with
    // this number for the same one.
    Ok(PathBuf::from(format!(
        "/proc/self/fd/{}",
        copy.into_raw_fd()
    )))
}

/// In a folder that only this user can open; it stays, as the library in it does.
#[cfg(not(target_os = "linux"))]
fn in_folder(path: &Path, bytes: &[u8]) -> io::Result<PathBuf> {
    let folder = tempfile::Builder::new().prefix("keros-").tempdir()?.keep();
    let copy = folder.join(path.file_name().unwrap_or("plugin".as_ref()));
    std::fs::File::create_new(&copy)?.write_all(bytes)?;
    Ok(copy)
}
