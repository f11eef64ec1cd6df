//! Learning rates that change with the number of batches, with Keras 3's formulas.

use crate::error::NnError;
use std::f64::consts::PI;

/// A learning rate as a function of the number of batches that an optimizer has seen.
///
/// ```
/// use keros_nn::{Adam, ExponentialDecay, Optimizer};
///
/// let schedule = ExponentialDecay::new(0.1, 1000, 0.5)?.staircase(true);
/// let adam = Adam::new(schedule)?;
/// assert_eq!(adam.learning_rate(), 0.1);
/// # Ok::<(), keros_nn::NnError>(())
/// ```
pub trait Schedule: Send + Sync {
    /// The rate after `step` batches; the first update asks for that of 0.
    fn rate(&self, step: u64) -> f64;
}

/// A learning rate: a number, or a schedule. Numbers and schedules turn into one by themselves.
pub enum LearningRate {
    /// The same until it is set to another.
    Constant(f64),
    /// A function of the batches so far; it cannot be set.
    Schedule(Box<dyn Schedule>),
}

impl LearningRate {
    /// The rate after `step` batches.
    #[must_use]
    pub fn at(&self, step: u64) -> f64 {
        match self {
            LearningRate::Constant(rate) => *rate,
            LearningRate::Schedule(schedule) => schedule.rate(step),
        }
    }
}

impl From<f64> for LearningRate {
    fn from(rate: f64) -> LearningRate {
        LearningRate::Constant(rate)
    }
}

impl<S: Schedule + 'static> From<S> for LearningRate {
    fn from(schedule: S) -> LearningRate {
        LearningRate::Schedule(Box::new(schedule))
    }
}

impl From<Box<dyn Schedule>> for LearningRate {
    fn from(schedule: Box<dyn Schedule>) -> LearningRate {
        LearningRate::Schedule(schedule)
    }
}

/// `initial · decay_rate^(s / decay_steps)`; with [`staircase`](Self::staircase) the exponent is
/// rounded down.
#[derive(Clone, Debug)]
pub struct ExponentialDecay {
    initial: f64,
    decay_steps: u64,
    decay_rate: f64,
    staircase: bool,
}

/// `initial / (1 + decay_rate · s / decay_steps)`; with [`staircase`](Self::staircase) the fraction
/// is rounded down.
#[derive(Clone, Debug)]
pub struct InverseTimeDecay {
    initial: f64,
    decay_steps: u64,
    decay_rate: f64,
    staircase: bool,
}

macro_rules! staircase_decay {
    ($($name:ident)*) => {$(
        impl $name {
            /// From `initial_learning_rate`, by `decay_rate` every `decay_steps` batches, smoothly.
            ///
            /// # Errors
            /// A rate that is negative or not finite; no steps.
            pub fn new(
                initial_learning_rate: f64,
                decay_steps: u64,
                decay_rate: f64,
            ) -> Result<$name, NnError> {
                Ok($name {
                    initial: not_negative("initial_learning_rate", initial_learning_rate)?,
                    decay_steps: steps("decay_steps", decay_steps)?,
                    decay_rate: not_negative("decay_rate", decay_rate)?,
                    staircase: false,
                })
            }

            /// Whether the rate changes every `decay_steps` batches only. Default: false.
            #[must_use]
            pub fn staircase(mut self, staircase: bool) -> $name {
                self.staircase = staircase;
                self
            }

            fn progress(&self, step: u64) -> f64 {
                let progress = step as f64 / self.decay_steps as f64;
                if self.staircase { progress.floor() } else { progress }
            }
        }
    )*};
}

staircase_decay! { ExponentialDecay InverseTimeDecay }

impl Schedule for ExponentialDecay {
    fn rate(&self, step: u64) -> f64 {
        self.initial * self.decay_rate.powf(self.progress(step))
    }
}

impl Schedule for InverseTimeDecay {
    fn rate(&self, step: u64) -> f64 {
        self.initial / (1.0 + self.decay_rate * self.progress(step))
    }
}

/// `(initial - end) · (1 - s / decay_steps)^power + end`, and `end` from `decay_steps` on.
///
/// With [`cycle`](Self::cycle) `decay_steps` is instead multiplied until it is not below `s`.
#[derive(Clone, Debug)]
pub struct PolynomialDecay {
    initial: f64,
    decay_steps: u64,
    end: f64,
    power: f64,
    cycle: bool,
}

impl PolynomialDecay {
    /// From `initial_learning_rate` to 0.0001 in `decay_steps` batches, linearly, once.
    ///
    /// # Errors
    /// A rate that is negative or not finite; no steps.
    pub fn new(initial_learning_rate: f64, decay_steps: u64) -> Result<PolynomialDecay, NnError> {
        Ok(PolynomialDecay {
            initial: not_negative("initial_learning_rate", initial_learning_rate)?,
            decay_steps: steps("decay_steps", decay_steps)?,
            end: 0.0001,
            power: 1.0,
            cycle: false,
        })
    }

    /// The rate at the end. Default: 0.0001.
    ///
    /// # Errors
    /// A rate that is negative or not finite.
    pub fn end_learning_rate(mut self, rate: f64) -> Result<PolynomialDecay, NnError> {
        self.end = not_negative("end_learning_rate", rate)?;
        Ok(self)
    }

    /// The power of the polynomial. Default: 1, a straight line.
    ///
    /// # Errors
    /// A number that is negative or not finite.
    pub fn power(mut self, power: f64) -> Result<PolynomialDecay, NnError> {
        self.power = not_negative("power", power)?;
        Ok(self)
    }

    /// Whether it rises again after its end, each time for longer. Default: false.
    #[must_use]
    pub fn cycle(mut self, cycle: bool) -> PolynomialDecay {
        self.cycle = cycle;
        self
    }
}

impl Schedule for PolynomialDecay {
    fn rate(&self, step: u64) -> f64 {
        let (mut step, mut length) = (step as f64, self.decay_steps as f64);
        if self.cycle {
            length *= (step / length).ceil().max(1.0);
        } else {
            step = step.min(length);
        }
        (self.initial - self.end) * (1.0 - step / length).powf(self.power) + self.end
    }
}

/// `values[i]` for the first `i` with `s ≤ boundaries[i]`, and the last value beyond them all.
#[derive(Clone, Debug)]
pub struct PiecewiseConstantDecay {
    boundaries: Vec<u64>,
    values: Vec<f64>,
}

impl PiecewiseConstantDecay {
    /// One value more than boundaries; a boundary still belongs to the value before it.
    ///
    /// # Errors
    /// Another number of values, boundaries that do not ascend, or a value that is negative or not
    /// finite.
    pub fn new(
        boundaries: impl Into<Vec<u64>>,
        values: impl Into<Vec<f64>>,
    ) -> Result<PiecewiseConstantDecay, NnError> {
        let (boundaries, values) = (boundaries.into(), values.into());
        if values.len() != boundaries.len() + 1 {
            let expected = format!("{}, one more than boundaries", boundaries.len() + 1);
            return Err(NnError::argument(
                "number of values",
                expected,
                values.len(),
            ));
        }
        if !boundaries.is_sorted_by(|a, b| a < b) {
            let found = format!("{boundaries:?}");
            return Err(NnError::argument("boundaries", "ascending numbers", found));
        }
        for value in &values {
            not_negative("values", *value)?;
        }
        Ok(PiecewiseConstantDecay { boundaries, values })
    }
}

impl Schedule for PiecewiseConstantDecay {
    fn rate(&self, step: u64) -> f64 {
        self.values[self.boundaries.partition_point(|boundary| *boundary < step)]
    }
}

/// Half a cosine (I. Loshchilov, F. Hutter, 2017):
/// `initial · ((1 - alpha) · ½ (1 + cos(π s / decay_steps)) + alpha)`, constant from `decay_steps` on.
///
/// With [`warmup`](Self::warmup) a straight line leads to the rate that the cosine begins at.
#[derive(Clone, Debug)]
pub struct CosineDecay {
    initial: f64,
    decay_steps: u64,
    alpha: f64,
    warmup: Option<(f64, u64)>,
}

impl CosineDecay {
    /// From `initial_learning_rate` to 0 in `decay_steps` batches.
    ///
    /// # Errors
    /// A rate that is negative or not finite; no steps.
    pub fn new(initial_learning_rate: f64, decay_steps: u64) -> Result<CosineDecay, NnError> {
        Ok(CosineDecay {
            initial: not_negative("initial_learning_rate", initial_learning_rate)?,
            decay_steps: steps("decay_steps", decay_steps)?,
            alpha: 0.0,
            warmup: None,
        })
    }

    /// The rate at the end as a share of that at the beginning. Default: 0.
    ///
    /// # Errors
    /// A number that is negative or not finite.
    pub fn alpha(mut self, alpha: f64) -> Result<CosineDecay, NnError> {
        self.alpha = not_negative("alpha", alpha)?;
        Ok(self)
    }

    /// From the initial rate to `target` in `steps` batches first, then down from `target`, Keras's
    /// `warmup_target` and `warmup_steps`. Default: none.
    ///
    /// # Errors
    /// A rate that is negative or not finite.
    pub fn warmup(mut self, target: f64, steps: u64) -> Result<CosineDecay, NnError> {
        self.warmup = Some((not_negative("warmup_target", target)?, steps));
        Ok(self)
    }
}

impl Schedule for CosineDecay {
    fn rate(&self, step: u64) -> f64 {
        let (from, warmup_steps) = self.warmup.unwrap_or((self.initial, 0));
        if step < warmup_steps {
            let done = step as f64 / warmup_steps as f64;
            return (from - self.initial) * done + self.initial;
        }
        let step = (step - warmup_steps).min(self.decay_steps);
        let cosine = half_cosine(step as f64 / self.decay_steps as f64);
        from * ((1.0 - self.alpha) * cosine + self.alpha)
    }
}

/// [`CosineDecay`] that starts again (SGDR; I. Loshchilov, F. Hutter, 2017): period `i` is
/// `first_decay_steps · t_mul^i` batches long and begins at `m_mul^i` of the initial rate.
///
/// The rate is `initial · ((1 - alpha) · m_mul^i · ½ (1 + cos(π · share of the period)) + alpha)`.
#[derive(Clone, Debug)]
pub struct CosineDecayRestarts {
    initial: f64,
    first_decay_steps: u64,
    t_mul: f64,
    m_mul: f64,
    alpha: f64,
}

impl CosineDecayRestarts {
    /// From `initial_learning_rate` to 0 in `first_decay_steps` batches, then in twice as many, and
    /// so on.
    ///
    /// # Errors
    /// A rate that is negative or not finite; no steps.
    pub fn new(
        initial_learning_rate: f64,
        first_decay_steps: u64,
    ) -> Result<CosineDecayRestarts, NnError> {
        Ok(CosineDecayRestarts {
            initial: not_negative("initial_learning_rate", initial_learning_rate)?,
            first_decay_steps: steps("first_decay_steps", first_decay_steps)?,
            t_mul: 2.0,
            m_mul: 1.0,
            alpha: 0.0,
        })
    }

    /// How much longer each period is than the one before. Default: 2.
    ///
    /// # Errors
    /// A number that is below 1 or not finite.
    pub fn t_mul(mut self, t_mul: f64) -> Result<CosineDecayRestarts, NnError> {
        if !(t_mul >= 1.0 && t_mul.is_finite()) {
            let expected = "a finite number of at least 1";
            return Err(NnError::argument("t_mul", expected, t_mul));
        }
        self.t_mul = t_mul;
        Ok(self)
    }

    /// The first rate of each period as a share of that of the one before. Default: 1.
    ///
    /// # Errors
    /// A number that is negative or not finite.
    pub fn m_mul(mut self, m_mul: f64) -> Result<CosineDecayRestarts, NnError> {
        self.m_mul = not_negative("m_mul", m_mul)?;
        Ok(self)
    }

    /// The lowest rate as a share of the initial one. Default: 0.
    ///
    /// # Errors
    /// A number that is negative or not finite.
    pub fn alpha(mut self, alpha: f64) -> Result<CosineDecayRestarts, NnError> {
        self.alpha = not_negative("alpha", alpha)?;
        Ok(self)
    }

    /// The number of the period after `progress` first periods, and the share of it that is over.
    fn period(&self, progress: f64) -> (f64, f64) {
        let t = self.t_mul;
        if t == 1.0 {
            return (progress.floor(), progress.fract());
        }
        let start = |period: f64| (t.powf(period) - 1.0) / (t - 1.0);
        let mut period = ((1.0 + progress * (t - 1.0)).ln() / t.ln()).floor();
        // The logarithm may be off by its rounding at the borders.
        if start(period) > progress {
            period -= 1.0;
        } else if start(period + 1.0) <= progress {
            period += 1.0;
        }
        (period, (progress - start(period)) / t.powf(period))
    }
}

impl Schedule for CosineDecayRestarts {
    fn rate(&self, step: u64) -> f64 {
        let (period, share) = self.period(step as f64 / self.first_decay_steps as f64);
        let cosine = self.m_mul.powf(period) * half_cosine(share);
        self.initial * ((1.0 - self.alpha) * cosine + self.alpha)
    }
}

/// From 1 at 0 to 0 at 1.
fn half_cosine(share: f64) -> f64 {
    0.5 * (1.0 + (PI * share).cos())
}

pub(crate) fn not_negative(what: &str, value: f64) -> Result<f64, NnError> {
    if value.is_finite() && value >= 0.0 {
        return Ok(value);
    }
    let expected = "a finite number that is not negative";
    Err(NnError::argument(what, expected, value))
}

fn steps(what: &str, value: u64) -> Result<u64, NnError> {
    match value {
        0 => Err(NnError::argument(what, "at least 1", value)),
        _ => Ok(value),
    }
}
