//! The plugin's extensions of keros.h, as the host calls them.

use keros_abi::{
    KEROS_E_ARG, KEROS_E_THREAD, KEROS_EXT_MESSAGES, KEROS_EXT_STATE, KEROS_OK, KEROS_STATE_MAX,
    keros_messages, keros_sink, keros_state, keros_status, keros_str,
};
use std::cell::Cell;
use std::ffi::c_void;
use std::mem::size_of;
use std::ptr::NonNull;
use std::thread::{self, ThreadId};

/// The functions of an instance's extensions that this host knows.
#[derive(Clone, Copy, Default)]
pub(crate) struct Tables {
    pub(crate) save_state:
        Option<unsafe extern "C" fn(*mut c_void, *const keros_sink) -> keros_status>,
    pub(crate) load_state:
        Option<unsafe extern "C" fn(*mut c_void, *const c_void, u64) -> keros_status>,
    pub(crate) message: Option<unsafe extern "C" fn(*mut c_void, u32, keros_str, keros_str)>,
}

impl Tables {
    /// Those that are there, whole; of a state both functions or none.
    ///
    /// # Safety
    /// `extension` gives what keros.h tells of an extension, or nothing.
    pub(crate) unsafe fn find(extension: impl Fn(&str) -> Option<NonNull<c_void>>) -> Tables {
        // SAFETY: the caller's promise.
        let state: Option<keros_state> = unsafe { table(extension(KEROS_EXT_STATE)) };
        let (save_state, load_state) = match state.map(|state| (state.save, state.load)) {
            Some((Some(save), Some(load))) => (Some(save), Some(load)),
            _ => (None, None),
        };
        // SAFETY: the caller's promise.
        let messages: Option<keros_messages> = unsafe { table(extension(KEROS_EXT_MESSAGES)) };
        Tables {
            save_state,
            load_state,
            message: messages.and_then(|messages| messages.message),
        }
    }
}

/// The table behind an extension of the plugin, if it is as large as ours.
///
/// # Safety
/// The extension, if there is one, begins with its size and is of the type `T` as far as that goes.
pub(crate) unsafe fn table<T: Copy>(found: Option<NonNull<c_void>>) -> Option<T> {
    let found = found?.as_ptr();
    // SAFETY: every table begins with its size.
    let size: u32 = unsafe { found.cast::<u32>().read_unaligned() };
    // SAFETY: it is at least as large as ours.
    (size as usize >= size_of::<T>()).then(|| unsafe { found.cast::<T>().read_unaligned() })
}

/// Takes the bytes of a state.
#[repr(C)]
pub(crate) struct Sink {
    /// First, so that a pointer to it is one to the sink.
    table: keros_sink,
    owner: ThreadId,
    bytes: Cell<Vec<u8>>,
}

impl Sink {
    pub(crate) fn new() -> Sink {
        Sink {
            table: keros_sink {
                struct_size: size_of::<keros_sink>() as u32,
                reserved: 0,
                write: Some(write),
            },
            owner: thread::current().id(),
            bytes: Cell::default(),
        }
    }

    /// What the plugin gets.
    pub(crate) fn table(&self) -> *const keros_sink {
        std::ptr::from_ref(self).cast()
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes.into_inner()
    }
}

/// [`keros_sink::write`].
unsafe extern "C" fn write(
    sink: *const keros_sink,
    bytes: *const c_void,
    len: u64,
) -> keros_status {
    // SAFETY: keros.h asks for the sink that the call was given; the table is its first field.
    let Some(sink) = (unsafe { sink.cast::<Sink>().as_ref() }) else {
        return KEROS_E_ARG;
    };
    if sink.owner != thread::current().id() {
        return KEROS_E_THREAD;
    }
    let ptr = bytes.cast();
    // SAFETY: keros.h asks for as many readable bytes.
    let Some(more) = (unsafe { keros_str { ptr, len }.bytes() }) else {
        return KEROS_E_ARG;
    };
    let mut all = sink.bytes.take();
    let fits = all.len() as u64 + len <= KEROS_STATE_MAX;
    if fits {
        all.extend_from_slice(more);
    }
    sink.bytes.set(all);
    if fits { KEROS_OK } else { KEROS_E_ARG }
}
