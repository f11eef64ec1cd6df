//! What can go wrong with a plugin in a process of its own.

use std::io;
use std::path::PathBuf;

/// A plugin in a process of its own could not be started, or failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IsolateError {
    /// There is no program that could run a plugin file.
    #[error(
        "isolating the plugin {}: no program to run it in (expected the option `runner`, the variable KEROS_PLUGIN_RUN, \
         a call of keros_plugin_host::run_if_asked first thing in main, or the program {}, which is not there)",
        plugin.display(),
        beside.display()
    )]
    NoRunner {
        /// The plugin file.
        plugin: PathBuf,
        /// Where the program would be found.
        beside: PathBuf,
    },
    /// The program cannot be started.
    #[error("starting `{program}`: {source}")]
    Start {
        /// The program.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// The plugin file was refused in its process, for the reason that loading it here would have had.
    #[error("{text}")]
    Plugin {
        /// The reason.
        text: String,
    },
    /// The program refused to start.
    #[error("starting `{program}`: {text}")]
    Refused {
        /// The program.
        program: String,
        /// The reason it told.
        text: String,
    },
    /// The program speaks another version of the wire format.
    #[error(
        "starting `{program}`: speaks another wire format (expected major version {}, found {found})",
        super::WIRE_MAJOR
    )]
    Major {
        /// The program.
        program: String,
        /// Its major version.
        found: u32,
    },
    /// What the program tells of itself cannot be used.
    #[error("starting `{program}`: its {field} is wrong (expected {expected}, found {found})")]
    Hello {
        /// The program.
        program: String,
        /// The field of its hello.
        field: &'static str,
        /// What it can be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// The process ended before it said hello, or had to be ended.
    #[error("starting `{program}`: {how}")]
    NoHello {
        /// The program.
        program: String,
        /// How that went.
        how: String,
    },
    /// The plugin reported a failure.
    #[error("plugin `{id}`: {text}")]
    Failed {
        /// The plugin.
        id: String,
        /// The reason it told.
        text: String,
    },
    /// The process of the plugin ended, or had to be ended.
    #[error("plugin `{id}`: its process {how}; it gets no more events")]
    Ended {
        /// The plugin.
        id: String,
        /// How that went.
        how: String,
    },
}
