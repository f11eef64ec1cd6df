//! The host's functions that an instance may call at any time, made safe.

use keros_abi::{
    KEROS_E_VERSION, KEROS_ERROR, KEROS_INFO, KEROS_WARNING, keros_host, keros_status, keros_str,
};
use keros_callbacks::Level;
use std::mem::size_of;

/// The host of one instance.
#[derive(Clone, Copy)]
pub(crate) struct Host(*const keros_host);

impl Host {
    /// A host with all functions of version 1.0.
    ///
    /// # Safety
    /// If not null, `host` is as keros.h tells for as long as the value is used.
    pub(crate) unsafe fn new(host: *const keros_host) -> Result<Host, keros_status> {
        // SAFETY: the caller's promise.
        match unsafe { host.as_ref() } {
            Some(known) if known.struct_size as usize >= size_of::<keros_host>() => Ok(Host(host)),
            _ => Err(KEROS_E_VERSION),
        }
    }

    /// What keros.h passes.
    pub(crate) fn as_ptr(self) -> *const keros_host {
        self.0
    }

    /// The table of an extension, if the host has it and it is as large as ours.
    ///
    /// # Safety
    /// The extension is of the type `T`, which begins with its size.
    pub(crate) unsafe fn extension<T: Copy>(self, id: &str) -> Option<T> {
        // SAFETY: `new` was promised that the host lives; it has the field by its size.
        let find = unsafe { (*self.0).extension }?;
        // SAFETY: as keros.h tells; the name lives during the call.
        let found = unsafe { find(self.0, keros_str::new(id)) };
        if found.is_null() {
            return None;
        }
        // SAFETY: every table begins with its size.
        let size = unsafe { found.cast::<u32>().read_unaligned() };
        // SAFETY: it is at least as large as ours.
        (size as usize >= size_of::<T>()).then(|| unsafe { found.cast::<T>().read_unaligned() })
    }

    /// Tells people why the status about to be returned is a failure.
    pub(crate) fn fail(self, text: &str) {
        // SAFETY: `new` was promised that the host lives; it has the field by its size.
        if let Some(fail) = unsafe { (*self.0).fail } {
            // SAFETY: as keros.h tells; the text lives during the call.
            unsafe { fail(self.0, keros_str::new(text)) }
        }
    }

    /// Says something to the user. What the host does not take is lost, as the ABI has it.
    pub(crate) fn message(self, level: Level, text: &str) {
        let level = match level {
            Level::Info => KEROS_INFO,
            Level::Warning => KEROS_WARNING,
            Level::Error => KEROS_ERROR,
        };
        // SAFETY: `new` was promised that the host lives; it has the field by its size.
        if let Some(message) = unsafe { (*self.0).message } {
            // SAFETY: as keros.h tells; the text lives during the call.
            let _ = unsafe { message(self.0, level, keros_str::new(text)) };
        }
    }
}
