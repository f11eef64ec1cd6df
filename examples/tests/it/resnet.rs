//! `resnet`: the network learns, and its file is the network that was trained.

use crate::support::{csv, path, run};
use keros::prelude::*;
use keros_examples::fashion::{Fashion, shipped, to_unit};

#[test]
fn a_residual_network_learns_and_is_saved() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let args = "--limit 800 --epochs 6 --batch-size 20 --channels 4 --out";
    let args: Vec<&str> = args.split(' ').chain([path(&out)]).collect();
    let printed = run(env!("CARGO_BIN_EXE_resnet"), &args);
    for words in [
        "image (InputLayer)",
        "add_2 (Add)",
        "(None, 7, 7, 16)",
        "taken for",
    ] {
        assert!(printed.contains(words), "{words} is not in:\n{printed}");
    }
    let history = csv(&out.join("history.csv"));
    assert_eq!(history.len(), 7);
    let last = printed.lines().last().unwrap();
    let printed_accuracy: f64 = last.strip_prefix("val_accuracy ").unwrap().parse().unwrap();
    assert!(printed_accuracy > 0.6, "{printed}");
    assert!(out.join("curves.svg").exists());

    let network = load_network(out.join("model.safetensors"), &Device::Cpu).unwrap();
    assert_eq!(network.inputs()[0].name, "image");
    assert_eq!(network.outputs()[0].name, "class");
    let mut trainer = Trainer::builder(network)
        .optimizer("adam")
        .loss("sparse_categorical_crossentropy")
        .metric("accuracy")
        .compile()
        .unwrap();
    let data = Fashion::load(&shipped(), Some(800)).unwrap();
    let options = EvaluateOptions {
        verbose: Verbose::Silent,
        ..EvaluateOptions::default()
    };
    let tested = trainer
        .evaluate(to_unit(&data.test_x).unwrap(), data.test_y, options)
        .unwrap();
    let accuracy = tested.number("accuracy").unwrap();
    assert!(
        (accuracy - printed_accuracy).abs() < 0.0051,
        "{accuracy}: {printed}"
    );
}
