//! Convolutions: those of the networks of the suite `train`, and those that a residual network or
//! one of its relatives has.

use anyhow::Result;
use candle_core::{Device, Tensor, Var};
use keros::tensor::Workspace;
use keros::tensor::kernels::{self, Activation, Conv2dSpec, Padding};

use crate::{BATCH, Case, Ops, Work, channels_first, tensor};

/// One convolution of square images.
#[derive(Clone, Copy)]
struct Conv {
    images: usize,
    size: usize,
    inputs: usize,
    outputs: usize,
    kernel: usize,
    stride: usize,
    dilation: usize,
    groups: usize,
    padding: Padding,
}

/// 3 × 3 on a batch of small images.
const SMALL: Conv = Conv {
    images: BATCH,
    size: 28,
    inputs: 1,
    outputs: 32,
    kernel: 3,
    stride: 1,
    dilation: 1,
    groups: 1,
    padding: Padding::Valid,
};
/// 3 × 3 on a few large images.
const LARGE: Conv = Conv {
    images: 4,
    padding: Padding::Same,
    ..SMALL
};

const CONVOLUTIONS: [Conv; 17] = [
    SMALL,
    SMALL.of(13, 32, 64),
    SMALL.of(32, 3, 32).padded(),
    SMALL.of(32, 32, 32),
    SMALL.of(15, 32, 64).padded(),
    SMALL.of(15, 64, 64),
    SMALL.of(15, 20, 30),
    LARGE.of(112, 3, 64).with(7, 2),
    LARGE.of(56, 64, 64),
    LARGE.of(56, 64, 128).with(3, 2),
    LARGE.of(56, 64, 128).with(1, 2),
    LARGE.of(56, 256, 64).with(1, 1),
    LARGE.of(14, 256, 256),
    LARGE.of(14, 256, 512).with(3, 2),
    LARGE.of(7, 512, 512),
    Conv {
        dilation: 2,
        ..LARGE.of(56, 64, 64)
    },
    Conv {
        groups: 32,
        ..LARGE.of(28, 256, 256)
    },
];

impl Conv {
    const fn of(self, size: usize, inputs: usize, outputs: usize) -> Conv {
        Conv {
            size,
            inputs,
            outputs,
            ..self
        }
    }

    const fn padded(self) -> Conv {
        Conv {
            padding: Padding::Same,
            ..self
        }
    }

    const fn with(self, kernel: usize, stride: usize) -> Conv {
        Conv {
            kernel,
            stride,
            ..self
        }
    }

    fn name(&self, operation: &str) -> String {
        let Conv {
            size,
            inputs,
            outputs,
            kernel,
            ..
        } = self;
        let out = self.output_size();
        let mut name = format!(
            "{operation} {kernel}×{kernel}, {out}×{out}×{outputs} of {size}×{size}×{inputs}"
        );
        for (what, value) in [
            ("stride", self.stride),
            ("dilation", self.dilation),
            ("groups", self.groups),
        ] {
            if value > 1 {
                name += &format!(", {what} {value}");
            }
        }
        name
    }

    fn output_size(&self) -> usize {
        match self.padding {
            Padding::Same => self.size.div_ceil(self.stride),
            _ => (self.size - self.kernel) / self.stride + 1,
        }
    }

    fn is_first_layer(&self) -> bool {
        self.inputs < 4
    }

    fn spec(&self) -> Conv2dSpec {
        Conv2dSpec {
            strides: (self.stride, self.stride),
            padding: self.padding,
            dilation: (self.dilation, self.dilation),
            groups: self.groups,
        }
    }

    /// Of the forward pass, and of each gradient; the zeros of the border count.
    fn flops(&self) -> f64 {
        let cells = self.images * self.output_size().pow(2) * self.outputs;
        2.0 * (cells * self.kernel.pow(2) * self.inputs / self.groups) as f64
    }

    fn input(&self) -> Result<Tensor> {
        tensor(1, &[self.images, self.size, self.size, self.inputs])
    }

    fn kernel(&self) -> Result<Tensor> {
        let inputs = self.inputs / self.groups;
        tensor(2, &[self.kernel, self.kernel, inputs, self.outputs])
    }

    fn output(&self, seed: u64) -> Result<Tensor> {
        let out = self.output_size();
        tensor(seed, &[self.images, out, out, self.outputs])
    }

    /// candle's output. Its border is the same on both sides, which is as much work.
    fn candle(&self, x: &Tensor, w: &Tensor) -> candle_core::Result<Tensor> {
        let border = match self.padding {
            Padding::Same => (self.kernel - 1) * self.dilation / 2,
            _ => 0,
        };
        x.conv2d(w, border, self.stride, self.dilation, self.groups)
    }

    fn candle_kernel(&self) -> Result<Tensor> {
        Ok(self.kernel()?.permute([3, 2, 0, 1])?.contiguous()?)
    }

    fn forward(self) -> Result<Case> {
        let (x, w, spec) = (self.input()?, self.kernel()?, self.spec());
        let (candle_x, candle_w) = (channels_first(&x)?, self.candle_kernel()?);
        let mut ws = Workspace::new(&Device::Cpu);
        Ok(Case {
            keros: Box::new(move || {
                ws.recycle();
                kernels::conv2d(&mut ws, &x, &w, None, &spec, Activation::Linear)?;
                Ok(())
            }),
            candle: Some(Box::new(move || {
                self.candle(&candle_x, &candle_w)?;
                Ok(())
            })),
        })
    }

    fn backward(self, need_dx: bool) -> Result<Case> {
        let (x, w, spec) = (self.input()?, self.kernel()?, self.spec());
        let (y, dy) = (self.output(3)?, self.output(4)?);
        let dw = tensor(5, w.dims())?;
        let mut ws = Workspace::new(&Device::Cpu);
        let candle_w = Var::from_tensor(&self.candle_kernel()?)?;
        let candle_y = match need_dx {
            true => self.candle(
                Var::from_tensor(&channels_first(&x)?)?.as_tensor(),
                &candle_w,
            )?,
            false => self.candle(&channels_first(&x)?, &candle_w)?,
        };
        Ok(Case {
            keros: Box::new(move || {
                ws.recycle();
                let linear = Activation::Linear;
                kernels::conv2d_backward(
                    &mut ws, &x, &w, &y, &dy, &spec, linear, &dw, None, need_dx,
                )?;
                Ok(())
            }),
            candle: Some(Box::new(move || {
                candle_y.backward()?;
                Ok(())
            })),
        })
    }

    /// A kernel of 3 × 3 for each channel.
    fn depthwise(self) -> Result<(Tensor, Tensor)> {
        let w = tensor(2, &[self.kernel, self.kernel, self.inputs, 1])?;
        let candle_w = w.permute([2, 3, 0, 1])?.contiguous()?;
        Ok((w, candle_w))
    }

    fn depthwise_forward(self) -> Result<Case> {
        let (x, spec) = (self.input()?, self.spec());
        let (w, candle_w) = self.depthwise()?;
        let candle_x = channels_first(&x)?;
        let mut ws = Workspace::new(&Device::Cpu);
        Ok(Case {
            keros: Box::new(move || {
                ws.recycle();
                kernels::depthwise_conv2d(&mut ws, &x, &w, None, &spec, Activation::Linear)?;
                Ok(())
            }),
            candle: Some(Box::new(move || {
                self.candle(&candle_x, &candle_w)?;
                Ok(())
            })),
        })
    }

    fn depthwise_backward(self) -> Result<Case> {
        let (x, spec) = (self.input()?, self.spec());
        let (w, candle_w) = self.depthwise()?;
        let (y, dy) = (self.output(3)?, self.output(4)?);
        let dw = tensor(5, w.dims())?;
        let candle_x = Var::from_tensor(&channels_first(&x)?)?;
        let candle_y = self.candle(&candle_x, Var::from_tensor(&candle_w)?.as_tensor())?;
        let mut ws = Workspace::new(&Device::Cpu);
        Ok(Case {
            keros: Box::new(move || {
                ws.recycle();
                let linear = Activation::Linear;
                kernels::depthwise_conv2d_backward(
                    &mut ws, &x, &w, &y, &dy, &spec, linear, &dw, None, true,
                )?;
                Ok(())
            }),
            candle: Some(Box::new(move || {
                candle_y.backward()?;
                Ok(())
            })),
        })
    }

    /// The transposed convolution that enlarges what this one makes to its input.
    fn transposed(self, backward: bool) -> Result<Case> {
        let (x, spec) = (self.output(1)?, self.spec());
        let w = self.kernel()?;
        let size = (self.size, self.size);
        let (y, dy) = (self.input()?, self.input()?);
        let dw = tensor(5, w.dims())?;
        let mut ws = Workspace::new(&Device::Cpu);
        let border = (self.kernel - 1) / 2;
        let candle_x = Var::from_tensor(&channels_first(&x)?)?;
        let candle_w = Var::from_tensor(&w.permute([3, 2, 0, 1])?.contiguous()?)?;
        let stride = self.stride;
        let candle = move || {
            let extra = stride - 1;
            candle_x.conv_transpose2d(&candle_w, border, extra, stride, 1)
        };
        let candle_y = candle()?;
        let linear = Activation::Linear;
        Ok(match backward {
            false => Case {
                keros: Box::new(move || {
                    ws.recycle();
                    kernels::conv2d_transpose(&mut ws, &x, &w, None, size, &spec, linear)?;
                    Ok(())
                }),
                candle: Some(Box::new(move || {
                    candle()?;
                    Ok(())
                })),
            },
            true => Case {
                keros: Box::new(move || {
                    ws.recycle();
                    kernels::conv2d_transpose_backward(
                        &mut ws, &x, &w, &y, &dy, &spec, linear, &dw, None, true,
                    )?;
                    Ok(())
                }),
                candle: Some(Box::new(move || {
                    candle_y.backward()?;
                    Ok(())
                })),
            },
        })
    }
}

pub(crate) fn cases(ops: &mut Ops) {
    for conv in CONVOLUTIONS {
        let (group, flops) = (conv.name("conv2d"), conv.flops());
        ops.case(&group, "forward", Work::Flops(flops), || conv.forward());
        let dw = Work::Flops(flops);
        ops.case(&group, "backward dw", dw, || conv.backward(false));
        if !conv.is_first_layer() {
            let both = Work::Flops(2.0 * flops);
            ops.case(&group, "backward dx dw", both, || conv.backward(true));
        }
    }
    for conv in [
        SMALL.of(28, 64, 64).padded(),
        SMALL.of(28, 64, 64).padded().with(3, 2),
    ] {
        let conv = Conv {
            groups: 64,
            images: 16,
            ..conv
        };
        let group = conv.name("depthwise_conv2d");
        let values = conv.images * (conv.size.pow(2) + conv.output_size().pow(2)) * conv.inputs;
        let forward = Work::Floats(values);
        ops.case(&group, "forward", forward, || conv.depthwise_forward());
        let backward = Work::Floats(2 * values);
        ops.case(&group, "backward dx dw", backward, || {
            conv.depthwise_backward()
        });
    }
    for conv in [LARGE.of(56, 32, 64).with(3, 2), LARGE.of(28, 64, 64)] {
        let (group, flops) = (conv.name("conv2d_transpose of conv2d"), conv.flops());
        ops.case(&group, "forward", Work::Flops(flops), || {
            conv.transposed(false)
        });
        let both = Work::Flops(2.0 * flops);
        ops.case(&group, "backward dx dw", both, || conv.transposed(true));
    }
}
