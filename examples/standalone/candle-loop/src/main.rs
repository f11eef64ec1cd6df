//! A training loop in plain candle; only the convolution is a kernel of keros-tensor.
//!
//! The result of the kernel is a leaf for candle's autograd. What candle finds as its gradient goes on into the
//! backward kernel.

use anyhow::{Context, Result};
use candle_core::{D, DType, Device, Module, Tensor, Var};
use candle_nn::{Optimizer, SGD, VarBuilder, VarMap, linear, loss::cross_entropy};
use keros_tensor::Workspace;
use keros_tensor::kernels::{Activation, Conv2dSpec, Update, conv2d, conv2d_backward, sgd_update};

const SIDE: usize = 12;
const FILTERS: usize = 8;
const RATE: f64 = 0.1;

fn main() -> Result<()> {
    let (images, labels) = bars()?;
    let kernel = Var::randn(0_f32, 0.3, (3, 3, 1, FILTERS), &Device::Cpu)?;
    let features = (SIDE - 2) * (SIDE - 2) * FILTERS;
    let head_vars = VarMap::new();
    let head = linear(
        features,
        2,
        VarBuilder::from_varmap(&head_vars, DType::F32, &Device::Cpu),
    )?;
    let mut optimizer = SGD::new(head_vars.all_vars(), RATE)?;

    let spec = Conv2dSpec::default();
    let kernel_gradient = kernel.zeros_like()?;
    let mut ws = Workspace::new(&Device::Cpu);
    for step in 1..=100 {
        let seen = conv2d(&mut ws, &images, &kernel, None, &spec, Activation::Relu)?;

        let leaf = Var::from_tensor(&seen)?;
        let logits = head.forward(&leaf.flatten_from(1)?)?;
        let loss = cross_entropy(&logits, &labels)?;
        let gradients = loss.backward()?;
        optimizer.step(&gradients)?;

        let gradient = gradients
            .get(&leaf)
            .context("the loss does not depend on the convolution")?
            .contiguous()?;
        conv2d_backward(
            &mut ws,
            &images,
            &kernel,
            &seen,
            &gradient,
            &spec,
            Activation::Relu,
            &kernel_gradient,
            None,
            false,
        )?;
        let update = Update {
            param: &kernel,
            grad: &kernel_gradient,
            state: &[],
        };
        sgd_update(&[update], None, RATE, false)?;
        ws.recycle();

        if step % 20 == 0 {
            let right = logits
                .argmax(D::Minus1)?
                .eq(&labels)?
                .to_dtype(DType::F32)?
                .mean_all()?;
            println!(
                "step {step}: loss {:.4}, accuracy {}",
                loss.to_scalar::<f32>()?,
                right.to_scalar::<f32>()?
            );
        }
    }
    Ok(())
}

/// Images `[N, height, width, 1]` of one bar each, and whether it is vertical.
fn bars() -> Result<(Tensor, Tensor)> {
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for place in 0..SIDE {
        for vertical in [false, true] {
            let bar =
                |y: usize, x: usize| f32::from(u8::from(place == if vertical { x } else { y }));
            pixels.extend((0..SIDE * SIDE).map(|i| bar(i / SIDE, i % SIDE)));
            labels.push(u32::from(vertical));
        }
    }
    let images = Tensor::from_vec(pixels, (labels.len(), SIDE, SIDE, 1), &Device::Cpu)?;
    Ok((images, Tensor::new(labels, &Device::Cpu)?))
}
