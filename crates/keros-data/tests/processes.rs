//! Tests of worker processes, and of what any worker leaves behind. The workers are this program,
//! started again, so it has a `main` of its own.

// clippy.toml covers `#[test]` functions only, not their helpers.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "processes/deaths.rs"]
mod deaths;
#[path = "processes/faults.rs"]
mod faults;
#[path = "processes/leftovers.rs"]
mod leftovers;
#[path = "processes/memory.rs"]
mod memory;
#[path = "processes/portable.rs"]
mod portable;
#[path = "processes/streams.rs"]
mod streams;
#[path = "it/support.rs"]
#[allow(dead_code, reason = "shared with the tests of threads")]
mod support;

use std::process::ExitCode;

use keros_data::worker;
use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    // Programs of other kinds, for the tests that need one.
    if let Some(code) = deaths::other_program() {
        return code;
    }
    registry().serve_if_asked();
    let trials = [
        streams::trials(),
        portable::trials(),
        faults::trials(),
        deaths::trials(),
        leftovers::trials(),
        memory::trials(),
    ];
    let arguments = Arguments::from_args();
    libtest_mimic::run(&arguments, trials.into_iter().flatten().collect()).exit_code()
}

fn registry() -> worker::Registry {
    worker::Registry::new()
        .with(faults::Faulty::NAME, |faulty: faults::Faulty| Ok(faulty))
        .with(memory::Again::NAME, |()| memory::Again::new())
        .with(streams::Growing::NAME, |length| {
            Ok(streams::Growing::new(length))
        })
}

/// A trial for each function.
macro_rules! trials {
    ($($test:ident),* $(,)?) => {
        vec![$(libtest_mimic::Trial::test(
            concat!(module_path!(), "::", stringify!($test)),
            || { $test(); Ok(()) },
        )),*]
    };
}
pub(crate) use trials;

type Trials = Vec<Trial>;
