//! Memory does not grow with the data.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;

use keros_data::{DirectoryOptions, ImageDataGenerator, Loader};

use crate::support::options;
use crate::{Trials, trials};

pub(crate) const ROLE: &str = "reads";
const FOLDER: &str = "KEROS_TEST_FOLDER";

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
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    println!("{}", peak.unwrap().trim().trim_end_matches("kB").trim());
    ExitCode::SUCCESS
}

fn peak_kb(folder: &Path) -> f64 {
    let output = Command::new(std::env::current_exe().unwrap())
        .env(crate::deaths::ROLE, ROLE)
        .env(FOLDER, folder)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).unwrap();
    text.trim().parse().unwrap()
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
    let [small, large] = ["small", "large"].map(|name| peak_kb(&folder.path().join(name)));
    // The names of the files are all that grows. The rest is for arenas, which differ from run to run.
    assert!(large < 1.2 * small, "{small} kB and {large} kB");
}

pub(crate) fn trials() -> Trials {
    trials![a_folder_ten_times_as_large_takes_no_more_memory]
}
