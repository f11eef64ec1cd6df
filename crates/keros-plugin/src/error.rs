//! What can go wrong between a plugin and its host.
//!
//! Display and source are written by hand, so that a plugin builds without macros of thiserror.

use keros_abi::{keros_status, status_name};
use std::error::Error;
use std::fmt;
use std::path::PathBuf;

/// A configuration does not fit the plugin.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConfigError {
    /// It is not JSON, or not a JSON object of the right kind.
    Whole(serde_json::Error),
    /// One of its fields is wrong.
    Field {
        /// Path of the field, such as `columns[2].name`.
        field: String,
        /// Why.
        source: serde_json::Error,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::Whole(source) => write!(f, "config: {source}"),
            ConfigError::Field { field, source } => write!(f, "config field `{field}`: {source}"),
        }
    }
}

impl Error for ConfigError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            ConfigError::Whole(_) => None,
            ConfigError::Field { source, .. } => Some(source),
        }
    }
}

/// The host refused what a hook asked for, or answered something impossible.
#[derive(Debug)]
#[non_exhaustive]
pub enum HostError {
    /// It answered with a failure.
    Status {
        /// What the hook asked for.
        asked: &'static str,
        /// The answer, one of the `KEROS_E_` numbers.
        status: keros_status,
    },
    /// It could not do it.
    Failed {
        /// What the hook asked for.
        asked: &'static str,
        /// Why not, in the host's words.
        reason: String,
    },
    /// A path that cannot be passed on.
    Path {
        /// What the hook asked for.
        asked: &'static str,
        /// The path.
        path: PathBuf,
    },
    /// It answered with something that keros.h forbids.
    Broken {
        /// What the hook asked for.
        asked: &'static str,
        /// What is wrong.
        found: &'static str,
    },
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostError::Status { asked, status } => match status_name(*status) {
                Some(name) => write!(f, "{asked}: the host answered {name}"),
                None => write!(f, "{asked}: the host answered the unknown status {status}"),
            },
            HostError::Failed { asked, reason } => write!(f, "{asked}: {reason}"),
            HostError::Path { asked, path } => {
                write!(f, "{asked}: the path {} is not UTF-8", path.display())
            }
            HostError::Broken { asked, found } => {
                write!(
                    f,
                    "{asked}: the host answered with {found}, against keros.h"
                )
            }
        }
    }
}

impl Error for HostError {}
