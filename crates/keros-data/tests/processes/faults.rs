//! Worker processes that die, hang or fail, and what becomes of their batches.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use keros_data::{Array, Batch, DataError, Loader, LoaderOptions, Recipe, Sequence, worker};
use serde::{Deserialize, Serialize};

use crate::support::{options, values};
use crate::{Trials, trials};

/// A sequence whose batch (epoch, index) holds just these two numbers and the number of the process
/// that made it, and which does something bad in one place.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Faulty {
    pub(crate) len: usize,
    pub(crate) fault: Option<(u64, usize, Fault)>,
    /// The fault happens only while this file is not there; whoever it happens to makes it.
    pub(crate) once: Option<PathBuf>,
    pub(crate) sleep_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Fault {
    Error,
    Panic,
    Abort,
    Kill,
    OutOfMemory,
    Exit,
    Hang,
    Large,
}

impl Faulty {
    pub(crate) const NAME: &'static str = "faulty";

    pub(crate) fn with(epoch: u64, index: usize, fault: Fault) -> Self {
        Self {
            len: 4,
            fault: Some((epoch, index, fault)),
            ..Self::default()
        }
    }

    fn is_due(&self) -> bool {
        match &self.once {
            None => true,
            Some(path) => fs::File::create_new(path).is_ok(),
        }
    }
}

impl Sequence for Faulty {
    fn len(&self) -> usize {
        self.len
    }

    fn batch(&self, epoch: u64, index: usize) -> Result<Batch, DataError> {
        thread::sleep(Duration::from_millis(self.sleep_ms));
        if let Some((_, _, fault)) = self.fault.filter(|at| (at.0, at.1) == (epoch, index))
            && self.is_due()
        {
            worker::working_on(17, Some("pictures/odd.png".as_ref()));
            match fault {
                Fault::Error => return Err(DataError::source("the ink is out")),
                Fault::Panic => panic!("out of paper"),
                Fault::Abort => std::process::abort(),
                Fault::Exit => std::process::exit(3),
                Fault::Kill => kill_self(),
                Fault::OutOfMemory => exhaust_memory(),
                Fault::Hang => loop {
                    thread::sleep(Duration::from_secs(3600));
                },
                Fault::Large => {
                    let many = Array::from_vec(&[1, 1 << 20], vec![7_i64; 1 << 20])?;
                    return Ok(Batch::inputs_only(many));
                }
            }
        }
        let process = i64::from(std::process::id());
        let numbers = vec![epoch as i64, index as i64, process];
        Ok(Batch::inputs_only(Array::from_vec(&[1, 3], numbers)?).indices(vec![index]))
    }

    fn changes_on_epoch_end(&self) -> bool {
        false
    }

    fn recipe(&self) -> Result<Recipe<'_>, DataError> {
        Ok(Recipe::new(Self::NAME, self))
    }
}

fn kill_self() -> ! {
    use rustix::process::{Signal, getpid, kill_process};
    kill_process(getpid(), Signal::KILL).unwrap();
    unreachable!()
}

/// Allocates until the limit of this process is reached, as the kernel's killer would find it.
fn exhaust_memory() -> ! {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let limit = Some(1 << 30);
    let limit = Rlimit {
        current: limit,
        maximum: limit,
    };
    setrlimit(Resource::As, limit).unwrap();
    let mut hoard = Vec::new();
    loop {
        hoard.push(vec![1_u8; 1 << 26]);
    }
}

pub(crate) fn load(faulty: Faulty, options: LoaderOptions) -> Loader {
    let options = LoaderOptions {
        use_multiprocessing: true,
        ..options
    };
    Loader::from_sequence(Arc::new(faulty), options).unwrap()
}

/// The batches before the fault, then its message.
fn message(faulty: Faulty, options: LoaderOptions) -> String {
    let place = faulty.fault.map_or(0, |(_, index, _)| index);
    let mut loader = load(faulty, options);
    for index in 0..place {
        let loaded = loader.next().unwrap().unwrap();
        assert_eq!(values(&loaded)[..2], [0, index as i64]);
    }
    let message = loader.next().unwrap().unwrap_err().to_string();
    assert!(loader.next().is_none());
    message
}

fn a_batch_that_kills_two_processes_is_an_error_that_names_the_file() {
    for (fault, how) in [
        (Fault::Abort, "ended with signal: 6 (SIGABRT)"),
        (Fault::Kill, "ended with signal: 9 (SIGKILL)"),
        (Fault::Exit, "ended with exit status: 3"),
        (Fault::OutOfMemory, "ended with signal: 6 (SIGABRT)"),
    ] {
        for workers in [1, 2] {
            let found = message(Faulty::with(0, 2, fault), options! { workers });
            // The system says `(core dumped)` or not.
            let found = found.replace(" (core dumped)", "");
            let expected = format!(
                "preparing batch 2 of epoch 0: preparing data in a worker process: it {how}, twice, \
                 at sample 17, pictures/odd.png"
            );
            assert_eq!(found, expected, "{workers} workers");
        }
    }
}

fn a_batch_that_kills_one_process_is_made_by_the_next() {
    for fault in [
        Fault::Abort,
        Fault::Kill,
        Fault::Exit,
        Fault::OutOfMemory,
        Fault::Hang,
    ] {
        let folder = tempfile::tempdir().unwrap();
        let faulty = Faulty {
            once: Some(folder.path().join("happened")),
            ..Faulty::with(0, 2, fault)
        };
        let options = options! {
            workers: 2,
            worker_timeout: (fault == Fault::Hang).then_some(Duration::from_secs(2)),
            limit: Some(8),
        };
        let mut loader = load(faulty, options);
        let order: Vec<i64> = loader.by_ref().map(|l| values(&l.unwrap())[1]).collect();
        assert_eq!(order, [0, 1, 2, 3, 0, 1, 2, 3], "{fault:?}");
        assert_eq!(loader.stats().workers_replaced, 1, "{fault:?}");
    }
}

fn errors_and_panics_are_told_as_threads_tell_them() {
    for (fault, message_of_fault) in [
        (Fault::Error, "the ink is out"),
        (
            Fault::Panic,
            "preparing data: the source panicked, at sample 17, pictures/odd.png: out of paper",
        ),
    ] {
        for use_multiprocessing in [true, false] {
            let options = LoaderOptions {
                use_multiprocessing,
                ..options! { workers: 2 }
            };
            let faulty = Arc::new(Faulty::with(0, 3, fault));
            let mut loader = Loader::from_sequence(faulty, options).unwrap();
            let error = loader.find_map(Result::err).unwrap();
            assert_eq!(
                error.to_string(),
                format!("preparing batch 3 of epoch 0: {message_of_fault}")
            );
            assert!(loader.next().is_none());
        }
    }
    let options = options! { use_multiprocessing: true };
    let faulty = Arc::new(Faulty::with(0, 0, Fault::Error));
    let mut loader = Loader::from_sequence(faulty, options).unwrap();
    let Some(Err(DataError::Batch { source, .. })) = loader.next() else {
        panic!("expected the error of a batch");
    };
    let DataError::InWorker { sample, path, .. } = *source else {
        panic!("expected an error in a worker, found {source:?}");
    };
    assert_eq!((sample, path), (Some(17), Some("pictures/odd.png".into())));
}

fn a_process_that_hangs_is_ended_after_its_time() {
    let begin = Instant::now();
    let options = options! { worker_timeout: Some(Duration::from_millis(700)) };
    let found = message(Faulty::with(0, 1, Fault::Hang), options);
    assert_eq!(
        found,
        "preparing batch 1 of epoch 0: preparing data in a worker process: it did not answer within \
         700ms, twice, at sample 17, pictures/odd.png"
    );
    assert!(begin.elapsed() < Duration::from_secs(60));
}

fn a_process_may_have_more_time_than_a_clock_can_tell() {
    let faulty = Faulty {
        len: 4,
        ..Faulty::default()
    };
    let options = options! { worker_timeout: Some(Duration::MAX), limit: Some(4) };
    let order: Vec<i64> = load(faulty, options)
        .map(|l| values(&l.unwrap())[1])
        .collect();
    assert_eq!(order, [0, 1, 2, 3]);
}

fn a_loader_is_dropped_while_its_processes_hang() {
    let mut loader = load(Faulty::with(0, 1, Fault::Hang), options! { workers: 2 });
    loader.next().unwrap().unwrap();
    let begin = Instant::now();
    drop(loader);
    assert!(begin.elapsed() < Duration::from_secs(4));
}

fn batches_may_grow() {
    let loader = load(
        Faulty::with(0, 2, Fault::Large),
        options! { limit: Some(6) },
    );
    let sizes: Vec<usize> = loader.map(|l| values(&l.unwrap()).len()).collect();
    assert_eq!(sizes, [3, 3, 1 << 20, 3, 3, 3]);
}

fn the_work_is_done_in_other_processes_as_many_as_were_asked_for() {
    let faulty = Faulty {
        len: 60,
        sleep_ms: 5,
        ..Faulty::default()
    };
    let loader = load(faulty, options! { workers: 3, limit: Some(60) });
    let mut makers: Vec<i64> = loader.map(|l| values(&l.unwrap())[2]).collect();
    makers.sort_unstable();
    makers.dedup();
    assert!(!makers.contains(&i64::from(std::process::id())));
    assert_eq!(makers.len(), 3);
}

fn the_next_epoch_is_prepared_before_this_one_ends() {
    let options = options! { workers: 2, max_queue_size: 6, limit: Some(40) };
    let faulty = Faulty {
        len: 2,
        ..Faulty::default()
    };
    let loader = load(faulty, options);
    crate::support::eventually("batches of three epochs", || loader.stats().queue_fill == 6);
}

pub(crate) fn trials() -> Trials {
    trials![
        a_batch_that_kills_two_processes_is_an_error_that_names_the_file,
        a_batch_that_kills_one_process_is_made_by_the_next,
        errors_and_panics_are_told_as_threads_tell_them,
        a_process_that_hangs_is_ended_after_its_time,
        a_process_may_have_more_time_than_a_clock_can_tell,
        a_loader_is_dropped_while_its_processes_hang,
        batches_may_grow,
        the_work_is_done_in_other_processes_as_many_as_were_asked_for,
        the_next_epoch_is_prepared_before_this_one_ends,
    ]
}
