//! Histograms and pictures of parameters, and histograms of gradients.

use crate::reader::read_run;
use crate::scalars::writing_to;
use crate::training::Training;
use keros_callbacks::{Callback, EventKind, Message};
use png::ColorType;
use std::path::Path;

/// A callback that keeps what the user is told.
#[derive(Default)]
pub(crate) struct Told(pub(crate) Vec<String>);

impl Callback for Told {
    fn on_message(&mut self, message: &Message) {
        self.0.push(message.text.clone());
    }
}

/// Tag and step of what is written beside curves.
fn tags(folder: &Path) -> Vec<(String, i64)> {
    let shown = read_run(&folder.join("train"));
    let shown = shown.iter().filter(|one| one.dashboard != "scalars");
    shown.map(|one| (one.tag.clone(), one.step)).collect()
}

#[test]
fn histograms_are_written_as_often_as_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let fields = serde_json::json!({ "histogram_freq": 2, "write_gradients": true });
    let mut callbacks = writing_to(folder.path(), fields);
    let mut training = Training::default()
        .with_param("dense/kernel", &[2, 2], &[0.0, 1.0, 2.0, 2.0])
        .with_param("norm/mean", &[1], &[1.0]);
    training.params[1].trainable = false;
    training.fit(&mut callbacks, &[&[1.0], &[1.0], &[1.0]]);
    let expected = [0, 2].into_iter().flat_map(|epoch| {
        [
            "dense/kernel/histogram",
            "dense/kernel/gradient/histogram",
            "norm/mean/histogram",
        ]
        .map(|tag| (tag.to_owned(), epoch))
    });
    assert_eq!(tags(folder.path()), expected.collect::<Vec<_>>());
    let shown = read_run(&folder.path().join("train"));
    let counts: Vec<_> = shown
        .iter()
        .filter(|one| one.dashboard != "scalars")
        .map(|one| one.counts())
        .collect();
    assert_eq!(
        counts[..3],
        [vec![1.0, 1.0, 2.0], vec![1.0, 1.0, 2.0], vec![1.0]]
    );
}

#[test]
fn parameters_are_pictures_by_their_shape() {
    let folder = tempfile::tempdir().unwrap();
    let fields = serde_json::json!({ "histogram_freq": 1, "write_images": true });
    let mut callbacks = writing_to(folder.path(), fields);
    let kernel: Vec<f32> = (0..48).map(|value| value as f32).collect();
    let mut training = Training::default()
        .with_param("bias", &[3], &[-1.0, 0.0, 0.5])
        .with_param("tall", &[3, 2], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0])
        .with_param("grey", &[2, 2, 1, 4], &kernel[..16])
        .with_param("colour", &[2, 2, 3, 4], &kernel)
        .with_param("many", &[2, 2, 4, 3], &kernel);
    training.send(&mut callbacks, EventKind::EpochEnd, 0, &[]);
    let shown = read_run(&folder.path().join("train"));
    let pictures: Vec<_> = shown
        .iter()
        .filter(|one| one.dashboard == "images")
        .map(|one| (one.tag.as_str(), one.pictures()))
        .collect();
    let level = |value: f32, greatest: f32| (value / greatest * 255.0).round() as u8;
    let of = |values: &[f32], greatest| -> Vec<u8> {
        values.iter().map(|value| level(*value, greatest)).collect()
    };
    let colour = |filter: usize| -> Vec<u8> {
        (0..12)
            .map(|i| level(kernel[i * 4 + filter], 47.0))
            .collect()
    };
    let grey = |filter: usize| -> Vec<u8> {
        (0..4)
            .map(|i| level(kernel[i * 4 + filter], 15.0))
            .collect()
    };
    assert_eq!(
        pictures,
        [
            (
                "bias/image",
                (1, 3, ColorType::Grayscale, vec![vec![0, 128, 191]])
            ),
            (
                "tall/image",
                (
                    3,
                    2,
                    ColorType::Grayscale,
                    vec![of(&[0.0, 2.0, 4.0, 1.0, 3.0, 5.0], 5.0)]
                )
            ),
            (
                "grey/image",
                (2, 2, ColorType::Grayscale, (0..3).map(grey).collect())
            ),
            (
                "colour/image",
                (2, 2, ColorType::Rgb, (0..3).map(colour).collect())
            ),
        ]
    );
}

#[test]
fn what_is_not_finite_is_told_once_and_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let mut told = Told::default();
    let mut callbacks = writing_to(folder.path(), serde_json::json!({ "histogram_freq": 1 }));
    callbacks.push(&mut told);
    let mut training = Training::default().with_param("dense/bias", &[3], &[f32::NAN, 1.0, 2.0]);
    training.fit(&mut callbacks, &[&[1.0], &[1.0]]);
    drop(callbacks);
    let expected = "`dense/bias` has values that are not finite; histograms leave them out";
    assert_eq!(told.0, [expected]);
    let shown = read_run(&folder.path().join("train"));
    let histogram = shown
        .iter()
        .find(|one| one.dashboard == "histograms")
        .unwrap();
    assert_eq!(histogram.counts(), [1.0, 1.0]);
}

#[test]
fn a_run_without_parameters_is_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let mut told = Told::default();
    let mut callbacks = writing_to(folder.path(), serde_json::json!({ "histogram_freq": 1 }));
    callbacks.push(&mut told);
    Training::default().fit(&mut callbacks, &[&[1.0], &[1.0]]);
    drop(callbacks);
    let expected = "this run does not show its parameters, so nothing of them is written";
    assert_eq!(told.0, [expected]);
}
