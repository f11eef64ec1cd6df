//! The progress line of a run, in Keras's form.

use crate::callback::{Callback, CallbackResult};
use crate::context::{Context, Level, Message};
use crate::decision::Decision;
use crate::error::BoxError;
use crate::event::EventKind;
use crate::logs::{LogValue, Logs};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// How much of a run is shown; Keras's `verbose`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verbose {
    /// [`Verbose::Bar`] on a terminal, [`Verbose::Line`] elsewhere.
    #[default]
    Auto,
    /// Nothing (0).
    Silent,
    /// A bar that moves (1).
    Bar,
    /// One line per epoch (2).
    Line,
}

/// The bar is painted, and the logs are read for it, at most this often; as in Keras.
const REPAINT: Duration = Duration::from_millis(50);

/// Shows progress on standard output, or on a writer of your own:
///
/// ```text
/// Epoch 1/8
///  40/79 [==============>...............] - ETA: 0s - loss: 0.9131 - accuracy: 0.6703
/// ```
///
/// and at the end of an epoch
/// `79/79 [==============================] - 1s 14ms/step - loss: … - val_loss: … - data wait: 1%`,
/// where *data wait* is the share of the training time of the epoch that was spent waiting for the
/// next batch.
pub struct ProgbarLogger {
    bar_wanted: bool,
    out: Box<dyn Write>,
    bar: Option<ProgressBar>,
    phase: Phase,
    /// The epoch that is shown.
    epoch: Option<u64>,
}

/// One pass over batches: an epoch, a lone evaluation or a prediction.
struct Phase {
    started: Instant,
    painted: Option<Instant>,
    batches: u64,
    /// Batches that were done before, in a run that was resumed.
    before: u64,
    target: Option<u64>,
    /// Time from the start to the end of the last batch, without the validation.
    busy: Duration,
    wait: Duration,
}

impl Phase {
    /// The first batch is fetched before an epoch begins; the wait for it counts.
    fn new(target: Option<u64>, waited: Duration) -> Phase {
        let now = Instant::now();
        Phase {
            started: now.checked_sub(waited).unwrap_or(now),
            painted: None,
            batches: 0,
            before: 0,
            target,
            busy: Duration::ZERO,
            wait: Duration::ZERO,
        }
    }
}

impl ProgbarLogger {
    /// Shows progress on standard output; `None` for [`Verbose::Silent`].
    #[must_use]
    pub fn new(verbose: Verbose) -> Option<ProgbarLogger> {
        let bar_wanted = match verbose {
            Verbose::Silent => return None,
            Verbose::Auto => io::stdout().is_terminal(),
            Verbose::Bar => true,
            Verbose::Line => false,
        };
        Some(ProgbarLogger {
            bar_wanted,
            out: Box::new(io::stdout()),
            bar: None,
            phase: Phase::new(None, Duration::ZERO),
            epoch: None,
        })
    }

    /// Writes one line per epoch to `out`.
    #[must_use]
    pub fn lines_to(out: impl Write + 'static) -> ProgbarLogger {
        ProgbarLogger {
            bar_wanted: false,
            out: Box::new(out),
            bar: None,
            phase: Phase::new(None, Duration::ZERO),
            epoch: None,
        }
    }

    /// Begins to show an epoch, at its first batch or, in a run that was resumed, at a later one.
    fn begin_epoch(&mut self, cx: &Context<'_>) -> Result<(), BoxError> {
        let (epochs, epoch) = (cx.info().epochs, cx.event().epoch);
        self.epoch = Some(epoch);
        if epochs > 1 {
            self.say(&format!("Epoch {}/{epochs}", epoch + 1))?;
        }
        self.begin(cx)
    }

    fn begin(&mut self, cx: &Context<'_>) -> Result<(), BoxError> {
        let target = cx.info().steps;
        self.phase = Phase {
            before: cx.event().batch,
            ..Phase::new(target, cx.data_wait())
        };
        if self.bar_wanted {
            let (length, template) = match target {
                Some(steps) => (
                    steps,
                    format!(
                        "{{pos:>{}}}/{{len}} [{{bar:30}}] - ETA: {{eta}}{{msg}}",
                        steps.to_string().len()
                    ),
                ),
                None => (0, "{pos:>7}/Unknown{msg}".to_owned()),
            };
            let bar =
                ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stdout_with_hz(20));
            bar.set_style(ProgressStyle::with_template(&template)?.progress_chars("=>."));
            self.bar = Some(bar);
        }
        Ok(())
    }

    fn batch_end(&mut self, cx: &mut Context<'_>) -> Result<(), BoxError> {
        let now = Instant::now();
        let phase = &mut self.phase;
        phase.batches = cx.event().batch + 1;
        phase.busy = now - phase.started;
        phase.wait = cx.data_wait();
        let due = phase.painted.is_none_or(|last| now - last >= REPAINT);
        if let (Some(bar), true) = (&self.bar, due) {
            phase.painted = Some(now);
            bar.set_position(phase.batches);
            bar.set_message(values(cx.logs()?));
        }
        Ok(())
    }

    /// Replaces the bar by the line that stays.
    fn end(&mut self, cx: &mut Context<'_>) -> Result<(), BoxError> {
        let phase = &self.phase;
        let steps = match phase.target {
            Some(target) => format!("{}/{target}", phase.batches),
            None => phase.batches.to_string(),
        };
        let bar = match &self.bar {
            Some(_) if phase.target.is_none_or(|target| phase.batches >= target) => {
                format!(" [{}]", "=".repeat(30))
            }
            _ => String::new(),
        };
        let batches = phase.batches.saturating_sub(phase.before);
        let per_step = phase.busy.checked_div(batches.try_into()?);
        let line = format!(
            "{steps}{bar} - {}s {}/step{}{}",
            phase.started.elapsed().as_secs(),
            duration(per_step.unwrap_or_default()),
            values(cx.logs()?),
            data_wait(phase.wait, phase.busy),
        );
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        self.say(&line)?;
        Ok(())
    }

    fn say(&mut self, line: &str) -> io::Result<()> {
        let out = &mut self.out;
        let mut write = || {
            writeln!(out, "{line}")?;
            out.flush()
        };
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }
}

impl Callback for ProgbarLogger {
    fn on_event(&mut self, cx: &mut Context<'_>) -> CallbackResult {
        let event = cx.event();
        match event.kind {
            EventKind::TrainBegin => self.epoch = None,
            EventKind::EpochBegin => self.begin_epoch(cx)?,
            EventKind::TrainBatchBegin if self.epoch != Some(event.epoch) => {
                self.begin_epoch(cx)?;
            }
            EventKind::TestBegin if !event.nested => self.begin(cx)?,
            EventKind::PredictBegin => self.begin(cx)?,
            EventKind::TrainBatchEnd | EventKind::PredictBatchEnd => self.batch_end(cx)?,
            EventKind::TestBatchEnd if !event.nested => self.batch_end(cx)?,
            EventKind::EpochEnd | EventKind::PredictEnd => self.end(cx)?,
            EventKind::TestEnd if !event.nested => self.end(cx)?,
            _ => {}
        }
        Ok(Decision::CONTINUE)
    }

    fn on_message(&mut self, message: &Message) {
        let line = match message.level {
            Level::Info => format!("{}: {}", message.source, message.text),
            level => format!("{level}: {}: {}", message.source, message.text),
        };
        // Nobody is left to tell that the terminal is gone.
        let _ = self.say(&line);
    }
}

/// ` - name: value` for each number, as Keras writes them.
fn values(logs: &Logs) -> String {
    let mut text = String::new();
    for (name, value) in logs.iter() {
        let value = match value {
            LogValue::Float(value) => number(*value),
            other => other.to_string(),
        };
        text.push_str(&format!(" - {name}: {value}"));
    }
    text
}

/// Four decimals, scientific for magnitudes up to 1e-3, as Keras's `Progbar`.
fn number(value: f64) -> String {
    if value.abs() > 1e-3 || !value.is_finite() {
        return format!("{value:.4}");
    }
    let text = format!("{value:.4e}");
    match text.split_once('e') {
        Some((mantissa, exponent)) => {
            let (sign, digits) = match exponent.strip_prefix('-') {
                Some(digits) => ('-', digits),
                None => ('+', exponent),
            };
            format!("{mantissa}e{sign}{digits:0>2}")
        }
        None => text,
    }
}

fn duration(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds >= 1.0 {
        format!("{seconds:.0}s")
    } else if seconds >= 1e-3 {
        format!("{:.0}ms", seconds * 1e3)
    } else {
        format!("{:.0}us", seconds * 1e6)
    }
}

fn data_wait(wait: Duration, busy: Duration) -> String {
    let share = wait.as_secs_f64() / busy.as_secs_f64().max(f64::MIN_POSITIVE);
    format!(" - data wait: {:.0}%", 100.0 * share.min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_keras_writes_them() {
        for (value, text) in [
            (0.6543, "0.6543"),
            (-12.5, "-12.5000"),
            (1e-3, "1.0000e-03"),
            (2.5e-12, "2.5000e-12"),
            (0.0, "0.0000e+00"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn step_times_have_no_decimals() {
        assert_eq!(duration(Duration::from_micros(4_800)), "5ms");
        assert_eq!(duration(Duration::from_nanos(70_400)), "70us");
        assert_eq!(duration(Duration::from_millis(2_300)), "2s");
    }

    #[test]
    fn waiting_is_a_share_of_the_training_time() {
        let second = Duration::from_secs(1);
        assert_eq!(data_wait(second / 4, second), " - data wait: 25%");
        assert_eq!(
            data_wait(Duration::ZERO, Duration::ZERO),
            " - data wait: 0%"
        );
    }
}
