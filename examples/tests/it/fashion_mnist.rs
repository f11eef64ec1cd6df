//! `fashion_mnist`: what it prints, writes and repeats.

use crate::support::{csv, csv_logger, path, succeed};
use serde_json::Value;
use std::fs;
use std::path::Path;

fn json(file: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap()
}

#[test]
fn a_run_with_a_loaded_plugin_leaves_everything_it_promises() {
    let folder = tempfile::tempdir().unwrap();
    let (out, results) = (
        folder.path().join("out"),
        folder.path().join("results.json"),
    );
    let rows = out.join("plugin.csv");
    let config = serde_json::json!({ "path": rows });
    let plugin = format!("{}={config}", csv_logger().display());
    let printed = succeed(&[
        "--limit",
        "500",
        "--epochs",
        "3",
        "--batch-size",
        "32",
        "--workers",
        "2",
        "--plugin",
        &plugin,
        "--out",
        path(&out),
        "--json",
        path(&results),
    ]);
    for words in [
        "Epoch 3/3",
        "data wait",
        "Ankle boot",
        "images/s",
        "val_accuracy",
    ] {
        assert!(printed.contains(words), "{words} is not in:\n{printed}");
    }
    let mut files: Vec<_> = fs::read_dir(&out)
        .unwrap()
        .map(|f| f.unwrap().file_name())
        .collect();
    files.sort();
    assert_eq!(
        files,
        [
            "curves.svg",
            "history.csv",
            "plugin.csv",
            "predictions.svg",
            "weights.safetensors"
        ]
    );

    // The plugin saw every epoch and every batch, with the numbers of the history.
    let (plugin, history) = (csv(&rows), csv(&out.join("history.csv")));
    assert_eq!(plugin[0][..4], ["epoch", "batches", "samples", "loss"]);
    assert_eq!((plugin.len(), history.len()), (4, 4));
    for (from_plugin, from_history) in plugin.iter().zip(&history).skip(1) {
        assert_eq!(from_plugin[1..3], ["16", "500"]);
        assert_eq!(from_plugin[0], from_history[0]);
        assert_eq!(from_plugin[3..], from_history[1..]);
    }

    let results = json(&results);
    assert_eq!(results["method"], "fit_generator");
    assert_eq!(
        (results["epochs"].as_u64(), results["seed"].as_u64()),
        (Some(3), Some(42))
    );
    for (column, key) in ["loss", "accuracy", "val_loss", "val_accuracy"]
        .iter()
        .enumerate()
    {
        let last: f64 = history[3][column + 1].parse().unwrap();
        assert_eq!(results[key].as_f64(), Some(last), "{key}");
    }
    assert!(results["images_per_s"].as_f64().unwrap() > 0.0);
    assert!((0.0..=1.0).contains(&results["data_wait_frac"].as_f64().unwrap()));
    if cfg!(target_os = "linux") {
        assert!(results["peak_rss_bytes"].as_u64().unwrap() > 1_000_000);
    }

    let svg = fs::read_to_string(out.join("predictions.svg")).unwrap();
    assert_eq!(svg.matches("<image").count(), 40);
    let weights = keros::tensor::load_tensors(
        out.join("weights.safetensors"),
        &keros::prelude::Device::Cpu,
    );
    let names: Vec<String> = weights.unwrap().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names[0], "conv2d/kernel");
    assert_eq!(names.len(), 6);
}

#[test]
fn a_plugin_in_its_own_process_writes_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let files = ["loaded.csv", "isolated.csv"].map(|name| folder.path().join(name));
    for (file, isolate) in files.iter().zip([None, Some("--isolate")]) {
        let config = serde_json::json!({ "path": file });
        let plugin = format!("{}={config}", csv_logger().display());
        let mut arguments = vec!["--limit", "100", "--epochs", "1", "--plugin", &plugin];
        arguments.extend(isolate);
        succeed(&arguments);
    }
    let [loaded, isolated] = files.map(|file| fs::read_to_string(file).unwrap());
    assert_eq!(isolated, loaded);
}

#[test]
fn the_seed_fixes_every_digit_for_any_workers_and_queue() {
    let folder = tempfile::tempdir().unwrap();
    let run = |name: &str, more: &[&str]| {
        let out = folder.path().join(name);
        let common = ["--limit", "300", "--epochs", "2", "--out", path(&out)];
        succeed(&[&common, more].concat());
        let files = ["history.csv", "weights.safetensors"];
        files.map(|file| fs::read(out.join(file)).unwrap())
    };
    let expected = run("first", &["--workers", "0"]);
    assert_eq!(run("again", &["--workers", "0"]), expected);
    assert_eq!(run("one", &["--workers", "1"]), expected);
    assert_eq!(
        run("four", &["--workers", "4", "--max-queue-size", "2"]),
        expected
    );
    assert_eq!(
        run("processes", &["--workers", "2", "--processes"]),
        expected
    );
    assert_eq!(run("own", &["--method", "train_on_batch"]), expected);
    assert_ne!(run("other", &["--seed", "43"]), expected);
}

#[test]
fn methods_agree_on_images_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let run = |method: &str| {
        let out = folder.path().join(method);
        let args = [
            "--method",
            method,
            "--no-augment",
            "--limit",
            "300",
            "--epochs",
            "2",
        ];
        succeed(&[&args[..], &["--out", path(&out)]].concat());
        fs::read(out.join("history.csv")).unwrap()
    };
    let expected = run("fit");
    assert_eq!(run("fit_generator"), expected);
    assert_eq!(run("train_on_batch"), expected);
}
