//! The progress line of a run, in Keras's form.

use crate::callback::{Callback, CallbackResult};
use crate::context::{Context, Level, Message};
use crate::decision::Decision;
use crate::error::BoxError;
use crate::event::EventKind;
use crate::logs::{LogValue, Logs};
use console::{Term, measure_text_width};
use std::env;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// How much of a run is shown; Keras's `verbose`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verbose {
    /// [`Verbose::Bar`] on a terminal; [`Verbose::Line`] in a pipe or a file, on a terminal that
    /// cannot move its cursor (`TERM=dumb`), and where `CI` is set.
    #[default]
    Auto,
    /// Nothing (0), no warning either: what a run says is then read from its callbacks or, with
    /// keros-train, from `Trainer::messages`.
    Silent,
    /// A bar that moves (1); where it cannot, it is shown at the end of an epoch.
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
/// 40/79 [==============>...............] - ETA: 0s - loss: 0.9131 - accuracy: 0.6703
/// ```
///
/// and at the end of an epoch
/// `79/79 [==============================] - 1s 14ms/step - loss: … - val_loss: … - data wait: 1%`,
/// where *data wait* is the share of the training time of the epoch that was spent waiting for the
/// next batch; a run that does not measure it does without.
///
/// No line is wider than the terminal. One that moves gives up the bar for that, then all values but
/// the first, the last ones first, then the ETA; one that stays gives up the bar and then continues
/// on the next line. There are no colours, and nothing but ASCII besides the names of values.
///
/// When nobody reads the output any more, nothing more is written to it; any other failure to write
/// is that of the callback.
pub struct ProgbarLogger {
    /// Whether the line of an epoch shows the bar.
    with_bar: bool,
    /// Tells the width of a terminal on which the line moves.
    width: Option<Box<dyn Fn() -> usize>>,
    out: Box<dyn Write>,
    /// Whether a line that moves stands where the cursor is.
    painted: bool,
    phase: Phase,
    /// The epoch that is shown.
    epoch: Option<u64>,
}

/// One pass over batches: an epoch, a lone evaluation or a prediction.
struct Phase {
    started: Instant,
    repainted: Option<Instant>,
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
            repainted: None,
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
        let dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
        let moves = io::stdout().is_terminal() && !dumb;
        let ci = env::var_os("CI").is_some_and(|ci| !ci.is_empty() && ci != "false");
        let with_bar = match verbose {
            Verbose::Silent => return None,
            Verbose::Auto => moves && !ci,
            Verbose::Bar => true,
            Verbose::Line => false,
        };
        let mut progress = ProgbarLogger::lines_to(io::stdout());
        if with_bar {
            let width = || {
                Term::stdout()
                    .size_checked()
                    .map_or(80, |(_, width)| usize::from(width))
            };
            progress.with_bar = true;
            progress.width = moves.then(|| Box::new(width) as Box<dyn Fn() -> usize>);
        }
        Some(progress)
    }

    /// Writes one line per epoch to `out`.
    #[must_use]
    pub fn lines_to(out: impl Write + 'static) -> ProgbarLogger {
        ProgbarLogger {
            with_bar: false,
            width: None,
            out: Box::new(out),
            painted: false,
            phase: Phase::new(None, Duration::ZERO),
            epoch: None,
        }
    }

    /// Shows a bar that moves on a terminal that `out` writes to, and whose width in columns `width`
    /// tells at any time.
    #[must_use]
    pub fn bar_to(out: impl Write + 'static, width: impl Fn() -> usize + 'static) -> ProgbarLogger {
        ProgbarLogger {
            with_bar: true,
            width: Some(Box::new(width)),
            ..ProgbarLogger::lines_to(out)
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

    /// Begins to show an epoch that was resumed after its last batch.
    fn begin_trained_epoch(&mut self, cx: &Context<'_>) -> Result<(), BoxError> {
        self.begin_epoch(cx)?;
        let batches = cx.info().steps.unwrap_or_default();
        (self.phase.before, self.phase.batches) = (batches, batches);
        Ok(())
    }

    fn begin(&mut self, cx: &Context<'_>) -> Result<(), BoxError> {
        self.phase = Phase {
            before: cx.event().batch,
            ..Phase::new(cx.info().steps, cx.data_wait())
        };
        Ok(())
    }

    fn batch_end(&mut self, cx: &mut Context<'_>) -> Result<(), BoxError> {
        let now = Instant::now();
        let phase = &mut self.phase;
        phase.before = phase.before.min(cx.event().batch);
        phase.batches = cx.event().batch + 1;
        phase.busy = now - phase.started;
        phase.wait = cx.data_wait();
        let due = phase.repainted.is_none_or(|last| now - last >= REPAINT);
        let Some(width) = self.width.as_ref().filter(|_| due) else {
            return Ok(());
        };
        phase.repainted = Some(now);
        let line = moving(phase, cx.logs()?, width());
        self.painted = true;
        self.put(&format!("{CLEAR}{line}"))?;
        Ok(())
    }

    /// Replaces the line that moves by the one that stays.
    fn end(&mut self, cx: &mut Context<'_>) -> Result<(), BoxError> {
        let phase = &self.phase;
        let batches = phase.batches.saturating_sub(phase.before);
        let per_step = phase.busy.checked_div(batches.try_into()?);
        let seconds = phase.started.elapsed().as_secs();
        let mut parts = vec![
            phase.counts(),
            format!("{seconds}s {}/step", duration(per_step.unwrap_or_default())),
        ];
        parts.extend(values(cx.logs()?));
        parts.extend(data_wait(phase.wait, phase.busy));
        let complete = phase.target.is_none_or(|target| phase.batches >= target);
        let width = self.width.as_ref().map_or(usize::MAX, |width| width());
        let mut line = parts.join(" - ");
        if self.with_bar && complete {
            let counts = format!("{} {}", parts[0], bar(1, 1));
            let with_bar = line.replacen(&parts[0], &counts, 1);
            if measure_text_width(&with_bar) <= width {
                line = with_bar;
            }
        }
        if measure_text_width(&line) > width {
            line = fold(&parts, width);
        }
        self.say(&line)?;
        Ok(())
    }

    /// Writes a line that stays; a line that moves makes room for it.
    fn say(&mut self, line: &str) -> io::Result<()> {
        let clear = match std::mem::take(&mut self.painted) {
            true => CLEAR,
            false => "",
        };
        self.put(&format!("{clear}{line}\n"))
    }

    /// Writes to whoever reads. When nobody does any more, as after `| head`, the training goes on.
    fn put(&mut self, text: &str) -> io::Result<()> {
        let written = self.out.write_all(text.as_bytes());
        match written.and_then(|()| self.out.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.out = Box::new(io::sink());
                Ok(())
            }
            written => written,
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
            EventKind::TestBegin if event.nested && self.epoch != Some(event.epoch) => {
                self.begin_trained_epoch(cx)?;
            }
            EventKind::EpochEnd => {
                if self.epoch != Some(event.epoch) {
                    self.begin_trained_epoch(cx)?;
                }
                self.end(cx)?;
            }
            EventKind::TestBegin if !event.nested => self.begin(cx)?,
            EventKind::PredictBegin => self.begin(cx)?,
            EventKind::TrainBatchEnd | EventKind::PredictBatchEnd => self.batch_end(cx)?,
            EventKind::TestBatchEnd if !event.nested => self.batch_end(cx)?,
            EventKind::PredictEnd => self.end(cx)?,
            EventKind::TestEnd if !event.nested => self.end(cx)?,
            // What the program says of it begins a line.
            EventKind::Error if std::mem::take(&mut self.painted) => self.put("\n")?,
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

/// To the beginning of the line, and nothing in it.
const CLEAR: &str = "\r\x1b[2K";

impl Phase {
    fn counts(&self) -> String {
        match self.target {
            Some(target) => format!("{}/{target}", self.batches),
            None => self.batches.to_string(),
        }
    }
}

/// The line of a phase that goes on, for a terminal of that width.
fn moving(phase: &Phase, logs: &Logs, width: usize) -> String {
    // Some terminals wrap a line that reaches their last column.
    let room = width.saturating_sub(1);
    let mut counts = phase.counts();
    let mut with_bar = counts.clone();
    let mut eta = None;
    if let Some(target) = phase.target {
        let digits = target.to_string().len();
        counts = format!("{:>digits$}/{target}", phase.batches);
        with_bar = format!("{counts} {}", bar(phase.batches, target));
        let done = phase.batches.saturating_sub(phase.before).max(1);
        let left = target.saturating_sub(phase.batches);
        let seconds = phase.busy.as_secs_f64() / done as f64 * left as f64;
        eta = Some(format!("ETA: {}", clock(seconds)));
    }
    let values = values(logs);
    let line = |counts: &str, eta: Option<&String>, shown: usize| {
        let values = values.iter().take(shown);
        let parts = eta.into_iter().chain(values);
        parts.fold(counts.to_owned(), |line, part| format!("{line} - {part}"))
    };
    let all = line(&with_bar, eta.as_ref(), values.len());
    let fewer = (1..=values.len()).rev();
    std::iter::once(all)
        .chain(fewer.map(|shown| line(&counts, eta.as_ref(), shown)))
        .chain([line(&counts, None, 1), line(&counts, eta.as_ref(), 0)])
        .find(|line| measure_text_width(line) <= room)
        .unwrap_or_else(|| counts.chars().take(room).collect())
}

/// A bar of 32 columns.
fn bar(done: u64, target: u64) -> String {
    const LENGTH: u64 = 30;
    let filled =
        (u128::from(LENGTH) * u128::from(done.min(target)) / u128::from(target.max(1))) as usize;
    let rest = LENGTH as usize - filled;
    let tip = if rest > 0 { ">" } else { "" };
    format!(
        "[{}{tip}{}]",
        "=".repeat(filled),
        ".".repeat(rest.saturating_sub(1))
    )
}

/// `12s`, `3:05` or `1:03:05`, as in Keras.
fn clock(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, minutes) => format!("{minutes}:{:02}", seconds % 60),
        (hours, minutes) => format!("{hours}:{minutes:02}:{:02}", seconds % 60),
    }
}

/// The parts on as many lines as they need, the later ones indented.
fn fold(parts: &[String], width: usize) -> String {
    const INDENT: &str = "  ";
    let mut lines = String::new();
    let mut used = 0;
    for part in parts {
        let length = measure_text_width(part);
        if used == 0 {
            lines.push_str(part);
            used = length;
        } else if used + 3 + length <= width {
            lines.push_str(" - ");
            lines.push_str(part);
            used += 3 + length;
        } else {
            lines.push('\n');
            lines.push_str(INDENT);
            lines.push_str(part);
            used = INDENT.len() + length;
        }
    }
    lines
}

/// `name: value` for each number, as Keras writes them.
fn values(logs: &Logs) -> Vec<String> {
    let values = logs.iter().map(|(name, value)| match value {
        LogValue::Float(value) => format!("{name}: {}", number(*value)),
        other => format!("{name}: {other}"),
    });
    values.collect()
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

/// The share of waiting, if it was measured.
fn data_wait(wait: Duration, busy: Duration) -> Option<String> {
    let share = wait.as_secs_f64() / busy.as_secs_f64().max(f64::MIN_POSITIVE);
    (!wait.is_zero()).then(|| format!("data wait: {:.0}%", 100.0 * share.min(1.0)))
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
        let text = |wait| data_wait(wait, second);
        assert_eq!(text(second / 4).as_deref(), Some("data wait: 25%"));
        assert_eq!(text(Duration::ZERO), None);
    }

    #[test]
    fn times_to_go_are_clocks() {
        let texts = [0.4, 59.4, 60.0, 3_599.0, 3_785.0].map(clock);
        assert_eq!(texts, ["0s", "59s", "1:00", "59:59", "1:03:05"]);
    }

    #[test]
    fn bars_are_empty_at_first_and_full_at_last() {
        assert_eq!(bar(0, 7), format!("[>{}]", ".".repeat(29)));
        assert_eq!(bar(7, 7), format!("[{}]", "=".repeat(30)));
        assert_eq!(bar(u64::MAX, u64::MAX), bar(1, 1));
        assert_eq!(bar(0, 0).len(), 32);
    }
}
