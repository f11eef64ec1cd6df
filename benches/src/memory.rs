//! How much memory a process takes.

use std::fs;

use anyhow::{Context as _, Result};

/// The most memory this process ever had, in kB; child processes have their own.
///
/// # Errors
/// A system without `/proc/self/status`.
pub fn peak_kb() -> Result<u64> {
    let path = "/proc/self/status";
    let status = fs::read_to_string(path).with_context(|| format!("reading {path}"))?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.with_context(|| format!("{path} has no line `VmHWM`"))?;
    let number = peak.trim().trim_end_matches("kB").trim();
    number
        .parse()
        .with_context(|| format!("{path}: expected a number after `VmHWM:`, found `{number}`"))
}
