//! `cargo xtask cuda-check`: the code for GPUs, compiled and linked; with `--emulate` also run, on a GPU that is emulated.
//!
//! The emulator, xtask/cuda-emulator, is a driver of its own: the kernels compiled by a C++ compiler, and the parts of
//! the driver, cuBLAS and cuDNN that keros calls, done by the processor. It is loaded before the real libraries.

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::cargo;

/// The name under which programs ask for the driver.
const DRIVER: &str = "libcuda.so.1";

/// Compiles and links everything with CUDA and cuDNN, and runs the tests if asked. The emulated driver is needed for
/// both: where there is no GPU, there is no other to link with.
pub(crate) fn run(emulate: bool) -> Result<()> {
    let Some(root) = toolkit() else {
        let told = "no CUDA toolkit is at hand, so nothing was compiled: nvcc is neither in PATH nor in the folder bin \
                    of CUDA_HOME or CUDA_PATH";
        ensure!(!emulate, "{told}, and no test was run");
        eprintln!("cuda-check: {told}");
        return Ok(());
    };
    let emulator = build_emulator()?;
    for features in ["keros/cuda", "keros/cudnn"] {
        let build =
            format!("build --workspace --exclude=xtask --all-targets --features={features}");
        cargo::run(prepared(cargo::command(&build), &emulator)?)?;
    }
    if emulate {
        for (features, graphs) in [
            ("keros/cuda", false),
            ("keros/cudnn", false),
            ("keros/cudnn", true),
        ] {
            let tests = format!(
                "test --features={features} --package=keros-tensor --package=keros-nn --package=keros-train \
                 --package=keros --lib --tests"
            );
            let mut tests = prepared(cargo::command(&tests), &emulator)?;
            tests
                .env("KEROS_TEST_DEVICE", "cuda")
                .env("LD_LIBRARY_PATH", library_path(&root, &emulator)?)
                // Before the tests alone, not before cargo and the compiler.
                .env(
                    "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER",
                    format!("env LD_PRELOAD={}", emulator.join(DRIVER).display()),
                );
            if graphs {
                tests.env("KEROS_TEST_GRAPHS", "1");
            }
            cargo::run(tests)?;
        }
    }
    Ok(())
}

/// The folder of the CUDA toolkit.
pub(crate) fn toolkit() -> Option<PathBuf> {
    let named = ["CUDA_HOME", "CUDA_PATH"]
        .into_iter()
        .filter_map(env::var_os);
    let path = env::var_os("PATH").unwrap_or_default();
    let in_path = env::split_paths(&path).filter_map(|bin| bin.parent().map(Path::to_owned));
    let mut roots = named.map(PathBuf::from).chain(in_path);
    roots.find(|root| root.join("bin/nvcc").is_file())
}

/// Compiles the emulator and returns its folder.
fn build_emulator() -> Result<PathBuf> {
    let sources = cargo::root().join("xtask/cuda-emulator");
    let kernels = cargo::root().join("crates/keros-tensor/src/cuda");
    let folder = cargo::root().join("target/cuda-emulator");
    fs::create_dir_all(&folder)?;
    let mut files = files_named(&sources, "cpp")?;
    files.extend(files_named(&kernels, "cu")?);
    let mut compiler = Command::new(env::var_os("CXX").unwrap_or_else(|| "c++".into()));
    compiler
        .args([
            "-std=c++17",
            "-O2",
            "-fPIC",
            "-shared",
            "-Wno-unknown-pragmas",
        ])
        .arg(format!("-Wl,-soname,{DRIVER}"))
        .arg("-I")
        .arg(&sources)
        .arg("-include")
        .arg(sources.join("device.hpp"))
        .args(["-x", "c++"])
        .args(files)
        .arg("-o")
        .arg(folder.join(DRIVER))
        .stdin(Stdio::null());
    let status = compiler.status().context("cannot start the C++ compiler")?;
    ensure!(status.success(), "compiling the emulator: {status}");
    // The linker looks for a driver under this name, and a machine without a GPU has none.
    fs::copy(folder.join(DRIVER), folder.join("libcuda.so"))?;
    Ok(folder)
}

fn files_named(folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_some_and(|found| found == extension) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// A build that finds a driver to link with, and a GPU to compile for where there is none to ask.
fn prepared(mut command: Command, emulator: &Path) -> Result<Command> {
    command.env("LIBRARY_PATH", joined(emulator, "LIBRARY_PATH")?);
    let asked = Command::new("nvidia-smi")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if env::var_os("CUDA_COMPUTE_CAP").is_none() && !asked.is_ok_and(|status| status.success()) {
        command.env("CUDA_COMPUTE_CAP", "80");
    }
    Ok(command)
}

/// Where the loader finds the libraries of the toolkit: where the linker did.
fn library_path(root: &Path, emulator: &Path) -> Result<OsString> {
    let mut folders = BTreeSet::new();
    let link = env::var_os("LIBRARY_PATH").unwrap_or_default();
    let of_root = ["lib64", "lib"].map(|name| root.join(name));
    for folder in env::split_paths(&link).chain(of_root) {
        for library in files_named(&folder, "so").unwrap_or_default() {
            let library = library.canonicalize().unwrap_or(library);
            folders.extend(library.parent().map(Path::to_owned));
        }
    }
    let present = env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let all = [emulator.to_owned()]
        .into_iter()
        .chain(env::split_paths(&present))
        .chain(folders);
    Ok(env::join_paths(all)?)
}

/// A folder before those of a variable.
fn joined(folder: &Path, variable: &str) -> Result<OsString> {
    let present = env::var_os(variable).unwrap_or_default();
    let folders = [folder.to_owned()]
        .into_iter()
        .chain(env::split_paths(&present));
    Ok(env::join_paths(folders)?)
}
