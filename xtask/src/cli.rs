//! The command line: which task is asked for, what its help says, and what is wrong with a bad request.

use std::ffi::OsString;
use std::fmt;
use std::iter;
use std::path::PathBuf;

use lexopt::{Arg, ValueExt};

use crate::fuzz;
use crate::help::{
    BENCH, CUDA_CHECK, DEMO, DENY, FAULT, FEATURES, FUZZ, HELP, MIRI, PLUGIN, PLUGIN_NEW, RELEASE,
    SEMVER, STANDALONE, TEST, TYPOS,
};

/// What the command line asks for.
#[derive(Debug, PartialEq)]
pub(crate) enum Task {
    Help(&'static str),
    Demo {
        args: Vec<OsString>,
    },
    Test,
    Standalone,
    Fault,
    Miri,
    CudaCheck {
        emulate: bool,
    },
    Typos,
    Deny {
        advisories: bool,
    },
    Features {
        package: Option<String>,
    },
    Semver {
        baseline: Option<String>,
        args: Vec<OsString>,
    },
    /// Without sending anything.
    Release,
    Fuzz {
        target: Option<String>,
        runs: u64,
        args: Vec<OsString>,
    },
    Bench {
        suite: Option<String>,
        args: Vec<OsString>,
    },
    /// Of the record with this name.
    BenchChart {
        name: String,
    },
    /// The words for keros-plugin-check.
    PluginCheck {
        args: Vec<OsString>,
    },
    PluginNew(NewPlugin),
}

/// The plugin that is to be made.
#[derive(Debug, PartialEq)]
pub(crate) struct NewPlugin {
    pub(crate) name: String,
    /// In C instead of Rust.
    pub(crate) c: bool,
    /// The folder its folder is in, if not that of this workspace's plugins.
    pub(crate) folder: Option<PathBuf>,
}

/// A request that cannot be met as it stands: the sentence that says why, and the help of the command it was made to.
#[derive(Debug)]
pub(crate) struct Misuse {
    sentence: String,
    help: &'static str,
}

impl Misuse {
    /// A request to the command that has this help.
    pub(crate) fn new(help: &'static str, sentence: impl Into<String>) -> Self {
        let sentence = sentence.into();
        Self { sentence, help }
    }

    /// The lines of the help that show how to ask.
    pub(crate) fn usage(&self) -> &'static str {
        let mut paragraphs = self.help.split("\n\n");
        let usage = paragraphs.find(|paragraph| paragraph.starts_with("Usage:"));
        usage.unwrap_or_default().trim_end()
    }
}

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl std::error::Error for Misuse {}

/// Reads the words after `cargo xtask`. Whatever follows the first `--` belongs to the program that the task runs.
pub(crate) fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Task, Misuse> {
    let mut words = words.into_iter();
    let mut own: Vec<OsString> = words.by_ref().take_while(|word| word != "--").collect();
    let mut args: Vec<OsString> = words.collect();

    // What follows the name of a suite is the suite's, but for the wish for help.
    if let [command, suite, ..] = own.as_slice()
        && command == "bench"
        && !suite.to_string_lossy().starts_with('-')
    {
        let (help, of_suite): (Vec<_>, Vec<_>) = own
            .split_off(2)
            .into_iter()
            .partition(|word| word == "-h" || word == "--help");
        own.extend(help);
        args.splice(0..0, of_suite);
    }

    if own.first().is_some_and(|command| command == "plugin") {
        own.extend(args);
        return plugin(own.split_off(1));
    }

    let mut values = Vec::new();
    let mut help_wanted = false;
    let mut fault = None;
    let mut runs = None;
    let mut dry_run = false;
    let mut emulate = false;
    let mut chart = None;
    let mut advisories = false;
    let mut baseline = None;
    let mut parser = lexopt::Parser::from_args(own);
    loop {
        match parser.next() {
            Ok(None) => break,
            Ok(Some(Arg::Short('h') | Arg::Long("help"))) => help_wanted = true,
            Ok(Some(Arg::Value(value))) => match value.string() {
                Ok(value) => values.push(value),
                Err(error) => fault = fault.or(Some(error)),
            },
            Ok(Some(Arg::Long("runs"))) if values.first().is_some_and(|c| c == "fuzz") => {
                match parser.value().and_then(|value| value.parse()) {
                    Ok(number) => runs = Some(number),
                    Err(error) => fault = fault.or(Some(error)),
                }
            }
            Ok(Some(Arg::Long("chart"))) if values.first().is_some_and(|c| c == "bench") => {
                match parser.value().and_then(|value| value.string()) {
                    Ok(name) => chart = Some(name),
                    Err(error) => fault = fault.or(Some(error)),
                }
            }
            Ok(Some(Arg::Long("dry-run"))) if values.first().is_some_and(|c| c == "release") => {
                dry_run = true;
            }
            Ok(Some(Arg::Long("emulate"))) if values.first().is_some_and(|c| c == "cuda-check") => {
                emulate = true;
            }
            Ok(Some(Arg::Long("advisories"))) if values.first().is_some_and(|c| c == "deny") => {
                advisories = true;
            }
            Ok(Some(Arg::Long("baseline-rev")))
                if values.first().is_some_and(|c| c == "semver") =>
            {
                match parser.value().and_then(|value| value.string()) {
                    Ok(revision) => baseline = Some(revision),
                    Err(error) => fault = fault.or(Some(error)),
                }
            }
            Ok(Some(option)) => fault = fault.or(Some(option.unexpected())),
            Err(error) => fault = fault.or(Some(error)),
        }
    }
    let values: Vec<&str> = values.iter().map(String::as_str).collect();

    let help = match values.first() {
        Some(&"demo") => DEMO,
        Some(&"test") => TEST,
        Some(&"standalone") => STANDALONE,
        Some(&"fault") => FAULT,
        Some(&"miri") => MIRI,
        Some(&"cuda-check") => CUDA_CHECK,
        Some(&"fuzz") => FUZZ,
        Some(&"bench") => BENCH,
        Some(&"typos") => TYPOS,
        Some(&"deny") => DENY,
        Some(&"features") => FEATURES,
        Some(&"semver") => SEMVER,
        Some(&"release") => RELEASE,
        _ => HELP,
    };
    let misuse = |sentence| Err(Misuse::new(help, sentence));
    if let Some(error) = fault {
        return misuse(error.to_string());
    }
    if help_wanted {
        return Ok(Task::Help(help));
    }
    if let Some(name) = chart {
        return match values.len() == 1 && args.is_empty() {
            true => Ok(Task::BenchChart { name }),
            false => misuse("`--chart` takes the name of a record and nothing else".to_owned()),
        };
    }
    match *values.as_slice() {
        [] => misuse("no command is given".to_owned()),
        ["demo"] => Ok(Task::Demo { args }),
        ["test"] if args.is_empty() => Ok(Task::Test),
        ["test"] => misuse("`test` takes no arguments".to_owned()),
        ["standalone"] if args.is_empty() => Ok(Task::Standalone),
        ["standalone"] => misuse("`standalone` takes no arguments".to_owned()),
        ["cuda-check"] if args.is_empty() => Ok(Task::CudaCheck { emulate }),
        ["cuda-check"] => misuse("`cuda-check` takes no arguments but `--emulate`".to_owned()),
        ["miri"] if args.is_empty() => Ok(Task::Miri),
        ["miri"] => misuse("`miri` takes no arguments".to_owned()),
        ["typos"] if args.is_empty() => Ok(Task::Typos),
        ["typos"] => misuse("`typos` takes no arguments".to_owned()),
        ["deny"] if args.is_empty() => Ok(Task::Deny { advisories }),
        ["deny"] => misuse("`deny` takes no arguments".to_owned()),
        ["features", ref package @ ..] if package.len() < 2 && args.is_empty() => {
            Ok(Task::Features {
                package: package.first().map(|package| (*package).to_owned()),
            })
        }
        ["features"] | ["features", _] => misuse("`features` takes one name".to_owned()),
        ["semver"] => Ok(Task::Semver { baseline, args }),
        ["release"] if dry_run && args.is_empty() => Ok(Task::Release),
        ["release"] if dry_run => misuse("`release` takes no arguments".to_owned()),
        ["release"] => misuse("`release` publishes nothing by itself: say `--dry-run`".to_owned()),
        ["fault"] if args.is_empty() => Ok(Task::Fault),
        ["fault"] => misuse("`fault` takes no arguments".to_owned()),
        ["fuzz", ref target @ ..] if target.len() < 2 => Ok(Task::Fuzz {
            target: target.first().map(|target| (*target).to_owned()),
            runs: runs.unwrap_or(fuzz::RUNS),
            args,
        }),
        ["bench"] => Ok(Task::Bench { suite: None, args }),
        ["bench", suite] => Ok(Task::Bench {
            suite: Some(suite.to_owned()),
            args,
        }),
        [
            "demo" | "test" | "standalone" | "fault" | "miri" | "cuda-check" | "typos" | "deny"
            | "semver" | "release",
            extra,
            ..,
        ] => misuse(format!("unexpected argument `{extra}`")),
        ["features" | "fuzz" | "bench", _, extra, ..] => {
            misuse(format!("unexpected argument `{extra}`"))
        }
        [command, ..] => misuse(format!("there is no command `{command}`")),
    }
}

/// Reads the words after `plugin`. What follows `check` and `inspect` is read by the program that does it.
fn plugin(words: Vec<OsString>) -> Result<Task, Misuse> {
    let is_new = words.first().is_some_and(|command| command == "new");
    let help = if is_new { PLUGIN_NEW } else { PLUGIN };
    if words.iter().any(|word| word == "-h" || word == "--help") {
        return Ok(Task::Help(help));
    }
    let mut args = words.into_iter();
    let command = args.next().unwrap_or_default();
    let sentence = match command.to_str() {
        Some("check") => {
            let args = args.collect();
            return Ok(Task::PluginCheck { args });
        }
        Some("inspect") => {
            let args = iter::once("--inspect".into()).chain(args).collect();
            return Ok(Task::PluginCheck { args });
        }
        Some("new") => match new_plugin(args.collect()) {
            Ok(plugin) => return Ok(Task::PluginNew(plugin)),
            Err(error) => error.to_string(),
        },
        Some("") => "`plugin` needs a command".to_owned(),
        _ => format!("there is no command `plugin {}`", command.display()),
    };
    Err(Misuse::new(help, sentence))
}

fn new_plugin(words: Vec<OsString>) -> Result<NewPlugin, lexopt::Error> {
    let (mut name, mut c, mut folder) = (None, false, None);
    let mut parser = lexopt::Parser::from_args(words);
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("c") => c = true,
            Arg::Long("path") => folder = Some(PathBuf::from(parser.value()?)),
            Arg::Value(value) if name.is_none() => name = Some(value.string()?),
            other => return Err(other.unexpected()),
        }
    }
    let name = name.ok_or("no name is given")?;
    Ok(NewPlugin { name, c, folder })
}

#[cfg(test)]
mod tests {
    use super::{Misuse, NewPlugin, Task, fuzz, parse};

    fn words(line: &str) -> Result<Task, Misuse> {
        parse(line.split_whitespace().map(Into::into))
    }

    fn check_refused(line: &str, sentence: &str, usage: &str) {
        let misuse = words(line).expect_err(line);
        assert_eq!(misuse.to_string(), sentence, "for `{line}`");
        assert_eq!(misuse.usage(), usage, "for `{line}`");
    }

    #[test]
    fn every_command_is_understood() {
        assert_eq!(words("test").expect("test"), Task::Test);
        let standalone = words("standalone").expect("standalone");
        assert_eq!(standalone, Task::Standalone);
        assert_eq!(words("fault").expect("fault"), Task::Fault);
        assert_eq!(words("miri").expect("miri"), Task::Miri);
        for (line, emulate) in [("cuda-check", false), ("cuda-check --emulate", true)] {
            assert_eq!(words(line).expect(line), Task::CudaCheck { emulate });
        }
        assert_eq!(words("typos").expect("typos"), Task::Typos);
        let deny = |advisories| Task::Deny { advisories };
        assert_eq!(words("deny").expect("deny"), deny(false));
        assert_eq!(words("deny --advisories").expect("deny"), deny(true));
        let features = |package: Option<&str>| Task::Features {
            package: package.map(str::to_owned),
        };
        assert_eq!(words("features").expect("features"), features(None));
        assert_eq!(
            words("features keros-nn").expect("features"),
            features(Some("keros-nn"))
        );
        let semver = |baseline: Option<&str>, args: &[&str]| Task::Semver {
            baseline: baseline.map(str::to_owned),
            args: args.iter().map(Into::into).collect(),
        };
        assert_eq!(words("semver").expect("semver"), semver(None, &[]));
        assert_eq!(
            words("semver --baseline-rev v1 -- --package a").expect("semver"),
            semver(Some("v1"), &["--package", "a"])
        );
        let release = words("release --dry-run").expect("release");
        assert_eq!(release, Task::Release);
        let fuzz = |target: Option<&str>, runs, args: &[&str]| Task::Fuzz {
            target: target.map(str::to_owned),
            runs,
            args: args.iter().map(Into::into).collect(),
        };
        assert_eq!(words("fuzz").expect("fuzz"), fuzz(None, fuzz::RUNS, &[]));
        assert_eq!(
            words("fuzz decode --runs 5 -- -seed=1").expect("fuzz decode"),
            fuzz(Some("decode"), 5, &["-seed=1"])
        );
        let demo = Task::Demo {
            args: vec!["--epochs".into(), "2".into(), "--".into()],
        };
        assert_eq!(words("demo -- --epochs 2 --").expect("demo"), demo);
        let bench = Task::Bench {
            suite: Some("ops".into()),
            args: vec!["conv".into()],
        };
        assert_eq!(words("bench ops -- conv").expect("bench"), bench);
        assert_eq!(words("bench ops conv").expect("bench"), bench);
        let chart = Task::BenchChart {
            name: "now".to_owned(),
        };
        assert_eq!(words("bench --chart now").expect("chart"), chart);
        let train = Task::Bench {
            suite: Some("train".into()),
            args: vec!["--model".into(), "mlp".into(), "--json".into()],
        };
        assert_eq!(
            words("bench train --model mlp -- --json").expect("bench"),
            train
        );
    }

    #[test]
    fn a_plugin_is_checked_inspected_or_made() {
        let check = |args: &[&str]| Task::PluginCheck {
            args: args.iter().map(Into::into).collect(),
        };
        assert_eq!(
            words("plugin check a.so --config {}").expect("check"),
            check(&["a.so", "--config", "{}"])
        );
        assert_eq!(
            words("plugin inspect a.so").expect("inspect"),
            check(&["--inspect", "a.so"])
        );
        let new = |c, folder: Option<&str>| {
            Task::PluginNew(NewPlugin {
                name: "mine".to_owned(),
                c,
                folder: folder.map(Into::into),
            })
        };
        assert_eq!(words("plugin new mine").expect("new"), new(false, None));
        assert_eq!(
            words("plugin new --c mine --path ..").expect("new"),
            new(true, Some(".."))
        );
    }

    #[test]
    fn help_is_that_of_the_command() {
        for (line, beginning) in [
            ("--help", "The developer's tool"),
            ("-h demo", "Builds the csv-logger plugin"),
            ("test --help", "Checks everything"),
            ("bench ops -h", "Runs one suite"),
            ("bench --chart a -h", "Runs one suite"),
            ("plugin check --help", "Checks a plugin"),
            ("plugin new a -h", "Makes a plugin"),
        ] {
            let task = words(line).expect(line);
            assert!(
                matches!(task, Task::Help(text) if text.starts_with(beginning)),
                "`{line}` gave {task:?}"
            );
        }
    }

    #[test]
    fn a_bad_request_is_named_beside_the_usage_of_its_command() {
        const XTASK: &str = "Usage: cargo xtask <COMMAND>";
        const DEMO: &str = "Usage: cargo xtask demo [-- ARGS]";
        const TEST: &str = "Usage: cargo xtask test";
        const BENCH: &str =
            "Usage: cargo xtask bench SUITE [ARGS]\n       cargo xtask bench --chart NAME";
        check_refused("", "no command is given", XTASK);
        check_refused("tset", "there is no command `tset`", XTASK);
        check_refused("--quick", "invalid option '--quick'", XTASK);
        check_refused("demo --epochs 2", "invalid option '--epochs'", DEMO);
        check_refused("demo fast", "unexpected argument `fast`", DEMO);
        check_refused("test -- -q", "`test` takes no arguments", TEST);
        check_refused("test --runs 3", "invalid option '--runs'", TEST);
        const RELEASE: &str = "Usage: cargo xtask release --dry-run";
        let not_yet = "`release` publishes nothing by itself: say `--dry-run`";
        check_refused("release", not_yet, RELEASE);
        const SEMVER: &str = "Usage: cargo xtask semver [--baseline-rev REV] [-- ARGS]";
        let no_value = "missing argument for option '--baseline-rev'";
        check_refused("semver --baseline-rev", no_value, SEMVER);
        const FEATURES: &str = "Usage: cargo xtask features [CRATE]";
        check_refused("features a b", "unexpected argument `b`", FEATURES);
        const FUZZ: &str = "Usage: cargo xtask fuzz TARGET [--runs N] [-- ARGS]";
        check_refused("fuzz decode plugin", "unexpected argument `plugin`", FUZZ);
        check_refused("test --advisories", "invalid option '--advisories'", TEST);
        check_refused("test --dry-run", "invalid option '--dry-run'", TEST);
        const PLUGIN: &str = "Usage: cargo xtask plugin check|inspect PATH [--config JSON] [--limit-s N]\n       \
                              cargo xtask plugin new NAME [--c] [--path DIR]";
        const NEW: &str = "Usage: cargo xtask plugin new NAME [--c] [--path DIR]";
        check_refused("plugin", "`plugin` needs a command", PLUGIN);
        check_refused("plugin make a", "there is no command `plugin make`", PLUGIN);
        check_refused("plugin new", "no name is given", NEW);
        check_refused("plugin new a b", "unexpected argument \"b\"", NEW);
        check_refused("bench --quick ops", "invalid option '--quick'", BENCH);
        let no_name = "missing argument for option '--chart'";
        check_refused("bench --chart", no_name, BENCH);
        let nothing_else = "`--chart` takes the name of a record and nothing else";
        check_refused("bench --chart a ops", nothing_else, BENCH);
    }
}
