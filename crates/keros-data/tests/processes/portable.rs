//! What can be made again in a worker process, and what is refused.

use std::fs;
use std::sync::Arc;

use keros_data::{
    Array, ArraySequence, Batch, DataError, DirectoryOptions, FlowOptions, ImageDataGenerator,
    Loader, OnBrokenFile, Recipe, Sequence, Subset, Table, TableOptions,
};

use crate::support::{Probe, batch, options};
use crate::{Trials, trials};

fn refusal(sequence: impl Sequence + 'static) -> String {
    let options = options! { use_multiprocessing: true };
    Loader::from_sequence(Arc::new(sequence), options)
        .unwrap_err()
        .to_string()
}

fn sequences_that_cannot_be_described_are_refused_at_once() {
    assert_eq!(
        refusal(Probe::new(3)),
        "starting worker processes: processes::support::Probe cannot be made again in one: it has no \
         `recipe`"
    );

    struct Unknown;
    impl Sequence for Unknown {
        fn len(&self) -> usize {
            1
        }
        fn batch(&self, _: u64, _: usize) -> Result<Batch, DataError> {
            Ok(batch(&[1]))
        }
        fn recipe(&self) -> Result<Recipe<'_>, DataError> {
            Ok(Recipe::new("unknown", &()))
        }
    }
    assert_eq!(
        refusal(Unknown),
        "starting worker processes: the program's worker::Registry has no sequence of the name \
         \"unknown\" (expected: it is added before serve_if_asked)"
    );

    let images = Array::from_vec(&[2, 2, 2, 1], vec![0_u8; 8]).unwrap();
    let generator = ImageDataGenerator::new().preprocessing_function(|_, _| {});
    let flow = generator.flow(images, None, FlowOptions::default());
    assert_eq!(
        refusal(flow.unwrap()),
        "starting worker processes: an ImageFlow cannot be made again in one: its \
         preprocessing_function is code, which cannot be described"
    );
}

fn generators_are_refused() {
    let options = options! { use_multiprocessing: true };
    let generator = std::iter::empty::<Result<Batch, DataError>>();
    let refused = Loader::from_generator(Box::new(generator), options).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "setting up a loader: invalid use_multiprocessing (expected false for a generator, which is a \
         state of this process (a Sequence can be made again in another one), found true)"
    );
}

/// Both kinds of workers deliver the same.
fn same(sequence: impl Sequence + 'static) -> Vec<Batch> {
    let sequence: Arc<dyn Sequence> = Arc::new(sequence);
    let limit = Some(2 * sequence.len() as u64);
    let [threads, processes] = [false, true].map(|use_multiprocessing| {
        let options = options! { workers: 2, use_multiprocessing, limit };
        let loader = Loader::from_sequence(Arc::clone(&sequence), options).unwrap();
        loader
            .map(|loaded| loaded.unwrap().batch)
            .collect::<Vec<_>>()
    });
    assert_eq!(threads, processes);
    processes
}

fn arrays_of_every_kind_arrive_as_they_are() {
    let column = |values: [f32; 5]| Array::from_vec(&[5], values.to_vec()).unwrap();
    let odd = column([f32::NAN, f32::INFINITY, -0.0, f32::MIN_POSITIVE, 1.5]);
    let named = keros_data::Arrays::from_pairs([
        ("a", Array::from_vec(&[5, 2], (0..10_u8).collect()).unwrap()),
        (
            "b",
            Array::from_vec(&[5, 1, 1], (0..5_i64).collect()).unwrap(),
        ),
    ]);
    let sequence = ArraySequence::new(named.unwrap(), column([1.0, 2.0, 3.0, 4.0, 5.0])).unwrap();
    let sequence = sequence
        .sample_weight(column([0.5; 5]))
        .unwrap()
        .batch_size(2)
        .unwrap();
    let batches = same(sequence);
    assert_eq!(batches[0].inputs.names().collect::<Vec<_>>(), ["a", "b"]);
    assert!(
        batches
            .iter()
            .all(|batch| batch.indices.len() == batch.len())
    );

    // Compared by their bits, because a NaN is not equal to itself.
    let sequence = ArraySequence::inputs_only(odd).unwrap();
    let options = options! { use_multiprocessing: true, limit: Some(1) };
    let mut loader = Loader::from_sequence(Arc::new(sequence), options).unwrap();
    let batch = loader.next().unwrap().unwrap().batch;
    let bits: Vec<u32> = batch
        .inputs
        .first()
        .as_slice::<f32>()
        .unwrap()
        .iter()
        .map(|v| v.to_bits())
        .collect();
    let expected = [f32::NAN, f32::INFINITY, -0.0, f32::MIN_POSITIVE, 1.5].map(f32::to_bits);
    assert_eq!(bits, expected);
}

fn pixels(seed: usize, len: usize) -> Vec<u8> {
    (0..len)
        .map(|i| ((i * 37 + seed * 101) % 256) as u8)
        .collect()
}

fn flows_of_images_in_memory_are_the_same() {
    let x = Array::from_vec(&[11, 8, 6, 3], pixels(1, 11 * 8 * 6 * 3)).unwrap();
    let y = Array::from_vec(&[11], (0..11_i64).map(|i| i % 2).collect()).unwrap();
    let mut generator = ImageDataGenerator::new()
        .rotation_range(20.0)
        .width_shift_range(vec![0.1, 0.2])
        .brightness_range(0.5, 1.5)
        .channel_shift_range(10.0)
        .cval(0.5)
        .featurewise_center(true)
        .featurewise_std_normalization(true)
        .horizontal_flip(true)
        .validation_split(0.4);
    generator.fit(&x, keros_data::FitImages::default()).unwrap();
    let options = FlowOptions {
        batch_size: 4,
        seed: 3,
        subset: Some(Subset::Training),
        ..FlowOptions::default()
    };
    let batches = same(generator.flow(x, Some(y), options).unwrap());
    assert_eq!(batches.len(), 4);
}

/// A binary pixmap.
fn ppm(seed: usize) -> Vec<u8> {
    [b"P6 4 5 255\n".as_slice(), &pixels(seed, 4 * 5 * 3)].concat()
}

fn flows_of_files_are_the_same_and_may_have_any_name() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let folder = tempfile::tempdir().unwrap();
    for class in ["cat", "dog"] {
        fs::create_dir(folder.path().join(class)).unwrap();
        for i in 0..5 {
            fs::write(folder.path().join(class).join(format!("{i}.ppm")), ppm(i)).unwrap();
        }
    }
    let name = OsStr::from_bytes(b"no\xffutf8.ppm");
    fs::write(folder.path().join("dog").join(name), ppm(9)).unwrap();
    let generator = ImageDataGenerator::new()
        .zoom_range(0.2)
        .rescale(1.0 / 255.0);
    let options = DirectoryOptions {
        target_size: (6, 6),
        batch_size: 3,
        ..DirectoryOptions::default()
    };
    let flow = generator
        .flow_from_directory(folder.path(), options)
        .unwrap();
    assert_eq!(same(flow).len(), 8);

    let table = Table::new(
        ["filename", "class"],
        [["cat/0.ppm", "1.5"], ["dog/1.ppm", "2.5"]],
    );
    let options = TableOptions {
        target_size: (6, 6),
        class_mode: keros_data::ClassMode::Raw,
        ..TableOptions::default()
    };
    let flow = generator.flow_from_dataframe(&table.unwrap(), Some(folder.path()), options);
    assert_eq!(same(flow.unwrap()).len(), 2);
}

fn errors_of_files_are_the_same() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("cat")).unwrap();
    fs::write(folder.path().join("cat/broken.png"), "no image").unwrap();
    let [threads, processes] = [false, true].map(|use_multiprocessing| {
        let options = DirectoryOptions::default();
        let flow = ImageDataGenerator::new().flow_from_directory(folder.path(), options);
        let options = options! { use_multiprocessing };
        let mut loader = Loader::from_sequence(Arc::new(flow.unwrap()), options).unwrap();
        loader.next().unwrap().unwrap_err().to_string()
    });
    assert_eq!(threads, processes);
    assert!(processes.contains("broken.png"), "{processes}");
}

fn files_that_are_skipped_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("cat")).unwrap();
    for i in 0..6 {
        let bytes = if i % 3 == 1 { Vec::new() } else { ppm(i) };
        fs::write(folder.path().join(format!("cat/{i}.ppm")), bytes).unwrap();
    }
    let options = DirectoryOptions {
        batch_size: 2,
        on_broken_file: OnBrokenFile::Skip,
        ..DirectoryOptions::default()
    };
    let flow = ImageDataGenerator::new().flow_from_directory(folder.path(), options);
    let options = options! { workers: 2, use_multiprocessing: true, limit: Some(6) };
    let mut loader = Loader::from_sequence(Arc::new(flow.unwrap()), options).unwrap();
    assert!(loader.by_ref().all(|loaded| loaded.is_ok()));
    assert_eq!(loader.stats().broken_files, 4);
}

fn without_workers_there_are_no_processes() {
    let options = options! { workers: 0, use_multiprocessing: true, limit: Some(2) };
    let loader = Loader::from_sequence(Arc::new(Probe::new(3)), options).unwrap();
    assert_eq!(loader.count(), 2);
}

pub(crate) fn trials() -> Trials {
    trials![
        sequences_that_cannot_be_described_are_refused_at_once,
        generators_are_refused,
        arrays_of_every_kind_arrive_as_they_are,
        flows_of_images_in_memory_are_the_same,
        flows_of_files_are_the_same_and_may_have_any_name,
        errors_of_files_are_the_same,
        files_that_are_skipped_are_counted,
        without_workers_there_are_no_processes,
    ]
}
