//! The developer's tool of keros: `cargo xtask demo`, `test`, `standalone`, `fault`, `fuzz`, `miri`, `cuda-check`, `bench`,
//! `typos`, `deny`, `features`, `semver`, `release` and `plugin`.
//!
//! This file turns an outcome into what the shell sees: help on standard output, one sentence on standard error, and
//! an exit code (0 done, 1 failed, 2 asked wrongly; `demo`, `fuzz`, `bench` and `plugin check` hand on the code of the
//! program they run).
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool speaks to the terminal"
)]

mod audit;
mod bench;
mod cargo;
mod cli;
mod cuda_check;
mod demo;
#[cfg(test)]
mod documented;
mod fault;
mod fuzz;
mod help;
mod miri;
mod plugin;
mod plugin_new;
mod release;
mod standalone;
mod test;
mod tool;

use std::process::ExitCode;

use cli::{Misuse, Task};

fn main() -> ExitCode {
    let task = cli::parse(std::env::args_os().skip(1)).map_err(anyhow::Error::from);
    match task.and_then(run) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            match error.downcast_ref::<Misuse>() {
                Some(misuse) => {
                    eprintln!("\n{}", misuse.usage());
                    ExitCode::from(2)
                }
                None => ExitCode::FAILURE,
            }
        }
    }
}

fn run(task: Task) -> anyhow::Result<ExitCode> {
    match task {
        Task::Help(text) => {
            print!("{text}");
            Ok(ExitCode::SUCCESS)
        }
        Task::Demo { args } => demo::run(&args),
        Task::Fault => fault::run().map(|()| ExitCode::SUCCESS),
        Task::Fuzz { target, runs, args } => fuzz::run(target.as_deref(), runs, &args),
        Task::CudaCheck { emulate } => cuda_check::run(emulate).map(|()| ExitCode::SUCCESS),
        Task::Miri => miri::run().map(|()| ExitCode::SUCCESS),
        Task::Typos => audit::typos().map(|()| ExitCode::SUCCESS),
        Task::Deny { advisories } => audit::deny(advisories).map(|()| ExitCode::SUCCESS),
        Task::Features { package } => {
            audit::features(package.as_deref()).map(|()| ExitCode::SUCCESS)
        }
        Task::Semver { baseline, args } => {
            audit::semver(baseline.as_deref(), &args).map(|()| ExitCode::SUCCESS)
        }
        Task::Test => test::run().map(|()| ExitCode::SUCCESS),
        Task::Standalone => standalone::run().map(|()| ExitCode::SUCCESS),
        Task::Release => release::dry_run().map(|()| ExitCode::SUCCESS),
        Task::PluginCheck { args } => plugin::check(&args),
        Task::PluginNew(plugin) => plugin_new::run(&plugin).map(|()| ExitCode::SUCCESS),
        Task::BenchChart { name } => bench::draw(&name).map(|()| ExitCode::SUCCESS),
        Task::Bench { suite, args } => bench::run(suite.as_deref(), &args),
    }
}
