//! `image_folder`: a folder of pictures becomes a classifier that can be loaded again.

use crate::support::{path, text};
use keros::data::{Array, Format, ImageShape, idx};
use keros::image::encode;
use keros::prelude::{Device, Network, load_network};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn image_folder(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_image_folder"))
        .args(args)
        .output()
        .unwrap()
}

/// Pictures of trousers, bags and boots, as many of each.
fn pictures(folder: &Path, of_each: usize) {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/fashion-mnist");
    let data = idx::load_folder(shipped).unwrap();
    let labels = data.train_labels.as_slice::<u8>().unwrap();
    for (class, name) in [(1, "trouser"), (8, "bag"), (9, "boot")] {
        fs::create_dir_all(folder.join(name)).unwrap();
        let of_class = labels
            .iter()
            .enumerate()
            .filter(|(_, label)| **label == class);
        for (sample, _) in of_class.take(of_each) {
            let image: Array = data.train_images.slice(sample..sample + 1).unwrap();
            let gray = image.as_slice::<u8>().unwrap();
            let values: Vec<f32> = gray.iter().flat_map(|v| [f32::from(*v); 3]).collect();
            let bytes = encode(&values, ImageShape::new(28, 28, 3), Format::Png).unwrap();
            fs::write(folder.join(name).join(format!("{sample}.png")), bytes).unwrap();
        }
    }
}

#[test]
fn a_folder_of_pictures_becomes_a_classifier() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path().join("data"), folder.path().join("out"));
    pictures(&data, 60);
    fs::write(data.join("bag/broken.png"), "no picture").unwrap();
    // Photographs of every mode, size and orientation are pictures too.
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/keros-image/tests/it/files");
    for name in [
        "cmyk.jpg",
        "gray16.png",
        "palette_alpha.png",
        "progressive.jpg",
        "turned.jpg",
    ] {
        fs::copy(files.join(name), data.join("bag").join(name)).unwrap();
    }
    // What else lies about in folders.
    fs::write(data.join("bag/notes.txt"), "no picture").unwrap();
    fs::write(data.join("boot/.hidden"), "no picture").unwrap();
    fs::create_dir(data.join("boot/more")).unwrap();
    fs::write(
        data.join("boot/more/a.webp"),
        "a picture of a kind that Keras does not take",
    )
    .unwrap();
    fs::create_dir(data.join("to sort")).unwrap();
    fs::create_dir(data.join(".checkpoints")).unwrap();
    fs::copy(
        data.join("bag/broken.png"),
        data.join(".checkpoints/old.png"),
    )
    .unwrap();
    let size = ["--size", "28", "--epochs", "6"];
    let output = image_folder(&[&[path(&data), "--out", path(&out)][..], &size].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let printed = text(&output.stdout);
    assert!(
        printed.contains("left out: ") && printed.contains("broken.png"),
        "{printed}"
    );
    assert!(
        printed.contains("is ↓ taken for →  bag  boot  trouser"),
        "{printed}"
    );
    assert!(
        printed.contains("the folder to sort has no pictures"),
        "{printed}"
    );
    assert!(!printed.contains(".checkpoints"), "{printed}");
    assert!(printed.contains("ignored: 2 files "), "{printed}");
    assert_eq!(printed.matches("left out").count(), 2, "{printed}");
    let accuracy = printed.lines().last().unwrap().strip_prefix("accuracy ");
    let accuracy: f64 = accuracy.unwrap().parse().unwrap();
    assert!(accuracy > 0.8, "{printed}");

    assert_eq!(
        fs::read_to_string(out.join("classes.txt")).unwrap(),
        "bag\nboot\ntrouser\n"
    );
    let network = load_network(out.join("model.safetensors"), &Device::Cpu).unwrap();
    assert_eq!(network.outputs()[0].shape, [3]);
    assert!(out.join("curves.svg").exists() && out.join("history.csv").exists());
    let confusion = fs::read_to_string(out.join("confusion.svg")).unwrap();
    assert!(confusion.contains(">trouser</text>"), "{confusion}");
}

#[test]
fn a_folder_that_does_not_work_is_refused_in_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let refused = |data: &Path, more: &[&str]| {
        let output = image_folder(&[&[path(data), "--out", path(&out)], more].concat());
        assert_eq!(output.status.code(), Some(2));
        let error = text(&output.stderr);
        assert_eq!(error.lines().count(), 1, "{error}");
        assert!(!out.exists());
        error
    };
    let data = folder.path().join("data");
    assert!(refused(&data, &[]).contains("data"));
    pictures(&data, 2);
    assert!(refused(&data, &["--validation-split", "1.5"]).contains("validation_split"));
    assert!(refused(&data, &["--validation-split", "0.1"]).contains("the list of images"));
    fs::remove_dir_all(data.join("bag")).unwrap();
    fs::remove_dir_all(data.join("boot")).unwrap();
    assert!(refused(&data, &[]).contains("at least two folders"));
}
