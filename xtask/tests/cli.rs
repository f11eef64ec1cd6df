//! What the shell sees of xtask: exit codes, and what goes to which stream.

use std::process::{Command, Output};

fn xtask(args: &[&str]) -> std::io::Result<Output> {
    Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(args)
        .output()
}

#[test]
fn help_goes_to_standard_output() -> std::io::Result<()> {
    let output = xtask(&["demo", "--help"])?;
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&output.stdout).contains("Usage: cargo xtask demo"));
    assert!(output.stderr.is_empty());
    Ok(())
}

#[test]
fn an_unknown_command_is_one_sentence_and_the_usage() -> std::io::Result<()> {
    let output = xtask(&["tset"])?;
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "error: there is no command `tset`\n\nUsage: cargo xtask <COMMAND>\n"
    );
    Ok(())
}

#[test]
fn an_unknown_suite_is_refused_with_the_ones_that_exist() -> std::io::Result<()> {
    let output = xtask(&["bench", "no-such-suite"])?;
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        stderr.starts_with("error: there is no suite `no-such-suite`; there are"),
        "{stderr}"
    );
    Ok(())
}

#[test]
fn a_bad_request_to_bench_is_refused_before_anything_runs() -> std::io::Result<()> {
    for (args, beginning) in [
        (
            ["bench", "--chart", "no-such"],
            "there is no record `no-such`; there ",
        ),
        (
            ["bench", "ops", "--compare=no-such"],
            "there is no record `no-such`; there ",
        ),
        (
            ["bench", "ops", "--save=../up"],
            "`../up` is no name for a record: expected ",
        ),
        (
            ["bench", "all", "--against=no-such"],
            "unknown peer `no-such` (expected one of ",
        ),
    ] {
        let output = xtask(&args)?;
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(output.stdout.is_empty());
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            stderr.starts_with(&format!("error: {beginning}")),
            "{stderr}"
        );
        assert!(
            stderr.contains("\n\nUsage: cargo xtask bench SUITE [ARGS]\n"),
            "{stderr}"
        );
    }
    Ok(())
}

#[test]
fn a_missing_tool_is_named_with_what_installs_it() -> std::io::Result<()> {
    let empty = tempfile::tempdir()?;
    for (command, tool, package) in [
        ("typos", "typos", "typos-cli@"),
        ("deny", "cargo-deny", "cargo-deny@"),
        ("features", "cargo-hack", "cargo-hack@"),
        ("semver", "cargo-semver-checks", "cargo-semver-checks@"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
            .arg(command)
            .env("PATH", empty.path())
            .output()?;
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        let expected = format!("error: {tool} is not installed; `cargo install --locked {package}");
        assert!(stderr.starts_with(&expected), "{stderr}");
    }
    Ok(())
}

#[test]
fn code_for_gpus_is_not_looked_at_without_a_toolkit_and_not_said_to_have_run() -> std::io::Result<()>
{
    let empty = tempfile::tempdir()?;
    for (args, code) in [(&["cuda-check"][..], 0), (&["cuda-check", "--emulate"], 1)] {
        let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
            .args(args)
            .env("PATH", empty.path())
            .env_remove("CUDA_HOME")
            .env_remove("CUDA_PATH")
            .output()?;
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        assert!(stderr.contains("no CUDA toolkit is at hand"), "{stderr}");
    }
    Ok(())
}

#[test]
fn features_of_a_crate_that_has_none_are_refused() -> std::io::Result<()> {
    let output = xtask(&["features", "keros-abi"])?;
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let expected = "error: no crate `keros-abi` has features; these have: keros, keros-callbacks,";
    assert!(stderr.starts_with(expected), "{stderr}");
    Ok(())
}

#[test]
fn what_would_be_published_is_packed_in_the_order_of_its_dependencies() -> std::io::Result<()> {
    let output = xtask(&["release", "--dry-run"])?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    let place = |name: &str| {
        let line = format!("  {name} ");
        let place = stdout.lines().position(|told| told.starts_with(&line));
        place.unwrap_or_else(|| panic!("no {name} in {stdout}"))
    };
    assert!(place("keros-image") < place("keros-data"));
    assert!(place("keros-plugin") < place("keros-plugin-host"));
    assert!(place("keros-train") < place("keros"));
    assert!(!stdout.contains("csv-logger"), "{stdout}");
    Ok(())
}
