//! Programs that are killed, or that cannot be workers: nothing is left, nothing hangs.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use keros_data::{Loader, Sequence};

use crate::faults::{Fault, Faulty};
use crate::support::{eventually, options, values};
use crate::{Trials, registry, trials};

/// What `main` becomes.
pub(crate) const ROLE: &str = "KEROS_TEST_ROLE";

fn program(role: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .env(ROLE, role)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The program of the role in the environment, which workers inherit.
#[allow(clippy::print_stdout, reason = "it tells the test that started it")]
pub(crate) fn other_program() -> Option<ExitCode> {
    let role = std::env::var(ROLE).ok()?;
    let is_worker = std::env::args().count() > 1;
    match role.as_str() {
        // Does not serve.
        "deaf" => println!("{}", start(Faulty::with(0, 0, Fault::Error)).unwrap_err()),
        // Looks at its arguments before it serves, and does not know the one of workers.
        "strict" if is_worker => return Some(ExitCode::from(2)),
        "strict" => {
            registry().serve_if_asked();
            let mut loader = start(Faulty::with(0, 0, Fault::Error)).unwrap();
            println!("{}", loader.next().unwrap().unwrap_err());
        }
        crate::leftovers::ROLE if !is_worker => return Some(crate::leftovers::run()),
        crate::memory::ROLE => return Some(crate::memory::run()),
        crate::memory::ROLE_OF_CUTTER => return Some(crate::memory::run_cutter()),
        // Works, prints the processes it started, and waits to be ended.
        _ if is_worker => registry().serve_if_asked(),
        role => {
            registry().serve_if_asked();
            let mut loader = start(Faulty {
                len: 1000,
                fault: Some((0, 6, Fault::Hang)),
                ..Faulty::default()
            })
            .unwrap();
            let first = loader.by_ref().take(6).map(|l| values(&l.unwrap())[2]);
            for process in first {
                println!("{process}");
            }
            println!("ready");
            let mut line = String::new();
            std::io::stdin().read_line(&mut line).unwrap();
            match role {
                "panics" => panic!("with a loader in its hands"),
                "aborts" => std::process::abort(),
                "exits" => std::process::exit(0),
                _ => std::thread::sleep(Duration::from_secs(600)),
            }
        }
    }
    Some(ExitCode::SUCCESS)
}

fn start(faulty: Faulty) -> Result<Loader, keros_data::DataError> {
    let options = options! { workers: 2, use_multiprocessing: true };
    Loader::from_sequence(Arc::new(faulty) as Arc<dyn Sequence>, options)
}

fn output(role: &str) -> String {
    let mut program = program(role);
    let mut text = String::new();
    let output = program.stdout.as_mut().unwrap();
    output.read_to_string(&mut text).unwrap();
    program.wait().unwrap();
    text.trim_end().to_owned()
}

fn a_program_that_does_not_serve_is_told_so_at_once() {
    let begin = Instant::now();
    assert_eq!(
        output("deaf"),
        "starting worker processes: this program does not serve as a worker (expected: it calls \
         keros_data::worker::serve_if_asked first thing in main)"
    );
    assert!(begin.elapsed() < Duration::from_secs(10));
}

fn a_program_that_serves_too_late_is_told_so() {
    let begin = Instant::now();
    assert_eq!(
        output("strict"),
        "preparing batch 0 of epoch 0: starting a worker process: the program, started again, ended \
         with exit status: 2 (expected: it calls keros_data::worker::serve_if_asked first thing in \
         main)"
    );
    assert!(begin.elapsed() < Duration::from_secs(20));
}

/// Whether the process is there and no zombie.
fn is_alive(process: &str) -> bool {
    let status = std::fs::read_to_string(Path::new("/proc").join(process).join("stat"));
    status.is_ok_and(|status| !status.contains(") Z "))
}

fn however_a_program_ends_its_workers_do_too() {
    for role in ["killed", "panics", "aborts", "exits"] {
        let mut program = program(role);
        let mut lines = BufReader::new(program.stdout.take().unwrap()).lines();
        let mut workers: Vec<String> = lines
            .by_ref()
            .map(Result::unwrap)
            .take_while(|line| line != "ready")
            .collect();
        workers.sort_unstable();
        workers.dedup();
        assert!(!workers.is_empty() && workers.iter().all(|worker| is_alive(worker)));
        match role {
            "killed" => program.kill().unwrap(),
            // Its last wait ends.
            _ => drop(program.stdin.take()),
        }
        program.wait().unwrap();
        eventually(role, || !workers.iter().any(|worker| is_alive(worker)));
    }
}

pub(crate) fn trials() -> Trials {
    trials![
        a_program_that_does_not_serve_is_told_so_at_once,
        a_program_that_serves_too_late_is_told_so,
        however_a_program_ends_its_workers_do_too,
    ]
}
