//! Loads keros callback plugins from dynamic libraries: a loaded plugin is one more callback.
//!
//! ```no_run
//! use keros_callbacks::CallbackList;
//!
//! # fn main() -> Result<(), keros_plugin_host::PluginError> {
//! let logger = keros_plugin_host::load("plugins/libcsv_logger.so", r#"{"path": "epochs.csv"}"#)?;
//! let callbacks = CallbackList::new().with(logger);
//! # Ok(())
//! # }
//! ```
//!
//! **Which file.** A relative path is relative to the current directory; no search path is ever
//! consulted. The file is read and its record checked before it is given to the dynamic linker, so that a
//! text file or half a download is an error and not a crash, and no code of a library that is no plugin
//! is run. [`inspect()`] does that much alone.
//!
//! **Trust.** A plugin is native code with all rights of this process, and its code runs as soon as it
//! is loaded. What it returns is checked; what it does is not, and cannot be. Loading is no `unsafe`
//! function because there is nothing a programmer could check at the place of the call: it is for the
//! one who names the file to trust it.
//!
//! **Never unloaded.** A library stays loaded until the process ends, also one that was refused: code
//! in it may still be reached by threads, thread-local destructors and `atexit` functions that it left
//! behind, and Rust libraries cannot be unloaded soundly at all.
//!
//! **Isolation.** [`isolate`] runs the same file in a process of its own, and [`external`] any program
//! that speaks the wire format of `docs/wire-format.md`: its crash or hang is an error of its callback.
//! It has the same rights as this process all the same. The plugin needs no change. The program that
//! trains calls [`run_if_asked`] as the first line of `main`, because the helper is the same program
//! started again; a program that cannot names a helper in [`IsolateOptions::runner`] or in the variable
//! `KEROS_PLUGIN_RUN`, or has `keros-plugin-run` in its own folder.
//!
//! **Failure.** Whatever a plugin reports or does wrong in an event is an error of its callback and
//! falls under its [`FailurePolicy`](keros_callbacks::FailurePolicy). A plugin that panicked gets no
//! more events.
//!
//! **Threads.** The hooks run on the training thread; a [`LoadedCallback`] may be moved to another
//! thread between events.

mod allow_list;
mod bridge;
mod callback;
mod error;
mod extensions;
mod file;
mod info;
mod inspect;
mod instance;
mod isolated;
mod plugin;
mod private_copy;

pub use allow_list::{AllowList, AllowListError, AllowedPlugin};
pub use callback::LoadedCallback;
pub use error::{PluginError, Status};
pub use info::PluginInfo;
pub use inspect::{inspect, inspect_bytes};
pub use isolated::{
    IsolateError, IsolateOptions, IsolatedCallback, WIRE_MAJOR, WIRE_MINOR, external, isolate,
    run_if_asked, run_plugin,
};
pub use plugin::Plugin;

use std::path::Path;

/// Loads the plugin at `path` and makes one instance of it, configured by a JSON text; the empty text
/// stands for `{}`.
///
/// # Errors
/// Those of [`Plugin::load`] and [`Plugin::callback`].
pub fn load(path: impl AsRef<Path>, config_json: &str) -> Result<LoadedCallback, PluginError> {
    Plugin::load(path)?.callback(config_json)
}

/// The code of the README, so that it compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
