//! How several layers read their arguments.

use super::{Padding, Size2};
use crate::config::argument::list;
use crate::error::NnError;
use keros_tensor::Tensor;
use keros_tensor::kernels::{Conv2dSpec, NormLayout};

/// Axes of a batch, the batch itself being axis 0; negative ones count from the end, -1 being the
/// last. A single number stands for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Axes(pub(super) Vec<isize>);

impl From<isize> for Axes {
    fn from(axis: isize) -> Self {
        Axes(vec![axis])
    }
}

impl<const N: usize> From<[isize; N]> for Axes {
    fn from(axes: [isize; N]) -> Self {
        Axes(axes.to_vec())
    }
}

impl From<Vec<isize>> for Axes {
    fn from(axes: Vec<isize>) -> Self {
        Axes(axes)
    }
}

crate::config::argument::plain! {
    Axes, "one or several whole numbers": |this| match &this.0[..] {
        [axis] => serde_json::json!(axis),
        axes => serde_json::json!(axes),
    }, |value| match isize::of_json(value) {
        Some(axis) => Some(axis.into()),
        None => list(value).map(Axes),
    };
    Size1, "one whole number from 0": |this| [this.0], |value| {
        match (usize::of_json(value), list::<usize>(value).as_deref()) {
            (Some(size), _) | (None, Some(&[size])) => Some(Size1(size)),
            _ => None,
        }
    };
}

/// A number of Keras's that stands in a list of one.
#[derive(Clone, Copy)]
pub(super) struct Size1(pub(super) usize);

impl Axes {
    /// The axes in rising order as axes of a sample, which has no batch axis.
    pub(super) fn of_sample(&self, input: &[usize]) -> Result<Vec<usize>, NnError> {
        let axes = self.0.iter().map(|&axis| sample_axis(axis, input));
        let mut axes: Vec<usize> = axes.collect::<Result<_, _>>()?;
        axes.sort_unstable();
        let count = axes.len();
        axes.dedup();
        if axes.is_empty() || axes.len() < count {
            let found = format!("{:?}", self.0);
            return Err(NnError::argument("axis", "at least one, none twice", found));
        }
        Ok(axes)
    }
}

/// An axis of a batch as one of a sample.
pub(super) fn sample_axis(axis: isize, input: &[usize]) -> Result<usize, NnError> {
    let rank = input.len() as isize + 1;
    let from_start = if axis < 0 { axis + rank } else { axis };
    if (1..rank).contains(&from_start) {
        return Ok(from_start as usize - 1);
    }
    let expected = format!("1 to {} or -{} to -1", rank - 1, rank - 1);
    Err(NnError::argument("axis", expected, axis))
}

/// A sample seen as what normalization over `axes` (rising) needs; `outer` is that of one sample.
pub(super) fn norm_layout(axes: &[usize], input: &[usize]) -> Result<NormLayout, NnError> {
    let first = axes.first().copied().unwrap_or(0);
    let neighbours = (0..axes.len())
        .take_while(|&i| axes[i] == first + i)
        .count();
    let (before, rest) = axes.split_at(neighbours);
    let end = first + before.len();
    let product = |range: &[usize]| range.iter().product::<usize>();
    let outer = product(&input[..first]);
    if rest.is_empty() {
        let (inside, behind) = (product(&input[first..end]), product(&input[end..]));
        return Ok(match end == input.len() {
            true => NormLayout {
                outer,
                before: 1,
                kept: 1,
                after: inside,
            },
            false => NormLayout {
                outer,
                before: inside,
                kept: behind,
                after: 1,
            },
        });
    }
    let second = rest[0];
    if (second..input.len()).ne(rest.iter().copied()) {
        let axes: Vec<usize> = axes.iter().map(|axis| axis + 1).collect();
        let expected =
            "neighbours, or two groups of neighbours of which one ends with the last axis";
        return Err(NnError::argument("axis", expected, format!("{axes:?}")));
    }
    Ok(NormLayout {
        outer,
        before: product(&input[first..end]),
        kept: product(&input[end..second]),
        after: product(&input[second..]),
    })
}

/// Steps and channels of a sequence.
pub(super) fn sequence(input: &[usize]) -> Result<(usize, usize), NnError> {
    match *input {
        [steps, channels] => Ok((steps, channels)),
        _ => Err(NnError::shape("input sample", "[steps, channels]", input)),
    }
}

/// `[N, steps, channels]` as images of height 1, for the kernels of images.
pub(super) fn as_images(x: &Tensor) -> Result<Tensor, NnError> {
    Ok(x.unsqueeze(1)?)
}

/// Strides, padding and dilation of a convolution over images, as Keras takes them.
pub(super) fn conv_spec(
    strides: Size2,
    padding: Padding,
    dilation_rate: Size2,
) -> Result<Conv2dSpec, NnError> {
    let strides = strides.positive("strides")?;
    let dilation = dilation_rate.positive("dilation_rate")?;
    if strides != (1, 1) && dilation != (1, 1) {
        let found = format!("({}, {})", dilation.0, dilation.1);
        let expected = format!("1 with strides of ({}, {})", strides.0, strides.1);
        return Err(NnError::argument("dilation_rate", expected, found));
    }
    Ok(Conv2dSpec {
        strides,
        padding: image_padding(padding)?,
        dilation,
        groups: 1,
    })
}

/// The padding of windows over images, which have no order in time.
pub(super) fn image_padding(padding: Padding) -> Result<Padding, NnError> {
    match padding {
        Padding::Valid | Padding::Same => Ok(padding),
        Padding::Causal => Err(NnError::argument("padding", "valid or same", "causal")),
    }
}

/// A number that is at least 1.
pub(super) fn at_least_one(what: &str, number: usize) -> Result<(), NnError> {
    match number {
        0 => Err(NnError::argument(what, "at least 1", number)),
        _ => Ok(()),
    }
}

/// A small number that is added to a variance.
pub(super) fn check_epsilon(epsilon: f32) -> Result<(), NnError> {
    match epsilon >= 0.0 && epsilon.is_finite() {
        true => Ok(()),
        false => Err(NnError::argument("epsilon", "a number from 0", epsilon)),
    }
}
