//! One training in this process, and its figures as a line of JSON.

use std::env;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result};
use keros_benches::peak_kb;
use serde_json::{Value, json};

use crate::data::Data;
use crate::request::Training;
use crate::side::Side;
use crate::{with_candle, with_keros};

/// Seconds since 1970 at which the process was started, as whoever started it says.
pub(crate) const STARTED: &str = "T0";

/// Trains, and gives what the scripts in benches/peers print: images per second of the epochs after
/// the first, or of a single one; seconds from the start of the process to the end of the first step;
/// the peak of memory in units of 1024 kB, `data_mb` of them for the images; how much of the time was spent waiting for
/// batches, in percent, if workers made them.
pub(crate) fn run(side: Side, training: &Training, start: SystemTime) -> Result<Value> {
    let start = match env::var(STARTED) {
        Ok(text) => {
            let seconds: f64 = text.parse().context("the variable T0 is no number")?;
            SystemTime::UNIX_EPOCH + Duration::try_from_secs_f64(seconds)?
        }
        Err(_) => start,
    };
    let Training {
        model,
        ref how,
        batch_size,
        epochs,
        images,
    } = *training;
    let data = Data::new(model, images, how.is_on_gpu());
    let data_bytes = data.bytes();
    let mut waited = None;
    let (first, times) = match side {
        Side::Keros => {
            let mut training = with_keros::Training::new(model, batch_size, how, data)?;
            training.epochs(epochs as u64)?;
            waited = training.waited();
            let first = training.progress.first.context("no batch was trained on")?;
            (first, training.progress.epochs)
        }
        Side::Candle => {
            let mut training = with_candle::Training::new(model, batch_size, data)?;
            let (mut first, mut times) = (None, Vec::new());
            for _ in 0..epochs {
                let begin = Instant::now();
                training.steps(1)?;
                first.get_or_insert_with(SystemTime::now);
                training.steps((images / batch_size - 1) as u64)?;
                times.push(begin.elapsed());
            }
            (first.context("no batch was trained on")?, times)
        }
    };
    let tenths = |value: f64| (value * 10.0).round() / 10.0;
    let after_first = if times.len() > 1 { &times[1..] } else { &times };
    let rates = after_first
        .iter()
        .map(|time| tenths(images as f64 / time.as_secs_f64()));
    let first_s = first.duration_since(start)?.as_secs_f64();
    Ok(json!({
        "impl": side.name(),
        "model": model.name(),
        "bs": batch_size,
        "ips": rates.collect::<Vec<f64>>(),
        "first_s": (first_s * 1000.0).round() / 1000.0,
        "rss_mb": peak_kb()?.div_ceil(1024),
        "data_mb": data_bytes >> 20,
        "waited": waited,
        "acc": null,
    }))
}
