//! The constants of `keros.h`, under its names; what they mean is told there.

use crate::keros_status;

/// [`keros_plugin_module::magic`](crate::keros_plugin_module::magic).
pub const KEROS_MAGIC: u64 = u64::from_be_bytes(*b"KEROSPL1");
/// Version of the ABI; another one cannot be loaded.
pub const KEROS_ABI_MAJOR: u32 = 1;
/// Version of the ABI within the major.
pub const KEROS_ABI_MINOR: u32 = 1;
/// Longest text a host takes from a plugin, in bytes.
pub const KEROS_TEXT_MAX: u64 = 1 << 20;
/// A count that is not known beforehand.
pub const KEROS_UNKNOWN: u64 = u64::MAX;
/// All events, also those of later versions.
pub const KEROS_ALL_EVENTS: u64 = u64::MAX;
/// Largest state of an instance, in bytes.
pub const KEROS_STATE_MAX: u64 = 1 << 30;

macro_rules! extensions {
    ($($name:ident = $value:literal => $table:ident;)*) => {
        $(
            #[doc = concat!("Name of the extension [`", stringify!($table), "`](crate::", stringify!($table), ").")]
            pub const $name: &str = $value;
        )*
    };
}

// Of the host.
extensions! {
    KEROS_EXT_THREAD_CHECK = "keros.thread-check/1" => keros_thread_check;
    KEROS_EXT_FACTS = "keros.facts/1" => keros_facts;
    KEROS_EXT_HISTORY = "keros.history/1" => keros_history;
    KEROS_EXT_OPTIMIZER = "keros.optimizer/1" => keros_optimizer;
    KEROS_EXT_PARAMETERS = "keros.parameters/1" => keros_parameters;
    KEROS_EXT_INPUTS = "keros.inputs/1" => keros_inputs;
    KEROS_EXT_CHECKPOINT = "keros.checkpoint/1" => keros_checkpoint;
    KEROS_EXT_QUEUE = "keros.queue/1" => keros_queue;
    KEROS_EXT_REQUESTS = "keros.requests/1" => keros_requests;
}

// Of the plugin.
extensions! {
    KEROS_EXT_STATE = "keros.state/1" => keros_state;
    KEROS_EXT_MESSAGES = "keros.messages/1" => keros_messages;
    KEROS_EXT_SCHEMA = "keros.schema/1" => keros_schema;
    KEROS_EXT_SELF_TEST = "keros.self-test/1" => keros_self_test;
}

macro_rules! statuses {
    ($($(#[$doc:meta])* $name:ident = $value:literal;)*) => {
        $($(#[$doc])* pub const $name: keros_status = $value;)*

        /// The name of a status, such as `KEROS_E_IO`, if it is one.
        #[must_use]
        pub const fn status_name(status: keros_status) -> Option<&'static str> {
            match status {
                $($name => Some(stringify!($name)),)*
                _ => None,
            }
        }
    };
}

statuses! {
    /// Success.
    KEROS_OK = 0;
    /// An argument is null, out of range or not UTF-8.
    KEROS_E_ARG = -1;
    /// This side does not do that.
    KEROS_E_UNSUPPORTED = -2;
    /// Not now.
    KEROS_E_STATE = -3;
    /// There is no such thing.
    KEROS_E_NOT_FOUND = -4;
    /// A file or a connection failed.
    KEROS_E_IO = -5;
    /// The configuration is wrong.
    KEROS_E_CONFIG = -6;
    /// Not on this thread.
    KEROS_E_THREAD = -7;
    /// A panic or an exception was caught.
    KEROS_E_PANIC = -8;
    /// The other side is too old.
    KEROS_E_VERSION = -9;
    /// Anything else.
    KEROS_E_OTHER = -100;
}

macro_rules! numbers {
    ($($(#[$doc:meta])* $name:ident = $value:expr;)*) => {
        $($(#[$doc])* pub const $name: u32 = $value;)*
    };
}

// keros_value.kind
numbers! {
    /// A measurement.
    KEROS_F64 = 1;
    /// A count.
    KEROS_I64 = 2;
    /// A flag.
    KEROS_BOOL = 3;
    /// A text.
    KEROS_TEXT = 4;
}

// keros_run_info.flags
numbers! {
    /// `fit` was given validation data.
    KEROS_RUN_VALIDATION = 1;
}

// keros_array.flags
numbers! {
    /// A parameter the optimizer may change.
    KEROS_ARRAY_TRAINABLE = 1;
}

// keros_host.message
numbers! {
    /// Something a user may like to read.
    KEROS_INFO = 0;
    /// Something that is probably not what the user meant.
    KEROS_WARNING = 1;
    /// A failure that does not end the run.
    KEROS_ERROR = 2;
}

// keros_event.kind
numbers! {
    /// `fit` begins.
    KEROS_TRAIN_BEGIN = 0;
    /// `fit` is over.
    KEROS_TRAIN_END = 1;
    /// An epoch begins.
    KEROS_EPOCH_BEGIN = 2;
    /// An epoch and its validation are over.
    KEROS_EPOCH_END = 3;
    /// A batch is about to be trained on.
    KEROS_TRAIN_BATCH_BEGIN = 4;
    /// A batch has been trained on.
    KEROS_TRAIN_BATCH_END = 5;
    /// An evaluation begins.
    KEROS_TEST_BEGIN = 6;
    /// An evaluation is over.
    KEROS_TEST_END = 7;
    /// A batch is about to be evaluated.
    KEROS_TEST_BATCH_BEGIN = 8;
    /// A batch has been evaluated.
    KEROS_TEST_BATCH_END = 9;
    /// A prediction begins.
    KEROS_PREDICT_BEGIN = 10;
    /// A prediction is over.
    KEROS_PREDICT_END = 11;
    /// A batch is about to be predicted.
    KEROS_PREDICT_BATCH_BEGIN = 12;
    /// A batch has been predicted.
    KEROS_PREDICT_BATCH_END = 13;
    /// The gradients of a training batch are there, the weights still the old ones.
    KEROS_AFTER_BACKWARD = 14;
    /// An update of the weights is due; gradients that overflowed under a loss scale make none.
    KEROS_BEFORE_STEP = 15;
    /// A checkpoint of the run has been written.
    KEROS_CHECKPOINT_SAVED = 16;
    /// The run ends by an error; the last event of it.
    KEROS_RUN_ERROR = 17;
}

/// [`keros_event::flags`](crate::keros_event::flags): a test event of the validation inside `fit`.
pub const KEROS_EVENT_NESTED: u64 = 1;

// keros_decision.actions
numbers! {
    /// End the run.
    KEROS_STOP = 1;
    /// End the epoch.
    KEROS_STOP_EPOCH = 2;
    /// Pass over this batch.
    KEROS_SKIP_BATCH = 4;
    /// Set the learning rate.
    KEROS_SET_LEARNING_RATE = 8;
}
