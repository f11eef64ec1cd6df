//! What a user may choose.

use keros_plugin::BoxError;
use schemars::JsonSchema;
use serde::Deserialize;
use std::path::PathBuf;

/// The configuration of an [`LrFinder`](crate::LrFinder).
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The CSV file of the curve.
    pub path: PathBuf,
    /// A picture of the curve; none unless given.
    #[serde(default)]
    pub svg: Option<PathBuf>,
    /// The rate of the first update, above 0; 1e-7 unless given, as in fastai.
    #[serde(default = "min")]
    pub min: f64,
    /// The rate of the last update, above `min`; 10 unless given, as in fastai.
    #[serde(default = "max")]
    pub max: f64,
    /// Updates in the sweep, at least 2; 100 unless given.
    #[serde(default = "steps")]
    pub steps: usize,
    /// The weight of what was before in the smoothed loss, from 0 to below 1; 0.98 unless given.
    #[serde(default = "smoothing")]
    pub smoothing: f64,
    /// How many times the best smoothed loss may grow before the sweep ends, above 1; 4 unless given.
    /// `null`: without limit.
    #[serde(default = "stop_factor")]
    pub stop_factor: Option<f64>,
    /// First points that are not looked at for the suggestion; 10 unless given, as in Lightning.
    #[serde(default = "skip_begin")]
    pub skip_begin: usize,
    /// Last points that are not looked at for the suggestion; 1 unless given, as in Lightning.
    #[serde(default = "skip_end")]
    pub skip_end: usize,
}

impl Config {
    /// Writes the curve to `path`, with the defaults for all else.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Config {
        Config {
            path: path.into(),
            svg: None,
            min: min(),
            max: max(),
            steps: steps(),
            smoothing: smoothing(),
            stop_factor: stop_factor(),
            skip_begin: skip_begin(),
            skip_end: skip_end(),
        }
    }

    /// Refuses what no sweep can be made of.
    pub(crate) fn check(&self) -> Result<(), BoxError> {
        let refuse = |field: &str, expected: &str, found: String| -> Result<(), BoxError> {
            Err(format!("config field `{field}`: expected {expected}, found {found}").into())
        };
        for (field, path) in [("path", Some(&self.path)), ("svg", self.svg.as_ref())] {
            if path.is_some_and(|path| path.as_os_str().is_empty()) {
                return refuse(field, "a file", "an empty text".to_owned());
            }
        }
        if self.min.is_nan() || self.min <= 0.0 {
            return refuse("min", "a number above 0", self.min.to_string());
        }
        if !self.max.is_finite() || self.max <= self.min {
            let expected = format!("a number above `min`, which is {}", self.min);
            return refuse("max", &expected, self.max.to_string());
        }
        if self.steps < 2 {
            return refuse("steps", "at least 2", self.steps.to_string());
        }
        if !(0.0..1.0).contains(&self.smoothing) {
            let expected = "a number from 0 to below 1";
            return refuse("smoothing", expected, self.smoothing.to_string());
        }
        if let Some(factor) = self.stop_factor
            && !(factor.is_finite() && factor > 1.0)
        {
            return refuse(
                "stop_factor",
                "a number above 1, or null",
                factor.to_string(),
            );
        }
        let skipped = self.skip_begin.saturating_add(self.skip_end);
        if skipped.saturating_add(2) > self.steps {
            let expected = format!(
                "at most {} together with `skip_end`, so that 2 of {} steps are left",
                self.steps - 2,
                self.steps
            );
            return refuse("skip_begin", &expected, skipped.to_string());
        }
        Ok(())
    }
}

fn min() -> f64 {
    1e-7
}

fn max() -> f64 {
    10.0
}

fn steps() -> usize {
    100
}

fn smoothing() -> f64 {
    0.98
}

#[allow(
    clippy::unnecessary_wraps,
    reason = "a default of the type of its field"
)]
fn stop_factor() -> Option<f64> {
    Some(4.0)
}

fn skip_begin() -> usize {
    10
}

fn skip_end() -> usize {
    1
}
