//! Folders as users have them: every kind of picture is read, or refused by a sentence that names
//! the file, and the policies for those that are refused hold with any number of workers.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use keros_data::{
    ClassMode, ColorMode, DataError, DirectoryOptions, Format, ImageDataGenerator, ImageFileFlow,
    ImageShape, Interpolation, Loader, OnBrokenFile, SaveImages, Sequence, Subset,
};
use keros_image::encode;
use tempfile::TempDir;

use crate::support::{digest, options};

/// A file of every kind, by name.
fn kinds() -> Vec<(String, Vec<u8>)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../keros-image/tests/it/files");
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    paths
        .iter()
        .map(|path| (name(path), fs::read(path).unwrap()))
        .collect()
}

fn kind(name: &str) -> Vec<u8> {
    let mut kinds = kinds().into_iter();
    kinds.find(|(found, _)| found == name).unwrap().1
}

fn picture(gray: u8) -> Vec<u8> {
    let values: Vec<f32> = (0..48).map(|i| f32::from(gray) + i as f32).collect();
    encode(&values, ImageShape::new(4, 4, 3), Format::Png).unwrap()
}

fn folder(files: &[(&str, Vec<u8>)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    folder
}

fn small() -> DirectoryOptions {
    DirectoryOptions {
        target_size: (4, 4),
        shuffle: false,
        class_mode: ClassMode::Sparse,
        batch_size: 1,
        ..DirectoryOptions::default()
    }
}

fn open(folder: &TempDir, options: DirectoryOptions) -> ImageFileFlow {
    ImageDataGenerator::new()
        .flow_from_directory(folder.path(), options)
        .unwrap()
}

/// The message about the only file of a folder.
fn refused(name: &str, bytes: Vec<u8>, options: DirectoryOptions) -> String {
    let folder = folder(&[(&format!("a/{name}"), bytes)]);
    let error = open(&folder, options).batch(0, 0).unwrap_err().to_string();
    assert!(error.contains(name), "{error}");
    error
}

#[test]
fn every_kind_of_picture_is_read_whatever_its_name_says() {
    let files: Vec<(String, Vec<u8>)> = kinds()
        .into_iter()
        // GIF, WebP and PGM have no name that Keras takes for an image: as if a user had renamed them.
        .map(|(name, bytes)| (format!("a/{name}.png"), bytes))
        .collect();
    let files: Vec<(&str, Vec<u8>)> = files.iter().map(|(n, b)| (n.as_str(), b.clone())).collect();
    let folder = folder(&files);
    for color_mode in [ColorMode::Grayscale, ColorMode::Rgb, ColorMode::Rgba] {
        let options = DirectoryOptions {
            color_mode,
            ..small()
        };
        let flow = open(&folder, options);
        assert_eq!(flow.filenames().len(), files.len());
        let mut broken = Vec::new();
        for sample in 0..flow.len() {
            let name = flow.filenames()[sample].to_str().unwrap();
            match flow.batch(0, sample) {
                Ok(batch) => {
                    let shape = [1, 4, 4, color_mode.channels()];
                    assert_eq!(batch.inputs.first().shape(), shape, "{name}");
                }
                Err(error) => {
                    assert!(error.to_string().contains(name), "{error}");
                    broken.push(name);
                }
            }
        }
        assert_eq!(broken, ["a/floats.tiff.png", "a/gray32.tiff.png"]);
    }
}

#[test]
fn sixteen_bits_keep_their_range_in_grayscale_only() {
    let folder = folder(&[("a/gray16.png", kind("gray16.png"))]);
    let largest = |color_mode| {
        let options = DirectoryOptions {
            color_mode,
            ..small()
        };
        let batch = open(&folder, options).batch(0, 0).unwrap();
        let values = batch.inputs.first().as_slice::<f32>().unwrap().to_vec();
        values.into_iter().fold(0.0, f32::max)
    };
    assert!(largest(ColorMode::Grayscale) > 255.0);
    assert!(largest(ColorMode::Rgb) <= 255.0);
}

#[test]
fn the_brightness_of_sixteen_bits_needs_their_white() {
    let folder = folder(&[
        ("a/1.png", picture(9)),
        ("a/gray16.png", kind("gray16.png")),
    ]);
    let options = |on_broken_file| DirectoryOptions {
        color_mode: ColorMode::Grayscale,
        // Goes beyond the values that are there.
        interpolation: Interpolation::Bicubic,
        on_broken_file,
        ..small()
    };
    let generator = ImageDataGenerator::new().brightness_range(1.5, 1.5);
    for policy in [
        OnBrokenFile::Error,
        OnBrokenFile::Skip,
        OnBrokenFile::Replace,
    ] {
        let flow = generator.flow_from_directory(folder.path(), options(policy));
        let flow = flow.unwrap();
        flow.batch(0, 0).unwrap();
        let error = flow.batch(0, 1).unwrap_err().to_string();
        assert!(error.contains("gray16.png"), "{error}");
        assert!(error.contains("value_range (expected 0 to 255"), "{error}");
        assert!(flow.broken_files(1).is_empty());
    }
    let told = generator.value_range(0.0, 65_535.0);
    let flow = told.flow_from_directory(folder.path(), options(OnBrokenFile::Error));
    let batch = flow.unwrap().batch(0, 1).unwrap();
    let values = batch.inputs.first().as_slice::<f32>().unwrap();
    assert!(
        values
            .iter()
            .any(|value| *value > 255.0 && *value < 65_535.0)
    );
}

#[test]
fn what_is_not_wrong_with_a_file_is_an_error_under_every_policy() {
    let folder = folder(&[("a/1.png", picture(1)), ("a/2.png", picture(2))]);
    let saved = tempfile::tempdir().unwrap();
    for policy in [
        OnBrokenFile::Error,
        OnBrokenFile::Skip,
        OnBrokenFile::Replace,
    ] {
        let place = saved.path().join("gone");
        let options = DirectoryOptions {
            on_broken_file: policy,
            batch_size: 2,
            save_to_dir: Some(SaveImages::to(&place)),
            ..small()
        };
        let flow = open(&folder, options);
        flow.batch(0, 0).unwrap();
        fs::remove_dir_all(&place).unwrap();
        let error = flow.batch(0, 0).unwrap_err();
        assert!(
            matches!(error, DataError::Write { .. }),
            "{policy:?}: {error}"
        );
    }
}

#[test]
fn empty_and_zero_sized_files_are_refused() {
    let error = refused("nothing.png", Vec::new(), small());
    assert!(error.contains("0 bytes"), "{error}");
    let mut flat = kind("rgb.bmp");
    flat[18..22].copy_from_slice(&0_i32.to_le_bytes());
    refused("flat.bmp", flat, small());
    refused("flat.ppm", b"P6 0 5 255\n".to_vec(), small());
    let mut flat = kind("rgb.png");
    flat[16..20].copy_from_slice(&0_u32.to_be_bytes());
    refused("flat.png", flat, small());
}

#[test]
fn more_pixels_than_allowed_are_refused_before_they_take_memory() {
    let error = refused("huge.ppm", b"P6 20000 6000 255\n".to_vec(), small());
    assert!(
        error.contains("6000×20000 pixels are too many") && error.contains("100000000"),
        "{error}"
    );
    let few = DirectoryOptions {
        max_pixels: 15,
        ..small()
    };
    let error = refused("small.png", picture(1), few);
    assert!(error.contains("at most 15 pixels, found 16"), "{error}");
    let enough = DirectoryOptions {
        max_pixels: 16,
        ..small()
    };
    let folder = folder(&[("a/small.png", picture(1))]);
    assert!(open(&folder, enough).batch(0, 0).is_ok());
}

#[test]
fn truncated_files_of_every_format_are_refused() {
    for name in [
        "rgb.png",
        "rgb.jpg",
        "progressive.jpg",
        "rgb.bmp",
        "rgb.tiff",
        "rgb.ppm",
    ] {
        let mut bytes = kind(name);
        bytes.truncate(bytes.len() * 2 / 3);
        refused(name, bytes, small());
    }
}

#[test]
fn a_class_may_have_one_image_or_none() {
    let folder = folder(&[
        ("many/1.png", picture(1)),
        ("many/2.png", picture(2)),
        ("one/3.png", picture(3)),
    ]);
    fs::create_dir(folder.path().join("zero")).unwrap();
    let labels = |flow: &ImageFileFlow| flow.classes().unwrap().to_vec();
    let whole = open(&folder, small());
    assert_eq!(
        (whole.class_names().len(), labels(&whole)),
        (3, vec![0, 0, 1])
    );
    // Half of one image, rounded down, is none: it stays for the training.
    let part = |subset| {
        let options = DirectoryOptions {
            subset: Some(subset),
            ..small()
        };
        let generator = ImageDataGenerator::new().validation_split(0.5);
        generator
            .flow_from_directory(folder.path(), options)
            .unwrap()
    };
    assert_eq!(labels(&part(Subset::Validation)), [0]);
    assert_eq!(labels(&part(Subset::Training)), [0, 1]);
}

/// Twelve files, of which every third is broken in its way.
fn mixed() -> TempDir {
    let mut cut = picture(0);
    cut.truncate(40);
    let broken = [
        cut,
        b"text".to_vec(),
        Vec::new(),
        b"P6 20000 6000 255\n".to_vec(),
    ];
    let files: Vec<(String, Vec<u8>)> = (0..12)
        .map(|i| {
            let bytes = match i % 3 {
                1 => broken[i / 3].clone(),
                _ => picture(i as u8 * 15),
            };
            (format!("{}/{i:02}.png", ["a", "b"][i / 6]), bytes)
        })
        .collect();
    let files: Vec<(&str, Vec<u8>)> = files.iter().map(|(n, b)| (n.as_str(), b.clone())).collect();
    folder(&files)
}

fn with_policy(folder: &TempDir, on_broken_file: OnBrokenFile) -> Arc<ImageFileFlow> {
    let options = DirectoryOptions {
        on_broken_file,
        batch_size: 4,
        shuffle: true,
        seed: 8,
        ..small()
    };
    let generator = ImageDataGenerator::new().rotation_range(30.0);
    Arc::new(
        generator
            .flow_from_directory(folder.path(), options)
            .unwrap(),
    )
}

#[test]
fn policies_give_the_same_with_any_number_of_workers() {
    let folder = mixed();
    for policy in [OnBrokenFile::Skip, OnBrokenFile::Replace] {
        let flow = with_policy(&folder, policy);
        let stream = |workers, max_queue_size| -> Vec<u64> {
            let options = options! { workers, max_queue_size, limit: Some(9) };
            let mut loader = Loader::from_sequence(flow.clone(), options).unwrap();
            let loaded = loader.by_ref().map(|loaded| {
                let loaded = loaded.unwrap();
                let good = |sample: &usize| sample % 3 != 1;
                assert!(loaded.batch.indices.iter().all(good));
                assert!(policy == OnBrokenFile::Skip || loaded.batch.len() == 4);
                digest(&loaded)
            });
            let digests = loaded.collect();
            // Four in each of three epochs.
            assert_eq!(
                loader.stats().broken_files,
                12,
                "{policy:?}, {workers} workers"
            );
            digests
        };
        // What was passed over in other batches does not count.
        flow.batch(0, 0).unwrap();
        flow.batch(0, 1).unwrap();
        flow.batch(0, 2).unwrap();
        let alone = stream(0, 1);
        assert_eq!(alone.len(), 9);
        for (workers, queue) in [(1, 10), (2, 1), (8, 4)] {
            assert_eq!(
                stream(workers, queue),
                alone,
                "{policy:?}, {workers} workers"
            );
        }
    }
}

#[test]
fn an_error_comes_in_its_place_with_any_number_of_workers() {
    let folder = mixed();
    let flow = with_policy(&folder, OnBrokenFile::Error);
    let expected = (0..flow.len()).find_map(|index| Some((index, flow.batch(0, index).err()?)));
    let (place, expected) = expected.unwrap();
    assert!(
        matches!(expected, DataError::ImageFile { .. }),
        "{expected}"
    );
    for workers in [0, 1, 4] {
        let mut loader = Loader::from_sequence(flow.clone(), options! { workers }).unwrap();
        for _ in 0..place {
            assert!(loader.next().unwrap().is_ok());
        }
        let error = loader.next().unwrap().unwrap_err().to_string();
        assert_eq!(
            error,
            format!("preparing batch {place} of epoch 0: {expected}")
        );
        assert!(loader.next().is_none());
    }
}

#[test]
fn all_files_can_be_checked_before() {
    let folder = mixed();
    let flow = with_policy(&folder, OnBrokenFile::Skip);
    for threads in [0, 1, 3, 100] {
        let broken = flow.broken_files(threads);
        let samples: Vec<usize> = broken.iter().map(|file| file.sample).collect();
        assert_eq!(samples, [1, 4, 7, 10], "{threads} threads");
        for file in broken {
            let name = flow.filenames()[file.sample].to_str().unwrap();
            assert!(file.error.to_string().contains(name), "{}", file.error);
        }
    }
}

#[test]
fn nothing_but_broken_files_is_an_error_under_every_policy() {
    let folder = folder(&[("a/1.png", b"text".to_vec()), ("a/2.png", Vec::new())]);
    for policy in [
        OnBrokenFile::Error,
        OnBrokenFile::Skip,
        OnBrokenFile::Replace,
    ] {
        let error = with_policy(&folder, policy)
            .batch(0, 0)
            .unwrap_err()
            .to_string();
        assert!(error.contains(".png"), "{policy:?}: {error}");
    }
}
