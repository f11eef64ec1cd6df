//! Adding and removing the border of images.

use super::common::Common;
use super::image;
use crate::config::argument::list;
use crate::error::NnError;
use crate::layer::{Layer, LayerBuilder, Pass};
use keros_tensor::{Tensor, kernels};

/// Rows at the top and bottom, columns at the left and right: `((top, bottom), (left, right))`,
/// `(rows, columns)` for the same at both ends, or one number for all four.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Border2(kernels::Border);

impl From<usize> for Border2 {
    fn from(all: usize) -> Self {
        Border2(((all, all), (all, all)))
    }
}

impl From<(usize, usize)> for Border2 {
    fn from((rows, columns): (usize, usize)) -> Self {
        Border2(((rows, rows), (columns, columns)))
    }
}

impl From<((usize, usize), (usize, usize))> for Border2 {
    fn from(border: ((usize, usize), (usize, usize))) -> Self {
        Border2(border)
    }
}

crate::config::argument::plain! {
    Border2, "a number, two, or two pairs": |this| [
        [this.0.0.0, this.0.0.1],
        [this.0.1.0, this.0.1.1],
    ], |value| {
        if let Some(all) = usize::of_json(value) {
            return Some(all.into());
        }
        if let Some(&[rows, columns]) = list::<usize>(value).as_deref() {
            return Some((rows, columns).into());
        }
        match value.as_array()?.iter().map(list).collect::<Option<Vec<_>>>()?[..] {
            [ref rows, ref columns] => match (&rows[..], &columns[..]) {
                (&[top, bottom], &[left, right]) => Some(((top, bottom), (left, right)).into()),
                _ => None,
            },
            _ => None,
        }
    };
}

impl Border2 {
    /// Rows and columns in all; `None` if that is more than a number holds.
    fn total(self) -> Option<(usize, usize)> {
        let ((top, bottom), (left, right)) = self.0;
        Some((top.checked_add(bottom)?, left.checked_add(right)?))
    }

    fn refuse(self, what: &str, expected: impl Into<String>) -> NnError {
        NnError::argument(what, expected, format!("{:?}", self.0))
    }
}

/// Zeros around each image, Keras's `ZeroPadding2D`.
///
/// **Shapes**: `[N, H, W, C]` → `[N, top + H + bottom, left + W + right, C]`.
pub struct ZeroPadding2D {
    padding: Border2,
    common: Common,
}

impl Default for ZeroPadding2D {
    /// One row and one column at each end.
    fn default() -> Self {
        ZeroPadding2D::new(1)
    }
}

impl ZeroPadding2D {
    /// This many zeros; Keras's default is 1.
    #[must_use]
    pub fn new(padding: impl Into<Border2>) -> ZeroPadding2D {
        ZeroPadding2D {
            padding: padding.into(),
            common: Common::default(),
        }
    }

    setter!(common);
}

arguments! {
    ZeroPadding2D = ZeroPadding2D::default();
    required;
    optional padding common;
    only "data_format" = "channels_last";
}

impl Layer for ZeroPadding2D {
    layer!("ZeroPadding2D", mixed_precision);

    fn build(&mut self, input: &[usize], _: &mut LayerBuilder<'_>) -> Result<Vec<usize>, NnError> {
        let (height, width, channels) = image(input)?;
        let padded = self.padding.total().and_then(|(rows, columns)| {
            let (height, width) = (height.checked_add(rows)?, width.checked_add(columns)?);
            height.checked_mul(width)?.checked_mul(channels)?;
            Some(vec![height, width, channels])
        });
        padded.ok_or_else(|| {
            self.padding
                .refuse("padding", "an image that fits into memory")
        })
    }

    fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor, NnError> {
        Ok(kernels::zero_pad2d(pass.workspace, x, self.padding.0)?)
    }

    fn backward(&self, dy: &Tensor, pass: &mut Pass<'_>) -> Result<Option<Tensor>, NnError> {
        let dx = kernels::crop2d(pass.workspace, dy, self.padding.0)?;
        pass.workspace.give(dy);
        Ok(Some(dx))
    }
}

/// Each image without its border, Keras's `Cropping2D`.
///
/// **Shapes**: `[N, H, W, C]` → `[N, H - top - bottom, W - left - right, C]`.
pub struct Cropping2D {
    cropping: Border2,
    common: Common,
}

impl Cropping2D {
    /// Cuts this much off; Keras's default is nothing.
    #[must_use]
    pub fn new(cropping: impl Into<Border2>) -> Cropping2D {
        Cropping2D {
            cropping: cropping.into(),
            common: Common::default(),
        }
    }

    setter!(common);
}

arguments! {
    Cropping2D = Cropping2D::new(0);
    required;
    optional cropping common;
    only "data_format" = "channels_last";
}

impl Layer for Cropping2D {
    layer!("Cropping2D", mixed_precision);

    fn build(&mut self, input: &[usize], _: &mut LayerBuilder<'_>) -> Result<Vec<usize>, NnError> {
        let (height, width, channels) = image(input)?;
        match self.cropping.total() {
            Some((rows, columns)) if rows < height && columns < width => {
                Ok(vec![height - rows, width - columns, channels])
            }
            _ => {
                let expected = format!("less than {height} rows and {width} columns in all");
                Err(self.cropping.refuse("cropping", expected))
            }
        }
    }

    fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor, NnError> {
        Ok(kernels::crop2d(pass.workspace, x, self.cropping.0)?)
    }

    fn backward(&self, dy: &Tensor, pass: &mut Pass<'_>) -> Result<Option<Tensor>, NnError> {
        let dx = kernels::zero_pad2d(pass.workspace, dy, self.cropping.0)?;
        pass.workspace.give(dy);
        Ok(Some(dx))
    }
}
