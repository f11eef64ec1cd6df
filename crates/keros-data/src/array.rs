//! One host array of any rank whose element type is known at run time.

use std::fmt;
use std::ops::Range;
use std::sync::Mutex;

use ndarray::{ArcArray, Array as NdArray, Axis, Dimension, IxDyn, Slice};

use serde::{Deserialize, Serialize};

use crate::DataError;
use crate::recycle::{self, Free};

/// An n-dimensional array in main memory, of `u8`, `f32` or `i64`.
///
/// Cloning is cheap: clones share their elements. An [`ndarray::Array`] becomes one without a copy
/// through `From`. The first axis counts the rows (samples); an array of rank 0 has none and is
/// refused wherever rows are needed.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Array {
    /// Unsigned bytes: images 0..=255, labels as IDX files have them.
    U8(ArcArray<u8, IxDyn>),
    /// Single precision numbers.
    F32(ArcArray<f32, IxDyn>),
    /// Integers: class indices.
    I64(ArcArray<i64, IxDyn>),
}

/// The element type of an [`Array`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum DType {
    /// `u8`.
    U8,
    /// `f32`.
    F32,
    /// `i64`.
    I64,
}

impl DType {
    /// The name in Rust: `u8`, `f32` or `i64`.
    pub fn name(self) -> &'static str {
        match self {
            DType::U8 => "u8",
            DType::F32 => "f32",
            DType::I64 => "i64",
        }
    }

    /// Bytes of one element.
    pub fn size_bytes(self) -> usize {
        match self {
            DType::U8 => 1,
            DType::F32 => 4,
            DType::I64 => 8,
        }
    }
}

impl DType {
    /// Bytes of an element.
    pub(crate) fn num_bytes(self) -> usize {
        match self {
            DType::U8 => 1,
            DType::F32 => 4,
            DType::I64 => 8,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A Rust type that can be the element of an [`Array`]: `u8`, `f32` or `i64`.
#[diagnostic::on_unimplemented(
    message = "an array of keros cannot have elements of type `{Self}`",
    label = "expected elements of type `u8`, `f32` or `i64`",
    note = "convert them before, an array of ndarray for example with `.mapv(|x| x as f32)`"
)]
pub trait Element: Copy + Send + Sync + sealed::Sealed + 'static {
    /// The type at run time.
    const DTYPE: DType;

    /// Puts an array under its run-time type.
    fn wrap(array: ArcArray<Self, IxDyn>) -> Array;

    /// The typed array, when it is of this type.
    fn get(array: &Array) -> Option<&ArcArray<Self, IxDyn>>;

    /// The typed array by value, when it is of this type.
    fn take(array: Array) -> Option<ArcArray<Self, IxDyn>>;
}

mod sealed {
    pub trait Sealed: Sized + 'static {
        /// Memory for elements of this type that is kept.
        fn free() -> &'static super::Mutex<super::Free<Self>>;
    }
}

macro_rules! element {
    ($type:ty, $variant:ident) => {
        impl sealed::Sealed for $type {
            fn free() -> &'static Mutex<Free<$type>> {
                static FREE: Mutex<Free<$type>> = Mutex::new(Free::new());
                &FREE
            }
        }

        impl Element for $type {
            const DTYPE: DType = DType::$variant;

            fn wrap(array: ArcArray<Self, IxDyn>) -> Array {
                Array::$variant(array)
            }

            fn get(array: &Array) -> Option<&ArcArray<Self, IxDyn>> {
                match array {
                    Array::$variant(array) => Some(array),
                    _ => None,
                }
            }

            fn take(array: Array) -> Option<ArcArray<Self, IxDyn>> {
                match array {
                    Array::$variant(array) => Some(array),
                    _ => None,
                }
            }
        }
    };
}

element!(u8, U8);
element!(f32, F32);
element!(i64, I64);

/// Evaluates an expression with the typed array bound to a name, whatever the element type.
macro_rules! each {
    ($array:expr, $name:ident => $body:expr) => {
        match $array {
            Array::U8($name) => $body,
            Array::F32($name) => $body,
            Array::I64($name) => $body,
        }
    };
}

impl<T: Element, D: Dimension> From<NdArray<T, D>> for Array {
    fn from(array: NdArray<T, D>) -> Self {
        T::wrap(array.into_dyn().into_shared())
    }
}

impl Array {
    /// An array of the given shape from its elements in row-major order, without a copy.
    ///
    /// # Errors
    /// The number of elements is not the product of the shape.
    pub fn from_vec<T: Element>(shape: &[usize], elements: Vec<T>) -> Result<Self, DataError> {
        let found = elements.len();
        match NdArray::from_shape_vec(IxDyn(shape), elements) {
            Ok(array) => Ok(array.into()),
            Err(_) => Err(DataError::shape(
                "making an array",
                "the list of elements",
                format!("as many elements as shape {shape:?} has"),
                &[found],
            )),
        }
    }

    /// Length of every axis.
    pub fn shape(&self) -> &[usize] {
        each!(self, array => array.shape())
    }

    /// Number of axes.
    pub fn ndim(&self) -> usize {
        self.shape().len()
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        match self {
            Array::U8(_) => DType::U8,
            Array::F32(_) => DType::F32,
            Array::I64(_) => DType::I64,
        }
    }

    /// Bytes of all elements.
    pub fn num_bytes(&self) -> usize {
        let elements: usize = self.shape().iter().product();
        elements * self.dtype().num_bytes()
    }

    /// Number of rows: the length of the first axis, 0 for an array of rank 0.
    pub fn len(&self) -> usize {
        self.shape().first().copied().unwrap_or(0)
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements in row-major order, when they are of type `T` and lie so in memory.
    ///
    /// Everything that this crate makes does; an array that came from `ndarray` in another layout
    /// can be brought into it with [`Array::to_standard_layout`].
    pub fn as_slice<T: Element>(&self) -> Option<&[T]> {
        T::get(self)?.as_slice()
    }

    /// The elements in row-major order, when they are of type `T`.
    ///
    /// Moves them when no clone shares them and they lie so in memory, copies otherwise.
    pub fn into_vec<T: Element>(self) -> Option<Vec<T>> {
        let array = T::take(self)?;
        if !array.is_standard_layout() {
            return Some(array.iter().copied().collect());
        }
        let len = array.len();
        let (mut elements, offset) = array.into_owned().into_raw_vec_and_offset();
        elements.truncate(offset.unwrap_or(0) + len);
        elements.drain(..offset.unwrap_or(0));
        Some(elements)
    }

    /// The same array with its elements in row-major order in memory: itself when they are,
    /// otherwise a copy.
    pub fn to_standard_layout(&self) -> Self {
        fn standard<T: Element>(array: &ArcArray<T, IxDyn>) -> Array {
            if array.is_standard_layout() {
                T::wrap(array.clone())
            } else {
                array.as_standard_layout().into_owned().into()
            }
        }
        each!(self, array => standard(array))
    }

    /// The rows with the given indices, in that order (an index may come several times), as a new
    /// array in row-major order.
    ///
    /// # Errors
    /// An index is not below [`Array::len`]; the array has rank 0.
    pub fn select(&self, indices: &[usize]) -> Result<Self, DataError> {
        const DOING: &str = "selecting rows of an array";
        self.check_rank(DOING)?;
        if let Some(&index) = indices.iter().find(|index| **index >= self.len()) {
            return Err(self.no_row(DOING, index));
        }
        each!(self, array => select_rows(array, indices))
    }

    /// The rows of a range, sharing the elements of this array.
    ///
    /// # Errors
    /// The range does not lie within the rows; the array has rank 0.
    pub fn slice(&self, rows: Range<usize>) -> Result<Self, DataError> {
        const DOING: &str = "slicing an array";
        fn slice_rows<T: Element>(array: &ArcArray<T, IxDyn>, rows: Range<usize>) -> Array {
            let mut array = array.clone();
            array.slice_axis_inplace(Axis(0), Slice::from(rows));
            T::wrap(array)
        }
        self.check_rank(DOING)?;
        if rows.start > rows.end || rows.end > self.len() {
            return Err(self.no_row(DOING, rows.start.max(rows.end)));
        }
        Ok(each!(self, array => slice_rows(array, rows)))
    }

    /// The rows of several arrays one after another, as a new array in row-major order.
    ///
    /// # Errors
    /// No array at all; arrays that differ in element type, or in any axis but the first; arrays of
    /// rank 0.
    pub fn concat(parts: &[Self]) -> Result<Self, DataError> {
        const DOING: &str = "joining arrays";
        let Some(first) = parts.first() else {
            return Err(DataError::Empty {
                doing: DOING,
                what: "the list of arrays".into(),
            });
        };
        for part in parts {
            part.check_rank(DOING)?;
            if part.dtype() != first.dtype() {
                return Err(DataError::ElementType {
                    doing: DOING,
                    what: "an array",
                    expected: first.dtype().name(),
                    found: part.dtype(),
                });
            }
            if part.shape()[1..] != first.shape()[1..] {
                let expected = format!("rows of shape {:?}", &first.shape()[1..]);
                return Err(DataError::shape(DOING, "an array", expected, part.shape()));
            }
        }
        each!(first, first => concat_rows(first, parts))
    }

    /// Bytes that the elements take, whether they are shared or not.
    pub fn size_bytes(&self) -> usize {
        each!(self, array => array.len()) * self.dtype().size_bytes()
    }

    fn check_rank(&self, doing: &'static str) -> Result<(), DataError> {
        if self.ndim() == 0 {
            return Err(DataError::shape(doing, "the array", "rank 1 or more", &[]));
        }
        Ok(())
    }

    fn no_row(&self, doing: &'static str, index: usize) -> DataError {
        DataError::OutOfRange {
            doing,
            what: "row",
            index,
            len: self.len(),
        }
    }
}

/// Joins rows: ranks, shapes and element types were checked.
fn concat_rows<T: Element>(
    first: &ArcArray<T, IxDyn>,
    parts: &[Array],
) -> Result<Array, DataError> {
    let mut shape = first.shape().to_vec();
    shape[0] = parts.iter().map(Array::len).sum();
    let mut elements = recycle::room(shape.iter().product());
    for part in parts.iter().filter_map(T::get) {
        match part.as_slice() {
            Some(source) => elements.extend_from_slice(source),
            None => elements.extend(part.iter().copied()),
        }
    }
    Array::from_vec(&shape, elements)
}

/// Gathers rows: rank and indices were checked.
fn select_rows<T: Element>(
    array: &ArcArray<T, IxDyn>,
    indices: &[usize],
) -> Result<Array, DataError> {
    let mut shape = array.shape().to_vec();
    shape[0] = indices.len();
    let row_len: usize = shape[1..].iter().product();
    let mut elements = recycle::room(indices.len() * row_len);
    match array.as_slice() {
        Some(source) => {
            for &index in indices {
                elements.extend_from_slice(&source[index * row_len..(index + 1) * row_len]);
            }
        }
        None => {
            for &index in indices {
                elements.extend(array.index_axis(Axis(0), index).iter().copied());
            }
        }
    }
    Array::from_vec(&shape, elements)
}
