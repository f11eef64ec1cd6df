//! `transfer`: what a Keras file holds is taken, frozen and worth having; what does not fit is told.

use crate::support::{path, run, text};
use keros::nn::load_keras_model;
use keros::prelude::*;
use std::path::{Path, PathBuf};
use std::process::Command;

const PROGRAM: &str = env!("CARGO_BIN_EXE_transfer");

fn base() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/ten_garments/ten_garments.keras")
}

#[test]
fn a_few_images_are_enough_with_what_keras_has_learned() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let printed = run(
        PROGRAM,
        &["--limit", "500", "--epochs", "40", "--out", path(&out)],
    );
    let row = |begin: &str| {
        let row = printed.lines().find(|line| line.starts_with(begin));
        row.unwrap_or_else(|| panic!("{begin}: {printed}"))
    };
    row("│ parts (Conv2D)");
    row("│ departments (Dense)");
    assert!(!printed.contains("garments"), "{printed}");
    row(" Trainable params: 1,445");
    row(" Non-trainable params: 14,048");
    let accuracy = |begin: &str| -> f64 {
        row(begin)
            .split_whitespace()
            .last()
            .unwrap()
            .parse()
            .unwrap()
    };
    let (with, without) = (accuracy("with what Keras"), accuracy("from scratch"));
    assert!(with > 0.85 && with > without, "{printed}");

    // The frozen layers are those of the file still.
    let network = load_network(out.join("model.safetensors"), &Device::Cpu).unwrap();
    let base = load_keras_model(base(), &Device::Cpu).unwrap();
    for name in ["edges/kernel", "shapes/bias", "parts/kernel"] {
        let values = |params: &keros::tensor::Params| -> Vec<f32> {
            let value = params.by_name(name).unwrap().value();
            value.flatten_all().unwrap().to_vec1().unwrap()
        };
        assert_eq!(values(network.params()), values(base.params()), "{name}");
    }
    assert!(out.join("predictions.svg").exists());
}

#[test]
fn a_file_that_does_not_work_is_refused_in_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("broken.keras");
    let mut bytes = std::fs::read(base()).unwrap();
    bytes.truncate(bytes.len() / 2);
    std::fs::write(&file, bytes).unwrap();
    for arguments in [["--base", path(&file)], ["--base", "nothing.keras"]] {
        let output = Command::new(PROGRAM).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        let error = text(&output.stderr);
        assert!(error.contains(".keras"), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}
