//! Cargo as the tasks use it: the same cargo that runs us, started at the workspace root.

use std::env;
use std::ffi::OsString;
use std::io::BufReader;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use cargo_metadata::camino::{Utf8Path, Utf8PathBuf};
use cargo_metadata::{Artifact, Message, Metadata, MetadataCommand};

/// The command `cargo ARGS…`, with the arguments separated by spaces.
pub(crate) fn command(args: &str) -> Command {
    let mut command = Command::new(program());
    command.args(args.split_whitespace()).current_dir(root());
    command
}

/// The packages of the workspace, without their dependencies.
pub(crate) fn metadata() -> Result<Metadata> {
    MetadataCommand::new()
        .cargo_path(program())
        .current_dir(root())
        .no_deps()
        .exec()
        .context("cannot read the workspace's metadata")
}

/// Runs a command and fails with its exit status and its words if it does.
pub(crate) fn run(mut command: Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot start `{}`", words(&command)))?;
    ensure!(status.success(), "`{}`: {status}", words(&command));
    Ok(())
}

/// Runs a `cargo build` and returns what it made. Its diagnostics go to the terminal.
pub(crate) fn build(mut command: Command) -> Result<Vec<Artifact>> {
    command
        .arg("--message-format=json-render-diagnostics")
        .stdout(Stdio::piped());
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot start `{}`", words(&command)))?;
    let mut artifacts = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        for message in Message::parse_stream(BufReader::new(stdout)) {
            if let Message::CompilerArtifact(artifact) = message? {
                artifacts.push(artifact);
            }
        }
    }
    let status = child.wait()?;
    ensure!(status.success(), "`{}`: {status}", words(&command));
    Ok(artifacts)
}

/// The file of an artefact that the system's loader opens: `lib….so`, `lib….dylib` or `….dll`.
pub(crate) fn dynamic_library(artifact: &Artifact) -> Option<&Utf8Path> {
    if !artifact.target.is_cdylib() {
        return None;
    }
    let mut files = artifact.filenames.iter();
    files
        .find(|file| file.extension() == Some(env::consts::DLL_EXTENSION))
        .map(Utf8PathBuf::as_path)
}

/// A command as one would type it.
pub(crate) fn words(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_stem();
    let mut line = program.unwrap_or_default().to_string_lossy().into_owned();
    for word in command.get_args() {
        line.push(' ');
        line.push_str(&word.to_string_lossy());
    }
    line
}

/// The folder of the workspace's manifest.
pub(crate) fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

fn program() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}
