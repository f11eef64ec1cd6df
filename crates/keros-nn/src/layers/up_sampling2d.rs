//! Larger images.

use super::common::Common;
use super::{Size2, enlargement, image};
use crate::error::NnError;
use crate::layer::{Layer, LayerBuilder, Pass};
use keros_tensor::Tensor;
use keros_tensor::kernels::{self, Taps};

/// How [`UpSampling2D`] fills in the new pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Interpolation {
    /// Each pixel is repeated.
    #[default]
    Nearest,
    /// A weighted mean of the four pixels around, with half-pixel centers and the border repeated.
    Bilinear,
}

crate::config::argument::plain! {
    Interpolation, "nearest or bilinear": |this| match this {
        Interpolation::Nearest => "nearest",
        Interpolation::Bilinear => "bilinear",
    }, |value| match value.as_str()? {
        "nearest" => Some(Interpolation::Nearest),
        "bilinear" => Some(Interpolation::Bilinear),
        _ => None,
    };
}

/// Images enlarged by whole numbers, Keras's `UpSampling2D`.
///
/// **Shapes**: `[N, H, W, C]` → `[N, H · size.0, W · size.1, C]`.
pub struct UpSampling2D {
    size: Size2,
    interpolation: Interpolation,
    common: Common,
    /// For height and width: what enlarges, and what takes the gradient back.
    built: Option<[(Taps, Taps); 2]>,
}

impl Default for UpSampling2D {
    /// Twice as high and wide.
    fn default() -> Self {
        UpSampling2D::new(2)
    }
}

impl UpSampling2D {
    /// `size` times as high and wide (Keras's default is 2), from the nearest pixel.
    #[must_use]
    pub fn new(size: impl Into<Size2>) -> UpSampling2D {
        UpSampling2D {
            size: size.into(),
            interpolation: Interpolation::Nearest,
            common: Common::default(),
            built: None,
        }
    }

    /// How new pixels are filled in.
    #[must_use]
    pub fn interpolation(mut self, interpolation: Interpolation) -> UpSampling2D {
        self.interpolation = interpolation;
        self
    }

    setter!(common);

    fn built(&self) -> Result<&[(Taps, Taps); 2], NnError> {
        self.built.as_ref().ok_or(NnError::NotBuilt)
    }
}

arguments! {
    UpSampling2D = UpSampling2D::default();
    required;
    optional size interpolation common;
    only "data_format" = "channels_last";
}

impl Layer for UpSampling2D {
    layer!("UpSampling2D");

    fn build(&mut self, input: &[usize], _: &mut LayerBuilder<'_>) -> Result<Vec<usize>, NnError> {
        let (height, width, channels) = image(input)?;
        let (rows, columns) = self.size.positive("size")?;
        let enlarge = |length, factor| {
            enlargement("size", length, factor)?;
            let taps = match self.interpolation {
                Interpolation::Nearest => Taps::repeat(length, factor),
                Interpolation::Bilinear => Taps::linear(length, factor),
            };
            let back = taps.transposed();
            Ok::<_, NnError>((taps, back))
        };
        self.built = Some([enlarge(height, rows)?, enlarge(width, columns)?]);
        Ok(vec![height * rows, width * columns, channels])
    }

    fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor, NnError> {
        let [(rows, _), (columns, _)] = self.built()?;
        let tall = kernels::resample(pass.workspace, x, 1, rows)?;
        let y = kernels::resample(pass.workspace, &tall, 2, columns)?;
        pass.workspace.give(&tall);
        Ok(y)
    }

    fn backward(&self, dy: &Tensor, pass: &mut Pass<'_>) -> Result<Option<Tensor>, NnError> {
        let [(_, rows), (_, columns)] = self.built()?;
        let tall = kernels::resample(pass.workspace, dy, 2, columns)?;
        pass.workspace.give(dy);
        let dx = kernels::resample(pass.workspace, &tall, 1, rows)?;
        pass.workspace.give(&tall);
        Ok(Some(dx))
    }
}
