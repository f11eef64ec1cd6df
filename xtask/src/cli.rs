//! The command line: which task is asked for, what its help says, and what is wrong with a bad request.

use std::ffi::OsString;

use lexopt::Arg;

const HELP: &str = "\
The developer's tool of keros.

Usage: cargo xtask <COMMAND>

Commands:
  demo [-- ARGS]         Train the image classifier with a loaded plugin
  test                   Check everything CI checks, the cheapest first
  bench SUITE [-- ARGS]  Run one suite of benchmarks

`cargo xtask <COMMAND> --help` says more about a command.
";

const DEMO: &str = "\
Builds the csv-logger plugin and the fashion_mnist example in release, and runs the example with the plugin loaded.

Usage: cargo xtask demo [-- ARGS]

ARGS go to fashion_mnist (`cargo xtask demo -- --help` lists them).
Without `--out DIR` among them the results go to target/demo.
The plugin writes plugin.csv into the same folder; a `--plugin` of yours is loaded beside it.
";

const TEST: &str = "\
Checks everything CI checks, the cheapest first, and stops at the first step that fails:
format, house rules, lints, plugins, tests, doctests, docs.

Usage: cargo xtask test
";

const BENCH: &str = "\
Runs one suite of benchmarks of the package keros-benches.

Usage: cargo xtask bench SUITE [-- ARGS]

SUITE is the name of a file in benches/benches; a wrong name lists the ones that exist.
ARGS go to criterion (`cargo xtask bench SUITE -- --help` lists them).
";

/// What the command line asks for.
#[derive(Debug, PartialEq)]
pub(crate) enum Task {
    Help(&'static str),
    Demo { args: Vec<OsString> },
    Test,
    Bench { suite: String, args: Vec<OsString> },
}

/// A request that cannot be understood: the sentence that says why, and the help of the command it was made to.
#[derive(Debug)]
pub(crate) struct Misuse {
    sentence: String,
    help: &'static str,
}

impl Misuse {
    /// A request to `bench` for a suite that does not exist.
    pub(crate) fn of_bench(sentence: String) -> Self {
        let help = BENCH;
        Self { sentence, help }
    }

    /// The line of the help that shows how to ask.
    pub(crate) fn usage(&self) -> &'static str {
        let mut lines = self.help.lines();
        lines
            .find(|line| line.starts_with("Usage:"))
            .unwrap_or_default()
    }
}

impl std::fmt::Display for Misuse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl std::error::Error for Misuse {}

/// Reads the words after `cargo xtask`. Whatever follows the first `--` belongs to the program that the task runs.
pub(crate) fn parse(words: impl IntoIterator<Item = OsString>) -> anyhow::Result<Task> {
    let mut words = words.into_iter();
    let own: Vec<OsString> = words.by_ref().take_while(|word| word != "--").collect();
    let rest: Vec<OsString> = words.collect();

    let mut own = lexopt::Parser::from_args(own);
    let misuse = |sentence: String, help| Misuse { sentence, help };
    let command = match own.next()? {
        None => return Err(misuse("no command is given".into(), HELP).into()),
        Some(Arg::Short('h') | Arg::Long("help")) => return Ok(Task::Help(HELP)),
        Some(Arg::Value(command)) => command,
        Some(option) => return Err(misuse(refusal(&option), HELP).into()),
    };
    let help = match command.to_str() {
        Some("demo") => DEMO,
        Some("test") => TEST,
        Some("bench") => BENCH,
        Some("help") => return Ok(Task::Help(HELP)),
        _ => return Err(misuse(format!("there is no command {command:?}"), HELP).into()),
    };

    let mut suite = None;
    while let Some(arg) = own.next()? {
        match arg {
            Arg::Short('h') | Arg::Long("help") => return Ok(Task::Help(help)),
            Arg::Value(name) if help == BENCH && suite.is_none() => {
                suite = Some(name.to_string_lossy().into_owned());
            }
            other => return Err(misuse(refusal(&other), help).into()),
        }
    }
    match (help, suite) {
        (DEMO, _) => Ok(Task::Demo { args: rest }),
        (BENCH, Some(suite)) => Ok(Task::Bench { suite, args: rest }),
        (BENCH, None) => Ok(Task::Bench {
            suite: String::new(),
            args: rest,
        }),
        _ if rest.is_empty() => Ok(Task::Test),
        _ => Err(misuse("nothing may follow `--` here".into(), help).into()),
    }
}

fn refusal(arg: &Arg<'_>) -> String {
    match arg {
        Arg::Short(option) => format!("there is no option -{option}"),
        Arg::Long(option) => format!("there is no option --{option}"),
        Arg::Value(value) => format!("the argument {value:?} is one too many"),
    }
}
