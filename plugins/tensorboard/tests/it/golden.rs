//! The training that Keras recorded, told to the plugin, gives what Keras wrote.

use crate::reader::{Content, Shown, read, read_run};
use crate::training::Training;
use keros_callbacks::{CallbackList, EventKind};
use serde_json::Value;
use std::path::Path;
use tensorboard::{Config, TensorBoard};

/// Sends the recorded events.
fn replay(log_dir: &Path) {
    let config = serde_json::json!({
        "log_dir": log_dir,
        "update_freq": "batch",
        "histogram_freq": 1,
        "write_images": true,
        "write_facts": false,
    });
    let config: Config = serde_json::from_value(config).unwrap();
    let mut callbacks = CallbackList::new().with(TensorBoard::new(config).unwrap());
    let recorded: Vec<Value> = serde_json::from_str(include_str!("../golden/events.json")).unwrap();
    let (last, recorded) = recorded.split_last().unwrap();
    let network: Value = serde_json::from_str(last["json"].as_str().unwrap()).unwrap();
    let mut training = Training {
        facts: Some(serde_json::json!({ "network": network }).to_string()),
        ..Training::default()
    };
    training.send(&mut callbacks, EventKind::TrainBegin, 0, &[]);
    for entry in recorded {
        let kind = EventKind::ALL
            .into_iter()
            .find(|kind| kind.name() == entry["event"])
            .unwrap();
        let logs: Vec<(&str, f64)> = entry["logs"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(key, value)| (key.as_str(), value.as_f64().unwrap()))
            .collect();
        training.step = entry["step"].as_u64().unwrap();
        if kind == EventKind::EpochEnd {
            training.rate = entry["learning_rate"].as_f64();
            training.params.clear();
            training.values.clear();
            for param in entry["params"].as_array().unwrap() {
                let shape: Vec<usize> = serde_json::from_value(param["shape"].clone()).unwrap();
                let values: Vec<f32> = serde_json::from_value(param["values"].clone()).unwrap();
                training = training.with_param(param["name"].as_str().unwrap(), &shape, &values);
            }
        }
        let epoch = entry["epoch"].as_u64().unwrap_or_default();
        training.send(&mut callbacks, kind, epoch, &logs);
    }
    training.send(&mut callbacks, EventKind::TrainEnd, 0, &[]);
}

#[test]
fn what_keras_wrote_is_written() {
    let folder = tempfile::tempdir().unwrap();
    replay(folder.path());
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    for run in ["train", "validation"] {
        let ours = read_run(&folder.path().join(run));
        let theirs = read(&golden.join(format!("{run}.tfevents")));
        let tags = |shown: &[Shown]| -> Vec<(String, i64)> {
            shown
                .iter()
                .map(|one| (one.tag.clone(), one.step))
                .collect()
        };
        assert_eq!(tags(&ours), tags(&theirs));
        for (ours, theirs) in ours.iter().zip(&theirs) {
            check_equal(ours, theirs);
        }
    }
}

/// Equal up to rounding, and to how pictures of parameters are shaded.
fn check_equal(ours: &Shown, theirs: &Shown) {
    assert_eq!(ours.dashboard, theirs.dashboard);
    assert_eq!(ours.content, theirs.content);
    assert_eq!(ours.sizes, theirs.sizes, "{}", ours.tag);
    match (&ours.content_of, &theirs.content_of) {
        (Content::Floats(a), Content::Floats(b)) => assert_eq!(a, b, "{}", ours.tag),
        (Content::Doubles(a), Content::Doubles(b)) => {
            for (a, b) in a.iter().zip(b) {
                assert!((a - b).abs() <= 1e-12, "{}: {a} {b}", ours.tag);
            }
        }
        (Content::Strings(_), Content::Strings(_)) if ours.dashboard == "images" => {
            let (ours, theirs) = (ours.pictures(), theirs.pictures());
            assert_eq!((ours.0, ours.1, ours.2), (theirs.0, theirs.1, theirs.2));
            assert_eq!(ours.3.len(), theirs.3.len());
        }
        (Content::Strings(a), Content::Strings(b)) => {
            let parse = |text: &[u8]| serde_json::from_slice::<Value>(text).unwrap();
            assert_eq!(parse(&a[0]), parse(&b[0]));
        }
        _ => unreachable!("{ours:?} {theirs:?}"),
    }
}
