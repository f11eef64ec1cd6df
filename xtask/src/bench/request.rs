//! What is asked of `cargo xtask bench`: which suites run with which arguments, and what becomes of the results.

use std::ffi::OsString;

use anyhow::{Context as _, Result, bail, ensure};
use keros_bench_record::suites_with;

/// The options of a run in turn with other libraries that all its suites know.
const OF_CONTESTS: [&str; 3] = ["--against", "--python", "--rounds"];

#[derive(Debug, Default, PartialEq)]
pub(crate) struct Request {
    /// The runs in their order.
    pub(crate) launches: Vec<Launch>,
    /// The name under which the results are recorded.
    pub(crate) save: Option<String>,
    /// The name of the record beside which they are shown.
    pub(crate) compare: Option<String>,
    /// Arguments for cargo.
    pub(crate) of_cargo: Vec<OsString>,
}

/// A suite and its arguments.
#[derive(Debug, PartialEq)]
pub(crate) struct Launch {
    pub(crate) suite: String,
    pub(crate) args: Vec<OsString>,
}

impl Launch {
    /// The suite, and whether it runs in turn with other libraries.
    pub(crate) fn title(&self) -> String {
        let against = self.args.iter().any(|arg| arg == "--against");
        format!("{}{}", self.suite, if against { " --against" } else { "" })
    }

    /// The arguments for a record, where the paths of one machine have no place.
    pub(crate) fn without_paths(&self) -> Result<Vec<String>> {
        let (_, kept) = taken(&self.args, &["--python", "--images"])?;
        Ok(kept
            .iter()
            .map(|arg| arg.to_string_lossy().into_owned())
            .collect())
    }
}

impl Request {
    /// One suite, to which all arguments go that are not ours. One on a GPU is built for it.
    pub(crate) fn of_one(suite: &str, args: &[OsString]) -> Result<Request> {
        let (mut request, args) = Request::of_options(args)?;
        let (device, _) = taken(&args, &["--device"])?;
        let on_gpu = device.last().is_some_and(|(_, name)| name != "cpu");
        if on_gpu && request.of_cargo.is_empty() {
            request.of_cargo.push("--features=cudnn".into());
        }
        request.launches.push(Launch {
            suite: suite.to_owned(),
            args,
        });
        Ok(request)
    }

    /// Every suite with the arguments for criterion, and those that know one of the named peers in turn with these.
    pub(crate) fn of_all(suites: &[String], args: &[OsString]) -> Result<Request> {
        let (mut request, args) = Request::of_options(args)?;
        let (of_contests, of_criterion) = taken(&args, &OF_CONTESTS)?;
        ensure!(
            !of_criterion.iter().any(|arg| arg == "--json"),
            "`all` writes its JSON into a file by itself"
        );
        let (against, of_contests): (Vec<_>, Vec<_>) = of_contests
            .into_iter()
            .partition(|(option, _)| *option == "--against");
        let contests = match against.last() {
            Some((option, names)) => suites_with(text_of(option, names)?)?,
            None => match of_contests.first() {
                Some((option, _)) => bail!("`{option}` is given, but no `--against`"),
                None => Vec::new(),
            },
        };
        for suite in suites {
            request.launches.push(Launch {
                suite: suite.clone(),
                args: of_criterion.clone(),
            });
            if let Some((_, names)) = contests.iter().find(|(known, _)| known == suite) {
                let mut args = vec!["--against".into(), names.into()];
                for (option, value) in &of_contests {
                    args.extend([(*option).into(), value.clone()]);
                }
                let suite = suite.clone();
                request.launches.push(Launch { suite, args });
            }
        }
        Ok(request)
    }

    /// Whether a run without results does what was asked.
    pub(crate) fn wants_no_results(&self) -> bool {
        self.save.is_none() && self.compare.is_none()
    }

    /// Takes our options and cargo's out of the arguments.
    fn of_options(args: &[OsString]) -> Result<(Request, Vec<OsString>)> {
        let (ours, others) = taken(args, &["--save", "--compare", "--features"])?;
        let mut request = Request::default();
        for (option, value) in ours {
            match option {
                "--save" => request.save = Some(text_of(option, &value)?.to_owned()),
                "--compare" => request.compare = Some(text_of(option, &value)?.to_owned()),
                _ => request.of_cargo.extend([option.into(), value]),
            }
        }
        Ok((request, others))
    }
}

/// Takes these options, each with its value, out of the arguments.
#[expect(
    clippy::type_complexity,
    reason = "the options with their values, and the other arguments"
)]
fn taken<'o>(
    args: &[OsString],
    options: &[&'o str],
) -> Result<(Vec<(&'o str, OsString)>, Vec<OsString>)> {
    let (mut pairs, mut others) = (Vec::new(), Vec::new());
    let mut args = args.iter().cloned();
    while let Some(arg) = args.next() {
        let text = arg.to_str().unwrap_or_default();
        let (name, joined) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.into())),
            None => (text, None),
        };
        match options.iter().find(|option| **option == name) {
            None => others.push(arg),
            Some(option) => {
                let value = joined.or_else(|| args.next());
                pairs.push((
                    *option,
                    value.with_context(|| format!("`{option}` has no value"))?,
                ));
            }
        }
    }
    Ok((pairs, others))
}

fn text_of<'v>(option: &str, value: &'v OsString) -> Result<&'v str> {
    let text = value.to_str();
    text.with_context(|| format!("`{option}` has the value {value:?}, expected Unicode"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(Into::into).collect()
    }

    fn launch(suite: &str, args: &str) -> Launch {
        Launch {
            suite: suite.to_owned(),
            args: words(args),
        }
    }

    #[test]
    fn a_suite_gets_what_is_not_ours() {
        let line = "conv2d --save now --quick --compare=before --features keros/turbojpeg";
        let request = Request::of_one("ops", &words(line)).unwrap();
        let expected = Request {
            launches: vec![launch("ops", "conv2d --quick")],
            save: Some("now".to_owned()),
            compare: Some("before".to_owned()),
            of_cargo: words("--features keros/turbojpeg"),
        };
        assert_eq!(request, expected);
        let of_cargo = |line| Request::of_one("train", &words(line)).unwrap().of_cargo;
        assert_eq!(of_cargo("--device cuda"), words("--features=cudnn"));
        assert_eq!(
            of_cargo("--device=cuda:1 --features=cuda"),
            words("--features cuda")
        );
        assert!(of_cargo("--device cpu").is_empty());
        let error = Request::of_one("ops", &words("--save")).unwrap_err();
        assert_eq!(error.to_string(), "`--save` has no value");
    }

    #[test]
    fn all_suites_run_and_those_with_peers_twice() {
        let suites = ["decode", "ops", "train"].map(str::to_owned);
        let line = "--quick --against torch,torchvision --python torch=a/python --rounds=5";
        let request = Request::of_all(&suites, &words(line)).unwrap();
        let rest = "--python torch=a/python --rounds 5";
        let expected = [
            launch("decode", "--quick"),
            launch("decode", &format!("--against torchvision {rest}")),
            launch("ops", "--quick"),
            launch("train", "--quick"),
            launch("train", &format!("--against torch {rest}")),
        ];
        assert_eq!(request.launches, expected);
        assert_eq!(request.launches[4].title(), "train --against");
        for (line, sentence) in [
            ("--against nobody", "unknown peer `nobody` ("),
            ("--rounds 5", "`--rounds` is given, but no `--against`"),
            ("--json", "`all` writes its JSON into a file by itself"),
        ] {
            let error = Request::of_all(&suites, &words(line))
                .unwrap_err()
                .to_string();
            assert!(error.starts_with(sentence), "{error}");
        }
    }

    #[test]
    fn no_path_is_recorded() {
        let launch = launch(
            "decode",
            "--against cv2 --python=a/b --images c --python d --rounds 2",
        );
        let kept = launch.without_paths().unwrap();
        assert_eq!(kept, ["--against", "cv2", "--rounds", "2"]);
    }
}
