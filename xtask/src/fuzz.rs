//! `cargo xtask fuzz`: one of the fuzzers in `fuzz/`, with libFuzzer and the stable compiler.
//!
//! What libFuzzer follows is put into the code by a pass of LLVM that `rustc` reaches with stable flags, so that no
//! nightly toolchain is needed. The flags apply to the target alone, not to build scripts, because the build names its
//! platform.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::cargo;
use crate::cli::Misuse;
use crate::help::FUZZ;

/// A fuzzer: the name of its bin, with the feature it needs behind a hyphen, and the folder of its seeds.
const TARGETS: [(&str, &str); 4] = [
    ("csv", "fuzz/seeds/csv"),
    ("decode", "crates/keros-image/tests/it/files"),
    ("decode-turbojpeg", "crates/keros-image/tests/it/files"),
    ("plugin", "fuzz/seeds/plugin"),
];

/// How often a target runs unless `--runs` says otherwise.
pub(crate) const RUNS: u64 = 1_000_000;

/// Coverage as libFuzzer reads it: counters, their places, and what is compared.
const FLAGS: &str = "--cfg=fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";

/// Builds the fuzzer and runs it; what it finds is in target/fuzz/found, and its exit code is handed on.
pub(crate) fn run(target: Option<&str>, runs: u64, args: &[OsString]) -> Result<ExitCode> {
    let names = TARGETS.map(|(name, _)| name).join(", ");
    let found = TARGETS.iter().find(|(name, _)| Some(*name) == target);
    let Some((name, seeds)) = found else {
        let what = match target {
            Some(target) => format!("there is no target `{target}`"),
            None => "no target is given".to_owned(),
        };
        return Err(Misuse::new(FUZZ, format!("{what}; there are: {names}")).into());
    };
    let metadata = cargo::metadata()?;
    let root = metadata.workspace_root.as_std_path();
    let target_dir = metadata.target_directory.join("fuzz").into_std_path_buf();

    let platform = platform()?;
    let mut build = cargo::command("build --release --manifest-path=fuzz/Cargo.toml");
    build
        .arg(format!("--bin={name}"))
        .arg(format!("--target={platform}"))
        .env("CARGO_TARGET_DIR", &target_dir)
        .env("RUSTFLAGS", FLAGS);
    if let Some((_, feature)) = name.split_once('-') {
        build.arg(format!("--features={feature}"));
    }
    cargo::run(build)?;

    let corpus = folder(&target_dir.join("corpus").join(name))?;
    let artifacts = folder(&target_dir.join("found").join(name))?;
    let mut fuzzer = Command::new(target_dir.join(&platform).join("release").join(name));
    fuzzer
        .arg(format!("-runs={runs}"))
        .arg(format!("-artifact_prefix={artifacts}/"))
        .args(["-timeout=20", "-rss_limit_mb=2048", "-max_len=8192"])
        .args(["-print_final_stats=1", "-verbosity=1"])
        .args(args)
        .arg(corpus)
        .arg(root.join(seeds))
        .current_dir(root);
    let status = fuzzer
        .status()
        .with_context(|| format!("cannot start {}", fuzzer.get_program().display()))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Makes the folder, and gives its name.
fn folder(path: &Path) -> Result<String> {
    fs::create_dir_all(path).with_context(|| format!("making the folder {}", path.display()))?;
    let name = path
        .to_str()
        .context("the name of the target folder is not Unicode")?;
    Ok(name.to_owned())
}

/// The platform of this machine, as rustc calls it.
fn platform() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc)
        .arg("-vV")
        .output()
        .context("cannot start rustc")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc does not say its host")?.to_owned())
}
