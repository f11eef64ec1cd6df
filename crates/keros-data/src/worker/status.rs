//! What a worker is working on: a thread for itself, a process where it can be read after the process
//! died.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::{io, mem};

use memmap2::MmapMut;

use super::shared;

/// The sample (plus one, 0 for none), the length of the file's name, the name.
const WORD: usize = mem::size_of::<u64>();
const NAME: usize = 2 * WORD;
/// Bytes of the status. Names that are too long are cut.
pub(super) const BYTES: usize = 8192;

thread_local! {
    static HERE: RefCell<WorkedOn> = const {
        RefCell::new(WorkedOn {
            sample: None,
            file: None,
        })
    };
}

/// The page of this process, if it is a worker.
static PAGE: OnceLock<Mutex<MmapMut>> = OnceLock::new();

/// Worker: from now on notes are written to this file.
pub(super) fn keep_in(file: &File) -> io::Result<()> {
    let page = shared::map_mut(file, BYTES)?;
    let _ = PAGE.set(Mutex::new(page));
    Ok(())
}

pub(super) fn note(sample: usize, file: Option<&Path>) {
    HERE.set(WorkedOn {
        sample: Some(sample),
        file: file.map(Path::to_owned),
    });
    write(sample as u64 + 1, file);
}

/// Nothing is worked on.
pub(super) fn clear() {
    HERE.take();
    write(0, None);
}

/// What this thread is working on.
pub(super) fn here() -> WorkedOn {
    HERE.with_borrow(Clone::clone)
}

fn write(sample: u64, file: Option<&Path>) {
    let Some(page) = PAGE.get() else { return };
    let mut page = page.lock().unwrap_or_else(PoisonError::into_inner);
    let name = file.map_or(&[][..], |file| file.as_os_str().as_encoded_bytes());
    let name = &name[..name.len().min(BYTES - NAME)];
    page[..WORD].copy_from_slice(&sample.to_ne_bytes());
    page[WORD..NAME].copy_from_slice(&(name.len() as u64).to_ne_bytes());
    page[NAME..NAME + name.len()].copy_from_slice(name);
}

/// What a worker that has died or has answered was working on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct WorkedOn {
    pub(crate) sample: Option<usize>,
    pub(crate) file: Option<PathBuf>,
}

/// Reads what a worker wrote.
pub(super) fn read(file: &File) -> WorkedOn {
    let Ok(page) = shared::map(file, BYTES) else {
        return WorkedOn::default();
    };
    let word = |at: usize| {
        let bytes = page[at..at + WORD].try_into();
        usize::try_from(bytes.map_or(0, u64::from_ne_bytes)).unwrap_or(0)
    };
    let Some(sample) = word(0).checked_sub(1) else {
        return WorkedOn::default();
    };
    let name = &page[NAME..NAME + word(WORD).min(BYTES - NAME)];
    WorkedOn {
        sample: Some(sample),
        file: (!name.is_empty()).then(|| file_name(name)),
    }
}

#[cfg(unix)]
fn file_name(bytes: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    OsStr::from_bytes(bytes).into()
}

#[cfg(not(unix))]
fn file_name(bytes: &[u8]) -> PathBuf {
    OsStr::new(&*String::from_utf8_lossy(bytes)).into()
}
