//! Adding and removing the ends of sequences.

use super::common::Common;
use super::support::{as_images, sequence};
use crate::config::argument::list;
use crate::error::NnError;
use crate::layer::{Layer, LayerBuilder, Pass};
use keros_tensor::kernels::{self, Border};
use keros_tensor::{Tensor, Workspace};

/// Steps at the beginning and the end: `(before, after)`, or one number for both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Border1(usize, usize);

impl From<usize> for Border1 {
    fn from(both: usize) -> Self {
        Border1(both, both)
    }
}

impl From<(usize, usize)> for Border1 {
    fn from((before, after): (usize, usize)) -> Self {
        Border1(before, after)
    }
}

crate::config::argument::plain! {
    Border1, "one or two whole numbers from 0": |this| [this.0, this.1], |value| {
        match (usize::of_json(value), list::<usize>(value).as_deref()) {
            (Some(both), _) => Some(both.into()),
            (None, Some(&[before, after])) => Some(Border1(before, after)),
            _ => None,
        }
    };
}

impl Border1 {
    /// The border of images of height 1.
    fn of_images(self) -> Border {
        ((0, 0), (self.0, self.1))
    }

    fn refuse(self, what: &str, expected: impl Into<String>) -> NnError {
        NnError::argument(what, expected, format!("{:?}", (self.0, self.1)))
    }

    /// Sequences with that many zeros before and after.
    fn added(self, x: &Tensor, ws: &mut Workspace) -> Result<Tensor, NnError> {
        Ok(kernels::zero_pad2d(ws, &as_images(x)?, self.of_images())?.squeeze(1)?)
    }

    /// Sequences without their ends.
    fn removed(self, x: &Tensor, ws: &mut Workspace) -> Result<Tensor, NnError> {
        Ok(kernels::crop2d(ws, &as_images(x)?, self.of_images())?.squeeze(1)?)
    }
}

/// Zeros before and after each sequence, Keras's `ZeroPadding1D`.
///
/// **Shapes**: `[N, steps, C]` → `[N, before + steps + after, C]`.
pub struct ZeroPadding1D {
    padding: Border1,
    common: Common,
}

impl Default for ZeroPadding1D {
    /// One step at each end.
    fn default() -> Self {
        ZeroPadding1D::new(1)
    }
}

impl ZeroPadding1D {
    /// This many steps of zeros; Keras's default is 1.
    #[must_use]
    pub fn new(padding: impl Into<Border1>) -> ZeroPadding1D {
        ZeroPadding1D {
            padding: padding.into(),
            common: Common::default(),
        }
    }

    setter!(common);
}

arguments! {
    ZeroPadding1D = ZeroPadding1D::default();
    required;
    optional padding common;
    only "data_format" = "channels_last";
}

impl Layer for ZeroPadding1D {
    layer!("ZeroPadding1D", mixed_precision);

    fn build(&mut self, input: &[usize], _: &mut LayerBuilder<'_>) -> Result<Vec<usize>, NnError> {
        let (steps, channels) = sequence(input)?;
        let Border1(before, after) = self.padding;
        let padded = before.checked_add(after).and_then(|more| {
            let steps = steps.checked_add(more)?;
            steps.checked_mul(channels)?;
            Some(vec![steps, channels])
        });
        let expected = "a sequence that fits into memory";
        padded.ok_or_else(|| self.padding.refuse("padding", expected))
    }

    fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor, NnError> {
        self.padding.added(x, pass.workspace)
    }

    fn backward(&self, dy: &Tensor, pass: &mut Pass<'_>) -> Result<Option<Tensor>, NnError> {
        let dx = self.padding.removed(dy, pass.workspace)?;
        pass.workspace.give(dy);
        Ok(Some(dx))
    }
}

/// Each sequence without its ends, Keras's `Cropping1D`.
///
/// **Shapes**: `[N, steps, C]` → `[N, steps - before - after, C]`.
pub struct Cropping1D {
    cropping: Border1,
    common: Common,
}

impl Default for Cropping1D {
    /// One step at each end.
    fn default() -> Self {
        Cropping1D::new(1)
    }
}

impl Cropping1D {
    /// Cuts this many steps off; Keras's default is 1.
    #[must_use]
    pub fn new(cropping: impl Into<Border1>) -> Cropping1D {
        Cropping1D {
            cropping: cropping.into(),
            common: Common::default(),
        }
    }

    setter!(common);
}

arguments! {
    Cropping1D = Cropping1D::default();
    required;
    optional cropping common;
}

impl Layer for Cropping1D {
    layer!("Cropping1D", mixed_precision);

    fn build(&mut self, input: &[usize], _: &mut LayerBuilder<'_>) -> Result<Vec<usize>, NnError> {
        let (steps, channels) = sequence(input)?;
        let Border1(before, after) = self.cropping;
        match before.checked_add(after) {
            Some(cut) if cut < steps => Ok(vec![steps - cut, channels]),
            _ => {
                let expected = format!("less than {steps} steps in all");
                Err(self.cropping.refuse("cropping", expected))
            }
        }
    }

    fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor, NnError> {
        self.cropping.removed(x, pass.workspace)
    }

    fn backward(&self, dy: &Tensor, pass: &mut Pass<'_>) -> Result<Option<Tensor>, NnError> {
        let dx = self.cropping.added(dy, pass.workspace)?;
        pass.workspace.give(dy);
        Ok(Some(dx))
    }
}
