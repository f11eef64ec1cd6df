//! Random zeros in training.

use super::broadcast::Broadcast;
use super::common::Common;
use crate::config::argument::list;
use crate::error::NnError;
use crate::layer::{Layer, LayerBuilder, Pass};
use keros_tensor::kernels::{self, Activation, MergeOp};
use keros_tensor::{DType, Stream, Tensor};
use serde_json::Value;

/// In training each value is 0 with probability `rate` and otherwise divided by `1 - rate`; in
/// inference nothing happens. Keras's `Dropout`.
///
/// The mask is a function of the seed, the step and the layer's place in the network.
pub struct Dropout {
    rate: f32,
    noise_shape: NoiseShape,
    seed: Option<u64>,
    common: Common,
    mask: Mask,
}

impl Dropout {
    /// Drops with probability `rate`, in `[0, 1)`.
    #[must_use]
    pub fn new(rate: f32) -> Dropout {
        Dropout {
            rate,
            noise_shape: NoiseShape::default(),
            seed: None,
            common: Common::default(),
            mask: Mask::default(),
        }
    }

    /// The shape of the mask of a sample, without the batch axis: values that share a place of it are dropped together.
    /// Each length is 1 or that of the sample; `[1, 1, 1]` drops whole images, `[1, 1, channels]` whole channels.
    /// Every value by itself unless set.
    #[must_use]
    pub fn noise_shape(mut self, shape: impl Into<Vec<usize>>) -> Dropout {
        self.noise_shape = NoiseShape::of_sample(shape.into());
        self
    }
}

setters!(Dropout: seed, common);

arguments! {
    Dropout = Dropout::new(0.0);
    required rate;
    optional seed noise_shape common;
}

/// Lengths of the axes of a sample's mask, `None` for that of the sample; none for a mask of all values.
#[derive(Default)]
pub(super) struct NoiseShape(pub(super) Option<Vec<Option<usize>>>);

impl NoiseShape {
    /// What [`noise_shape`](Dropout::noise_shape) is given.
    pub(super) fn of_sample(shape: Vec<usize>) -> NoiseShape {
        NoiseShape(Some(shape.into_iter().map(Some).collect()))
    }

    /// The mask of samples of this shape.
    pub(super) fn mask(
        &self,
        rate: f32,
        seed: Option<u64>,
        input: &[usize],
    ) -> Result<Mask, NnError> {
        let shape = self.0.as_ref().map(|axes| {
            let lengths = axes.iter().enumerate();
            lengths
                .map(|(axis, length)| length.or(input.get(axis).copied()).unwrap_or(1))
                .collect::<Vec<usize>>()
        });
        Mask::new(rate, seed, shape.as_deref(), input)
    }
}

crate::config::argument::plain! {
    NoiseShape, "null, or a list of null for the batch and a number or null for each axis": |this| match &this.0 {
        None => Value::Null,
        Some(axes) => [&[None], &axes[..]].concat().into(),
    }, |value| match value {
        Value::Null => Some(NoiseShape(None)),
        value => match list::<Option<usize>>(value)?.split_first()? {
            (None, axes) => Some(NoiseShape(Some(axes.to_vec()))),
            _ => None,
        },
    };
}

impl Layer for Dropout {
    layer!(
        "Dropout",
        mixed_precision | layer | layer.noise_shape.0.is_none()
    );

    fn build(&mut self, input: &[usize], _: &mut LayerBuilder<'_>) -> Result<Vec<usize>, NnError> {
        self.mask = self.noise_shape.mask(self.rate, self.seed, input)?;
        Ok(input.to_vec())
    }

    fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor, NnError> {
        self.mask.forward(x, pass)
    }

    fn backward(&self, dy: &Tensor, pass: &mut Pass<'_>) -> Result<Option<Tensor>, NnError> {
        self.mask.backward(dy, pass)
    }
}

/// A dropout of whole channels: its axes, how many of these there are in a sample, and what its arguments are besides.
macro_rules! spatial_dropout {
    ($(#[$doc:meta])* $layer:ident, $class:literal, $axes:literal $(, $name:literal = $value:literal)?) => {
        $(#[$doc])*
        pub struct $layer {
            rate: f32,
            seed: Option<u64>,
            common: Common,
            mask: Mask,
        }

        impl $layer {
            /// Drops with probability `rate`, in `[0, 1)`.
            #[must_use]
            pub fn new(rate: f32) -> $layer {
                $layer {
                    rate,
                    seed: None,
                    common: Common::default(),
                    mask: Mask::default(),
                }
            }
        }

        setters!($layer: seed, common);

        arguments! {
            $layer = $layer::new(0.0);
            required rate;
            optional seed common;
            $(only $name = $value;)?
        }

        impl Layer for $layer {
            layer!($class);

            fn build(
                &mut self,
                input: &[usize],
                _: &mut LayerBuilder<'_>,
            ) -> Result<Vec<usize>, NnError> {
                let Some((&channels, places)) = input.split_last() else {
                    return Err(NnError::shape($class, "channels", input));
                };
                if places.len() != $axes {
                    let expected = concat!($axes, " axes and channels");
                    return Err(NnError::shape($class, expected, input));
                }
                let shape = [&[1; $axes][..], &[channels]].concat();
                self.mask = Mask::new(self.rate, self.seed, Some(&shape), input)?;
                Ok(input.to_vec())
            }

            fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor, NnError> {
                self.mask.forward(x, pass)
            }

            fn backward(
                &self,
                dy: &Tensor,
                pass: &mut Pass<'_>,
            ) -> Result<Option<Tensor>, NnError> {
                self.mask.backward(dy, pass)
            }
        }
    };
}

spatial_dropout! {
    /// [`Dropout`] of whole channels of a sequence, Keras's `SpatialDropout1D`.
    ///
    /// **Shapes**: `[N, T, C]` → the same.
    SpatialDropout1D, "SpatialDropout1D", 1
}

spatial_dropout! {
    /// [`Dropout`] of whole channels of an image, Keras's `SpatialDropout2D`: neighbouring pixels say nearly the same,
    /// so that dropping some of them hardly helps.
    ///
    /// **Shapes**: `[N, H, W, C]` → the same.
    SpatialDropout2D, "SpatialDropout2D", 2, "data_format" = "channels_last"
}

/// What is dropped together.
#[derive(Default)]
pub(super) struct Mask {
    rate: f32,
    seed: Option<u64>,
    /// From the mask of a sample to the sample; none where each value has its own.
    shared: Option<Broadcast>,
}

impl Mask {
    fn new(
        rate: f32,
        seed: Option<u64>,
        shape: Option<&[usize]>,
        input: &[usize],
    ) -> Result<Mask, NnError> {
        if !(0.0..1.0).contains(&rate) {
            return Err(NnError::argument("rate", "a number in [0, 1)", rate));
        }
        let shared = match shape {
            None => None,
            Some(shape) => {
                let mut pairs = shape.iter().zip(input);
                let fits = pairs.all(|(mask, input)| *mask == 1 || mask == input);
                if shape.len() != input.len() || !fits {
                    let expected = format!("for each axis of {input:?} its length or 1");
                    return Err(NnError::shape("noise_shape", expected, shape));
                }
                Some(Broadcast::new(shape, input)?)
            }
        };
        Ok(Mask { rate, seed, shared })
    }

    /// Random numbers, where anything is dropped at all.
    pub(super) fn stream(&self, pass: &Pass<'_>) -> Option<Stream> {
        pass.stream_of(self.seed).filter(|_| self.rate > 0.0)
    }

    pub(super) fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor, NnError> {
        match (self.stream(pass), &self.shared) {
            (None, _) => Ok(x.clone()),
            (Some(stream), None) => Ok(kernels::dropout(pass.workspace, x, self.rate, stream)?),
            (Some(stream), Some(shared)) => self.times(x, shared, stream, pass),
        }
    }

    pub(super) fn backward(
        &self,
        dy: &Tensor,
        pass: &mut Pass<'_>,
    ) -> Result<Option<Tensor>, NnError> {
        Ok(Some(match (self.stream(pass), &self.shared) {
            (None, _) => dy.clone(),
            (Some(stream), None) => {
                kernels::dropout_backward(pass.workspace, dy, self.rate, stream)?
            }
            (Some(stream), Some(shared)) => {
                let dx = self.times(dy, shared, stream, pass)?;
                pass.workspace.give(dy);
                dx
            }
        }))
    }

    /// `x` times the mask, 0 or `1 / (1 - rate)`.
    fn times(
        &self,
        x: &Tensor,
        shared: &Broadcast,
        stream: Stream,
        pass: &mut Pass<'_>,
    ) -> Result<Tensor, NnError> {
        let ws = &mut *pass.workspace;
        let ones = ws.take(&shared.of_batch(x.dim(0)?), DType::F32)?;
        kernels::fill(&ones, 1.0)?;
        let mask = kernels::dropout(ws, &ones, self.rate, stream)?;
        let whole = shared.forward(ws, &mask)?;
        let factors = [x.clone(), whole.clone()];
        let y = kernels::merge(ws, &factors, MergeOp::Multiply, Activation::Linear)?;
        for done in [&ones, &mask, &whole] {
            ws.give(done);
        }
        Ok(y)
    }
}
