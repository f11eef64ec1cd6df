//! The types of `keros.h`, under its names; who owns what, when and on which thread is told there.
//!
//! Every function pointer is an `Option`: what comes from the other side may be null whatever the
//! header says.

use core::ffi::c_void;

/// 0 is success, everything below is failure.
pub type keros_status = i32;

/// A borrowed text, UTF-8 without a zero at the end.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct keros_str {
    /// First byte; may be null if `len` is 0.
    pub ptr: *const u8,
    /// Bytes.
    pub len: u64,
}

impl keros_str {
    /// No text.
    pub const EMPTY: keros_str = keros_str {
        ptr: core::ptr::null(),
        len: 0,
    };

    /// A view of `text`, to be used while `text` lives.
    #[must_use]
    pub const fn new(text: &str) -> keros_str {
        keros_str {
            ptr: text.as_ptr(),
            len: text.len() as u64,
        }
    }

    /// The bytes of the view; `None` if it is null with a length, or longer than an object can be.
    ///
    /// # Safety
    /// If `ptr` is not null, `len` bytes from there can be read and nobody changes them during `'a`.
    #[must_use]
    pub const unsafe fn bytes<'a>(self) -> Option<&'a [u8]> {
        if self.len == 0 {
            return Some(&[]);
        }
        if self.ptr.is_null() || self.len > isize::MAX as u64 {
            return None;
        }
        // SAFETY: not null and at most isize::MAX bytes; the rest is the caller's promise.
        Some(unsafe { core::slice::from_raw_parts(self.ptr, self.len as usize) })
    }

    /// The text of the view; `None` if [`bytes`](keros_str::bytes) gives none or it is not UTF-8.
    ///
    /// # Safety
    /// As for [`bytes`](keros_str::bytes).
    #[must_use]
    pub const unsafe fn text<'a>(self) -> Option<&'a str> {
        // SAFETY: the caller's promise is the same.
        match unsafe { self.bytes() } {
            Some(bytes) => match core::str::from_utf8(bytes) {
                Ok(text) => Some(text),
                Err(_) => None,
            },
            None => None,
        }
    }
}

/// What a [`keros_value`] holds, told apart by its kind.
#[repr(C)]
#[derive(Clone, Copy)]
pub union keros_value_as {
    /// [`KEROS_F64`](crate::KEROS_F64).
    pub f: f64,
    /// [`KEROS_I64`](crate::KEROS_I64), and [`KEROS_BOOL`](crate::KEROS_BOOL) as 0 or 1.
    pub i: i64,
    /// [`KEROS_TEXT`](crate::KEROS_TEXT).
    pub s: keros_str,
}

/// A log value.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct keros_value {
    /// [`KEROS_F64`](crate::KEROS_F64) and so on.
    pub kind: u32,
    /// Zero.
    pub reserved: u32,
    /// The value.
    pub r#as: keros_value_as,
}

/// A log: a name and its value.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct keros_log {
    /// The name.
    pub key: keros_str,
    /// The value.
    pub value: keros_value,
}

/// The logs of an event.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct keros_logs {
    /// Set by who asks.
    pub struct_size: u32,
    /// Bytes from one item to the next.
    pub stride: u32,
    /// First item.
    pub items: *const keros_log,
    /// How many.
    pub count: u64,
}

/// Facts that hold for a whole run.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct keros_run_info {
    /// Set by who asks.
    pub struct_size: u32,
    /// [`KEROS_RUN_VALIDATION`](crate::KEROS_RUN_VALIDATION).
    pub flags: u32,
    /// Index after the last epoch.
    pub epochs: u64,
    /// Index of the first epoch.
    pub initial_epoch: u64,
    /// Batches per epoch, or [`KEROS_UNKNOWN`](crate::KEROS_UNKNOWN).
    pub steps: u64,
    /// Names of the loss and metrics.
    pub metrics: *const keros_str,
    /// How many.
    pub metric_count: u64,
}

/// The run, as an event shows it.
#[repr(C)]
pub struct keros_run {
    /// Set by the host.
    pub struct_size: u32,
    /// Zero.
    pub reserved: u32,
    /// Facts of the run.
    pub info: Option<
        unsafe extern "C" fn(run: *const keros_run, out: *mut keros_run_info) -> keros_status,
    >,
    /// The logs of the event.
    pub logs:
        Option<unsafe extern "C" fn(run: *const keros_run, out: *mut keros_logs) -> keros_status>,
    /// One log.
    pub log: Option<
        unsafe extern "C" fn(
            run: *const keros_run,
            key: keros_str,
            out: *mut keros_value,
        ) -> keros_status,
    >,
    /// Sets a log.
    pub set_log: Option<
        unsafe extern "C" fn(
            run: *const keros_run,
            key: keros_str,
            value: *const keros_value,
        ) -> keros_status,
    >,
    /// The learning rate of the next update.
    pub learning_rate:
        Option<unsafe extern "C" fn(run: *const keros_run, out: *mut f64) -> keros_status>,
    /// Nanoseconds waited for data.
    pub data_wait_ns:
        Option<unsafe extern "C" fn(run: *const keros_run, out: *mut u64) -> keros_status>,
}

/// What has just happened.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct keros_event {
    /// Set by the host.
    pub struct_size: u32,
    /// [`KEROS_TRAIN_BEGIN`](crate::KEROS_TRAIN_BEGIN) and so on.
    pub kind: u32,
    /// Zero-based epoch.
    pub epoch: u64,
    /// Zero-based batch.
    pub batch: u64,
    /// Updates done so far.
    pub step: u64,
    /// Samples in the batch.
    pub samples: u64,
    /// [`KEROS_EVENT_NESTED`](crate::KEROS_EVENT_NESTED).
    pub flags: u64,
    /// The run; never null.
    pub run: *const keros_run,
}

/// What the plugin asks for.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct keros_decision {
    /// Set by the host.
    pub struct_size: u32,
    /// [`KEROS_STOP`](crate::KEROS_STOP) and so on.
    pub actions: u32,
    /// With [`KEROS_SET_LEARNING_RATE`](crate::KEROS_SET_LEARNING_RATE).
    pub learning_rate: f64,
    /// With [`KEROS_STOP`](crate::KEROS_STOP).
    pub reason: keros_str,
}

/// The program that trains, as one instance sees it.
#[repr(C)]
pub struct keros_host {
    /// Set by the host.
    pub struct_size: u32,
    /// [`KEROS_ABI_MINOR`](crate::KEROS_ABI_MINOR) of the host.
    pub abi_minor: u32,
    /// Name of the host.
    pub name: keros_str,
    /// Version of the host.
    pub version: keros_str,
    /// The extension of this name, or null.
    pub extension:
        Option<unsafe extern "C" fn(host: *const keros_host, id: keros_str) -> *const c_void>,
    /// Says something to the user.
    pub message: Option<
        unsafe extern "C" fn(host: *const keros_host, level: u32, text: keros_str) -> keros_status,
    >,
    /// Tells the reason of a failure.
    pub fail: Option<unsafe extern "C" fn(host: *const keros_host, text: keros_str)>,
}

/// An instance of a callback.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct keros_callback {
    /// Set by the host.
    pub struct_size: u32,
    /// Zero.
    pub reserved: u32,
    /// Bit `k` for the event kind `k`.
    pub events: u64,
    /// The plugin's own.
    pub instance: *mut c_void,
    /// Something has happened.
    pub on_event: Option<
        unsafe extern "C" fn(
            instance: *mut c_void,
            event: *const keros_event,
            decision: *mut keros_decision,
        ) -> keros_status,
    >,
    /// Ends the instance.
    pub destroy: Option<unsafe extern "C" fn(instance: *mut c_void)>,
    /// The extension of this name, or null.
    pub extension:
        Option<unsafe extern "C" fn(instance: *mut c_void, id: keros_str) -> *const c_void>,
}

/// What a plugin is.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct keros_plugin_module {
    /// [`KEROS_MAGIC`](crate::KEROS_MAGIC).
    pub magic: u64,
    /// Size of this struct.
    pub struct_size: u32,
    /// [`KEROS_ABI_MAJOR`](crate::KEROS_ABI_MAJOR).
    pub abi_major: u32,
    /// [`KEROS_ABI_MINOR`](crate::KEROS_ABI_MINOR).
    pub abi_minor: u32,
    /// The oldest minor of a host the plugin works with.
    pub min_host_minor: u32,
    /// Identity.
    pub id: [u8; 96],
    /// Version of the plugin.
    pub version: [u8; 32],
    /// Who made it.
    pub vendor: [u8; 64],
    /// SPDX expression.
    pub license: [u8; 32],
    /// One sentence.
    pub summary: [u8; 160],
    /// How it was built.
    pub build: [u8; 96],
    /// Makes an instance.
    pub create: Option<
        unsafe extern "C" fn(
            host: *const keros_host,
            config: keros_str,
            out: *mut keros_callback,
        ) -> keros_status,
    >,
    /// The extension of this name, or null.
    pub extension: Option<unsafe extern "C" fn(id: keros_str) -> *const c_void>,
}
