//! The tables of the extensions in `keros.h`, under its names; what their functions do is told there.

use crate::types::{keros_host, keros_logs, keros_run, keros_status, keros_str};
use core::ffi::c_void;

/// Defines a table of functions that begins with its size.
macro_rules! tables {
    ($($(#[$doc:meta])* $table:ident {
        $($(#[$of:meta])* $function:ident: fn($($argument:ident: $type:ty),*) $(-> $output:ty)?;)*
    })*) => {
        $(
            $(#[$doc])*
            #[repr(C)]
            #[derive(Clone, Copy)]
            pub struct $table {
                /// Set by the side that provides the table.
                pub struct_size: u32,
                /// Zero.
                pub reserved: u32,
                $($(#[$of])* pub $function: Option<unsafe extern "C" fn($($argument: $type),*) $(-> $output)?>,)*
            }
        )*
    };
}

tables! {
    /// The host extension [`KEROS_EXT_THREAD_CHECK`](crate::KEROS_EXT_THREAD_CHECK).
    keros_thread_check {
        /// Whether the calling thread is inside an event of this instance.
        in_event: fn(host: *const keros_host) -> i32;
    }

    /// The host extension [`KEROS_EXT_FACTS`](crate::KEROS_EXT_FACTS).
    keros_facts {
        /// How the run was set up, as JSON.
        facts: fn(run: *const keros_run, out: *mut keros_str) -> keros_status;
        /// What the event is about.
        detail: fn(run: *const keros_run, out: *mut keros_str) -> keros_status;
        /// The reason of the last failure.
        error: fn(run: *const keros_run, out: *mut keros_str) -> keros_status;
    }

    /// The host extension [`KEROS_EXT_HISTORY`](crate::KEROS_EXT_HISTORY).
    keros_history {
        /// How many epochs have ended.
        count: fn(run: *const keros_run, out: *mut u64) -> keros_status;
        /// The logs of one of them.
        row: fn(run: *const keros_run, index: u64, epoch: *mut u64, logs: *mut keros_logs) -> keros_status;
    }

    /// The host extension [`KEROS_EXT_OPTIMIZER`](crate::KEROS_EXT_OPTIMIZER).
    keros_optimizer {
        /// Its numbers.
        numbers: fn(run: *const keros_run, out: *mut keros_logs) -> keros_status;
        /// Sets one of them.
        set_number: fn(run: *const keros_run, name: keros_str, value: f64) -> keros_status;
        /// Whether the learning rate follows a schedule.
        is_scheduled: fn(run: *const keros_run, out: *mut i32) -> keros_status;
        /// Exchanges parameters and averages.
        swap_averages: fn(run: *const keros_run) -> keros_status;
    }

    /// The host extension [`KEROS_EXT_PARAMETERS`](crate::KEROS_EXT_PARAMETERS).
    keros_parameters {
        /// How many there are.
        count: fn(run: *const keros_run, out: *mut u64) -> keros_status;
        /// Name and shape of one.
        describe: fn(run: *const keros_run, index: u64, out: *mut keros_array) -> keros_status;
        /// Its values.
        value: fn(run: *const keros_run, index: u64, out: *mut keros_tensor) -> keros_status;
        /// Its gradient.
        gradient: fn(run: *const keros_run, index: u64, out: *mut keros_tensor) -> keros_status;
        /// Sets its values.
        assign: fn(run: *const keros_run, index: u64, values: *const keros_tensor) -> keros_status;
    }

    /// The host extension [`KEROS_EXT_INPUTS`](crate::KEROS_EXT_INPUTS).
    keros_inputs {
        /// How many there are.
        count: fn(run: *const keros_run, out: *mut u64) -> keros_status;
        /// Name and shape of one.
        describe: fn(run: *const keros_run, index: u64, out: *mut keros_array) -> keros_status;
        /// Its values.
        value: fn(run: *const keros_run, index: u64, out: *mut keros_tensor) -> keros_status;
    }

    /// The host extension [`KEROS_EXT_CHECKPOINT`](crate::KEROS_EXT_CHECKPOINT).
    keros_checkpoint {
        /// Writes the parameters.
        save_weights: fn(run: *const keros_run, path: keros_str) -> keros_status;
        /// Reads them.
        load_weights: fn(run: *const keros_run, path: keros_str) -> keros_status;
        /// Writes parameters and optimizer.
        save_model: fn(run: *const keros_run, path: keros_str) -> keros_status;
        /// Has a checkpoint written.
        write: fn(run: *const keros_run, path: keros_str) -> keros_status;
        /// Has the run go on from a checkpoint.
        resume: fn(run: *const keros_run, path: keros_str) -> keros_status;
    }

    /// The host extension [`KEROS_EXT_QUEUE`](crate::KEROS_EXT_QUEUE).
    keros_queue {
        /// Who waits for whom.
        stats: fn(run: *const keros_run, out: *mut keros_queue_stats) -> keros_status;
    }

    /// The host extension [`KEROS_EXT_REQUESTS`](crate::KEROS_EXT_REQUESTS).
    keros_requests {
        /// Asks the run to end.
        stop: fn(host: *const keros_host, reason: keros_str) -> keros_status;
        /// Asks for a checkpoint.
        save: fn(host: *const keros_host, path: keros_str) -> keros_status;
    }

    /// Takes bytes.
    keros_sink {
        /// Adds some.
        write: fn(sink: *const keros_sink, bytes: *const c_void, len: u64) -> keros_status;
    }

    /// The plugin extension [`KEROS_EXT_STATE`](crate::KEROS_EXT_STATE).
    keros_state {
        /// Writes what the instance remembers.
        save: fn(instance: *mut c_void, sink: *const keros_sink) -> keros_status;
        /// Goes on from it.
        load: fn(instance: *mut c_void, bytes: *const c_void, len: u64) -> keros_status;
    }

    /// The plugin extension [`KEROS_EXT_MESSAGES`](crate::KEROS_EXT_MESSAGES).
    keros_messages {
        /// Something is said to the user.
        message: fn(instance: *mut c_void, level: u32, source: keros_str, text: keros_str);
    }

    /// The plugin extension [`KEROS_EXT_SELF_TEST`](crate::KEROS_EXT_SELF_TEST).
    keros_self_test {
        /// Tests the plugin.
        run: fn(host: *const keros_host) -> keros_status;
    }
}

/// The plugin extension [`KEROS_EXT_SCHEMA`](crate::KEROS_EXT_SCHEMA).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct keros_schema {
    /// Set by the plugin.
    pub struct_size: u32,
    /// Zero.
    pub reserved: u32,
    /// The JSON Schema.
    pub json: keros_str,
}

/// A tensor in the layout of DLPack's `DLTensor`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct keros_tensor {
    /// First element.
    pub data: *const c_void,
    /// 1, the CPU.
    pub device_type: i32,
    /// 0.
    pub device_id: i32,
    /// Axes.
    pub ndim: i32,
    /// 2, a float.
    pub dtype_code: u8,
    /// 32.
    pub dtype_bits: u8,
    /// 1.
    pub dtype_lanes: u16,
    /// Lengths of the axes.
    pub shape: *const i64,
    /// Distances of neighbours in elements.
    pub strides: *const i64,
    /// 0.
    pub byte_offset: u64,
}

/// A parameter, or an input of a batch.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct keros_array {
    /// Set by who asks.
    pub struct_size: u32,
    /// [`KEROS_ARRAY_TRAINABLE`](crate::KEROS_ARRAY_TRAINABLE).
    pub flags: u32,
    /// Its name.
    pub name: keros_str,
    /// Lengths of the axes.
    pub shape: *const i64,
    /// How many.
    pub ndim: u64,
}

/// The queue of prepared batches.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct keros_queue_stats {
    /// Set by who asks.
    pub struct_size: u32,
    /// Zero.
    pub reserved: u32,
    /// Batches that are ready.
    pub ready: u64,
    /// The most batches that are prepared ahead.
    pub capacity: u64,
    /// Batches delivered.
    pub delivered: u64,
    /// Nanoseconds the training has waited.
    pub consumer_wait_ns: u64,
    /// Nanoseconds workers have waited.
    pub producer_wait_ns: u64,
}
