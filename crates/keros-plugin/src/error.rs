//! What can go wrong between a plugin and its host.

use keros_abi::{keros_status, status_name};
use std::path::PathBuf;

/// A configuration does not fit the plugin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// It is not JSON, or not a JSON object of the right kind.
    #[error("config: {0}")]
    Whole(serde_json::Error),
    /// One of its fields is wrong.
    #[error("config field `{field}`: {source}")]
    Field {
        /// Path of the field, such as `columns[2].name`.
        field: String,
        /// Why.
        source: serde_json::Error,
    },
}

/// The host refused what a hook asked for, or answered something impossible.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// It answered with a failure.
    #[error("{asked}: the host answered {}", name(*status))]
    Status {
        /// What the hook asked for.
        asked: &'static str,
        /// The answer, one of the `KEROS_E_` numbers.
        status: keros_status,
    },
    /// It could not do it.
    #[error("{asked}: {reason}")]
    Failed {
        /// What the hook asked for.
        asked: &'static str,
        /// Why not, in the host's words.
        reason: String,
    },
    /// A path that cannot be passed on.
    #[error("{asked}: the path {} is not UTF-8", path.display())]
    Path {
        /// What the hook asked for.
        asked: &'static str,
        /// The path.
        path: PathBuf,
    },
    /// It answered with something that keros.h forbids.
    #[error("{asked}: the host answered with {found}, against keros.h")]
    Broken {
        /// What the hook asked for.
        asked: &'static str,
        /// What is wrong.
        found: &'static str,
    },
}

fn name(status: keros_status) -> String {
    status_name(status).map_or_else(|| format!("the unknown status {status}"), str::to_owned)
}
