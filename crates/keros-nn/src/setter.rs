//! The argument setters that losses and metrics share, so that each argument is one line.

use crate::error::NnError;
use std::ops::RangeInclusive;

/// A setter for a flag, or for a number in a range: `setter!(from_logits: bool)`,
/// `setter!(alpha: 0.0..=1.0)`.
macro_rules! setter {
    ($(#[$doc:meta])* $field:ident: bool) => {
        $(#[$doc])*
        #[must_use]
        pub fn $field(mut self, $field: bool) -> Self {
            self.$field = $field;
            self
        }
    };
    ($(#[$doc:meta])* $field:ident: $range:expr) => {
        $(#[$doc])*
        ///
        /// # Errors
        /// The number is outside its range.
        pub fn $field(mut self, $field: f64) -> Result<Self, $crate::NnError> {
            self.$field = $crate::setter::in_range(stringify!($field), $field, $range)?;
            Ok(self)
        }
    };
}
pub(crate) use setter;

/// `value` if it is in `range`; NaN is in none.
pub(crate) fn in_range(what: &str, value: f64, range: RangeInclusive<f64>) -> Result<f64, NnError> {
    if range.contains(&value) {
        return Ok(value);
    }
    let (low, high) = (range.start(), range.end());
    let expected = match *high == f64::MAX {
        true => format!("a finite number, at least {low}"),
        false => format!("a number from {low} to {high}"),
    };
    Err(NnError::argument(what, expected, value))
}
