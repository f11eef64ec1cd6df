//! Dense layers, softmax and cross-entropy.

use anyhow::Result;
use candle_core::{Device, Tensor, Var};
use keros::tensor::Workspace;
use keros::tensor::kernels::{self, Activation};
use keros_benches::labels;

use crate::{BATCH, Case, Ops, Work, tensor};

/// Inputs and outputs.
const UNITS: usize = 512;

pub(crate) fn cases(ops: &mut Ops) {
    let group = format!("dense {UNITS}×{UNITS}");
    let flops = 2.0 * (BATCH * UNITS * UNITS) as f64;
    ops.case(&group, "forward", Work::Flops(flops), forward);
    ops.case(&group, "backward dx dw", Work::Flops(2.0 * flops), backward);
    for classes in [10, 1000] {
        let values = BATCH * classes;
        let group = format!("softmax cross-entropy {classes}");
        ops.case(
            &group,
            "loss and gradient",
            Work::Floats(2 * values),
            || cross_entropy(classes),
        );
        let group = format!("softmax {classes}");
        ops.case(&group, "forward", Work::Floats(2 * values), || {
            softmax(classes, false)
        });
        ops.case(&group, "backward", Work::Floats(3 * values), || {
            softmax(classes, true)
        });
    }
}

fn forward() -> Result<Case> {
    let (x, w) = (tensor(1, &[BATCH, UNITS])?, tensor(2, &[UNITS, UNITS])?);
    // candle keeps the kernel of a linear layer transposed.
    let (candle_x, candle_w) = (x.clone(), w.t()?.contiguous()?);
    let mut ws = Workspace::new(&Device::Cpu);
    Ok(Case {
        keros: Box::new(move || {
            ws.recycle();
            kernels::dense(&mut ws, &x, &w, None, Activation::Linear)?;
            Ok(())
        }),
        candle: Some(Box::new(move || {
            candle_x.matmul(&candle_w.t()?)?;
            Ok(())
        })),
    })
}

fn backward() -> Result<Case> {
    let (x, w) = (tensor(1, &[BATCH, UNITS])?, tensor(2, &[UNITS, UNITS])?);
    let (y, dy) = (tensor(3, &[BATCH, UNITS])?, tensor(4, &[BATCH, UNITS])?);
    let dw = tensor(5, w.dims())?;
    let candle_w = Var::from_tensor(&w.t()?.contiguous()?)?;
    let candle_y = Var::from_tensor(&x)?.matmul(&candle_w.t()?)?;
    let mut ws = Workspace::new(&Device::Cpu);
    Ok(Case {
        keros: Box::new(move || {
            ws.recycle();
            let linear = Activation::Linear;
            kernels::dense_backward(&mut ws, &x, &w, &y, &dy, linear, &dw, None, true)?;
            Ok(())
        }),
        candle: Some(Box::new(move || {
            candle_y.backward()?;
            Ok(())
        })),
    })
}

fn cross_entropy(classes: usize) -> Result<Case> {
    let logits = tensor(1, &[BATCH, classes])?;
    let targets = Tensor::from_vec(labels(2, BATCH, classes as u32), BATCH, &Device::Cpu)?;
    let candle_logits = Var::from_tensor(&logits)?;
    let candle_targets = targets.clone();
    let mut ws = Workspace::new(&Device::Cpu);
    let scale = 1.0 / BATCH as f32;
    Ok(Case {
        keros: Box::new(move || {
            ws.recycle();
            kernels::softmax_cross_entropy(&mut ws, &logits, &targets, None, scale)?;
            Ok(())
        }),
        candle: Some(Box::new(move || {
            candle_nn::loss::cross_entropy(&candle_logits, &candle_targets)?.backward()?;
            Ok(())
        })),
    })
}

fn softmax(classes: usize, backward: bool) -> Result<Case> {
    let (x, dy) = (tensor(1, &[BATCH, classes])?, tensor(2, &[BATCH, classes])?);
    let candle_x = Var::from_tensor(&x)?;
    let candle_y = candle_nn::ops::softmax(&candle_x, 1)?;
    let mut ws = Workspace::new(&Device::Cpu);
    let y = kernels::softmax(&mut ws, &x)?.copy()?;
    Ok(match backward {
        false => Case {
            keros: Box::new(move || {
                ws.recycle();
                kernels::softmax(&mut ws, &x)?;
                Ok(())
            }),
            candle: Some(Box::new(move || {
                candle_nn::ops::softmax(&candle_x, 1)?;
                Ok(())
            })),
        },
        true => Case {
            keros: Box::new(move || {
                ws.recycle();
                kernels::softmax_backward(&mut ws, &y, &dy)?;
                Ok(())
            }),
            candle: Some(Box::new(move || {
                candle_y.backward()?;
                Ok(())
            })),
        },
    })
}
