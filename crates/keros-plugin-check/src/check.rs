//! The checker: inspects the file, has a helper process run the plugin, and tells how that went and ended.

use crate::report::{HELPER, Report};
use anyhow::{Context, Result};
use keros_plugin_host::inspect;
use std::env;
use std::io::{BufRead, BufReader};
use std::path::{self, Path};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// How a plugin is checked.
pub(crate) struct Check {
    /// The configuration, if one is given.
    pub(crate) config: Option<String>,
    /// The most time one call into the plugin may take.
    pub(crate) limit: Duration,
}

impl Check {
    /// Tells on standard output, line by line, what is right and wrong with a plugin; whether it is valid.
    pub(crate) fn run(&self, path: &Path) -> Result<bool> {
        match inspect(path) {
            Err(error) => println!("FAILED inspect: {error}"),
            Ok(info) => {
                let (major, minor) = info.abi;
                println!(
                    "ok     inspect: `{}` {}, built for keros ABI {major}.{minor}",
                    info.id,
                    info.version.escape_debug()
                );
                if self.in_a_helper(path)? {
                    println!("{} is a valid plugin", path.display());
                    return Ok(true);
                }
            }
        }
        println!("{} is not a valid plugin", path.display());
        Ok(false)
    }

    /// Runs the plugin in a process of its own.
    fn in_a_helper(&self, path: &Path) -> Result<bool> {
        let folder = tempfile::tempdir().context("making an empty folder")?;
        let program = env::current_exe().context("finding this program")?;
        let mut helper = Command::new(program)
            .arg(HELPER)
            .arg(path::absolute(path).context("making the path absolute")?)
            .args(&self.config)
            .current_dir(folder.path())
            // Kept open: the helper ends when it closes.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting the helper process")?;
        let valid = self.listen(&mut helper);
        // It may have ended already.
        let _ = helper.kill();
        helper.wait().context("waiting for the helper process")?;
        valid
    }

    /// Hears the helper out, but waits no longer than the limit for any word.
    fn listen(&self, helper: &mut Child) -> Result<bool> {
        let reports = reports(helper)?;
        let mut doing = "starting".to_owned();
        let mut done = false;
        loop {
            let failure = match reports.recv_timeout(self.limit) {
                Ok(Report::Doing(what)) => {
                    doing = what;
                    continue;
                }
                Ok(Report::Passed(what)) => {
                    println!("ok     {what}");
                    continue;
                }
                Ok(Report::Note(what)) => {
                    println!("note   {what}");
                    continue;
                }
                Ok(Report::Done) => {
                    "ending the process".clone_into(&mut doing);
                    done = true;
                    continue;
                }
                Ok(Report::Failed { stage, error }) => {
                    println!("FAILED {stage}: {error}");
                    return Ok(false);
                }
                // The pipe may be closed by the plugin or kept open by a process that it started: what counts is
                // whether the helper ends.
                Err(RecvTimeoutError::Disconnected) => self.end_of(helper)?,
                Err(RecvTimeoutError::Timeout) => helper.try_wait()?,
            };
            match failure {
                None => println!(
                    "FAILED while {doing}: no end after {} s",
                    self.limit.as_secs()
                ),
                Some(status) if done && status.success() => return Ok(true),
                Some(status) => println!("FAILED while {doing}: {}", in_words(status)),
            }
            return Ok(false);
        }
    }

    /// How the helper ended, if it does within the limit.
    fn end_of(&self, helper: &mut Child) -> Result<Option<ExitStatus>> {
        let start = Instant::now();
        loop {
            let status = helper
                .try_wait()
                .context("waiting for the helper process")?;
            if status.is_some() || start.elapsed() > self.limit {
                return Ok(status);
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// What the helper says, read by a thread that ends with the pipe.
fn reports(helper: &mut Child) -> Result<Receiver<Report>> {
    let stdout = helper.stdout.take().context("the helper has no stdout")?;
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines() {
            let Ok(line) = line else { return };
            // On a system where the plugin shares the pipe, what it prints is no report.
            if let Ok(report) = serde_json::from_str(&line)
                && sender.send(report).is_err()
            {
                return;
            }
        }
    });
    Ok(receiver)
}

/// `killed by signal 11 (SIGSEGV)`, or `the process ended with exit status: 0`.
fn in_words(status: ExitStatus) -> String {
    let text = status.to_string();
    match text.strip_prefix("signal: ") {
        Some(signal) => format!(
            "killed by signal {}",
            signal.trim_end_matches(" (core dumped)")
        ),
        None => format!("the process ended with {text}"),
    }
}
