//! A training in a process of its own: what another training did before would change its first step
//! and its memory.

use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::once::STARTED;
use crate::request::Training;

/// What such a process found.
#[derive(Clone, Debug)]
pub(crate) struct Figures {
    /// The line as it was printed.
    pub(crate) line: String,
    /// Images per second of each epoch that counts.
    pub(crate) rates: Vec<f64>,
    /// To the end of the first step, in seconds.
    pub(crate) first_s: f64,
    /// In units of 1024 kB.
    pub(crate) peak_mb: f64,
    /// How much of the time the training waited for batches, in percent, where workers made them.
    pub(crate) waited: Option<f64>,
}

/// Runs one to its end.
pub(crate) fn run(who: &str, mut command: Command, training: &Training) -> Result<Figures> {
    for (option, value) in [
        ("--model", training.model.name().to_owned()),
        ("--batch-size", training.batch_size.to_string()),
        ("--epochs", training.epochs.to_string()),
        ("--images", training.images.to_string()),
        ("--device", training.how.device.clone()),
    ] {
        command.args([option, &value]);
    }
    if training.how.augment {
        command.arg("--augment");
    }
    if !training.how.graphs {
        command.arg("--no-cuda-graphs");
    }
    if training.how.is_on_gpu() {
        command.args(["--precision", &training.how.precision.to_string()]);
    }
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let output = command
        .env(STARTED, now.as_secs_f64().to_string())
        .output()
        .with_context(|| format!("cannot start {command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{who}: {said}");
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().last().unwrap_or_default();
    figures(line).with_context(|| format!("{who}: no figures in `{line}`"))
}

fn figures(line: &str) -> Option<Figures> {
    let value: Value = serde_json::from_str(line).ok()?;
    let rates = value["ips"].as_array()?.iter().map(Value::as_f64);
    Some(Figures {
        line: line.to_owned(),
        rates: rates.collect::<Option<_>>()?,
        first_s: value["first_s"].as_f64()?,
        peak_mb: value["rss_mb"].as_f64()?,
        waited: value["waited"].as_f64(),
    })
}
