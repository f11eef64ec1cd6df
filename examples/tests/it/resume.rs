//! `resume`: a training that died goes on from its checkpoint and ends as the one left alone.

use crate::support::{path, run, text};
use std::process::Command;

const PROGRAM: &str = env!("CARGO_BIN_EXE_resume");

#[test]
fn a_training_that_died_ends_as_the_one_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    // Ten batches an epoch: it dies after the seventh of the second, the last checkpoint is that
    // of the fifth.
    let args = "--limit 320 --epochs 3 --checkpoint-every 5 --dies-after 17 --checkpoints";
    let args: Vec<&str> = args.split(' ').chain([path(folder.path())]).collect();
    let printed = run(PROGRAM, &args);
    for words in [
        "the power has failed",
        "It has left checkpoint-1-5.safetensors.",
        "The histories are the same to the last digit.",
        "The 34826 weights are the same to the last bit.",
    ] {
        assert!(printed.contains(words), "{words} is not in:\n{printed}");
    }
    // Of the three trainings the last one does not do the first epoch again.
    assert_eq!(printed.matches("Epoch 1/3").count(), 2, "{printed}");
    assert_eq!(printed.matches("Epoch 2/3").count(), 3, "{printed}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn checkpoints_of_another_training_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("checkpoint-1-0.safetensors");
    std::fs::write(&file, b"").unwrap();
    for arguments in [
        ["--checkpoints", path(folder.path())],
        ["--dies-after", "0"],
    ] {
        let output = Command::new(PROGRAM).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert_eq!(text(&output.stderr).lines().count(), 1);
    }
    assert!(file.exists());
}
