//! The checks of a metric's state: how many numbers there are, and that sums of weights are finite.

use crate::error::NnError;

/// The state as rows of `N` sums of weights: as many as `rows` says, or any number of them.
pub(super) fn weights<const N: usize>(
    metric: &str,
    state: &[f64],
    rows: Option<usize>,
) -> Result<Vec<[f64; N]>, NnError> {
    if let Some(at) = state.iter().position(|weight| !weight.is_finite()) {
        let expected = format!("a finite sum of weights at {at}");
        return Err(NnError::metric_state(metric, expected, state[at]));
    }
    numbers(metric, state, rows)
}

/// The state as rows of `N` numbers, whatever they are.
pub(super) fn numbers<const N: usize>(
    metric: &str,
    state: &[f64],
    rows: Option<usize>,
) -> Result<Vec<[f64; N]>, NnError> {
    let (groups, rest) = state.as_chunks::<N>();
    if rest.is_empty() && rows.is_none_or(|rows| rows == groups.len()) {
        return Ok(groups.to_vec());
    }
    let expected = match rows {
        Some(rows) => format!("{} numbers", rows * N),
        None => format!("{N} numbers for each class"),
    };
    Err(NnError::metric_state(metric, expected, state.len()))
}
