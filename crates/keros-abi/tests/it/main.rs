//! The mirror and the header say the same.
#![allow(clippy::expect_used, clippy::print_stderr, reason = "helpers of tests")]

mod header;
mod layout;

use std::path::Path;
use std::process::{Command, Output};

/// Runs the C compiler in `folder` with the header on its path. Without a C compiler there is no
/// answer; the README asks for one.
fn cc(folder: &Path, arguments: &[&str]) -> Option<Output> {
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let include = concat!("-I", env!("CARGO_MANIFEST_DIR"), "/include");
    match Command::new(&compiler)
        .current_dir(folder)
        .arg(include)
        .args(arguments)
        .output()
    {
        Ok(output) => Some(output),
        Err(error) => {
            eprintln!(
                "skipped: no C compiler {compiler:?} can be started ({error}); see README.md"
            );
            None
        }
    }
}

/// The compiler's words if it failed.
fn complaint(output: &Output) -> String {
    if output.status.success() {
        String::new()
    } else {
        String::from_utf8_lossy(&output.stderr).into_owned()
    }
}
