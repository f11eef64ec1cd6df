//! Pictures of the batch.

use crate::parameters::Told;
use crate::reader::read_run;
use crate::scalars::writing_to;
use crate::training::Training;
use png::ColorType;

type Pictures = (u32, u32, ColorType, Vec<Vec<u8>>);

/// The pictures written in a training of two epochs, and the word about each.
fn pictures(
    fields: serde_json::Value,
    mut training: Training,
) -> Vec<(String, i64, String, Pictures)> {
    let folder = tempfile::tempdir().unwrap();
    let mut callbacks = writing_to(folder.path(), fields);
    training.fit(&mut callbacks, &[&[1.0, 1.0], &[1.0]]);
    let shown = read_run(&folder.path().join("train"));
    let shown = shown.into_iter().filter(|one| one.dashboard == "images");
    shown
        .map(|one| {
            (
                one.tag.clone(),
                one.step,
                one.description.clone(),
                one.pictures(),
            )
        })
        .collect()
}

#[test]
fn the_first_images_of_each_epoch_are_written() {
    let values: Vec<f32> = (0..18).map(|value| value as f32 * 10.0).collect();
    let training = Training::default().with_input("photo", &[3, 2, 1, 3], &values);
    let found = pictures(serde_json::json!({ "images": 2 }), training);
    let levels: Vec<u8> = (0..12).map(|value| value * 10).collect();
    let expected = (
        1,
        2,
        ColorType::Rgb,
        vec![levels[..6].to_vec(), levels[6..].to_vec()],
    );
    let told = "values from 0 to 255".to_owned();
    let name = "photo/samples".to_owned();
    assert_eq!(
        found,
        [
            (name.clone(), 0, told.clone(), expected.clone()),
            (name, 1, told, expected)
        ]
    );
}

#[test]
fn values_become_levels_by_their_range() {
    for (values, levels, told) in [
        ([0.0, 0.2, 1.0], [0, 51, 255], "values from 0 to 1"),
        ([0.0, 2.0, 255.0], [0, 2, 255], "values from 0 to 255"),
        (
            [-1.0, 0.0, 4.0],
            [0, 51, 255],
            "values from -1 (black) to 4 (white)",
        ),
        ([0.0, f32::NAN, 1.0], [0, 0, 255], "values from 0 to 1"),
        (
            [-3.0, -3.0, -3.0],
            [0, 0, 0],
            "values from -3 (black) to -3 (white)",
        ),
    ] {
        let training = Training::default().with_input("", &[1, 1, 3], &values);
        let found = pictures(serde_json::json!({ "images": 8 }), training);
        let (tag, _, description, (width, height, color, pixels)) = &found[0];
        assert_eq!(
            (tag.as_str(), description.as_str()),
            ("input/samples", told)
        );
        assert_eq!((*width, *height, *color), (3, 1, ColorType::Grayscale));
        assert_eq!(pixels, &[levels]);
    }
}

#[test]
fn channels_may_be_first() {
    let values = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    let training = Training::default().with_input("x", &[1, 3, 1, 2], &values);
    let fields = serde_json::json!({ "images": 1, "data_format": "channels_first" });
    let found = pictures(fields, training);
    assert_eq!(
        found[0].3,
        (2, 1, ColorType::Rgb, vec![vec![1, 3, 5, 2, 4, 6]])
    );
}

#[test]
fn inputs_that_are_no_images_are_left_out_or_told_of() {
    let features = [0.0; 6];
    let training = Training::default()
        .with_input("table", &[2, 3], &features)
        .with_input("mask", &[1, 2, 3, 1], &features);
    let found = pictures(serde_json::json!({ "images": 1 }), training);
    assert_eq!(found[0].0, "mask/samples");

    let folder = tempfile::tempdir().unwrap();
    let mut told = Told::default();
    let mut callbacks = writing_to(folder.path(), serde_json::json!({ "images": 1 }));
    callbacks.push(&mut told);
    let mut training = Training::default().with_input("table", &[2, 3], &features);
    training.fit(&mut callbacks, &[&[1.0], &[1.0]]);
    drop(callbacks);
    let expected = "no input of the batch is one of images with 1, 3 or 4 channels (found the shapes \
                    [[2, 3]]), so none are written";
    assert_eq!(told.0, [expected]);
}
