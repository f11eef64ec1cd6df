//! Named arrays that belong together row by row: the inputs or the targets of a model.

use ndarray::{Array as NdArray, Dimension};

use crate::{Array, DataError, Element};

/// One or more arrays with the same number of rows, in a fixed order, each with a name.
///
/// The usual case, a single array for a model with a single input, needs no name:
/// `Arrays::from(array)` names it with the empty string, and [`Arrays::is_unnamed`] tells.
///
/// ```
/// use keros_data::{Array, Arrays};
///
/// # fn main() -> Result<(), keros_data::DataError> {
/// let image = Array::from_vec(&[2, 3], vec![0.0_f32; 6])?;
/// let age = Array::from_vec(&[2], vec![31.0_f32, 64.0])?;
/// let inputs = Arrays::from_pairs([("image", image), ("age", age)])?;
/// assert_eq!(inputs.rows(), 2);
/// assert_eq!(inputs.names().collect::<Vec<_>>(), ["image", "age"]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Arrays {
    /// Never empty; names differ; all arrays have the same number of rows.
    pairs: Vec<(String, Array)>,
}

impl From<Array> for Arrays {
    fn from(array: Array) -> Self {
        Self {
            pairs: vec![(String::new(), array)],
        }
    }
}

impl<T: Element, D: Dimension> From<NdArray<T, D>> for Arrays {
    fn from(array: NdArray<T, D>) -> Self {
        Array::from(array).into()
    }
}

impl Arrays {
    /// Named arrays, in the order given.
    ///
    /// # Errors
    /// No array at all; two with the same name; different numbers of rows.
    pub fn from_pairs<N: Into<String>, A: Into<Array>>(
        pairs: impl IntoIterator<Item = (N, A)>,
    ) -> Result<Self, DataError> {
        let pairs: Vec<(String, Array)> = pairs
            .into_iter()
            .map(|(name, array)| (name.into(), array.into()))
            .collect();
        let Some(((first_name, first), others)) = pairs.split_first() else {
            return Err(DataError::Empty {
                doing: "naming arrays",
                what: "the list of arrays".into(),
            });
        };
        for (i, (name, array)) in others.iter().enumerate() {
            if pairs[..=i].iter().any(|(earlier, _)| earlier == name) {
                return Err(DataError::DuplicateName {
                    name: name.as_str().into(),
                });
            }
            if array.len() != first.len() {
                return Err(DataError::LengthMismatch {
                    name: format!("{name:?}").into(),
                    reference: format!("{first_name:?}").into(),
                    expected: first.len(),
                    found: array.len(),
                });
            }
        }
        Ok(Self { pairs })
    }

    /// Whether this is a single array without a name.
    pub fn is_unnamed(&self) -> bool {
        matches!(self.pairs.as_slice(), [(name, _)] if name.is_empty())
    }

    /// Number of arrays, at least 1.
    pub fn count(&self) -> usize {
        self.pairs.len()
    }

    /// Number of rows of every array.
    pub fn rows(&self) -> usize {
        self.pairs[0].1.len()
    }

    /// The array with the given name.
    pub fn get(&self, name: &str) -> Option<&Array> {
        self.pairs
            .iter()
            .find(|(own, _)| own == name)
            .map(|(_, array)| array)
    }

    /// The first array: the only one when [`Arrays::is_unnamed`].
    pub fn first(&self) -> &Array {
        &self.pairs[0].1
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.pairs.iter().map(|(name, _)| name.as_str())
    }

    /// Names and arrays, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Array)> {
        self.pairs
            .iter()
            .map(|(name, array)| (name.as_str(), array))
    }

    /// Names and arrays by value, in order.
    pub fn into_pairs(self) -> Vec<(String, Array)> {
        self.pairs
    }

    /// [`Array::select`] on every array.
    ///
    /// # Errors
    /// An index is not below [`Arrays::rows`].
    pub fn select(&self, indices: &[usize]) -> Result<Self, DataError> {
        self.map(|array| array.select(indices))
    }

    /// [`Array::slice`] on every array.
    ///
    /// # Errors
    /// The range does not lie within the rows.
    pub fn slice(&self, rows: std::ops::Range<usize>) -> Result<Self, DataError> {
        self.map(|array| array.slice(rows.clone()))
    }

    /// [`Array::concat`] for every name.
    ///
    /// # Errors
    /// No arrays at all; other names, or the same in another order; what [`Array::concat`] refuses.
    pub fn concat(parts: &[Self]) -> Result<Self, DataError> {
        const DOING: &str = "joining arrays";
        let Some(first) = parts.first() else {
            return Err(DataError::Empty {
                doing: DOING,
                what: "the list of arrays".into(),
            });
        };
        if let Some(part) = parts.iter().find(|part| !part.names().eq(first.names())) {
            return Err(DataError::names(DOING, first.names(), part.names()));
        }
        let join = |(place, (name, _)): (usize, (&str, _))| {
            let arrays: Vec<Array> = parts
                .iter()
                .map(|part| part.pairs[place].1.clone())
                .collect();
            Ok((name.to_owned(), Array::concat(&arrays)?))
        };
        Self::from_pairs(
            first
                .iter()
                .enumerate()
                .map(join)
                .collect::<Result<Vec<_>, DataError>>()?,
        )
    }

    /// The arrays of both, these first.
    ///
    /// # Errors
    /// A name that both have; different numbers of rows.
    pub fn merge(self, other: Self) -> Result<Self, DataError> {
        Self::from_pairs(self.pairs.into_iter().chain(other.pairs))
    }

    /// Bytes that the elements of all arrays take, whether they are shared or not.
    pub fn size_bytes(&self) -> usize {
        self.pairs.iter().map(|(_, array)| array.size_bytes()).sum()
    }

    /// [`Array::to_standard_layout`] on every array.
    pub(crate) fn to_standard_layout(&self) -> Self {
        let pairs = self
            .pairs
            .iter()
            .map(|(name, array)| (name.clone(), array.to_standard_layout()));
        Self {
            pairs: pairs.collect(),
        }
    }

    fn map(
        &self,
        mut f: impl FnMut(&Array) -> Result<Array, DataError>,
    ) -> Result<Self, DataError> {
        let pairs = self
            .pairs
            .iter()
            .map(|(name, array)| Ok((name.clone(), f(array)?)))
            .collect::<Result<_, DataError>>()?;
        Ok(Self { pairs })
    }

    /// What an array is called in a message: `inputs`, or ``inputs "image"``.
    pub(crate) fn title(&self, role: &str, name: &str) -> String {
        if self.is_unnamed() {
            role.to_owned()
        } else {
            format!("{role} {name:?}")
        }
    }
}
