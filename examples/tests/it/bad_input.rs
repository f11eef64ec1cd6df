//! Bad input: one sentence with the file, the expected and the found; exit code 2; nothing written.

use crate::support::{fashion_mnist, path, text};
use flate2::read::GzDecoder;
use keros_examples::fashion::shipped;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

const FILES: [&str; 4] = [
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
];

/// The first 20 images and labels of each set, as plain IDX files.
fn small_set(folder: &Path) {
    for name in FILES {
        let mut bytes = Vec::new();
        let file = File::open(shipped().join(format!("{name}.gz"))).unwrap();
        GzDecoder::new(file).read_to_end(&mut bytes).unwrap();
        let (header, size) = if name.contains("images") {
            (16, 784)
        } else {
            (8, 1)
        };
        bytes.truncate(header + 20 * size);
        bytes[4..8].copy_from_slice(&20_u32.to_be_bytes());
        fs::write(folder.join(name), bytes).unwrap();
    }
}

/// Runs with `args`, expects a refusal, and returns the sentence.
fn refused(args: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let (out, json) = (
        folder.path().join("out"),
        folder.path().join("results.json"),
    );
    let output = fashion_mnist(&[args, &["--out", path(&out), "--json", path(&json)]].concat());
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{args:?}: {error}");
    assert!(error.starts_with("error: "), "{args:?}: {error}");
    assert!(!out.exists() && !json.exists(), "{args:?} wrote something");
    error
}

#[test]
fn a_good_small_set_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    small_set(folder.path());
    let output = fashion_mnist(&["--data", path(folder.path()), "--epochs", "1"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn broken_idx_files_are_named() {
    type Break = fn(&Path);
    let cases: [(Break, &[&str]); 9] = [
        (
            |d| fs::remove_file(d.join(FILES[2])).unwrap(),
            &["t10k-images-idx3-ubyte"],
        ),
        (
            |d| truncate(&d.join(FILES[0]), 1000),
            &["train-images-idx3-ubyte", "15680", "984"],
        ),
        (
            |d| truncate(&d.join(FILES[1]), 3),
            &["train-labels-idx1-ubyte"],
        ),
        (
            |d| patch(&d.join(FILES[0]), 2, 0x0D),
            &["train-images-idx3-ubyte"],
        ),
        (
            |d| patch(&d.join(FILES[0]), 0, b'P'),
            &["train-images-idx3-ubyte"],
        ),
        (
            |d| patch(&d.join(FILES[1]), 8, 10),
            &["train-labels-idx1-ubyte", "0 to 9", "10"],
        ),
        (
            |d| truncate_records(&d.join(FILES[1]), 19),
            &["train-labels-idx1-ubyte", "20", "19"],
        ),
        (
            |d| fs::write(d.join(FILES[3]), b"").unwrap(),
            &["t10k-labels-idx1-ubyte"],
        ),
        (
            |d| {
                fs::remove_file(d.join(FILES[0])).unwrap();
                fs::write(d.join("train-images-idx3-ubyte.gz"), b"\x1f\x8b\x08garbage").unwrap();
            },
            &["train-images-idx3-ubyte.gz"],
        ),
    ];
    for (i, (damage, words)) in cases.iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        small_set(folder.path());
        damage(folder.path());
        let error = refused(&["--data", path(folder.path())]);
        assert_eq!(error.lines().count(), 1, "case {i}: {error}");
        for word in *words {
            assert!(error.contains(word), "case {i}: {word} is not in {error}");
        }
    }
}

fn truncate(file: &Path, length: u64) {
    File::options()
        .write(true)
        .open(file)
        .unwrap()
        .set_len(length)
        .unwrap();
}

fn patch(file: &Path, offset: usize, byte: u8) {
    let mut bytes = fs::read(file).unwrap();
    bytes[offset] = byte;
    fs::write(file, bytes).unwrap();
}

fn truncate_records(labels: &Path, count: u32) {
    patch(labels, 7, count as u8);
    truncate(labels, u64::from(8 + count));
}

#[test]
fn arguments_out_of_range_are_refused() {
    for (args, words) in [
        (&["--workers", "5000"][..], "0 to 1024"),
        (&["--workers", "-1"], "-1"),
        (&["--max-queue-size", "0"], "1 to 65536"),
        (&["--batch-size", "0"], "1 to 65536"),
        (&["--epochs", "0"], "1..=100000"),
        (&["--limit", "0"], "expected 1 to 10000, found 0"),
        (&["--limit", "10001"], "expected 1 to 10000, found 10001"),
        (&["--seed", "x"], "--seed"),
        (&["--device", "tpu"], "expected \"cpu\""),
        (&["--device", "cuda"], "no CUDA support"),
        (&["--method", "fits"], "fit_generator"),
    ] {
        let error = refused(args);
        assert!(error.contains(words), "{args:?}: {error}");
    }
}

#[test]
fn what_is_not_a_plugin_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let text_file = folder.path().join("notes.so");
    fs::write(&text_file, "not a library").unwrap();
    let program = env!("CARGO_BIN_EXE_three_methods");
    for (plugin, words) in [
        (path(&folder.path().join("missing.so")), "missing.so"),
        (path(&text_file), "not a dynamic library"),
        (path(folder.path()), path(folder.path())),
        (program, "three_methods"),
    ] {
        let error = refused(&["--plugin", plugin, "--limit", "10"]);
        assert!(error.contains(words), "{plugin}: {error}");
    }
    let library = crate::support::csv_logger();
    for (config, words) in [
        ("{\"file\": 1}", "file"),
        ("{\"path\": 1}", "path"),
        ("{oops", "column 2"),
    ] {
        let error = refused(&[
            "--plugin",
            &format!("{}={config}", library.display()),
            "--limit",
            "10",
        ]);
        assert!(error.contains(words), "{config}: {error}");
    }
}
