//! Memory that this process shares with a worker process.
//!
//! On Linux it is an anonymous file in memory, which a worker opens through the file descriptor of
//! this process: nothing is left when both are gone, however they ended. Elsewhere, and where that
//! is refused, it is a temporary file, which is deleted when it is dropped.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use memmap2::{Mmap, MmapMut, MmapOptions};
use tempfile::TempPath;

/// A file of shared memory, empty at first.
#[derive(Debug)]
pub(crate) struct Segment {
    file: File,
    path: SegmentPath,
}

#[derive(Debug)]
enum SegmentPath {
    /// Of the descriptor of an anonymous file.
    #[cfg(target_os = "linux")]
    Descriptor(PathBuf),
    Temporary(TempPath),
}

impl Segment {
    pub(crate) fn new() -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        if let Ok(segment) = Self::anonymous() {
            return Ok(segment);
        }
        let (file, path) = tempfile::Builder::new()
            .prefix("keros-")
            .tempfile()?
            .into_parts();
        Ok(Self {
            file,
            path: SegmentPath::Temporary(path),
        })
    }

    #[cfg(target_os = "linux")]
    fn anonymous() -> io::Result<Self> {
        use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
        use std::os::fd::AsRawFd;

        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = File::from(memfd_create("keros", flags)?);
        // Nobody can cut off what somebody has mapped.
        fcntl_add_seals(&file, SealFlags::SHRINK)?;
        let path = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
        // Not readable where /proc is not mounted or hidden.
        open(Path::new(&path))?;
        Ok(Self {
            file,
            path: SegmentPath::Descriptor(path.into()),
        })
    }

    /// Where a worker finds it, as long as it is not dropped.
    pub(crate) fn path(&self) -> &Path {
        match &self.path {
            #[cfg(target_os = "linux")]
            SegmentPath::Descriptor(path) => path,
            SegmentPath::Temporary(path) => path,
        }
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }
}

/// The file of another process's segment.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path)
}

/// Maps the first bytes of a file of shared memory to read them.
pub(crate) fn map(file: &File, bytes: usize) -> io::Result<Mmap> {
    let there = file.metadata()?.len();
    if there < bytes as u64 {
        let what = format!("expected {bytes} bytes of shared memory, found {there}");
        return Err(io::Error::other(what));
    }
    // SAFETY: the file is known to this process and one worker alone, and neither makes it shorter,
    // which on Linux is sealed. The worker writes to it only between being asked for a batch and
    // answering, and this process reads only after the answer.
    unsafe { MmapOptions::new().len(bytes).map(file) }
}

/// Makes a file of shared memory long enough and maps it to write to it.
pub(crate) fn map_mut(file: &File, bytes: usize) -> io::Result<MmapMut> {
    if file.metadata()?.len() < bytes as u64 {
        file.set_len(bytes as u64)?;
    }
    // SAFETY: as in `map`; this is the side that writes.
    unsafe { MmapOptions::new().len(bytes).map_mut(file) }
}
