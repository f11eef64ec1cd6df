//! The levels of vector instructions: how one is chosen, that all of a kernel follows, and that every
//! kernel is compared on all that this processor has.

use std::collections::HashSet;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use keros_tensor::simd::{Level, with_level};
use keros_tensor::{TensorError, parallel};

/// Not printed by the macros, whose output a passed test hides.
#[test]
fn levels_without_a_test_here_are_named() {
    let (here, missing): (Vec<Level>, Vec<Level>) =
        Level::ALL.into_iter().partition(|l| l.is_available());
    let names = |levels: &[Level]| {
        let names: Vec<String> = levels.iter().map(Level::to_string).collect();
        names.join(", ")
    };
    assert!(here.contains(&Level::Portable) && here.contains(&Level::widest()));
    let mut report = format!("kernels tested at: {}", names(&here));
    if !missing.is_empty() {
        report += &format!("; NOT TESTED, this processor has no: {}", names(&missing));
    }
    writeln!(std::io::stderr(), "{report}").unwrap();
}

#[test]
fn a_level_that_the_processor_lacks_is_an_error() {
    let missing = Level::ALL.into_iter().find(|level| !level.is_available());
    let missing = missing.expect("no processor has both NEON and AVX2");
    let error = with_level(missing, || panic!("called")).unwrap_err();
    assert!(matches!(error, TensorError::Argument { .. }));
    let text = error.to_string();
    let start = "choosing kernels: bad level (expected one that this processor has: portable";
    assert!(text.starts_with(start), "{text}");
    assert!(text.ends_with(&format!("found {missing})")), "{text}");
}

#[test]
fn a_choice_holds_inside_and_on_the_threads_that_help() {
    assert_eq!(Level::current(), Level::widest());
    let start = Instant::now();
    let helped = loop {
        let seen = Mutex::new(HashSet::new());
        with_level(Level::Portable, || {
            parallel::for_each(64, |_| {
                assert_eq!(Level::current(), Level::Portable);
                seen.lock().unwrap().insert(thread::current().id());
                thread::yield_now();
            });
            with_level(Level::widest(), || {
                parallel::for_each(4, |_| assert_eq!(Level::current(), Level::widest()));
            })
            .unwrap();
            assert_eq!(Level::current(), Level::Portable);
        })
        .unwrap();
        // Other tests use the pool too, and then nobody helps.
        if seen.lock().unwrap().len() > 1 || parallel::threads() == 1 {
            break true;
        }
        if start.elapsed() > Duration::from_secs(20) {
            break false;
        }
    };
    assert!(helped, "no thread of the pool took part");
    parallel::for_each(64, |_| assert_eq!(Level::current(), Level::widest()));
}

#[test]
fn a_panic_ends_a_choice() {
    let result = std::panic::catch_unwind(|| with_level(Level::Portable, || panic!("on purpose")));
    assert!(result.is_err());
    assert_eq!(Level::current(), Level::widest());
}

/// A kernel whose name is in no file of tests that compares the levels was forgotten.
#[test]
fn every_kernel_is_compared_on_every_path() {
    let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut tests = String::new();
    for entry in fs::read_dir(crate_dir.join("tests/it")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        if text.contains("on_every_path(||") && !path.ends_with("support.rs") {
            tests += &text;
        }
    }
    let exports = fs::read_to_string(crate_dir.join("src/kernels/mod.rs")).unwrap();
    let mut kernels = 0;
    for list in exports.split("pub use ").skip(1) {
        let list = list.split(';').next().unwrap_or_default();
        let names = list.rsplit("::").next().unwrap_or_default();
        for name in names.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
            // Casts are candle's on the CPU.
            if name.starts_with(|c: char| c.is_ascii_lowercase()) && name != "cast" {
                kernels += 1;
                assert!(tests.contains(&format!("{name}(")), "no test of {name}");
            }
        }
    }
    assert!(kernels > 60, "found {kernels} kernels");
}
