//! For authors of keros callback plugins: one trait, one export line.
//!
//! A plugin is an `impl` of [`Callback`], the same trait a program links in, and [`export_plugin!`].
//! Everything between the two and the C ABI is done here: events become hooks, logs and the learning
//! rate are fetched from the host when a hook asks, decisions and messages go back, the configuration
//! arrives as a serde type, and a panic becomes an error of the callback instead of the end of the
//! training program.
//!
//! A whole plugin, in a package with `crate-type = ["cdylib"]` and the dependencies `keros-plugin` and
//! `serde`:
//!
//! ```
//! use keros_plugin::{BoxError, Callback, CallbackResult, Context, Decision, EventKind, EventSet};
//!
//! #[derive(serde::Deserialize)]
//! #[serde(deny_unknown_fields)]
//! struct Config {
//!     /// The loss that is good enough.
//!     below: f64,
//! }
//!
//! /// Stops the training when the loss is good enough.
//! struct StopBelow(f64);
//!
//! impl StopBelow {
//!     fn new(config: Config) -> Result<StopBelow, BoxError> {
//!         if config.below.is_nan() {
//!             return Err("`below` is not a number".into());
//!         }
//!         Ok(StopBelow(config.below))
//!     }
//! }
//!
//! impl Callback for StopBelow {
//!     fn events(&self) -> EventSet {
//!         EventSet::of(&[EventKind::EpochEnd])
//!     }
//!
//!     fn on_epoch_end(&mut self, cx: &mut Context<'_>) -> CallbackResult {
//!         match cx.logs()?.number("loss") {
//!             Some(loss) if loss < self.0 => Ok(Decision::stop(format!("loss is {loss:.4}"))),
//!             _ => Ok(Decision::CONTINUE),
//!         }
//!     }
//! }
//!
//! keros_plugin::export_plugin!(StopBelow::new);
//! # fn main() {}
//! ```
//!
//! **Costs.** Say in [`Callback::events`] what is wanted: an event that nobody wants is not sent. An
//! event that is sent allocates nothing here, and the logs are not computed unless a hook reads them.
//!
//! **Threads.** The hooks of one instance never overlap, but may run on different threads, so the
//! callback is `Send`. A plugin with threads of its own ends them in `Drop`.
//!
//! **Panics.** A panic in the constructor or in a hook is caught and reported with its message; the
//! instance gets no more events. One in `Drop` is caught and lost. This needs `panic = "unwind"`.
//!
//! **Older hosts.** What a host lacks is refused by an error that says so, when a hook asks for it.
//!
//! **State.** [`Callback::save_state`] and [`Callback::load_state`] are called for checkpoints, and
//! [`Callback::on_message`] for what is said to the user, as for a linked-in callback. The module `state`,
//! with the feature of that name, turns serde types into bytes.
//!
//! **Linking in and exporting.** [`export_plugin!`] defines a symbol, and a program can have one of
//! them. If other programs link your callback in as a library, put the line behind a feature.

mod config;
mod error;
mod export;
mod extensions;
mod host;
mod instance;
mod run;
mod schema;

pub use config::NoConfig;
pub use error::{ConfigError, HostError};
pub use export::Description;
pub use keros_callbacks::{
    ArrayInfo, BoxError, Callback, CallbackResult, Context, Decision, EpochLogs, Event, EventKind,
    EventSet, Level, LogValue, Logs, Message, ParamInfo, QueueStats, RequestQueue, RequestSink,
    Requests, Run, RunError, RunInfo, Weights,
};

#[cfg(feature = "state")]
pub use keros_callbacks::state;

/// What the macros expand to; not for use by name.
#[doc(hidden)]
pub mod __private {
    pub use crate::export::{create, module, self_test, self_test_table};
    pub use crate::schema::Schema;
    pub use keros_abi as abi;
}

/// Makes this library a keros plugin.
///
/// The first argument is the constructor: a function or closure from a configuration, any type that is
/// [deserialized](serde_core::de::DeserializeOwned), to a [`Result`] of a [`Callback`]. It is called for
/// each instance; without a configuration it gets `{}`. A plugin that has nothing to configure takes
/// [`NoConfig`].
///
/// What follows may be left out, in any order:
/// * `schema: Config`, the configuration's type, which derives `schemars::JsonSchema` (version 1 of
///   schemars, a dependency of the plugin): the host can then tell and check what may be configured.
/// * `self_test: function`, a function without arguments to a [`Result`] with any error: whether the
///   plugin works where it is.
/// * The fields of [`Description`]; those left out come from the package's `Cargo.toml`.
///
/// ```text
/// keros_plugin::export_plugin!(StopBelow::new, schema: Config, vendor: "Example Ltd");
/// ```
#[macro_export]
macro_rules! export_plugin {
    ($($plugin:tt)*) => {
        const _: () = {
            /// What the host finds in this library.
            #[unsafe(no_mangle)]
            #[allow(non_upper_case_globals, reason = "the name is given by keros.h")]
            pub static keros_plugin_v1: $crate::__private::abi::keros_plugin_module =
                $crate::plugin_module!($($plugin)*);
        };
    };
}

/// The constant that [`export_plugin!`] exports, for a test that runs the plugin through the C ABI
/// without building a library. Takes the same arguments.
#[macro_export]
macro_rules! plugin_module {
    // The fields one after another: `schema` and `self_test` are put aside, the rest describes.
    (@ $create:tt [$($schema:ty)?] [$($test:expr)?] [$($field:ident: $value:expr,)*]) => {{
        #[cfg(not(panic = "unwind"))]
        ::core::compile_error!(
            "a keros plugin needs `panic = \"unwind\"`: otherwise a panic ends the training program"
        );

        unsafe extern "C" fn __keros_create(
            host: *const $crate::__private::abi::keros_host,
            config: $crate::__private::abi::keros_str,
            out: *mut $crate::__private::abi::keros_callback,
        ) -> $crate::__private::abi::keros_status {
            let constructor = $create;
            // SAFETY: the host that calls this function keeps the promises of keros.h.
            unsafe { $crate::__private::create(host, config, out, constructor) }
        }

        unsafe extern "C" fn __keros_extension(
            id: $crate::__private::abi::keros_str,
        ) -> *const ::core::ffi::c_void {
            // SAFETY: the host that calls this function keeps the promises of keros.h.
            match unsafe { id.text() } {
                $(Some($crate::__private::abi::KEROS_EXT_SCHEMA) => {
                    static SCHEMA: $crate::__private::Schema = $crate::__private::Schema::new();
                    SCHEMA.of(|| ::schemars::schema_for!($schema).as_value().to_string())
                })?
                $(Some($crate::__private::abi::KEROS_EXT_SELF_TEST) => {
                    unsafe extern "C" fn run(
                        host: *const $crate::__private::abi::keros_host,
                    ) -> $crate::__private::abi::keros_status {
                        // SAFETY: as above.
                        unsafe { $crate::__private::self_test(host, $test) }
                    }
                    static TABLE: $crate::__private::abi::keros_self_test =
                        $crate::__private::self_test_table(run);
                    ::core::ptr::from_ref(&TABLE).cast()
                })?
                _ => ::core::ptr::null(),
            }
        }

        #[allow(clippy::needless_update, reason = "all fields may be given")]
        const __KEROS_MODULE: $crate::__private::abi::keros_plugin_module =
            $crate::__private::module(
                &$crate::Description {
                    $($field: $value,)*
                    ..$crate::Description {
                        id: ::core::env!("CARGO_PKG_NAME"),
                        version: ::core::env!("CARGO_PKG_VERSION"),
                        vendor: ::core::env!("CARGO_PKG_AUTHORS"),
                        license: ::core::env!("CARGO_PKG_LICENSE"),
                        summary: ::core::env!("CARGO_PKG_DESCRIPTION"),
                    }
                },
                ::core::cfg!(debug_assertions),
                __keros_create,
                __keros_extension,
            );
        __KEROS_MODULE
    }};
    (@ $c:tt [] $t:tt $f:tt schema: $schema:ty $(, $($rest:tt)*)?) => {
        $crate::plugin_module!(@ $c [$schema] $t $f $($($rest)*)?)
    };
    (@ $c:tt $s:tt [] $f:tt self_test: $test:expr $(, $($rest:tt)*)?) => {
        $crate::plugin_module!(@ $c $s [$test] $f $($($rest)*)?)
    };
    (@ $c:tt $s:tt $t:tt [$($f:tt)*] $field:ident: $value:expr $(, $($rest:tt)*)?) => {
        $crate::plugin_module!(@ $c $s $t [$($f)* $field: $value,] $($($rest)*)?)
    };
    ($create:expr $(, $($fields:tt)*)?) => {
        $crate::plugin_module!(@ ($create) [] [] [] $($($fields)*)?)
    };
}

/// The code of the README, so that it compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
