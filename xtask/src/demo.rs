//! `cargo xtask demo`: the image classifier with a plugin loaded, from nothing but a checkout.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use serde_json::json;

use crate::cargo;

/// Builds plugin and example, runs the example with `args`, and hands on its exit code.
pub(crate) fn run(args: &[OsString]) -> Result<ExitCode> {
    // Two builds, so that the plugin has the features its author would build it with, and no others.
    let plugin = cargo::command("build --release --package=csv-logger --lib");
    let plugin = cargo::build(plugin)?;
    let plugin = plugin
        .iter()
        .find_map(cargo::dynamic_library)
        .context("cargo built no dynamic library from the package csv-logger")?;
    let program = cargo::command("build --release --package=keros-examples --bin=fashion_mnist");
    let program = cargo::build(program)?;
    let program = program
        .iter()
        .find_map(|artifact| artifact.executable.as_ref())
        .context("cargo built no program from the example fashion_mnist")?;

    let mut command = Command::new(program);
    let out = match value_of("--out", args) {
        Some(out) => PathBuf::from(out),
        None => {
            let out = default_out()?;
            command.arg("--out").arg(&out);
            out
        }
    };
    command
        .arg("--plugin")
        .arg(format!("{plugin}={}", plugin_config(&out, args)?))
        .args(args);

    let status = command
        .status()
        .with_context(|| format!("cannot start {program}"))?;
    let code = status
        .code()
        .with_context(|| format!("{program} did not end by itself: {status}"))?;
    Ok(u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from))
}

/// `target/demo`, written as short as the current folder allows.
fn default_out() -> Result<PathBuf> {
    let out = cargo::metadata()?
        .target_directory
        .join("demo")
        .into_std_path_buf();
    let here = std::env::current_dir().context("cannot read the current folder")?;
    Ok(match out.strip_prefix(here) {
        Ok(short) => short.to_owned(),
        Err(_) => out,
    })
}

/// What the csv-logger plugin is told: where its rows go, and whether those of a run that goes on stay.
fn plugin_config(out: &Path, args: &[OsString]) -> Result<String> {
    let path = out.join("plugin.csv");
    let path = path
        .to_str()
        .with_context(|| format!("the path {} is not Unicode", path.display()))?;
    let append = args.iter().any(|arg| arg == "--resume");
    Ok(json!({ "path": path, "append": append }).to_string())
}

/// The value of an option given as `OPTION VALUE` or `OPTION=VALUE`.
fn value_of(option: &str, args: &[OsString]) -> Option<OsString> {
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        if arg == option {
            return args.next().cloned();
        }
        let joined = arg
            .to_str()
            .and_then(|arg| arg.strip_prefix(option)?.strip_prefix('='));
        if let Some(value) = joined {
            return Some(OsStr::new(value).to_owned());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::path::Path;

    use super::{plugin_config, value_of};

    fn args(line: &str) -> Vec<OsString> {
        line.split(' ').map(Into::into).collect()
    }

    fn config(out: &str, line: &str) -> serde_json::Value {
        let config = plugin_config(Path::new(out), &args(line)).expect("Unicode");
        serde_json::from_str(&config).expect("JSON")
    }

    #[test]
    fn an_option_is_found_in_both_spellings() {
        let out = |line| value_of("--out", &args(line));
        assert_eq!(out("--seed 7 --out here"), Some("here".into()));
        assert_eq!(out("--out=here --seed 7"), Some("here".into()));
        assert_eq!(out("--output here"), None);
        assert_eq!(out("--seed 7 --out"), None);
    }

    #[test]
    fn the_plugin_writes_into_the_output_folder() {
        let config = config("a \"quoted\" folder", "");
        let path = Path::new("a \"quoted\" folder").join("plugin.csv");
        assert_eq!(config["path"].as_str(), path.to_str());
    }

    #[test]
    fn the_rows_of_a_run_that_goes_on_stay() {
        let append = |line| config("out", line)["append"].as_bool();
        assert_eq!(append("--checkpoint-every 50"), Some(false));
        assert_eq!(append("--checkpoint-every 50 --resume"), Some(true));
    }
}
