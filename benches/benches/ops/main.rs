//! Milliseconds and GFLOP/s of single kernels at batch 128, compared with candle's operation and with
//! the rate of a large matrix product on this machine.
//!
//! Backward passes do what a network needs: a first layer gives no input gradient. candle's backward
//! pass computes both gradients in any case, which is a part of what is compared.

#![allow(clippy::print_stdout, reason = "a bench shows its results")]

use anyhow::Result;
use candle_core::{Device, Tensor, Var};
use keros::tensor::Workspace;
use keros::tensor::kernels::{self, Activation, Conv2dSpec, Padding, Pool2dSpec};
use keros_benches::{
    Measured, Sides, Suite, Table, Times, floats, labels, quartiles, significant, timed,
};

const BATCH: usize = 128;
/// Rows and columns of the matrices whose product gives the machine's rate.
const GEMM: usize = 1024;
/// Side, channels of the input, channels of the output, padding.
const CONVOLUTIONS: [(usize, usize, usize, Padding); 6] = [
    (28, 1, 32, Padding::Valid),
    (13, 32, 64, Padding::Valid),
    (32, 3, 32, Padding::Same),
    (32, 32, 32, Padding::Valid),
    (15, 32, 64, Padding::Same),
    (15, 64, 64, Padding::Valid),
];

fn main() {
    let times = Times {
        warm_up_s: 0.5,
        measurement_s: 3.0,
        rounds: 20,
    };
    let Some(mut suite) = Suite::from_args(times) else {
        return;
    };
    for shape in CONVOLUTIONS {
        let conv = Conv::new(shape);
        let group = conv.name();
        suite.case(&group, "forward", || conv.forward());
        suite.case(&group, "backward dw", || conv.backward(false));
        if !conv.is_first_layer() {
            suite.case(&group, "backward dx dw", || conv.backward(true));
        }
    }
    let pool = "max_pool2d 2 on 26×26×32";
    suite.case(pool, "forward", pool_forward);
    suite.case(pool, "backward", pool_backward);
    let dense = "dense 512×512";
    suite.case(dense, "forward", dense_forward);
    suite.case(dense, "backward dx dw", dense_backward);
    suite.case("softmax cross-entropy 10", "loss and gradient", loss);

    let headings = [
        "case",
        "keros, ms",
        "candle, ms",
        "keros ÷ candle",
        "keros, GFLOP/s",
        "gemm, GFLOP/s",
        "keros ÷ gemm",
    ];
    let table = Table::new(headings, &suite.finish(), row);
    println!("{table}");
}

fn row(m: &Measured) -> [String; 7] {
    let [flops, gemm, share] = match m.sides() {
        3 => [
            significant(m.rate(0) / 1e9),
            significant(m.rate(2) / 1e9),
            quartiles(m.speedup(2)),
        ],
        // No arithmetic to speak of.
        _ => [const { "–" }; 3].map(str::to_owned),
    };
    [
        m.name.clone(),
        significant(m.seconds(0) * 1e3),
        significant(m.seconds(1) * 1e3),
        quartiles(m.speedup(1)),
        flops,
        gemm,
        share,
    ]
}

/// Adds candle's matrix product, which is the crate gemm on all cores.
fn against_gemm(sides: Sides<'_>) -> Result<Sides<'_>> {
    let a = tensor(101, &[GEMM, GEMM])?;
    let b = tensor(102, &[GEMM, GEMM])?;
    let flops = 2.0 * (GEMM * GEMM * GEMM) as f64;
    Ok(sides.against(flops, move |n| timed(n, || Ok(a.matmul(&b)?))))
}

fn tensor(seed: u64, shape: &[usize]) -> Result<Tensor> {
    let values = floats(seed, shape.iter().product());
    Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
}

/// One 3 × 3 convolution.
#[derive(Clone, Copy)]
struct Conv {
    size: usize,
    inputs: usize,
    outputs: usize,
    padding: Padding,
}

impl Conv {
    fn new((size, inputs, outputs, padding): (usize, usize, usize, Padding)) -> Conv {
        Conv {
            size,
            inputs,
            outputs,
            padding,
        }
    }

    fn name(&self) -> String {
        let (size, out) = (self.size, self.output_size());
        let (inputs, outputs) = (self.inputs, self.outputs);
        format!("conv2d {out}×{out}×{outputs} from {size}×{size}×{inputs}")
    }

    fn output_size(&self) -> usize {
        if self.padding == Padding::Same {
            self.size
        } else {
            self.size - 2
        }
    }

    fn is_first_layer(&self) -> bool {
        self.inputs < 4
    }

    fn spec(&self) -> Conv2dSpec {
        Conv2dSpec {
            padding: self.padding,
            ..Conv2dSpec::default()
        }
    }

    /// Multiplications and additions of the forward pass, and of each gradient.
    fn flops(&self) -> f64 {
        let cells = BATCH * self.output_size().pow(2) * self.outputs;
        2.0 * (cells * 9 * self.inputs) as f64
    }

    fn input(&self) -> Result<Tensor> {
        tensor(1, &[BATCH, self.size, self.size, self.inputs])
    }

    fn kernel(&self) -> Result<Tensor> {
        tensor(2, &[3, 3, self.inputs, self.outputs])
    }

    /// candle's input and kernel: channels first.
    fn candle(&self) -> Result<(Tensor, Tensor)> {
        let x = self.input()?.permute([0, 3, 1, 2])?.contiguous()?;
        let w = self.kernel()?.permute([3, 2, 0, 1])?.contiguous()?;
        Ok((x, w))
    }

    fn candle_padding(&self) -> usize {
        (self.padding == Padding::Same).into()
    }

    fn forward(self) -> Result<Sides<'static>> {
        let (x, w, spec) = (self.input()?, self.kernel()?, self.spec());
        let mut ws = Workspace::new(&Device::Cpu);
        let (candle_x, candle_w) = self.candle()?;
        let padding = self.candle_padding();
        let sides = Sides::of(self.flops(), move |n| {
            timed(n, || {
                ws.recycle();
                let linear = Activation::Linear;
                Ok(kernels::conv2d(&mut ws, &x, &w, None, &spec, linear)?)
            })
        })
        .against(self.flops(), move |n| {
            timed(n, || Ok(candle_x.conv2d(&candle_w, padding, 1, 1, 1)?))
        });
        against_gemm(sides)
    }

    fn backward(self, need_dx: bool) -> Result<Sides<'static>> {
        let (x, w, spec) = (self.input()?, self.kernel()?, self.spec());
        let out = self.output_size();
        let y = tensor(3, &[BATCH, out, out, self.outputs])?;
        let dy = tensor(4, y.dims())?;
        let dw = tensor(5, w.dims())?;
        let mut ws = Workspace::new(&Device::Cpu);
        let (candle_x, candle_w) = self.candle()?;
        let candle_w = Var::from_tensor(&candle_w)?;
        let candle_y = if need_dx {
            let candle_x = Var::from_tensor(&candle_x)?;
            candle_x.conv2d(&candle_w, self.candle_padding(), 1, 1, 1)?
        } else {
            candle_x.conv2d(&candle_w, self.candle_padding(), 1, 1, 1)?
        };
        let flops = self.flops() * if need_dx { 2.0 } else { 1.0 };
        let sides = Sides::of(flops, move |n| {
            timed(n, || {
                ws.recycle();
                let linear = Activation::Linear;
                Ok(kernels::conv2d_backward(
                    &mut ws, &x, &w, &y, &dy, &spec, linear, &dw, None, need_dx,
                )?)
            })
        })
        .against(flops, move |n| timed(n, || Ok(candle_y.backward()?)));
        against_gemm(sides)
    }
}

/// Windows side by side over 26 × 26 × 32.
fn pool_spec() -> Pool2dSpec {
    Pool2dSpec::new((2, 2))
}

fn pool_input() -> Result<Tensor> {
    tensor(1, &[BATCH, 26, 26, 32])
}

fn pool_forward() -> Result<Sides<'static>> {
    let x = pool_input()?;
    let candle_x = x.permute([0, 3, 1, 2])?.contiguous()?;
    let mut ws = Workspace::new(&Device::Cpu);
    Ok(Sides::of(1.0, move |n| {
        timed(n, || {
            ws.recycle();
            Ok(kernels::max_pool2d(&mut ws, &x, &pool_spec())?)
        })
    })
    .against(1.0, move |n| timed(n, || Ok(candle_x.max_pool2d(2)?))))
}

fn pool_backward() -> Result<Sides<'static>> {
    let x = pool_input()?;
    let candle_x = Var::from_tensor(&x.permute([0, 3, 1, 2])?.contiguous()?)?;
    let candle_y = candle_x.max_pool2d(2)?;
    let mut forward = Workspace::new(&Device::Cpu);
    let (y, argmax) = kernels::max_pool2d(&mut forward, &x, &pool_spec())?;
    let dy = tensor(2, y.dims())?;
    let mut ws = Workspace::new(&Device::Cpu);
    Ok(Sides::of(1.0, move |n| {
        timed(n, || {
            ws.recycle();
            let (shape, spec) = (x.dims4()?, pool_spec());
            Ok(kernels::max_pool2d_backward(
                &mut ws,
                &dy,
                &argmax,
                shape.into(),
                &spec,
            )?)
        })
    })
    .against(1.0, move |n| timed(n, || Ok(candle_y.backward()?))))
}

const UNITS: usize = 512;

/// Of the forward pass, and of each gradient.
const DENSE_FLOPS: f64 = 2.0 * (BATCH * UNITS * UNITS) as f64;

fn dense_forward() -> Result<Sides<'static>> {
    let (x, w) = (tensor(1, &[BATCH, UNITS])?, tensor(2, &[UNITS, UNITS])?);
    // candle keeps the kernel of a linear layer transposed.
    let candle_x = x.clone();
    let candle_w = w.t()?.contiguous()?;
    let mut ws = Workspace::new(&Device::Cpu);
    let sides = Sides::of(DENSE_FLOPS, move |n| {
        timed(n, || {
            ws.recycle();
            Ok(kernels::dense(&mut ws, &x, &w, None, Activation::Linear)?)
        })
    })
    .against(DENSE_FLOPS, move |n| {
        timed(n, || Ok(candle_x.matmul(&candle_w.t()?)?))
    });
    against_gemm(sides)
}

fn dense_backward() -> Result<Sides<'static>> {
    let (x, w) = (tensor(1, &[BATCH, UNITS])?, tensor(2, &[UNITS, UNITS])?);
    let (y, dy) = (tensor(3, &[BATCH, UNITS])?, tensor(4, &[BATCH, UNITS])?);
    let dw = tensor(5, w.dims())?;
    let candle_x = Var::from_tensor(&x)?;
    let candle_w = Var::from_tensor(&w.t()?.contiguous()?)?;
    let candle_y = candle_x.matmul(&candle_w.t()?)?;
    let mut ws = Workspace::new(&Device::Cpu);
    let sides = Sides::of(2.0 * DENSE_FLOPS, move |n| {
        timed(n, || {
            ws.recycle();
            let linear = Activation::Linear;
            Ok(kernels::dense_backward(
                &mut ws, &x, &w, &y, &dy, linear, &dw, None, true,
            )?)
        })
    })
    .against(2.0 * DENSE_FLOPS, move |n| {
        timed(n, || Ok(candle_y.backward()?))
    });
    against_gemm(sides)
}

fn loss() -> Result<Sides<'static>> {
    let logits = tensor(1, &[BATCH, 10])?;
    let targets = Tensor::from_vec(labels(2, BATCH, 10), BATCH, &Device::Cpu)?;
    let candle_logits = Var::from_tensor(&logits)?;
    let candle_targets = targets.clone();
    let mut ws = Workspace::new(&Device::Cpu);
    let scale = 1.0 / BATCH as f32;
    Ok(Sides::of(1.0, move |n| {
        timed(n, || {
            ws.recycle();
            Ok(kernels::softmax_cross_entropy(
                &mut ws, &logits, &targets, None, scale,
            )?)
        })
    })
    .against(1.0, move |n| {
        timed(n, || {
            let loss = candle_nn::loss::cross_entropy(&candle_logits, &candle_targets)?;
            Ok(loss.backward()?)
        })
    }))
}
