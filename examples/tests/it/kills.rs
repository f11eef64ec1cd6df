//! A training that is killed at any moment and started again ends as the one that was left alone.

use crate::support::{csv, path, succeed};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Times the training is killed; `cargo xtask fault` asks for more.
fn kills() -> u32 {
    let asked = std::env::var("KEROS_TEST_KILLS").ok();
    asked.map_or(3, |kills| kills.parse().unwrap())
}

fn args(method: &str, out: &Path) -> Vec<String> {
    let fixed =
        "--epochs 3 --limit 640 --batch-size 32 --workers 2 --checkpoint-every 1 --resume --method";
    let mut args: Vec<String> = fixed.split(' ').map(str::to_owned).collect();
    args.extend([method, "--out", path(out)].map(str::to_owned));
    args
}

/// Starts the training and kills it after `life`; whether it was still alive.
fn kill_after(life: Duration, method: &str, out: &Path) -> bool {
    let mut child = Command::new(env!("CARGO_BIN_EXE_fashion_mnist"))
        .args(args(method, out))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let born = Instant::now();
    while born.elapsed() < life {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    child.kill().unwrap();
    !child.wait().unwrap().success()
}

fn finish(method: &str, out: &Path) {
    let args = args(method, out);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    succeed(&args);
}

fn results(out: &Path) -> (Vec<u8>, Vec<Vec<String>>) {
    let weights = fs::read(out.join("weights.safetensors")).unwrap();
    (weights, csv(&out.join("history.csv")))
}

fn left(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn a_killed_training_ends_as_the_one_that_was_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let alone = folder.path().join("alone");
    let begun = Instant::now();
    finish("fit_generator", &alone);
    let whole = begun.elapsed();
    let expected = results(&alone);
    assert_eq!(expected.1.len(), 4, "a header and three epochs");

    let mut killed = 0;
    for kill in 0..kills() {
        let out = folder.path().join(format!("killed-{kill}"));
        // A loop of one's own ends the same, and keeps the same checkpoints.
        let method = ["fit_generator", "train_on_batch"][kill as usize % 2];
        // A low-discrepancy sequence covers the run with few kills; the times themselves are as
        // random as the machine.
        let share = (f64::from(kill + 1) * 0.618_033_988_75).fract();
        let life = whole.mul_f64(0.1 + 0.85 * share);
        if kill_after(life, method, &out) {
            killed += 1;
        }
        // Half of them die a second time, soon after they were resumed.
        if kill % 2 == 0 {
            kill_after(whole.mul_f64(0.3 * share), method, &out);
        }
        let checkpoints = out.join("checkpoints");
        let at_death = fs::exists(&checkpoints)
            .unwrap()
            .then(|| left(&checkpoints));
        finish(method, &out);
        println!("killed after {life:.2?} of {whole:.2?} with {at_death:?}");
        assert_eq!(results(&out), expected, "killed after {life:?}");
        assert!(left(&checkpoints).is_empty());
    }
    assert!(killed > 0, "every training ended before it was killed");
}

#[test]
fn a_checkpoint_is_not_overwritten_by_a_training_that_begins_anew() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    fs::create_dir_all(out.join("checkpoints")).unwrap();
    fs::write(out.join("checkpoints/checkpoint-1-0.safetensors"), b"").unwrap();
    let output = crate::support::fashion_mnist(&["--checkpoint-every", "5", "--out", path(&out)]);
    assert_eq!(output.status.code(), Some(2));
    let error = crate::support::text(&output.stderr);
    assert!(error.contains("--resume"), "{error}");
}
