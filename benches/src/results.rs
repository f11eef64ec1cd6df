//! Where the results of a suite go: a table for the reader, and a file for `cargo xtask bench`.

use std::fs;

use anyhow::{Context as _, Result};
use keros_bench_record::{Machine, Results, table};

/// The file that `cargo xtask bench` reads the results from.
const FILE: &str = "KEROS_BENCH_RESULTS";

/// Prints the table of the results and [hands them over](hand_over).
///
/// # Errors
/// A file that cannot be written.
#[allow(clippy::print_stdout, reason = "a bench shows its results")]
pub fn show(results: &Results) -> Result<()> {
    if !results.cases.is_empty() {
        println!("\n{}\n\n{}", conditions(), table(&[results]));
    }
    hand_over(results)
}

/// Writes the results into the file that the variable `KEROS_BENCH_RESULTS` names, if it is set.
///
/// # Errors
/// A file that cannot be written.
pub fn hand_over(results: &Results) -> Result<()> {
    if let Some(file) = std::env::var_os(FILE) {
        let text = serde_json::to_string(results)?;
        fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
    }
    Ok(())
}

/// The machine, and how busy it was: figures are worth no more than it was idle.
fn conditions() -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = match load.split(' ').next() {
        None | Some("") => String::new(),
        Some(load) => format!("; load average {load}, this program included"),
    };
    let machine = Machine::this();
    format!("{machine}{load}; medians of rounds; in parentheses the quartiles")
}
