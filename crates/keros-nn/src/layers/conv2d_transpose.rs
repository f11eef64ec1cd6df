//! Transposed 2-D convolution.

use super::common::{Common, ParamSpec};
use super::support::{at_least_one, conv_spec};
use super::{Padding, Size2, image};
use crate::activation::Activation;
use crate::error::NnError;
use crate::initializer::Initializer;
use crate::layer::{Layer, LayerBuilder, Pass};
use keros_tensor::kernels::{self, Conv2dSpec};
use keros_tensor::{ParamId, Tensor};

/// The transposed convolution, Keras's `Conv2DTranspose`: what the gradient of a `Conv2D` with these
/// arguments makes of an output, to come back to the size of its input.
///
/// **Shapes**: `[N, H, W, in]` → `[N, H', W', filters]` with `H' = H · stride` for padding same and
/// `H' = H · stride + max(k - stride, 0)` for valid, `k` being the dilated window; parameters
/// `kernel` `[kh, kw, filters, in]` and `bias` `[filters]`.
pub struct Conv2DTranspose {
    filters: usize,
    kernel_size: Size2,
    strides: Size2,
    padding: Padding,
    output_padding: Option<Size2>,
    dilation_rate: Size2,
    activation: Activation,
    use_bias: bool,
    kernel: ParamSpec,
    bias: ParamSpec,
    common: Common,
    built: Option<Built>,
}

struct Built {
    kernel: ParamId,
    bias: Option<ParamId>,
    spec: Conv2dSpec,
    size: (usize, usize),
}

setters!(Conv2DTranspose: strides, padding, dilation_rate, activation, use_bias);
setters!(Conv2DTranspose: kernel, bias, common);

impl Conv2DTranspose {
    /// `filters` output channels and a window of `kernel_size`; strides 1, padding valid, no
    /// activation, with bias, kernel Glorot-uniform.
    #[must_use]
    pub fn new(filters: usize, kernel_size: impl Into<Size2>) -> Conv2DTranspose {
        Conv2DTranspose {
            filters,
            kernel_size: kernel_size.into(),
            strides: 1.into(),
            padding: Padding::Valid,
            output_padding: None,
            dilation_rate: 1.into(),
            activation: Activation::Linear,
            use_bias: true,
            kernel: ParamSpec::new(Initializer::GlorotUniform),
            bias: ParamSpec::new(Initializer::Zeros),
            common: Common::default(),
            built: None,
        }
    }

    /// Rows and columns at the end, below the strides: of the sizes that a convolution takes to the
    /// same output, the output is `(H - 1) · stride + k + output_padding` for padding valid, and
    /// `2 · ⌊k / 2⌋` less for same.
    #[must_use]
    pub fn output_padding(mut self, output_padding: impl Into<Size2>) -> Conv2DTranspose {
        self.output_padding = Some(output_padding.into());
        self
    }

    /// Height and width of the output, by Keras's rules.
    fn output_size(
        &self,
        input: (usize, usize),
        window: (usize, usize),
        spec: &Conv2dSpec,
    ) -> Option<(usize, usize)> {
        let axis = |n: usize, k: usize, stride: usize, dilation: usize, extra: Option<usize>| {
            let Some(extra) = extra else {
                return self.padding.transposed_len(n, k, stride, dilation);
            };
            let extent = (k - 1).checked_mul(dilation)?.checked_add(1)?;
            let cut = match self.padding {
                Padding::Same => 2 * (extent / 2),
                Padding::Valid | Padding::Causal => 0,
            };
            let steps = n.checked_sub(1)?.checked_mul(stride)?;
            let full = steps.checked_add(extent)?.checked_add(extra)?;
            full.checked_sub(cut).filter(|&size| size > 0)
        };
        let (strides, dilation) = (spec.strides, spec.dilation);
        let extra = self.output_padding;
        let rows = extra.map(|extra| extra.0);
        let columns = extra.map(|extra| extra.1);
        Some((
            axis(input.0, window.0, strides.0, dilation.0, rows)?,
            axis(input.1, window.1, strides.1, dilation.1, columns)?,
        ))
    }

    fn built(&self) -> Result<&Built, NnError> {
        self.built.as_ref().ok_or(NnError::NotBuilt)
    }
}

arguments! {
    Conv2DTranspose = Conv2DTranspose::new(0, 0);
    required filters kernel_size;
    optional strides padding output_padding dilation_rate activation use_bias kernel bias common;
    only "data_format" = "channels_last";
}

impl Layer for Conv2DTranspose {
    layer!(
        "Conv2DTranspose",
        mixed_precision | layer | layer.activation.is_elementwise()
    );

    fn build(
        &mut self,
        input: &[usize],
        builder: &mut LayerBuilder<'_>,
    ) -> Result<Vec<usize>, NnError> {
        let (height, width, channels) = image(input)?;
        at_least_one("filters", self.filters)?;
        let window = self.kernel_size.positive("kernel_size")?;
        let spec = conv_spec(self.strides, self.padding, self.dilation_rate)?;
        if let Some(extra) = self.output_padding
            && (extra.0 >= spec.strides.0 || extra.1 >= spec.strides.1)
        {
            let (rows, columns) = spec.strides;
            let expected = format!("less than the strides of ({rows}, {columns})");
            let found = format!("({}, {})", extra.0, extra.1);
            return Err(NnError::argument("output_padding", expected, found));
        }
        let kernel = [window.0, window.1, self.filters, channels];
        let size = self.output_size((height, width), window, &spec);
        let fits = |size: &(usize, usize)| {
            let back = spec.output_shape([1, size.0, size.1, self.filters], kernel);
            back.is_ok_and(|back| back == [1, height, width, channels])
        };
        let Some(size) = size.filter(fits) else {
            let expected = format!("a size whose output a convolution takes back to {input:?}");
            let found = match (self.output_padding, size) {
                (_, Some((rows, columns))) => format!("an output of {rows} × {columns}"),
                (Some(extra), None) => format!("output_padding ({}, {})", extra.0, extra.1),
                (None, None) => "an output too large".to_owned(),
            };
            return Err(NnError::argument("output size", expected, found));
        };
        self.built = Some(Built {
            kernel: self.kernel.add(builder, "kernel", &kernel)?,
            bias: match self.use_bias {
                true => Some(self.bias.add(builder, "bias", &[self.filters])?),
                false => None,
            },
            spec,
            size,
        });
        Ok(vec![size.0, size.1, self.filters])
    }

    own_activation!();

    fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor, NnError> {
        let built = self.built()?;
        let (size, spec) = (built.size, &built.spec);
        let (kernel, bias) = (
            pass.value(built.kernel),
            built.bias.map(|id| pass.value(id)),
        );
        let fused = self.activation.fused();
        let z = kernels::conv2d_transpose(pass.workspace, x, kernel, bias, size, spec, fused)?;
        pass.save(x);
        self.activation.end_forward(z, pass)
    }

    fn backward(&self, dy: &Tensor, pass: &mut Pass<'_>) -> Result<Option<Tensor>, NnError> {
        let built = self.built()?;
        let (y, dz) = self.activation.start_backward(dy, pass)?;
        let x = pass.restore()?;
        let (kernel, kernel_grad) = (pass.value(built.kernel), pass.grad(built.kernel));
        let bias_grad = built.bias.map(|id| pass.grad(id));
        let dx = kernels::conv2d_transpose_backward(
            pass.workspace,
            &x,
            kernel,
            &y,
            &dz,
            &built.spec,
            self.activation.fused(),
            kernel_grad,
            bias_grad,
            pass.wants_input_grad,
        )?;
        pass.workspace.give(&dz);
        pass.workspace.give(&y);
        Ok(dx)
    }
}
