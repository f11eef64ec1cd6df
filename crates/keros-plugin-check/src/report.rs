//! What the helper tells the checker: one JSON object a line.

use serde::{Deserialize, Serialize};

/// The word that starts this program as the helper; only the checker says it.
pub(crate) const HELPER: &str = "__check-in-this-process";

/// What the helper is at.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    /// What it does now, until it says otherwise or is no more.
    Doing(String),
    /// A stage is passed.
    Passed(String),
    /// Something to know that is no fault.
    Note(String),
    /// A stage is not passed, and nothing follows.
    Failed {
        /// Its name.
        stage: String,
        /// Why.
        error: String,
    },
    /// All stages are passed; the process is about to end.
    Done,
}
