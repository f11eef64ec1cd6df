//! `custom_loop`: callbacks fire in a loop of the user's own, and what they ask for is done.

use crate::support::{csv, path, run};
use keros::prelude::{Device, load_network};
use std::fs;

const PROGRAM: &str = env!("CARGO_BIN_EXE_custom_loop");

#[test]
fn callbacks_fire_and_are_obeyed() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    // Trained on two images of a batch alone, the validation soon stops improving.
    let args = "--limit 200 --batch-size 20 --hardest 2 --epochs 40 --out";
    let args: Vec<&str> = args.split(' ').chain([path(&out)]).collect();
    let printed = run(PROGRAM, &args);
    for words in [
        "10/10 - ",
        "EarlyStopping: restoring the weights of the best epoch",
        "ReduceLrOnPlateau: epoch",
        "times trained on each",
    ] {
        assert!(printed.contains(words), "{words} is not in:\n{printed}");
    }
    let history = csv(&out.join("history.csv"));
    let expected = [
        "epoch",
        "loss",
        "accuracy",
        "val_loss",
        "val_accuracy",
        "learning_rate",
    ];
    assert_eq!(history[0], expected);
    let epochs = history.len() - 1;
    assert!(epochs < 40, "{printed}");

    // The accuracy at the end is that of the best epoch: its weights are back, and were saved.
    let number = |row: &Vec<String>, column: usize| -> f64 { row[column].parse().unwrap() };
    let best = history[1..]
        .iter()
        .min_by(|a, b| number(a, 3).total_cmp(&number(b, 3)))
        .unwrap();
    let last = printed.lines().last().unwrap();
    assert_eq!(last, format!("val_accuracy {:.3}", number(best, 4)));
    load_network(out.join("best.safetensors"), &Device::Cpu).unwrap();
    // The callback that lowers the learning rate is heard.
    assert!(number(&history[epochs], 5) < 0.001, "{printed}");

    assert!(out.join("curves.svg").exists());
    let picture = fs::read_to_string(out.join("hardest.svg")).unwrap();
    assert_eq!(picture.matches("<image").count(), 16);
}
