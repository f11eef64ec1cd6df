//! What a batch event costs when its callback comes from a dynamic library, and when that runs in a
//! process of its own, compared with the same callback linked in.

use std::env;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use keros::callbacks::{BoxError, CallbackList, Event, EventKind, Logs, Run, RunInfo};
use keros::plugin_host::IsolateOptions;
use keros_bench_record::Results;
use keros_benches::{Figure, ReadLogs, Sides, Suite, Times, show, timed};

fn main() -> Result<()> {
    // Isolated plugins run in this program, started again.
    keros::plugin_host::run_if_asked();
    let times = Times {
        warm_up_s: 0.5,
        measurement_s: 3.0,
        rounds: 50,
    };
    let Some(mut suite) = Suite::from_args(times) else {
        return Ok(());
    };
    for (name, kind) in [
        ("five values read", EventKind::TrainBatchEnd),
        ("not wanted", EventKind::TrainBatchBegin),
    ] {
        let figure = Figure::time("ns", 1e9);
        suite.case("batch event", name, figure, || sides(kind));
    }
    show(&Results::of_suite("plugin", suite.finish()))
}

/// The callback linked in, then loaded, then isolated.
fn sides(kind: EventKind) -> Result<Sides<'static>> {
    let library = library()?;
    let loaded = keros::plugin_host::load(&library, "")?;
    let isolated = keros::plugin_host::isolate(&library, "", &IsolateOptions::default())?;
    let side = |mut callbacks: CallbackList<'static>| {
        let mut run = Training::new();
        move |n| run.send(&mut callbacks, kind, n)
    };
    Ok(Sides::of(
        "linked in",
        1.0,
        side(CallbackList::new().with(ReadLogs::default())),
    )
    .against("loaded", 1.0, side(CallbackList::new().with(loaded)))
    .against("isolated", 1.0, side(CallbackList::new().with(isolated))))
}

/// A training that only sends events.
struct Training {
    info: RunInfo,
    logs: Logs,
    event: Event,
}

impl Training {
    fn new() -> Training {
        let values = ReadLogs::KEYS.iter().zip([0.25, 0.75, 0.5, 1e-3, 3.5]);
        Training {
            info: RunInfo::default(),
            logs: values.collect(),
            event: Event {
                kind: EventKind::TrainBatchEnd,
                epoch: 0,
                batch: 0,
                step: 0,
                samples: 32,
                nested: false,
            },
        }
    }

    fn send(
        &mut self,
        callbacks: &mut CallbackList<'_>,
        kind: EventKind,
        events: u64,
    ) -> Result<Duration> {
        let mut event = Event {
            kind,
            ..self.event.clone()
        };
        let time = timed(events, || {
            event.batch += 1;
            event.step += 1;
            Ok(callbacks.dispatch(&event, self)?)
        });
        self.event = event;
        time
    }
}

impl Run for Training {
    fn info(&self) -> &RunInfo {
        &self.info
    }

    fn logs(&mut self) -> Result<&mut Logs, BoxError> {
        Ok(&mut self.logs)
    }

    fn learning_rate(&self) -> Option<f64> {
        Some(1e-3)
    }

    fn data_wait(&self) -> Duration {
        Duration::ZERO
    }
}

/// Builds the example `read_logs` and says where its library is.
fn library() -> Result<PathBuf> {
    let output = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["build", "--release", "--package=keros-benches"])
        .args([
            "--example=read_logs",
            "--message-format=json-render-diagnostics",
        ])
        .stderr(Stdio::inherit())
        .output()
        .context("building the example `read_logs`")?;
    ensure!(
        output.status.success(),
        "cargo could not build the example `read_logs`"
    );
    for line in String::from_utf8(output.stdout)?.lines() {
        let message: serde_json::Value = serde_json::from_str(line)?;
        let is_ours = message["reason"] == "compiler-artifact"
            && message["target"]["name"] == "read_logs"
            && message["target"]["kind"][0] == "example";
        let files = message["filenames"].as_array().filter(|_| is_ours);
        let mut files = files.into_iter().flatten().filter_map(|name| name.as_str());
        if let Some(file) = files.find(|name| name.ends_with(env::consts::DLL_SUFFIX)) {
            return Ok(file.into());
        }
    }
    anyhow::bail!("cargo does not tell where the library of the example `read_logs` is")
}
