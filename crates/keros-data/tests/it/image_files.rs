//! Images in folders and tables: which files, what is broken, what is refused.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use keros_data::{
    Array, Batch, ClassMode, DataError, DirectoryOptions, FlowOptions, Format, ImageDataGenerator,
    ImageFileFlow, ImageShape, Loader, LoaderOptions, OnBrokenFile, SaveImages, Sequence,
    SequenceExt, Subset, Table, TableOptions,
};
use keros_image::encode;
use tempfile::TempDir;

/// Writes a picture of 4×4 pixels whose first value is black and whose last is white.
fn picture(path: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let values: Vec<f32> = (0..48).map(|i| i as f32).collect();
    let bytes = encode(&values, ImageShape::new(4, 4, 3), Format::Png).unwrap();
    fs::write(path, bytes).unwrap();
}

/// A folder with these pictures.
fn folder(files: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    files
        .iter()
        .for_each(|file| picture(&folder.path().join(file)));
    folder
}

fn options() -> DirectoryOptions {
    DirectoryOptions {
        target_size: (4, 4),
        shuffle: false,
        class_mode: ClassMode::Sparse,
        batch_size: 2,
        ..DirectoryOptions::default()
    }
}

fn open(folder: &TempDir, options: DirectoryOptions) -> Result<ImageFileFlow, DataError> {
    ImageDataGenerator::new().flow_from_directory(folder.path(), options)
}

fn names(flow: &ImageFileFlow) -> Vec<&str> {
    flow.filenames()
        .iter()
        .map(|name| name.to_str().unwrap())
        .collect()
}

fn labels(batch: &Batch) -> Vec<i64> {
    let targets = batch.targets.as_ref().unwrap().first();
    targets.as_slice::<i64>().unwrap().to_vec()
}

#[test]
fn classes_and_files_are_in_the_order_of_their_bytes() {
    let folder = folder(&[
        "b/img2.png",
        "b/img10.PNG",
        "b/sub/a.png",
        "b-x/1.png",
        "A/one.png",
    ]);
    fs::write(folder.path().join("b/notes.txt"), "no image").unwrap();
    fs::write(folder.path().join("readme.png"), "in no class").unwrap();
    fs::create_dir(folder.path().join("empty")).unwrap();
    let flow = open(&folder, options()).unwrap();
    assert_eq!(flow.class_names(), ["A", "b", "b-x", "empty"]);
    let expected = [
        "A/one.png",
        "b/img10.PNG",
        "b/img2.png",
        "b/sub/a.png",
        "b-x/1.png",
    ];
    assert_eq!(names(&flow), expected);
    assert_eq!(flow.classes().unwrap(), [0, 1, 1, 1, 2]);
    assert_eq!((flow.len(), flow.num_samples()), (3, Some(5)));
    let last = flow.batch(0, 2).unwrap();
    assert_eq!(
        (last.indices.as_slice(), labels(&last)),
        (&[4][..], vec![2])
    );

    let two = DirectoryOptions {
        classes: Some(vec!["b-x".into(), "A".into()]),
        ..options()
    };
    let flow = open(&folder, two).unwrap();
    assert_eq!(names(&flow), ["b-x/1.png", "A/one.png"]);
}

#[test]
fn folders_are_classes_also_where_they_are_no_targets() {
    let folder = folder(&["a/1.png", "b/1.png", "b/2.png"]);
    for class_mode in [ClassMode::None, ClassMode::Input] {
        let options = DirectoryOptions {
            class_mode,
            ..options()
        };
        assert_eq!(
            open(&folder, options).unwrap().classes().unwrap(),
            [0, 1, 1]
        );
    }
}

#[test]
fn a_part_of_each_class_is_for_validation_and_is_not_augmented() {
    let folder = folder(&[
        "a/1.png", "a/2.png", "a/3.png", "a/4.png", "b/1.png", "b/2.png",
    ]);
    let generator = ImageDataGenerator::new()
        .validation_split(0.5)
        .rotation_range(90.0);
    let part = |generator: &ImageDataGenerator, subset| {
        let options = DirectoryOptions {
            subset: Some(subset),
            ..options()
        };
        generator
            .flow_from_directory(folder.path(), options)
            .unwrap()
    };
    let validation = part(&generator, Subset::Validation);
    assert_eq!(names(&validation), ["a/1.png", "a/2.png", "b/1.png"]);
    let training = part(&generator, Subset::Training);
    assert_eq!(names(&training), ["a/3.png", "a/4.png", "b/2.png"]);
    assert_eq!(validation.transform(0, 0), Default::default());
    assert_ne!(training.transform(0, 0), Default::default());
    let both = part(&generator.augment_validation(true), Subset::Validation);
    assert_ne!(both.transform(0, 0), Default::default());

    let none = DirectoryOptions {
        subset: Some(Subset::Training),
        ..options()
    };
    let error = open(&folder, none).unwrap_err().to_string();
    assert!(error.contains("validation_split"), "{error}");
}

#[test]
fn a_part_without_images_is_told_from_a_source_without_images() {
    let folder = folder(&["a/1.png", "a/2.png", "b/1.png"]);
    let generator = ImageDataGenerator::new().validation_split(0.25);
    let directory = |path: &Path| {
        let options = DirectoryOptions {
            subset: Some(Subset::Validation),
            ..options()
        };
        generator
            .flow_from_directory(path, options)
            .unwrap_err()
            .to_string()
    };
    let reason = "invalid subset (expected a part of the list of images that is not empty, found \
                  Validation with none of 3 images by a validation_split of 0.25)";
    assert_eq!(
        directory(folder.path()),
        format!("setting up flow_from_directory: {reason}")
    );
    let rows = ["a/1.png", "a/2.png", "b/1.png"].map(|name| [name]);
    let table = Table::new(["filename"], rows).unwrap();
    let options = TableOptions {
        class_mode: ClassMode::None,
        subset: Some(Subset::Validation),
        ..TableOptions::default()
    };
    let error = generator.flow_from_dataframe(&table, Some(folder.path()), options);
    assert_eq!(
        error.unwrap_err().to_string(),
        format!("setting up flow_from_dataframe: {reason}")
    );

    let empty = tempfile::tempdir().unwrap();
    fs::create_dir(empty.path().join("class")).unwrap();
    let error = directory(empty.path());
    assert!(error.contains("the list of images in"), "{error}");
}

/// A good picture, then one that is cut off, one that is text, and a link to nothing.
fn broken() -> TempDir {
    let folder = folder(&["a/1.png", "a/2.png", "b/5.png"]);
    let bytes = fs::read(folder.path().join("a/2.png")).unwrap();
    fs::write(folder.path().join("a/2.png"), &bytes[..bytes.len() / 2]).unwrap();
    fs::write(folder.path().join("a/3.png"), "text").unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink("nowhere.png", folder.path().join("a/4.png")).unwrap();
    #[cfg(not(unix))]
    fs::write(folder.path().join("a/4.png"), "").unwrap();
    folder
}

#[test]
fn a_broken_file_is_an_error_of_its_batch_with_its_name() {
    let folder = broken();
    let flow = open(&folder, options()).unwrap();
    for (batch, file) in [(0, "2.png"), (1, "3.png")] {
        let error = flow.batch(0, batch).unwrap_err().to_string();
        assert!(error.contains(file), "{error}");
    }
    assert_eq!(flow.batch(0, 2).unwrap().indices, [4]);
    let found: Vec<usize> = flow
        .broken_files(2)
        .iter()
        .map(|file| file.sample)
        .collect();
    assert_eq!(found, [1, 2, 3]);
    let error = &flow.broken_files(0)[2].error;
    assert!(
        matches!(error, DataError::Io { path, .. } if path.ends_with("a/4.png")),
        "{error}"
    );
}

#[test]
fn a_panic_in_the_function_of_the_user_names_the_file() {
    let folder = folder(&["a/1.png", "a/2.png", "b/3.png"]);
    let calls = Arc::new(AtomicUsize::new(0));
    let generator = || {
        let calls = Arc::clone(&calls);
        calls.store(0, SeqCst);
        ImageDataGenerator::new().preprocessing_function(move |_, _| {
            assert!(calls.fetch_add(1, SeqCst) < 2, "not this one");
        })
    };
    let message = |sequence: Arc<dyn Sequence>, workers| {
        let options = LoaderOptions {
            workers,
            ..LoaderOptions::default()
        };
        let mut loader = Loader::from_sequence(sequence, options).unwrap();
        loader.find_map(Result::err).unwrap().to_string()
    };
    for workers in [0, 1] {
        let flow = generator().flow_from_directory(folder.path(), options());
        assert_eq!(
            message(Arc::new(flow.unwrap()), workers),
            format!(
                "preparing batch 1 of epoch 0: preparing data: the source panicked, at sample 2, {}: \
                 not this one",
                folder.path().join("b/3.png").display()
            )
        );
        let images = Array::from_vec(&[3, 2, 2, 1], vec![0_u8; 12]).unwrap();
        let options = FlowOptions {
            shuffle: false,
            ..FlowOptions::default()
        };
        let flow = generator().flow(images, None, options).unwrap();
        assert_eq!(
            message(Arc::new(flow), workers),
            "preparing batch 0 of epoch 0: preparing data: the source panicked, at sample 2: not this \
             one"
        );
    }
    // What is done to the batch is not the fault of its last file.
    let mapped = open(&folder, options())
        .unwrap()
        .map(|_| panic!("too late"));
    assert_eq!(
        message(Arc::new(mapped), 1),
        "preparing batch 0 of epoch 0: preparing data: the source panicked: too late"
    );
}

#[test]
fn a_broken_file_is_skipped_or_replaced_if_asked_for() {
    let folder = broken();
    let policy = |on_broken_file, batch_size| {
        let options = DirectoryOptions {
            on_broken_file,
            batch_size,
            ..options()
        };
        open(&folder, options).unwrap()
    };
    let batch = policy(OnBrokenFile::Skip, 5).batch(0, 0).unwrap();
    batch.check().unwrap();
    assert_eq!(
        (batch.indices.as_slice(), labels(&batch)),
        (&[0, 4][..], vec![0, 1])
    );
    assert_eq!(batch.inputs.first().shape(), [2, 4, 4, 3]);
    // Nothing is left of these, which does not end a training.
    for index in [1, 2, 3] {
        let batch = policy(OnBrokenFile::Skip, 1).batch(0, index).unwrap();
        assert_eq!(
            (batch.indices.as_slice(), labels(&batch)),
            (&[4][..], vec![1])
        );
    }
    let batch = policy(OnBrokenFile::Skip, 2).batch(0, 1).unwrap();
    assert_eq!(batch.indices, [4]);

    let batch = policy(OnBrokenFile::Replace, 5).batch(0, 0).unwrap();
    assert_eq!(batch.indices, [0, 4, 4, 4, 4]);
    assert_eq!(labels(&batch), [0, 1, 1, 1, 1]);
}

#[test]
fn folders_that_do_not_work_are_refused_by_name() {
    let folder = folder(&["a/1.png", "b/1.png", "c/1.png"]);
    let message = |options: DirectoryOptions| open(&folder, options).unwrap_err().to_string();
    let missing = DirectoryOptions {
        classes: Some(vec!["a".into(), "dog".into()]),
        ..options()
    };
    assert!(message(missing).contains("dog"));
    let twice = DirectoryOptions {
        classes: Some(vec!["a".into(), "b".into(), "a".into()]),
        ..options()
    };
    assert_eq!(
        message(twice),
        "setting up flow_from_directory: invalid classes (expected different names, found \"a\" twice)"
    );
    let three = DirectoryOptions {
        class_mode: ClassMode::Binary,
        ..options()
    };
    assert!(message(three).contains("3 classes"));
    let raw = DirectoryOptions {
        class_mode: ClassMode::Raw,
        ..options()
    };
    assert!(message(raw).contains("class_mode"));
    let none = DirectoryOptions {
        batch_size: 0,
        ..options()
    };
    assert!(message(none).contains("batch_size"));
    let flat = DirectoryOptions {
        target_size: (0, 4),
        ..options()
    };
    assert_eq!(
        message(flat),
        "setting up flow_from_directory: invalid target_size (expected at least 1×1 and at most \
         1073741824 values, found 0×4×3)"
    );

    let empty = tempfile::tempdir().unwrap();
    let error = open(&empty, options()).unwrap_err().to_string();
    assert!(error.contains(empty.path().to_str().unwrap()), "{error}");
    fs::create_dir(empty.path().join("class")).unwrap();
    let error = open(&empty, options()).unwrap_err().to_string();
    assert!(error.contains("the list of images"), "{error}");
    let gone = ImageDataGenerator::new().flow_from_directory("no/such/folder", options());
    assert!(gone.unwrap_err().to_string().contains("no/such/folder"));
}

#[cfg(unix)]
#[test]
fn links_are_followed_if_asked_for_and_loops_are_refused() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;

    let outside = folder(&["more/x.png"]);
    let folder = folder(&["a/1.png"]);
    symlink(outside.path().join("more"), folder.path().join("a/more")).unwrap();
    let follow = |follow_links| {
        let options = DirectoryOptions {
            follow_links,
            ..options()
        };
        open(&folder, options)
    };
    assert_eq!(names(&follow(false).unwrap()), ["a/1.png"]);
    assert_eq!(names(&follow(true).unwrap()), ["a/1.png", "a/more/x.png"]);
    symlink(folder.path().join("a"), folder.path().join("a/loop")).unwrap();
    assert_eq!(names(&follow(false).unwrap()), ["a/1.png"]);
    let error = follow(true).unwrap_err().to_string();
    assert!(error.contains("a/loop"), "{error}");

    fs::remove_file(folder.path().join("a/loop")).unwrap();
    let strange = OsStr::from_bytes(b"\xff.png");
    picture(&folder.path().join("a").join(strange));
    let flow = follow(false).unwrap();
    assert_eq!(flow.filenames()[1], PathBuf::from("a").join(strange));
    flow.batch(0, 0).unwrap();
    fs::create_dir(folder.path().join(OsStr::from_bytes(b"\xfe"))).unwrap();
    let error = follow(false).unwrap_err().to_string();
    assert!(error.contains("UTF-8"), "{error}");
}

#[cfg(unix)]
#[test]
fn what_has_no_end_is_not_read() {
    let folder = folder(&["a/1.png"]);
    let path = |name: &str| folder.path().join("a").join(name);
    let link = |device: &str, name: &str| std::os::unix::fs::symlink(device, path(name)).unwrap();
    link("/dev/null", "2.png");
    let one = || DirectoryOptions {
        batch_size: 1,
        ..options()
    };
    let read = |sample| {
        let flow = open(&folder, one()).unwrap();
        flow.batch(0, sample).unwrap_err().to_string()
    };
    assert_eq!(
        read(1),
        format!(
            "reading {}: it is no file (expected a file with an image, found a pipe, a socket or a \
             device)",
            path("2.png").display()
        )
    );
    // These would be read for ever.
    link("/dev/zero", "3.png");
    let made = std::process::Command::new("mkfifo")
        .arg(path("4.png"))
        .status();
    assert!(made.unwrap().success());
    for (sample, name) in [(2, "3.png"), (3, "4.png")] {
        assert!(read(sample).contains(name));
    }
}

#[test]
fn every_image_is_written_where_it_is_asked_for() {
    let pictures = folder(&["a/1.png", "a/2.png", "b/1.png"]);
    let target = tempfile::tempdir().unwrap();
    let options = DirectoryOptions {
        save_to_dir: Some(SaveImages {
            prefix: "seen".into(),
            ..SaveImages::to(target.path().join("new"))
        }),
        ..options()
    };
    let flow = open(&pictures, options).unwrap();
    flow.batch(3, 0).unwrap();
    let mut found: Vec<_> = fs::read_dir(target.path().join("new"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    found.sort();
    assert_eq!(found, ["seen_3_0.png", "seen_3_1.png"]);
    let written = fs::read(target.path().join("new/seen_3_0.png")).unwrap();
    let original = fs::read(pictures.path().join("a/1.png")).unwrap();
    let decode = |bytes: &[u8]| keros_image::Decoder::new().decode(bytes).unwrap();
    assert_eq!(decode(&written), decode(&original));
}

#[test]
fn images_that_cannot_be_written_are_refused_before_there_is_a_folder() {
    let target = tempfile::tempdir().unwrap();
    let folder = target.path().join("new");
    let refused = |channels: usize, prefix: &str, format| {
        let images = Array::from_vec(&[1, 2, 3, channels], vec![0_u8; 6 * channels]).unwrap();
        let options = FlowOptions {
            save_to_dir: Some(SaveImages {
                prefix: prefix.into(),
                format,
                ..SaveImages::to(&folder)
            }),
            ..FlowOptions::default()
        };
        let flow = ImageDataGenerator::new().flow(images, None, options);
        match flow.and_then(|flow| flow.batch(0, 0)) {
            Ok(_) => {
                fs::remove_dir_all(&folder).unwrap();
                None
            }
            Err(error) => {
                assert!(!folder.exists(), "{channels}, {format}: {error}");
                Some(error.to_string())
            }
        }
    };
    for channels in 1..6 {
        for format in [
            Format::Png,
            Format::Jpeg,
            Format::Bmp,
            Format::Pnm,
            Format::Gif,
            Format::Tiff,
            Format::WebP,
        ] {
            let Some(error) = refused(channels, "seen", format) else {
                continue;
            };
            let expected = format!(
                "setting up save_to_dir: invalid format (expected one that can hold images of \
                 2×3×{channels}, found {format}: "
            );
            assert!(error.starts_with(&expected), "{error}");
        }
    }
    assert!(refused(3, "seen", Format::Jpeg).is_none());
    assert!(refused(4, "seen", Format::Jpeg).is_some());
    assert!(refused(5, "seen", Format::Png).is_some());
    assert_eq!(
        refused(3, "run/seen", Format::Png).unwrap(),
        "setting up save_to_dir: invalid prefix (expected the beginning of a file's name, without a \
         folder, found run/seen)"
    );
}

#[test]
fn training_and_validation_can_be_written_to_one_folder() {
    let pictures = folder(&["a/1.png", "a/2.png", "a/3.png"]);
    let target = tempfile::tempdir().unwrap();
    for subset in [Subset::Training, Subset::Validation] {
        let options = DirectoryOptions {
            save_to_dir: Some(SaveImages {
                prefix: "seen".into(),
                ..SaveImages::to(target.path())
            }),
            subset: Some(subset),
            ..options()
        };
        let generator = ImageDataGenerator::new().validation_split(0.4);
        let flow = generator.flow_from_directory(pictures.path(), options);
        flow.unwrap().batch(0, 0).unwrap();
    }
    let mut found: Vec<_> = fs::read_dir(target.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    found.sort();
    assert_eq!(
        found,
        [
            "seen_training_0_0.png",
            "seen_training_0_1.png",
            "seen_validation_0_0.png"
        ]
    );
}

/// The batches of two epochs, by a loader.
fn stream(flow: &Arc<ImageFileFlow>, workers: usize, queue: usize) -> Vec<Batch> {
    let options = LoaderOptions {
        workers,
        max_queue_size: queue,
        limit: Some(2 * flow.len() as u64),
        ..LoaderOptions::default()
    };
    let loader = Loader::from_sequence(flow.clone(), options).unwrap();
    loader.map(|loaded| loaded.unwrap().batch).collect()
}

#[test]
fn workers_and_queue_change_nothing() {
    let folder = folder(&["a/1.png", "a/2.png", "a/3.png", "b/1.png", "b/2.png"]);
    let flow = ImageDataGenerator::new()
        .rotation_range(40.0)
        .brightness_range(0.5, 1.5)
        .flow_from_directory(
            folder.path(),
            DirectoryOptions {
                shuffle: true,
                seed: 4,
                ..options()
            },
        );
    let flow = Arc::new(flow.unwrap());
    let alone = stream(&flow, 0, 1);
    assert_ne!(alone[0], alone[3], "another order in another epoch");
    for (workers, queue) in [(1, 10), (2, 1), (8, 3)] {
        assert!(stream(&flow, workers, queue) == alone, "{workers} workers");
    }
}

const ROWS: [[&str; 4]; 4] = [
    ["a/1.png", "cat", "1.5", "2"],
    ["a/2.png", "dog", "-3", "0.5"],
    ["missing.png", "eel", "0", "1"],
    ["b/1.png", "cat, dog", "7", "1"],
];

fn table() -> Table {
    Table::new(["filename", "class", "age", "weight"], ROWS).unwrap()
}

fn from_table(folder: &TempDir, options: TableOptions) -> Result<ImageFileFlow, DataError> {
    let options = TableOptions {
        target_size: (4, 4),
        shuffle: false,
        ..options
    };
    ImageDataGenerator::new().flow_from_dataframe(&table(), Some(folder.path()), options)
}

#[test]
fn a_table_gives_classes_numbers_and_weights() {
    let folder = folder(&["a/1.png", "a/2.png", "b/1.png"]);
    let several = TableOptions {
        label_separator: Some(','),
        weight_col: Some("weight".into()),
        ..TableOptions::default()
    };
    let flow = from_table(&folder, several).unwrap();
    assert_eq!(
        (flow.dropped(), flow.class_names()),
        (1, &["cat".into(), "dog".into()][..])
    );
    let batch = flow.batch(0, 0).unwrap();
    let values = |arrays: &Option<keros_data::Arrays>| {
        arrays
            .as_ref()
            .unwrap()
            .first()
            .as_slice::<f32>()
            .unwrap()
            .to_vec()
    };
    assert_eq!(values(&batch.targets), [1.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
    assert_eq!(values(&batch.sample_weight), [2.0, 0.5, 1.0]);

    let raw = |y_col: &[&str], class_mode| TableOptions {
        y_col: y_col.iter().map(|name| (*name).to_owned()).collect(),
        class_mode,
        ..TableOptions::default()
    };
    let flow = from_table(&folder, raw(&["age", "weight"], ClassMode::Raw)).unwrap();
    let targets = flow.batch(0, 0).unwrap().targets;
    assert_eq!(targets.as_ref().unwrap().first().shape(), [3, 2]);
    assert_eq!(values(&targets), [1.5, 2.0, -3.0, 0.5, 7.0, 1.0]);
    let flow = from_table(&folder, raw(&["age", "weight"], ClassMode::MultiOutput)).unwrap();
    let targets = flow.batch(0, 0).unwrap().targets.unwrap();
    assert_eq!(targets.names().collect::<Vec<_>>(), ["age", "weight"]);

    let error = from_table(&folder, raw(&["class"], ClassMode::Raw)).unwrap_err();
    assert!(error.to_string().contains("\"cat\" in row 0"), "{error}");
    let error = from_table(&folder, raw(&["size"], ClassMode::Raw)).unwrap_err();
    assert!(
        error.to_string().contains("filename, class, age, weight"),
        "{error}"
    );
    let error = from_table(&folder, raw(&["class"], ClassMode::Binary)).unwrap_err();
    assert!(error.to_string().contains("3 classes"), "{error}");
}

#[test]
fn an_empty_cell_is_no_class() {
    let folder = folder(&["1.png", "2.png", "3.png"]);
    let open = |cells: [&str; 4], options: TableOptions| {
        // The last one has no file.
        let rows = cells
            .iter()
            .enumerate()
            .map(|(row, cell)| [format!("{}.png", row + 1), (*cell).to_owned()]);
        let table = Table::new(["filename", "class"], rows).unwrap();
        let options = TableOptions {
            target_size: (4, 4),
            shuffle: false,
            ..options
        };
        ImageDataGenerator::new().flow_from_dataframe(&table, Some(folder.path()), options)
    };
    let default = TableOptions::default;
    for class_mode in [ClassMode::Categorical, ClassMode::Sparse, ClassMode::Binary] {
        for empty in ["", " "] {
            let options = TableOptions {
                class_mode,
                ..default()
            };
            let error = open(["cat", empty, "dog", "dog"], options).unwrap_err();
            assert_eq!(
                error.to_string(),
                "setting up flow_from_dataframe: invalid y_col (expected a class in every row of the \
                 column class, found an empty cell in row 1)"
            );
        }
    }
    // Rows that are left out may have one.
    let flow = open(["cat", "dog", "cat", ""], default()).unwrap();
    assert_eq!(flow.class_names(), ["cat", "dog"]);
    let cats = TableOptions {
        classes: Some(vec!["cat".into()]),
        ..default()
    };
    let flow = open(["cat", "", "cat", "dog"], cats).unwrap();
    assert_eq!(names(&flow), ["1.png", "3.png"]);

    let several = || TableOptions {
        label_separator: Some('|'),
        ..default()
    };
    let flow = open(["cat|dog", "", "|dog|", "eel"], several()).unwrap();
    assert_eq!(flow.class_names(), ["cat", "dog"]);
    let targets = flow.batch(0, 0).unwrap().targets.unwrap();
    let targets = targets.first().as_slice::<f32>().unwrap();
    assert_eq!(targets, [1.0, 1.0, 0.0, 0.0, 0.0, 1.0]);
    let error = open(["", "|", " ", "eel"], several())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("the list of classes must not be empty"),
        "{error}"
    );
}

#[test]
fn a_table_of_many_classes_is_read_in_time() {
    const ROWS: usize = 200_000;
    let row = |row: usize| [format!("{row}.png"), format!("{:06}", ROWS - 1 - row)];
    let table = Table::new(["filename", "class"], (0..ROWS).map(row)).unwrap();
    let all = (0..ROWS).map(|class| format!("{class:06}")).collect();
    for classes in [None, Some(all)] {
        let options = TableOptions {
            target_size: (4, 4),
            class_mode: ClassMode::Sparse,
            classes,
            validate_filenames: false,
            ..TableOptions::default()
        };
        let begin = Instant::now();
        let flow = ImageDataGenerator::new().flow_from_dataframe(&table, None, options);
        // Each row compared with each class would take minutes.
        assert!(begin.elapsed() < Duration::from_secs(20));
        let expected: Vec<usize> = (0..ROWS).rev().collect();
        assert_eq!(flow.unwrap().classes().unwrap(), expected);
    }
}

#[test]
fn a_size_that_no_image_can_have_is_refused_by_name() {
    let folder = folder(&["a/1.png"]);
    for target_size in [(4, 0), (1 << 20, 1 << 20), (usize::MAX, 2)] {
        let options = TableOptions {
            target_size,
            ..TableOptions::default()
        };
        let error =
            ImageDataGenerator::new().flow_from_dataframe(&table(), Some(folder.path()), options);
        let error = error.unwrap_err().to_string();
        assert!(
            error.starts_with("setting up flow_from_dataframe: invalid target_size"),
            "{error}"
        );
    }
}

#[test]
fn classes_are_refused_where_the_targets_are_none() {
    let folder = folder(&["a/1.png", "a/2.png", "b/1.png"]);
    for (class_mode, name) in [
        (ClassMode::Input, "input"),
        (ClassMode::None, "none"),
        (ClassMode::Raw, "raw"),
        (ClassMode::MultiOutput, "multi_output"),
    ] {
        let options = TableOptions {
            y_col: vec!["age".into()],
            class_mode,
            classes: Some(vec!["cat".into()]),
            ..TableOptions::default()
        };
        let error = from_table(&folder, options).unwrap_err().to_string();
        assert_eq!(
            error,
            format!(
                "setting up flow_from_dataframe: invalid classes (expected none, or class mode \
                 categorical, binary or sparse, found {name})"
            )
        );
    }
}

#[test]
fn a_table_without_any_file_says_where_they_were_looked_for() {
    let other = tempfile::tempdir().unwrap();
    for class_mode in [ClassMode::Binary, ClassMode::Sparse, ClassMode::None] {
        let options = TableOptions {
            class_mode,
            ..TableOptions::default()
        };
        let error = from_table(&other, options).unwrap_err().to_string();
        let folder = other.path().display();
        assert_eq!(
            error,
            format!(
                "setting up flow_from_dataframe: invalid x_col (expected images in {folder}, found none \
                 in 4 rows, the first of them {})",
                other.path().join("a/1.png").display()
            )
        );
    }
    let rows: [[&str; 2]; 0] = [];
    let table = Table::new(["filename", "class"], rows).unwrap();
    let options = TableOptions {
        class_mode: ClassMode::Binary,
        ..TableOptions::default()
    };
    let error = ImageDataGenerator::new().flow_from_dataframe(&table, None, options);
    let error = error.unwrap_err().to_string();
    assert!(error.contains("the table must not be empty"), "{error}");
    let columns: [&str; 0] = [];
    let table = Table::new(columns, [columns; 0]).unwrap();
    let error = ImageDataGenerator::new()
        .flow_from_dataframe(&table, None, TableOptions::default())
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "setting up flow_from_dataframe: the list of the table's columns must not be empty (expected at \
         least 1, found 0)"
    );
}

#[test]
fn names_that_are_not_checked_fail_when_they_are_read() {
    let folder = folder(&["a/1.png", "a/2.png", "b/1.png"]);
    let trusting = TableOptions {
        validate_filenames: false,
        class_mode: ClassMode::None,
        batch_size: 1,
        ..TableOptions::default()
    };
    let flow = from_table(&folder, trusting).unwrap();
    assert_eq!((flow.len(), flow.dropped()), (4, 0));
    assert!(flow.batch(0, 1).unwrap().targets.is_none());
    let error = flow.batch(0, 2).unwrap_err().to_string();
    assert!(error.contains("missing.png"), "{error}");
}

#[cfg(unix)]
#[test]
fn what_is_not_wrong_with_a_file_itself_ends_the_training() {
    let folder = folder(&["a.png"]);
    // The system says of this name that it is too long, and not that there is no such file.
    let long = format!("{}.png", "b".repeat(300));
    let table = Table::new(["filename"], [["a.png"], ["none.png"], [&long], ["a.png"]]).unwrap();
    for on_broken_file in [OnBrokenFile::Skip, OnBrokenFile::Replace] {
        let options = TableOptions {
            validate_filenames: false,
            class_mode: ClassMode::None,
            target_size: (4, 4),
            shuffle: false,
            batch_size: 2,
            on_broken_file,
            ..TableOptions::default()
        };
        let flow =
            ImageDataGenerator::new().flow_from_dataframe(&table, Some(folder.path()), options);
        let flow = flow.unwrap();
        let error = flow.batch(0, 1).unwrap_err();
        assert!(
            matches!(&error, DataError::Io { path, .. } if path.ends_with(&long)),
            "{error}"
        );
        // Also where another one is looked for.
        let missing = flow.batch(0, 0);
        assert_eq!(missing.is_ok(), on_broken_file == OnBrokenFile::Skip);
    }
}

#[test]
fn csv_files_are_read_and_what_is_none_is_refused_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("table.csv");
    let read = |text: &[u8]| {
        fs::write(&path, text).unwrap();
        Table::from_csv(&path)
    };
    let table = read(b"filename,class\r\n\"a, b.png\",cat\n\"c\"\"d.png\",\n").unwrap();
    let rows: Vec<&[String]> = table.rows().collect();
    assert_eq!(rows, [["a, b.png", "cat"], ["c\"d.png", ""]]);
    let message = |text: &[u8]| {
        let error = read(text).unwrap_err().to_string();
        assert!(error.contains("table.csv"), "{error}");
        error
    };
    assert!(message(b"a,b\n1,2\n3\n").contains("1 cells instead of 2 in line 3"));
    assert!(message(b"a,b\n\xff,2\n").contains("line 2"));
    assert!(message(b"a,a\n1,2\n").contains("\"a\" twice"));
    for empty in [&b""[..], b"\n"] {
        assert!(
            message(empty)
                .contains("it has no columns (expected their names in the first line, found none)")
        );
    }
    let missing = Table::from_csv(folder.path().join("none.csv")).unwrap_err();
    assert!(missing.to_string().contains("none.csv"));
}
