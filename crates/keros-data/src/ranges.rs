//! The ranges from which an `ImageDataGenerator` draws.

use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::DataError;
use crate::rng::{below, uniform, unit};

const DOING: &str = "setting up an ImageDataGenerator";

/// How far an image may be shifted along one side. Keras tells the cases apart by type and value,
/// and so do the `From`s.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ShiftRange {
    /// A number `f`: the shift is uniform in `[-f, f)`, as a fraction of the side if `f < 1`, else
    /// in pixels. 0 is off.
    Number(f64),
    /// A whole number `n`: the shift is a whole number of pixels in `(-n, n)`. 0 is off.
    Whole(i64),
    /// A list: one of the values with a random sign, as fractions of the side if all are below 1,
    /// else in pixels.
    OneOf(Vec<f64>),
}

impl From<f64> for ShiftRange {
    fn from(value: f64) -> Self {
        Self::Number(value)
    }
}

impl From<i32> for ShiftRange {
    fn from(value: i32) -> Self {
        Self::Whole(value.into())
    }
}

impl From<Vec<f64>> for ShiftRange {
    fn from(values: Vec<f64>) -> Self {
        Self::OneOf(values)
    }
}

impl<const N: usize> From<[f64; N]> for ShiftRange {
    fn from(values: [f64; N]) -> Self {
        Self::OneOf(values.to_vec())
    }
}

impl ShiftRange {
    /// Draws a shift in pixels for a side of `side` pixels.
    pub(crate) fn draw<R: Rng + ?Sized>(&self, side: usize, rng: &mut R) -> f64 {
        let (value, largest) = match self {
            Self::Number(range) if *range == 0.0 => return 0.0,
            Self::Number(range) => (uniform(rng, -range, *range), *range),
            Self::Whole(range) if *range == 0 => return 0.0,
            Self::Whole(range) => {
                let value = below(rng, range.unsigned_abs()) as f64;
                (signed(rng, value), *range as f64)
            }
            Self::OneOf(values) => {
                let value = values
                    .get(below(rng, values.len() as u64) as usize)
                    .copied()
                    .unwrap_or(0.0);
                (
                    signed(rng, value),
                    values.iter().copied().fold(0.0, f64::max),
                )
            }
        };
        if largest < 1.0 {
            value * side as f64
        } else {
            value
        }
    }

    pub(crate) fn check(&self, argument: &'static str) -> Result<(), DataError> {
        match self {
            Self::Number(range) => check_range(argument, *range),
            Self::Whole(range) if *range < 0 => {
                Err(DataError::invalid(DOING, argument, "at least 0", range))
            }
            Self::Whole(_) => Ok(()),
            Self::OneOf(values) if values.is_empty() => Err(DataError::invalid(
                DOING,
                argument,
                "at least one value",
                "an empty list",
            )),
            Self::OneOf(values) => match values.iter().find(|value| !value.is_finite()) {
                Some(value) => Err(DataError::invalid(DOING, argument, "finite values", value)),
                None => Ok(()),
            },
        }
    }
}

/// The value with a random sign.
fn signed<R: Rng + ?Sized>(rng: &mut R, value: f64) -> f64 {
    if unit(rng) < 0.5 { -value } else { value }
}

/// How much an image may be zoomed: factors are uniform in `[low, high)`, drawn independently for
/// height and width. A factor below 1 magnifies. Equal ends of 1 are off.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ZoomRange {
    /// Lowest factor, above 0.
    pub low: f64,
    /// Highest factor.
    pub high: f64,
}

impl Default for ZoomRange {
    fn default() -> Self {
        Self {
            low: 1.0,
            high: 1.0,
        }
    }
}

/// A number `z` is the range `[1 - z, 1 + z]`.
impl From<f64> for ZoomRange {
    fn from(z: f64) -> Self {
        Self {
            low: 1.0 - z,
            high: 1.0 + z,
        }
    }
}

impl From<(f64, f64)> for ZoomRange {
    fn from((low, high): (f64, f64)) -> Self {
        Self { low, high }
    }
}

impl From<[f64; 2]> for ZoomRange {
    fn from([low, high]: [f64; 2]) -> Self {
        Self { low, high }
    }
}

impl ZoomRange {
    /// The factors along height and width.
    pub(crate) fn draw<R: Rng + ?Sized>(&self, rng: &mut R) -> (f64, f64) {
        if *self == Self::default() {
            return (1.0, 1.0);
        }
        (
            uniform(rng, self.low, self.high),
            uniform(rng, self.low, self.high),
        )
    }

    pub(crate) fn check(&self) -> Result<(), DataError> {
        let Self { low, high } = *self;
        if low > 0.0 && low <= high && high.is_finite() {
            return Ok(());
        }
        Err(DataError::invalid(
            DOING,
            "zoom_range",
            "0 < low <= high",
            format!("low {low}, high {high}"),
        ))
    }
}

/// A number in `[-range, range)`; 0 draws nothing.
pub(crate) fn symmetric<R: Rng + ?Sized>(rng: &mut R, range: f64) -> f64 {
    match range == 0.0 {
        true => 0.0,
        false => uniform(rng, -range, range),
    }
}

/// A range that is symmetric about zero: finite, not negative.
pub(crate) fn check_range(argument: &'static str, range: f64) -> Result<(), DataError> {
    if range.is_finite() && range >= 0.0 {
        Ok(())
    } else {
        Err(DataError::invalid(
            DOING,
            argument,
            "a finite number, at least 0",
            range,
        ))
    }
}
