//! Errors as one sentence.

use anyhow::Result;
use std::process::ExitCode;

/// Prints `error` with those of its causes that it does not tell itself, and returns the exit code.
#[must_use]
#[allow(
    clippy::print_stderr,
    reason = "this is where a program tells its user"
)]
pub fn fail(error: &anyhow::Error, code: u8) -> ExitCode {
    let mut text = error.to_string();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    eprintln!("error: {text}");
    ExitCode::from(code)
}

/// The exit code of a program that has done its work, or has failed at it and says why.
#[must_use]
pub fn ended(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error, 1),
    }
}
