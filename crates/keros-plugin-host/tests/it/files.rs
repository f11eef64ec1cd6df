//! Files that are no plugins, and paths that lead nowhere: each is told apart.

use crate::build::{self, ODD, c_plugin};
use keros_plugin_host::{Plugin, PluginError};
use std::fs;
use std::path::Path;

fn refused(path: impl AsRef<Path>) -> PluginError {
    Plugin::load(path).expect_err("the file is no plugin")
}

fn check(error: &PluginError, path: &Path, expected: &str) {
    assert_eq!(
        error.to_string(),
        format!("loading the plugin {}: {expected}", path.display())
    );
}

#[test]
fn a_missing_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("missing.so");
    let error = refused(&path);
    assert!(matches!(error, PluginError::Missing { .. }));
    check(&error, &path, "there is no such file");
}

#[test]
fn a_bare_name_is_a_file_here_and_never_searched_for() {
    // The dynamic linker would find this one in its folders.
    let error = refused("libc.so.6");
    let here = std::env::current_dir().unwrap().join("libc.so.6");
    check(&error, &here, "there is no such file");
    let error = refused("");
    assert!(matches!(error, PluginError::Read { .. }), "{error}");
}

#[test]
fn a_directory() {
    let folder = tempfile::tempdir().unwrap();
    check(
        &refused(folder.path()),
        folder.path(),
        "expected a file, found a directory",
    );
}

#[test]
#[cfg(target_os = "linux")]
fn files_of_other_kinds() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("odd.so");
    let check_content = |content: &[u8], expected: &str| {
        fs::write(&path, content).unwrap();
        let error = refused(&path);
        assert!(matches!(error, PluginError::NotALibrary { .. }), "{error}");
        check(
            &error,
            &path,
            &format!("not a dynamic library ({expected})"),
        );
    };
    check_content(b"", "expected a 64-bit ELF file, found an empty file");
    check_content(
        b"#!/bin/sh\n",
        "expected a 64-bit ELF file, found one that begins with the bytes 23 21 2f 62",
    );
    check_content(
        b"\x7fE",
        "expected a 64-bit ELF file, found one that begins with the bytes 7f 45",
    );

    let program = fs::read(std::env::current_exe().unwrap()).unwrap();
    let change = |at: usize, bytes: &[u8]| {
        let mut changed = program.clone();
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        changed
    };
    check_content(
        &change(4, &[1]),
        "expected a 64-bit ELF file, found one of the kind Elf32",
    );
    let other = if cfg!(target_endian = "little") { 2 } else { 1 };
    check_content(
        &change(5, &[other]),
        "expected the byte order of this machine, found the other one",
    );
    check_content(
        &change(16, &1_u16.to_ne_bytes()),
        "expected a shared object, found Relocatable",
    );
    check_content(
        &change(18, &8_u16.to_ne_bytes()),
        "expected a library for this processor, found one for Mips64",
    );
    check_content(
        &change(56, &0_u16.to_ne_bytes()),
        "expected an ELF file with segments, found none",
    );
}

#[test]
#[cfg(target_os = "linux")]
fn a_library_cut_off_anywhere_is_refused() {
    let whole = fs::read(build::csv_logger()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.so");
    for part in 1..=64 {
        let length = whole.len() * part / 65;
        fs::write(&path, &whole[..length]).unwrap();
        let error = refused(&path);
        assert!(matches!(error, PluginError::Truncated { .. }), "{error}");
    }
    for length in [4, 16, 63, 64, 100, 0x200] {
        fs::write(&path, &whole[..length]).unwrap();
        let error = refused(&path);
        assert!(
            matches!(error, PluginError::Truncated { found, .. } if found == length as u64),
            "{error}"
        );
    }
}

#[test]
#[cfg(target_os = "linux")]
fn offsets_beyond_all_bounds_are_refused() {
    let mut bytes = fs::read(build::csv_logger()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("far.so");
    bytes[32..40].copy_from_slice(&u64::MAX.to_ne_bytes());
    fs::write(&path, &bytes).unwrap();
    let error = refused(&path);
    assert!(
        matches!(
            error,
            PluginError::Truncated {
                expected: u64::MAX,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn a_library_that_is_no_plugin() {
    let Some((_folder, library)) = c_plugin(ODD, &["SYMBOL=keros_plugin_v0"]) else {
        return;
    };
    let error = refused(&library);
    assert!(matches!(error, PluginError::NotAPlugin { .. }), "{error}");
    check(
        &error,
        &library,
        "not a keros plugin (expected the symbol `keros_plugin_v1`, found none)",
    );
}

#[test]
fn a_library_that_lacks_a_function_is_refused_when_loaded() {
    let Some((_folder, library)) = c_plugin(ODD, &["MISSING"]) else {
        return;
    };
    let error = refused(&library);
    assert!(matches!(error, PluginError::Link { .. }), "{error}");
    assert!(
        error.to_string().contains("keros_test_no_such_function"),
        "{error}"
    );
}

#[test]
fn a_relative_path_is_relative_to_the_current_directory() {
    let absolute = build::csv_logger();
    let here = std::env::current_dir().unwrap();
    let mut relative = std::path::PathBuf::new();
    for _ in here.components().skip(1) {
        relative.push("..");
    }
    relative.push(absolute.strip_prefix("/").unwrap());
    let plugin = Plugin::load(&relative).unwrap();
    assert!(plugin.path().is_absolute());
    assert_eq!(plugin.id(), "csv-logger");
}
