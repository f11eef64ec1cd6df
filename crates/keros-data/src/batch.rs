//! One batch: what a data source gives and a training step takes.

use crate::{Arrays, DataError};

/// Inputs of a model for some samples, with their targets and weights.
///
/// # Shapes
/// All arrays have the same number of rows, at least one. `sample_weight` is `[n]`, or `[n, …]` for
/// weights per time step.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// What goes into the model.
    pub inputs: Arrays,
    /// What should come out; `None` for prediction.
    pub targets: Option<Arrays>,
    /// Weight of every sample in the loss, one array for all outputs or one for each by its name;
    /// `None` weighs all alike.
    pub sample_weight: Option<Arrays>,
    /// Index of every sample in the dataset. Empty when the source does not number its samples.
    pub indices: Vec<usize>,
}

impl Batch {
    /// A batch with targets.
    pub fn new(inputs: impl Into<Arrays>, targets: impl Into<Arrays>) -> Self {
        Self {
            targets: Some(targets.into()),
            ..Self::inputs_only(inputs)
        }
    }

    /// A batch without targets, for prediction.
    pub fn inputs_only(inputs: impl Into<Arrays>) -> Self {
        Self {
            inputs: inputs.into(),
            targets: None,
            sample_weight: None,
            indices: Vec::new(),
        }
    }

    /// Gives every sample a weight.
    pub fn sample_weight(mut self, sample_weight: impl Into<Arrays>) -> Self {
        self.sample_weight = Some(sample_weight.into());
        self
    }

    /// Says which samples of the dataset these are.
    pub fn indices(mut self, indices: Vec<usize>) -> Self {
        self.indices = indices;
        self
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.inputs.rows()
    }

    /// Whether there are no samples; [`Batch::check`] refuses such a batch.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of all elements, as `max_queue_bytes` counts them.
    pub fn num_bytes(&self) -> usize {
        let parts = [&self.targets, &self.sample_weight];
        let parts = parts.into_iter().flatten().chain([&self.inputs]);
        let arrays = parts.flat_map(|arrays| arrays.iter().map(|(_, array)| array.num_bytes()));
        arrays.sum::<usize>() + size_of_val(self.indices.as_slice())
    }

    /// Whether all parts have the same number of rows, and at least one.
    ///
    /// A [`Loader`](crate::Loader) checks every batch it delivers.
    ///
    /// # Errors
    /// Names the part that is empty, or that has another number of rows than the inputs.
    pub fn check(&self) -> Result<(), DataError> {
        check_rows(
            "checking a batch",
            &self.inputs,
            self.targets.as_ref(),
            self.sample_weight.as_ref(),
        )?;
        if !self.indices.is_empty() && self.indices.len() != self.len() {
            return Err(DataError::LengthMismatch {
                name: "the list of sample indices".into(),
                reference: "inputs".into(),
                expected: self.len(),
                found: self.indices.len(),
            });
        }
        Ok(())
    }
}

/// Checks that inputs, targets and weights of a batch or a dataset have the same number of rows,
/// not zero.
pub(crate) fn check_rows(
    doing: &'static str,
    inputs: &Arrays,
    targets: Option<&Arrays>,
    sample_weight: Option<&Arrays>,
) -> Result<(), DataError> {
    let expected = inputs.rows();
    let reference = inputs.title("inputs", inputs.names().next().unwrap_or_default());
    if expected == 0 {
        return Err(DataError::Empty {
            doing,
            what: reference.into(),
        });
    }
    let mismatch = |name: String, found: usize| DataError::LengthMismatch {
        name: name.into(),
        reference: reference.as_str().into(),
        expected,
        found,
    };
    if let Some(targets) = targets
        && targets.rows() != expected
    {
        let name = targets.names().next().unwrap_or_default();
        return Err(mismatch(targets.title("targets", name), targets.rows()));
    }
    if let Some(sample_weight) = sample_weight
        && sample_weight.rows() != expected
    {
        let name = sample_weight.names().next().unwrap_or_default();
        let title = sample_weight.title("sample_weight", name);
        return Err(mismatch(title, sample_weight.rows()));
    }
    Ok(())
}
