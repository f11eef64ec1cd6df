//! `cargo xtask plugin`: what it makes builds and passes its own test, and is a valid plugin.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests"
)]

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn xtask<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xtask"))
        .arg("plugin")
        .args(args)
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    let streams = [&output.stdout, &output.stderr];
    streams
        .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
        .concat()
}

#[track_caller]
fn check_done(output: &Output) -> String {
    assert!(output.status.success(), "{}", said(output));
    said(output)
}

/// Makes a plugin in a folder.
fn new(name: &str, folder: &Path, c: bool) -> PathBuf {
    let args = [
        "new".as_ref(),
        name.as_ref(),
        "--path".as_ref(),
        folder.as_os_str(),
    ];
    let c = c.then_some("--c".as_ref());
    check_done(&xtask(args.into_iter().chain(c)));
    folder.join(name)
}

/// Checks its library, which says what the plugin is for.
fn check_valid(library: &Path) {
    let output = xtask(["check".as_ref(), library.as_os_str()]);
    let said = check_done(&output);
    assert!(
        said.contains("note   its message (info): epoch 1: loss 0."),
        "{said}"
    );
    assert!(said.contains("is a valid plugin"), "{said}");
}

#[test]
fn a_new_plugin_in_rust_passes_its_test() {
    let folder = tempfile::tempdir().unwrap();
    let plugin = new("made-by-xtask", folder.path(), false);
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("new");
    let cargo = |command: &str| {
        let output = Command::new(env!("CARGO"))
            .args([command, "--offline"])
            .current_dir(&plugin)
            .env("CARGO_TARGET_DIR", &target)
            .output()
            .unwrap();
        check_done(&output)
    };
    let tested = cargo("test");
    assert!(
        tested.contains("test the_loss_is_told_linked_in_and_loaded ... ok"),
        "{tested}"
    );
    cargo("build");
    let (prefix, suffix) = (env::consts::DLL_PREFIX, env::consts::DLL_SUFFIX);
    check_valid(&target.join(format!("debug/{prefix}made_by_xtask{suffix}")));
}

#[test]
fn a_new_plugin_in_c_passes_its_check() {
    let folder = tempfile::tempdir().unwrap();
    let plugin = new("made-by-xtask", folder.path(), true);
    let library = plugin.join("made-by-xtask.so");
    match Command::new("make")
        .arg("check")
        .current_dir(&plugin)
        .output()
    {
        Ok(output) => {
            let said = check_done(&output);
            assert!(
                said.contains("made-by-xtask.so is a valid plugin"),
                "{said}"
            );
        }
        Err(_) => {
            let compiler = env::var_os("CC").unwrap_or_else(|| "cc".into());
            let output = Command::new(&compiler)
                .args(["-std=c99", "-shared", "-fPIC", "made-by-xtask.c", "-o"])
                .arg(&library)
                .current_dir(&plugin)
                .output();
            match output {
                Ok(output) => check_done(&output),
                Err(error) => {
                    let _ = writeln!(
                        std::io::stderr(),
                        "not run: no compiler {compiler:?} can be started ({error}); see CONTRIBUTING.md"
                    );
                    return;
                }
            };
        }
    }
    check_valid(&library);
}

#[test]
fn what_cannot_be_made_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    fs::create_dir(folder.path().join("there")).unwrap();
    for (args, expected) in [
        (
            &["new", "Wrong", "--path", path][..],
            "error: `Wrong` is no name for a plugin (expected ",
        ),
        (
            &["new", "fn", "--path", path],
            "error: the name `fn` is taken by Rust",
        ),
        (&["new", "there", "--path", path], "there exists already\n"),
        (&["new", "csv-logger"], "csv-logger exists already\n"),
        (
            &["new", "xtask"],
            "error: there is a package `xtask` in the workspace\n",
        ),
        (
            &["new", "mine", "--path", env!("CARGO_MANIFEST_DIR")],
            "error: `--path` leads into this workspace",
        ),
    ] {
        let output = xtask(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        let said = said(&output);
        assert!(said.contains(expected), "{args:?}: {said}");
        assert!(
            said.ends_with("\n\nUsage: cargo xtask plugin new NAME [--c] [--path DIR]\n"),
            "{said}"
        );
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn the_code_of_the_checker_is_handed_on() {
    for (args, code) in [
        (&["inspect", "no-such-file"][..], 1),
        (&["check", "no-such-file"], 1),
        (&["check"], 2),
        (&["check", "no-such-file", "--config", "{"], 2),
    ] {
        let output = xtask(args);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{args:?}: {}",
            said(&output)
        );
    }
}
