//! Reading a plugin's record from its file: the truth about good files, and no harm from bad ones.

use crate::build::{self, ODD, c_plugin};
use keros_plugin_host::{Plugin, PluginError, inspect, inspect_bytes};
use proptest::prelude::*;
use std::fs;
use std::sync::OnceLock;

#[test]
fn the_file_tells_what_the_loaded_library_tells() {
    let info = inspect(build::csv_logger()).unwrap();
    assert_eq!(info.id, "csv-logger");
    assert_eq!(info.abi, (1, keros_abi::KEROS_ABI_MINOR));
    assert!(info.build.starts_with("Rust, keros-plugin "), "{info:?}");
    assert!(!info.summary.is_empty() && !info.license.is_empty());
    assert_eq!(&info, Plugin::load(build::csv_logger()).unwrap().info());
}

#[test]
fn nothing_of_the_file_is_run() {
    let Some((folder, library)) = c_plugin(
        &format!(
            "{ODD}\n#include <stdio.h>\n__attribute__((constructor)) static void run(void) {{\n\
             FILE *file = fopen(MARK, \"w\"); if (file) fclose(file); }}"
        ),
        &[r#"MARK="/proc/self/cwd/keros-test-was-run""#],
    ) else {
        return;
    };
    let mark = std::env::current_dir().unwrap().join("keros-test-was-run");
    let _ = fs::remove_file(&mark);
    assert_eq!(inspect(&library).unwrap().id, "odd");
    assert!(!mark.exists());
    drop(folder);
}

#[test]
fn a_library_that_is_no_plugin_is_not_run() {
    let Some((folder, library)) = c_plugin(
        "#include <stdlib.h>\n__attribute__((constructor)) static void run(void) { abort(); }\n\
         extern int x; int x = 1;",
        &[],
    ) else {
        return;
    };
    let error = Plugin::load(&library).unwrap_err();
    assert!(matches!(error, PluginError::NotAPlugin { .. }), "{error}");
    drop(folder);
}

#[test]
fn what_needs_a_newer_host_can_be_looked_at() {
    let Some((_folder, library)) = c_plugin(ODD, &["MINOR=900", "MIN_HOST_MINOR=800"]) else {
        return;
    };
    let info = inspect(&library).unwrap();
    assert_eq!((info.abi, info.min_host_minor), ((1, 900), 800));
}

#[test]
fn a_record_that_is_not_in_the_file() {
    // Not initialized, so the file holds no bytes of it.
    let source = "#include \"keros.h\"\nextern char keros_plugin_v1_[]; \
                  char other[4096] __asm__(\"keros_plugin_v1\");";
    let Some((_folder, library)) = c_plugin(source, &[]) else {
        return;
    };
    let error = inspect(&library).unwrap_err();
    assert!(
        matches!(
            error,
            PluginError::NoRecord { .. } | PluginError::Magic { .. }
        ),
        "{error}"
    );
}

/// A real plugin, small enough to be broken often.
fn whole() -> Option<&'static [u8]> {
    static WHOLE: OnceLock<Option<Vec<u8>>> = OnceLock::new();
    WHOLE
        .get_or_init(|| build::odd().map(|path| fs::read(path).unwrap()))
        .as_deref()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn broken_files_are_refused_or_read(
        // Most bytes of a file are code and padding: aim at its tables, at both ends, too.
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0_u8..3, any::<u64>(), 1_usize..=8), 1..12),
        cut in prop::option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        let Some(whole) = whole() else { return Ok(()) };
        let mut bytes = whole.to_vec();
        for (place, aim, value, width) in changes {
            let length = bytes.len();
            let at = match aim {
                0 => place.index(length.min(1024)),
                1 => length - 1 - place.index(length.min(4096)),
                _ => place.index(length),
            };
            let end = (at + width).min(length);
            bytes[at..end].copy_from_slice(&value.to_le_bytes()[..end - at]);
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(info) = inspect_bytes(&bytes) {
            prop_assert!(!info.id.is_empty() && info.id.len() < 96);
            prop_assert_eq!(info.abi.0, 1);
        }
    }

    #[test]
    fn any_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..256), elf: bool) {
        let mut bytes = bytes;
        if elf {
            bytes.splice(0..0, *b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0\x01\0\0\0");
        }
        prop_assert!(inspect_bytes(&bytes).is_err());
    }
}
