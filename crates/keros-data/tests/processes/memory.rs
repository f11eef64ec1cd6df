//! Memory does not grow with the data.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use keros_data::{
    Array, ArraySequence, Batch, DataError, DirectoryOptions, ImageDataGenerator, Loader, Recipe,
    Recycling, Sequence, SequenceExt, Shuffle,
};

use crate::support::{eventually, options};
use crate::{Trials, trials};

pub(crate) const ROLE: &str = "reads";
const FOLDER: &str = "KEROS_TEST_FOLDER";
pub(crate) const ROLE_OF_CUTTER: &str = "cuts";

/// Pictures that are read, of either folder: the allocator's arenas grow with the first thousands.
const READ: u64 = 4000;

/// The process that is measured: reads a folder and prints the most memory it ever had, in kB.
#[allow(clippy::print_stdout, reason = "it tells the test that started it")]
pub(crate) fn run() -> ExitCode {
    let options = DirectoryOptions {
        target_size: (96, 96),
        batch_size: 8,
        ..DirectoryOptions::default()
    };
    let folder = std::env::var_os(FOLDER).unwrap();
    let generator = ImageDataGenerator::new().rotation_range(10.0);
    let flow = Arc::new(generator.flow_from_directory(folder, options).unwrap());
    let loader = options! { workers: 2, max_queue_size: 3, limit: Some(READ / 8) };
    let loader = Loader::from_sequence(flow, loader).unwrap();
    let delivered: usize = loader.map(|loaded| loaded.unwrap().batch.len()).sum();
    assert_eq!(delivered as u64, READ);
    println!("{}", own_peak());
    ExitCode::SUCCESS
}

/// Another one that is measured: takes batches of which a function keeps a third, as a training does, and prints the
/// most memory it had after the first ones, each taken from a queue that was full, and after all.
#[allow(clippy::print_stdout, reason = "it tells the test that started it")]
pub(crate) fn run_cutter() -> ExitCode {
    const COLUMNS: usize = 3 << 15;
    const FIRST: usize = 200;
    let x = Array::from_vec(&[16, COLUMNS], vec![1.0_f32; 16 * COLUMNS]).unwrap();
    let sequence = ArraySequence::new(x, Array::from_vec(&[16], vec![0_i64; 16]).unwrap());
    let third = |batch: Batch| {
        let rows = batch.inputs.first().as_slice::<f32>().unwrap();
        let kept = rows.chunks(COLUMNS).flat_map(|row| &row[..COLUMNS / 3]);
        let kept = Array::from_vec(&[batch.len(), COLUMNS / 3], kept.copied().collect())?;
        Ok(Batch::inputs_only(kept))
    };
    let sequence = Arc::new(sequence.unwrap().batch_size(4).unwrap().map(third));
    let recycling = Recycling::start();
    let options = options! { workers: 2, max_queue_size: 4, limit: Some(2000) };
    let mut loader = Loader::from_sequence(sequence, options).unwrap();
    for taken in 0.. {
        if taken == FIRST {
            println!("{}", own_peak());
        }
        if taken < FIRST {
            eventually("a full queue", || loader.stats().queue_fill == 4);
        }
        let Some(loaded) = loader.next() else {
            break;
        };
        recycling.give(loaded.unwrap().batch);
    }
    println!("{}", own_peak());
    ExitCode::SUCCESS
}

/// The most memory that this process had, in kB.
fn own_peak() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.unwrap()
        .trim()
        .trim_end_matches("kB")
        .trim()
        .to_owned()
}

/// What a process of this role prints.
fn peaks_kb(role: &str, folder: &Path) -> Vec<f64> {
    let output = Command::new(std::env::current_exe().unwrap())
        .env(crate::deaths::ROLE, role)
        .env(FOLDER, folder)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| line.parse().unwrap()).collect()
}

fn a_folder_ten_times_as_large_takes_no_more_memory() {
    let folder = tempfile::tempdir().unwrap();
    let pixels = [b"P6 96 96 255\n".as_slice(), &[7; 96 * 96 * 3]].concat();
    for (name, images) in [("small", 400), ("large", 4000)] {
        let class = folder.path().join(name).join("class");
        fs::create_dir_all(&class).unwrap();
        for image in 0..images {
            fs::write(class.join(format!("{image}.ppm")), &pixels).unwrap();
        }
    }
    let [small, large] =
        ["small", "large"].map(|name| peaks_kb(ROLE, &folder.path().join(name))[0]);
    // The names of the files are all that grows. The rest is for arenas, which differ from run to run.
    assert!(large < 1.2 * small, "{small} kB and {large} kB");
}

fn batches_that_a_function_makes_smaller_take_no_more_memory_in_the_long_run() {
    let peaks = peaks_kb(ROLE_OF_CUTTER, Path::new(""));
    let [early, late] = peaks[..] else {
        panic!("expected two numbers, found {peaks:?}");
    };
    assert!(late < 1.3 * early, "{early} kB and {late} kB");
}

/// Large batches that tell whether they are in the memory of the one before.
pub(crate) struct Again {
    source: ArraySequence,
    last: AtomicUsize,
}

impl Again {
    pub(crate) const NAME: &'static str = "again";
    const BYTES: usize = 1 << 20;

    pub(crate) fn new() -> Result<Self, DataError> {
        let row = Array::from_vec(&[1, Self::BYTES], vec![1_u8; Self::BYTES])?;
        Ok(Self {
            source: ArraySequence::inputs_only(row)?.shuffle(Shuffle::Samples),
            last: AtomicUsize::new(0),
        })
    }
}

impl Sequence for Again {
    fn len(&self) -> usize {
        1
    }

    fn batch(&self, epoch: u64, index: usize) -> Result<Batch, DataError> {
        // Memory that was freed, and not kept, is taken by this.
        std::mem::forget(vec![2_u8; Self::BYTES]);
        let batch = self.source.batch(epoch, index)?;
        let values = batch.inputs.first().as_slice::<u8>().unwrap();
        let place = values.as_ptr().addr();
        let again = self.last.swap(place, Ordering::Relaxed) == place;
        let targets = Array::from_vec(&[1], vec![i64::from(again)])?.into();
        Ok(Batch {
            targets: Some(targets),
            ..batch
        })
    }

    fn changes_on_epoch_end(&self) -> bool {
        false
    }

    fn recipe(&self) -> Result<Recipe<'_>, DataError> {
        Ok(Recipe::new(Self::NAME, &()))
    }
}

fn memory_serves_again_in_a_worker_process() {
    let options = options! { use_multiprocessing: true, limit: Some(5) };
    let loader = Loader::from_sequence(Arc::new(Again::new().unwrap()), options).unwrap();
    let again = loader.map(|loaded| {
        let targets = loaded.unwrap().batch.targets.unwrap();
        targets.first().as_slice::<i64>().unwrap()[0]
    });
    assert_eq!(again.collect::<Vec<_>>(), [0, 1, 1, 1, 1]);
}

pub(crate) fn trials() -> Trials {
    trials![
        memory_serves_again_in_a_worker_process,
        a_folder_ten_times_as_large_takes_no_more_memory,
        batches_that_a_function_makes_smaller_take_no_more_memory_in_the_long_run,
    ]
}
