//! What can be wrong with a plugin: with its file, with its record, with what it does.

use keros_abi::{keros_status, status_name};
use keros_callbacks::BoxError;
use std::fmt;
use std::path::PathBuf;

/// A status as a plugin returned it; shown by its name in keros.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status(
    /// The number.
    pub keros_status,
);

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match status_name(self.0) {
            Some(name) => f.write_str(name),
            None => write!(f, "{} (no status of keros.h)", self.0),
        }
    }
}

/// A plugin cannot be loaded, or failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PluginError {
    /// There is no such file.
    #[error("loading the plugin {}: there is no such file", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The path leads to something else.
    #[error("loading the plugin {}: expected a file, found {found}", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What is there.
        found: &'static str,
    },
    /// The file cannot be read.
    #[error("loading the plugin {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no dynamic library of this system.
    #[error(
        "loading the plugin {}: not a dynamic library (expected {expected}, found {found})",
        path.display()
    )]
    NotALibrary {
        /// The file.
        path: PathBuf,
        /// What was expected.
        expected: &'static str,
        /// What was found.
        found: String,
    },
    /// The file ends too early.
    #[error(
        "loading the plugin {}: the file is cut off (expected at least {expected} bytes, found {found})",
        path.display()
    )]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Where the last part of it ends that is needed.
        expected: u64,
        /// Its length.
        found: u64,
    },
    /// No private copy of the file can be made.
    #[error("loading the plugin {}: making a private copy of it: {source}", path.display())]
    Copy {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The dynamic linker refused the file.
    #[error("loading the plugin {}: {reason}", path.display())]
    Link {
        /// The file.
        path: PathBuf,
        /// Why, in the words of the system.
        reason: String,
    },
    /// The library does not export what makes it a plugin.
    #[error(
        "loading the plugin {}: not a keros plugin (expected the symbol `{}`, found none)",
        path.display(),
        keros_abi::SYMBOL
    )]
    NotAPlugin {
        /// The file.
        path: PathBuf,
    },
    /// The symbol that makes a library a plugin is not at a place that is in the file.
    #[error(
        "loading the plugin {}: its record is not in the file (expected {expected} bytes at the symbol `{}`)",
        path.display(),
        keros_abi::SYMBOL
    )]
    NoRecord {
        /// The file.
        path: PathBuf,
        /// How many bytes were looked for.
        expected: usize,
    },
    /// The record does not begin as one of keros.
    #[error(
        "loading the plugin {}: not a keros plugin (expected the magic number {:#018x}, found {found:#018x})",
        path.display(),
        keros_abi::KEROS_MAGIC
    )]
    Magic {
        /// The file.
        path: PathBuf,
        /// What was found.
        found: u64,
    },
    /// The plugin is built for another major version of the ABI.
    #[error(
        "loading the plugin {}: built for another keros ABI (expected major version {}, found {found})",
        path.display(),
        keros_abi::KEROS_ABI_MAJOR
    )]
    Major {
        /// The file.
        path: PathBuf,
        /// What was found.
        found: u32,
    },
    /// The record is smaller than that of version 1.0.
    #[error(
        "loading the plugin {}: its record is cut off (expected at least {expected} bytes, found {found})",
        path.display()
    )]
    Record {
        /// The file.
        path: PathBuf,
        /// Size of the record in version 1.0.
        expected: usize,
        /// Size it claims.
        found: u32,
    },
    /// The plugin does not work with a host as old as this one.
    #[error(
        "loading the plugin {}: needs a newer host (expected keros ABI {}.{found} or later, found {}.{})",
        path.display(),
        keros_abi::KEROS_ABI_MAJOR,
        keros_abi::KEROS_ABI_MAJOR,
        keros_abi::KEROS_ABI_MINOR
    )]
    NeedsNewerHost {
        /// The file.
        path: PathBuf,
        /// The oldest minor version of a host it works with.
        found: u32,
    },
    /// A text of the record is not as keros.h asks.
    #[error("loading the plugin {}: its {field} is wrong (expected {expected}, found {found})", path.display())]
    Text {
        /// The file.
        path: PathBuf,
        /// The field of the record.
        field: &'static str,
        /// What keros.h asks for.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// A required function is null.
    #[error("plugin `{id}` at {}: its function `{function}` is null", path.display())]
    NullFunction {
        /// The file.
        path: PathBuf,
        /// The plugin.
        id: String,
        /// The field.
        function: &'static str,
    },
    /// The plugin refused to make an instance.
    #[error("plugin `{id}` at {}: creating an instance: {}", path.display(), Answer(*status, text))]
    Create {
        /// The file.
        path: PathBuf,
        /// The plugin.
        id: String,
        /// What it returned.
        status: Status,
        /// What it told about the reason; may be empty.
        text: String,
    },
    /// The plugin reported a failure from an event.
    #[error("plugin `{id}`: {}{}", Answer(*status, text), Cause(cause))]
    Event {
        /// The plugin.
        id: String,
        /// What it returned.
        status: Status,
        /// What it told about the reason; may be empty.
        text: String,
        /// What the training failed to do for it before, if anything.
        #[source]
        cause: Option<BoxError>,
    },
    /// The plugin could not tell its state for a checkpoint, or not go on from one.
    #[error("plugin `{id}`: {doing} its state: {}", Answer(*status, text))]
    State {
        /// The plugin.
        id: String,
        /// `telling` or `loading`.
        doing: &'static str,
        /// What it returned.
        status: Status,
        /// What it told about the reason; may be empty.
        text: String,
    },
    /// The plugin's test of itself failed.
    #[error("plugin `{id}`: testing itself: {}", Answer(*status, text))]
    SelfTest {
        /// The plugin.
        id: String,
        /// What it returned.
        status: Status,
        /// What it told about the reason; may be empty.
        text: String,
    },
    /// The schema of the plugin's configuration is not a text.
    #[error(
        "plugin `{id}`: its schema is wrong (expected UTF-8 text of at most {} bytes)",
        keros_abi::KEROS_TEXT_MAX
    )]
    Schema {
        /// The plugin.
        id: String,
    },
    /// The plugin panicked at an earlier event.
    #[error("plugin `{id}`: gets no more events since it panicked")]
    Panicked {
        /// The plugin.
        id: String,
    },
    /// The plugin asked for actions nobody knows.
    #[error(
        "plugin `{id}`: asked for unknown actions (expected bits of {expected:#x}, found {found:#x})"
    )]
    Actions {
        /// The plugin.
        id: String,
        /// The bits of keros.h.
        expected: u32,
        /// The unknown bits it set.
        found: u32,
    },
    /// The reason the plugin gave for stopping is not a text.
    #[error(
        "plugin `{id}`: asked to stop with a wrong reason (expected UTF-8 text of at most {} bytes, found {found})",
        keros_abi::KEROS_TEXT_MAX
    )]
    Reason {
        /// The plugin.
        id: String,
        /// What it gave.
        found: String,
    },
}

/// A status and the words that came with it.
struct Answer<'a>(Status, &'a str);

impl fmt::Display for Answer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Answer(status, text) = self;
        if text.is_empty() {
            write!(f, "{status}, without a reason")
        } else {
            write!(f, "{status}: {text}")
        }
    }
}

struct Cause<'a>(&'a Option<BoxError>);

impl fmt::Display for Cause<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(cause) => write!(f, " (the training had failed before: {cause})"),
            None => Ok(()),
        }
    }
}
