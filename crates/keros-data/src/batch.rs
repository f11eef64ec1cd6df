//! One batch: what a data source gives and a training step takes.

use std::ops::Range;

use crate::{Arrays, DataError};

/// Inputs of a model for some samples, with their targets and weights.
///
/// # Shapes
/// All arrays have the same number of rows, at least one. `sample_weight` is `[n]`, or `[n, …]` for
/// a weight of each position of an output, such as a time step or a pixel.
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

    /// Some of the samples, sharing the elements of this batch, all of which stay in memory as long as the slice does:
    /// [`Batch::select`] copies.
    ///
    /// # Errors
    /// The range does not lie within the samples.
    pub fn slice(&self, samples: Range<usize>) -> Result<Self, DataError> {
        self.select_with(
            |arrays| arrays.slice(samples.clone()),
            |indices| indices[samples.clone()].to_vec(),
        )
    }

    /// The samples in the given places, in that order (a place may come several times), copied.
    ///
    /// # Errors
    /// A place is not below [`Batch::len`].
    pub fn select(&self, places: &[usize]) -> Result<Self, DataError> {
        self.select_with(
            |arrays| arrays.select(places),
            |indices| places.iter().map(|place| indices[*place]).collect(),
        )
    }

    fn select_with(
        &self,
        arrays: impl Fn(&Arrays) -> Result<Arrays, DataError>,
        indices: impl Fn(&[usize]) -> Vec<usize>,
    ) -> Result<Self, DataError> {
        self.check()?;
        let optional = |part: &Option<Arrays>| part.as_ref().map(&arrays).transpose();
        Ok(Self {
            inputs: arrays(&self.inputs)?,
            targets: optional(&self.targets)?,
            sample_weight: optional(&self.sample_weight)?,
            indices: match self.indices.is_empty() {
                true => Vec::new(),
                false => indices(&self.indices),
            },
        })
    }

    /// The samples of several batches one after another. They are numbered if all batches are.
    ///
    /// # Errors
    /// No batch at all; targets or weights in some of them only; arrays that do not fit together,
    /// see [`Arrays::concat`].
    pub fn concat(batches: &[Self]) -> Result<Self, DataError> {
        let inputs: Vec<Arrays> = batches.iter().map(|batch| batch.inputs.clone()).collect();
        let optional = |part: fn(&Self) -> &Option<Arrays>, what: &'static str| {
            let some: Vec<Arrays> = batches.iter().filter_map(|b| part(b).clone()).collect();
            match some.len() {
                0 => Ok(None),
                found if found < batches.len() => Err(DataError::LengthMismatch {
                    name: format!("the list of batches with {what}").into(),
                    reference: "the list of batches".into(),
                    expected: batches.len(),
                    found,
                }),
                _ => Arrays::concat(&some).map(Some),
            }
        };
        let numbered = batches.iter().all(|batch| !batch.indices.is_empty());
        Ok(Self {
            inputs: Arrays::concat(&inputs)?,
            targets: optional(|batch| &batch.targets, "targets")?,
            sample_weight: optional(|batch| &batch.sample_weight, "weights")?,
            indices: match numbered {
                true => batches.iter().flat_map(|b| b.indices.clone()).collect(),
                false => Vec::new(),
            },
        })
    }

    /// Two batches of the same samples as one: inputs, targets and weights of both, by their names.
    ///
    /// ```
    /// use keros_data::{Array, Arrays, Batch};
    ///
    /// # fn main() -> Result<(), keros_data::DataError> {
    /// let image = Arrays::from_pairs([("image", Array::from_vec(&[2, 1], vec![1_u8, 2])?)])?;
    /// let age = Arrays::from_pairs([("age", Array::from_vec(&[2], vec![31.0_f32, 64.0])?)])?;
    /// let both = Batch::inputs_only(image).merge(Batch::inputs_only(age))?;
    /// assert_eq!(both.inputs.names().collect::<Vec<_>>(), ["image", "age"]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Different numbers of samples, or samples with different indices; a name that both have.
    pub fn merge(self, other: Self) -> Result<Self, DataError> {
        self.check_same_samples(&other)?;
        let optional = |first: Option<Arrays>, second: Option<Arrays>| match (first, second) {
            (Some(first), Some(second)) => first.merge(second).map(Some),
            (first, second) => Ok(first.or(second)),
        };
        Ok(Self {
            inputs: self.inputs.merge(other.inputs)?,
            targets: optional(self.targets, other.targets)?,
            sample_weight: optional(self.sample_weight, other.sample_weight)?,
            indices: match self.indices.is_empty() {
                true => other.indices,
                false => self.indices,
            },
        })
    }

    /// Whether two batches are of the same samples, as far as their indices tell.
    pub(crate) fn check_same_samples(&self, other: &Self) -> Result<(), DataError> {
        if self.len() != other.len() {
            return Err(DataError::LengthMismatch {
                name: "the second batch".into(),
                reference: "the first".into(),
                expected: self.len(),
                found: other.len(),
            });
        }
        let pairs = self.indices.iter().zip(&other.indices);
        match pairs
            .enumerate()
            .find(|(_, (first, second))| first != second)
        {
            Some((row, (&expected, &found))) => Err(DataError::SampleMismatch {
                row,
                expected,
                found,
            }),
            None => Ok(()),
        }
    }

    /// Bytes that the elements of all arrays take, whether they are shared or not.
    pub fn size_bytes(&self) -> usize {
        let optional = |part: &Option<Arrays>| part.as_ref().map_or(0, Arrays::size_bytes);
        self.inputs.size_bytes() + optional(&self.targets) + optional(&self.sample_weight)
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
