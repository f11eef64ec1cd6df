//! What the targets of images in files are.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Array, Arrays, DataError};

/// The targets that go with the images of a folder or table; Keras's `class_mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClassMode {
    /// `[N, classes]` of `f32`: 1 for the class, or for each of the classes, else 0.
    #[default]
    Categorical,
    /// `[N]` of `f32`: 0 or 1. More than two classes are refused, in tables also fewer.
    Binary,
    /// `[N]` of `i64`: the index of the class.
    Sparse,
    /// The images themselves, for autoencoders.
    Input,
    /// No targets, for predictions.
    None,
    /// The numbers of the columns of a table: `[N]` for one, `[N, columns]` for several. Not for
    /// folders.
    Raw,
    /// The numbers of each column of a table as an array of its own, `[N]`, with the column's name.
    /// Not for folders.
    MultiOutput,
}

impl ClassMode {
    /// Whether there are classes.
    pub(crate) fn has_classes(self) -> bool {
        matches!(self, Self::Categorical | Self::Binary | Self::Sparse)
    }
}

impl fmt::Display for ClassMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Categorical => "categorical",
            Self::Binary => "binary",
            Self::Sparse => "sparse",
            Self::Input => "input",
            Self::None => "none",
            Self::Raw => "raw",
            Self::MultiOutput => "multi_output",
        })
    }
}

/// The targets of a flow.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Targets {
    /// One class of so many for each sample.
    OneOf(Vec<usize>, usize, ClassMode),
    /// Any of so many classes for each sample.
    AnyOf(Vec<Vec<usize>>, usize),
    Numbers(Arrays),
    Images,
    None,
}

impl Targets {
    /// The targets of some samples, whose images are given.
    pub(crate) fn select(
        &self,
        samples: &[usize],
        images: &Arrays,
    ) -> Result<Option<Arrays>, DataError> {
        let rows = samples.len();
        let hot = |classes: usize, labels: &dyn Fn(usize) -> Vec<usize>| {
            let mut values = vec![0.0_f32; rows * classes];
            for (row, sample) in values.chunks_exact_mut(classes.max(1)).zip(samples) {
                labels(*sample)
                    .into_iter()
                    .for_each(|class| row[class] = 1.0);
            }
            Array::from_vec(&[rows, classes], values)
        };
        let array = match self {
            Self::OneOf(labels, _, ClassMode::Binary) => {
                let labels = samples.iter().map(|sample| labels[*sample] as f32);
                Array::from_vec(&[rows], labels.collect())?
            }
            Self::OneOf(labels, _, ClassMode::Sparse) => {
                let labels = samples.iter().map(|sample| labels[*sample] as i64);
                Array::from_vec(&[rows], labels.collect())?
            }
            Self::OneOf(labels, classes, _) => hot(*classes, &|sample| vec![labels[sample]])?,
            Self::AnyOf(labels, classes) => hot(*classes, &|sample| labels[sample].clone())?,
            Self::Numbers(arrays) => return arrays.select(samples).map(Some),
            Self::Images => return Ok(Some(images.clone())),
            Self::None => return Ok(None),
        };
        Ok(Some(array.into()))
    }
}
