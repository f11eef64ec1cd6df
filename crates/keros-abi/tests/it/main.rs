//! The mirror and the header say the same.
#![allow(clippy::expect_used, reason = "helpers of tests")]

mod header;
mod layout;

use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output};

/// The C compilers of this machine: `CC` or `cc`, and gcc and clang beside it. CONTRIBUTING.md asks for one.
fn compilers() -> Vec<OsString> {
    let first = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let mut found: Vec<OsString> = vec![first, "gcc".into(), "clang".into()];
    found.retain(|compiler| {
        let started = Command::new(compiler).arg("--version").output();
        if started.is_err() {
            let _ = writeln!(
                std::io::stderr(),
                "not run: the header in {compiler:?}, which cannot be started"
            );
        }
        started.is_ok()
    });
    found
}

/// Runs a C compiler in `folder` with the header on its path.
fn cc(compiler: &OsStr, folder: &Path, arguments: &[&str]) -> Output {
    let include = concat!("-I", env!("CARGO_MANIFEST_DIR"), "/include");
    Command::new(compiler)
        .current_dir(folder)
        .arg(include)
        .args(arguments)
        .output()
        .expect("it could be started before")
}

/// The compiler's words if it failed.
fn complaint(output: &Output) -> String {
    if output.status.success() {
        String::new()
    } else {
        String::from_utf8_lossy(&output.stderr).into_owned()
    }
}
