//! The real TensorBoard reads what the plugin writes. Runs if `KEROS_TEST_PYTHON` names a Python with
//! the package `tensorboard`.

use crate::scalars::writing_to;
use crate::training::Training;
use std::env;
use std::io::{self, Write};
use std::process::Command;

#[test]
fn tensorboard_reads_the_files() {
    let Some(python) = env::var_os("KEROS_TEST_PYTHON") else {
        // Not by `eprintln!`, which the test harness shows for failures only.
        let told = "tensorboard_reads_the_files: not run, since KEROS_TEST_PYTHON names no Python with \
                    the package `tensorboard`";
        writeln!(io::stderr(), "{told}").unwrap();
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let fields = serde_json::json!({
        "update_freq": "batch",
        "histogram_freq": 1,
        "write_images": true,
        "write_gradients": true,
        "images": 2,
    });
    let network = serde_json::from_str::<serde_json::Value>(include_str!("../golden/events.json"));
    let network = network.unwrap().as_array().unwrap().last().unwrap()["json"].clone();
    let network: serde_json::Value = serde_json::from_str(network.as_str().unwrap()).unwrap();
    let facts = serde_json::json!({ "seed": 7, "network": network });
    // Two starts, the second as of a run that is resumed.
    for start in 0..2 {
        let mut callbacks = writing_to(folder.path(), fields.clone());
        let mut training = Training {
            rate: Some(0.25),
            facts: Some(facts.to_string()),
            step: start * 2,
            ..Training::default()
        };
        training = training
            .with_param("dense/kernel", &[2, 2], &[-1.0, 0.0, 1.0, 2.0])
            .with_input("photo", &[3, 4, 5, 3], &[0.5; 180]);
        training.send(
            &mut callbacks,
            keros_callbacks::EventKind::TrainBegin,
            0,
            &[],
        );
        training.epoch(&mut callbacks, start, &[4.0, 2.0]);
        training.send(&mut callbacks, keros_callbacks::EventKind::TrainEnd, 0, &[]);
    }
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/read_with_tensorboard.py"
    );
    let output = Command::new(&python)
        .arg(script)
        .arg(folder.path())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{told}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(told.ends_with("TensorBoard read everything\n"), "{told}");
}
