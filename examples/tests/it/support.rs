//! Programs, folders and the plugin.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub(crate) fn fashion_mnist(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fashion_mnist"))
        .args(args)
        .output()
        .unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Runs `fashion_mnist` to the end and returns standard output.
pub(crate) fn succeed(args: &[&str]) -> String {
    run(env!("CARGO_BIN_EXE_fashion_mnist"), args)
}

/// Runs a program to the end and returns standard output.
pub(crate) fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap();
    assert!(
        output.status.success(),
        "{args:?}: {}",
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// The dynamic library of the csv-logger plugin: the one the test run names, or the one Cargo made
/// beside this test because of the dev-dependency.
pub(crate) fn csv_logger() -> PathBuf {
    if let Some(library) = env::var_os("KEROS_TEST_PLUGIN_CSV_LOGGER") {
        return library.into();
    }
    let name = format!(
        "{}csv_logger{}",
        env::consts::DLL_PREFIX,
        env::consts::DLL_SUFFIX
    );
    let library = env::current_exe().unwrap().with_file_name(name);
    assert!(library.exists(), "{} was not built", library.display());
    library
}

pub(crate) fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The rows of a CSV file, the header first.
pub(crate) fn csv(file: &Path) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(file).unwrap();
    text.lines()
        .map(|line| line.split(',').map(str::to_owned).collect())
        .collect()
}
