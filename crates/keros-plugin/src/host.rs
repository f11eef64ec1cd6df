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
