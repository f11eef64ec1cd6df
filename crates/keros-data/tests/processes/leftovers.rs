//! Loaders of every kind, ended at random: nothing is left of them.
//!
//! Runs in a process of its own, because the threads and files of other tests would be counted.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Duration;

use keros_data::rng::{Purpose, below, stream};
use keros_data::{DataError, Loader, LoaderOptions, Sequence};

use crate::faults::{Fault, Faulty};
use crate::support::{batch, eventually, options};
use crate::{Trials, registry, trials};

pub(crate) const ROLE: &str = "leftovers";
const SCHEDULES: u64 = 1000;

/// What this process has.
#[derive(Debug, PartialEq)]
struct Possessions {
    threads: usize,
    files: usize,
    children: String,
    maps: usize,
    temporary: BTreeSet<std::ffi::OsString>,
}

impl Possessions {
    fn now() -> Self {
        let count = |folder: &str| fs::read_dir(folder).unwrap().count();
        let children = fs::read_dir("/proc/self/task").unwrap().map(|task| {
            let path = task.unwrap().path().join("children");
            fs::read_to_string(path).unwrap_or_default()
        });
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let ours = |name: &std::ffi::OsString| name.to_string_lossy().starts_with("keros-");
        let folders = ["/dev/shm".into(), std::env::temp_dir()];
        let names = folders
            .into_iter()
            .filter_map(|folder| fs::read_dir(folder).ok());
        Self {
            threads: count("/proc/self/task"),
            files: count("/proc/self/fd"),
            children: children.collect(),
            maps: maps
                .lines()
                .filter(|line| line.contains("memfd:keros"))
                .count(),
            temporary: names
                .flatten()
                .map(|entry| entry.unwrap().file_name())
                .filter(ours)
                .collect(),
        }
    }
}

fn schedule(number: u64) {
    let mut rng = stream(11, Purpose::Custom, 0, number);
    let mut draw = |limit: u64| below(&mut rng, limit);
    let fault = match draw(4) {
        0 => Some((
            0,
            draw(6) as usize,
            match draw(4) {
                0 => Fault::Error,
                1 => Fault::Panic,
                2 => Fault::Kill,
                _ => Fault::Abort,
            },
        )),
        _ => None,
    };
    // Only a process may be killed.
    let kills = fault.is_some_and(|(_, _, fault)| matches!(fault, Fault::Kill | Fault::Abort));
    let options = LoaderOptions {
        use_multiprocessing: kills || draw(8) == 0,
        ..options! {
            workers: (kills as u64).max(draw(5)) as usize,
            max_queue_size: 1 + draw(8) as usize,
            max_queue_bytes: (draw(3) == 0).then_some(draw(100) as usize),
            limit: (draw(3) == 0).then_some(draw(12)),
        }
    };
    let taken = draw(10) as usize;
    let results: Vec<Result<_, DataError>> = if draw(4) == 0 && !options.use_multiprocessing {
        let end = draw(12) as i64;
        let generator = (0..end).map(|number| Ok(batch(&[number])));
        Loader::from_generator(Box::new(generator), options)
            .unwrap()
            .take(taken)
            .collect()
    } else {
        let faulty = Faulty {
            len: 6,
            fault,
            sleep_ms: draw(2),
            ..Faulty::default()
        };
        Loader::from_sequence(Arc::new(faulty) as Arc<dyn Sequence>, options)
            .unwrap()
            .take(taken)
            .collect()
    };
    let failures = results.iter().filter(|result| result.is_err()).count();
    assert!(
        failures <= usize::from(fault.is_some()),
        "schedule {number}"
    );
}

/// The process of its own.
pub(crate) fn run() -> ExitCode {
    registry().serve_if_asked();
    std::panic::set_hook(Box::new(|_| {}));
    let before = Possessions::now();
    for number in 0..SCHEDULES {
        schedule(number);
    }
    // A thread that is joined may be listed for a moment.
    eventually("the end of the last thread", || {
        Possessions::now().threads == before.threads
    });
    let after = Possessions::now();
    match before == after {
        true => ExitCode::SUCCESS,
        false => panic!("before {before:?}, after {after:?}"),
    }
}

fn a_thousand_random_schedules_leave_nothing_behind() {
    let output = Command::new(std::env::current_exe().unwrap())
        .env(crate::deaths::ROLE, ROLE)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn a_thread_that_never_answers_does_not_hold_its_loader() {
    let (release, blocked) = std::sync::mpsc::channel::<()>();
    let (enter, entered) = std::sync::mpsc::channel();
    let generator = std::iter::from_fn(move || {
        enter.send(()).unwrap();
        blocked.recv().is_ok().then(|| Ok(batch(&[1])))
    });
    let options = options! { join_timeout: Duration::from_millis(50) };
    let loader = Loader::from_generator(Box::new(generator), options).unwrap();
    entered.recv().unwrap();
    // Returns although the generator is still blocked, which the sender shows by being there.
    drop(loader);
    drop(release);
}

pub(crate) fn trials() -> Trials {
    trials![
        a_thousand_random_schedules_leave_nothing_behind,
        a_thread_that_never_answers_does_not_hold_its_loader,
    ]
}
