//! Batch, layer and group normalization.

use anyhow::Result;
use candle_core::{Device, Tensor, Var};
use candle_nn::{GroupNorm, Module as _, ModuleT as _};
use keros::tensor::Workspace;
use keros::tensor::kernels::{self, Activation, BatchNorm, NormLayout, NormParams};

use crate::{BATCH, Case, Ops, Step, Work, channels_first, tensor};

const SHAPE: [usize; 4] = [BATCH, 26, 26, 32];
const GROUPS: usize = 8;
/// Rows and units of layer normalization.
const ROWS: [usize; 2] = [8 * BATCH, 768];
const EPSILON: f32 = 1e-3;

pub(crate) fn cases(ops: &mut Ops) {
    let values: usize = SHAPE.iter().product();
    // Statistics and result each read the input.
    let forward = Work::Floats(3 * values);
    let backward = Work::Floats(5 * values);
    for (group, activation) in [
        ("batch_norm 26×26×32", Activation::Linear),
        ("batch_norm and ReLU 26×26×32", Activation::Relu),
    ] {
        let work = |is_backward| move || batch(is_backward, activation);
        ops.case(group, "statistics and forward", forward, work(false));
        ops.case(group, "backward dx dgamma dbeta", backward, work(true));
    }

    let [n, h, w, c] = SHAPE;
    let layout = NormLayout {
        outer: n,
        before: h * w,
        kept: GROUPS,
        after: c / GROUPS,
    };
    let group = format!("group_norm {GROUPS}, 26×26×32");
    for (name, work, is_backward) in [
        ("forward", forward, false),
        ("backward dx dgamma dbeta", backward, true),
    ] {
        ops.case(&group, name, work, || {
            let x = tensor(1, &SHAPE)?;
            let candle = group_candle(&x, is_backward)?;
            norm(&x, layout, NormParams::Trailing, candle, is_backward)
        });
    }

    let [rows, units] = ROWS;
    let layout = NormLayout {
        outer: rows,
        before: 1,
        kept: 1,
        after: units,
    };
    let values = rows * units;
    for (name, work, is_backward) in [
        ("forward", Work::Floats(3 * values), false),
        ("backward dx dgamma dbeta", Work::Floats(5 * values), true),
    ] {
        ops.case("layer_norm 1024×768", name, work, || {
            let x = tensor(1, &ROWS)?;
            let candle = layer_candle(&x, is_backward)?;
            norm(&x, layout, NormParams::Normalized, candle, is_backward)
        });
    }
}

/// A forward pass, or the reverse of one.
fn candle_side(
    backward: bool,
    forward: impl Fn() -> candle_core::Result<Tensor> + 'static,
) -> Result<Step> {
    let y = forward()?;
    Ok(match backward {
        false => Box::new(move || {
            forward()?;
            Ok(())
        }),
        true => Box::new(move || {
            y.backward()?;
            Ok(())
        }),
    })
}

/// Scale and shift.
fn parameters(len: usize) -> Result<(Var, Var)> {
    let var = |seed| Ok::<_, anyhow::Error>(Var::from_tensor(&tensor(seed, &[len])?)?);
    Ok((var(7)?, var(8)?))
}

fn batch(backward: bool, activation: Activation) -> Result<Case> {
    let (x, dy) = (tensor(1, &SHAPE)?, tensor(2, &SHAPE)?);
    let channels = SHAPE[3];
    let (gamma, beta) = (tensor(3, &[channels])?, tensor(4, &[channels])?);
    let (dgamma, dbeta) = (tensor(5, &[channels])?, tensor(6, &[channels])?);
    let candle = {
        let (weight, bias) = parameters(channels)?;
        let zeros = Tensor::zeros_like(&weight)?;
        let (mean, variance) = (zeros.clone(), zeros.ones_like()?);
        let weight = weight.as_tensor().clone();
        let bias = bias.as_tensor().clone();
        let layer =
            candle_nn::BatchNorm::new(channels, mean, variance, weight, bias, EPSILON.into())?;
        let x = Var::from_tensor(&channels_first(&x)?)?;
        candle_side(backward, move || {
            let y = layer.forward_t(&x, true)?;
            match activation {
                Activation::Relu => y.relu(),
                _ => Ok(y),
            }
        })?
    };
    let mut ws = Workspace::new(&Device::Cpu);
    let (mean, variance) = kernels::channel_statistics(&mut Workspace::new(&Device::Cpu), &x, 3)?;
    let keros: Step = match backward {
        false => Box::new(move || {
            ws.recycle();
            let (mean, variance) = kernels::channel_statistics(&mut ws, &x, 3)?;
            let norm = BatchNorm {
                gamma: Some(&gamma),
                beta: Some(&beta),
                activation,
                ..BatchNorm::new(3, &mean, &variance, EPSILON)
            };
            kernels::batch_norm(&mut ws, &x, &norm)?;
            Ok(())
        }),
        true => Box::new(move || {
            ws.recycle();
            let (dgamma, dbeta) = (Some(&dgamma), Some(&dbeta));
            let norm = BatchNorm {
                gamma: Some(&gamma),
                beta: Some(&beta),
                activation,
                ..BatchNorm::new(3, &mean, &variance, EPSILON)
            };
            kernels::batch_norm_backward(&mut ws, &x, &dy, &norm, true, dgamma, dbeta, true)?;
            Ok(())
        }),
    };
    Ok(Case {
        keros,
        candle: Some(candle),
    })
}

fn group_candle(x: &Tensor, backward: bool) -> Result<Step> {
    let channels = SHAPE[3];
    let (weight, bias) = parameters(channels)?;
    let (weight, bias) = (weight.as_tensor().clone(), bias.as_tensor().clone());
    let layer = GroupNorm::new(weight, bias, channels, GROUPS, EPSILON.into())?;
    let x = Var::from_tensor(&channels_first(x)?)?;
    candle_side(backward, move || layer.forward(&x))
}

/// candle's fast one has no gradient.
fn layer_candle(x: &Tensor, backward: bool) -> Result<Step> {
    let (weight, bias) = parameters(ROWS[1])?;
    let x = Var::from_tensor(x)?;
    candle_side(backward, move || match backward {
        false => candle_nn::ops::layer_norm(&x, &weight, &bias, EPSILON),
        true => candle_nn::ops::layer_norm_slow(&x, &weight, &bias, EPSILON),
    })
}

fn norm(
    x: &Tensor,
    layout: NormLayout,
    params: NormParams,
    candle: Step,
    backward: bool,
) -> Result<Case> {
    let len = match params {
        NormParams::Normalized => layout.before * layout.after,
        NormParams::Trailing => layout.kept * layout.after,
    };
    let (x, dy) = (x.clone(), tensor(2, x.dims())?);
    let (gamma, beta) = (tensor(3, &[len])?, tensor(4, &[len])?);
    let (dgamma, dbeta) = (tensor(5, &[len])?, tensor(6, &[len])?);
    let mut ws = Workspace::new(&Device::Cpu);
    let mut forward = Workspace::new(&Device::Cpu);
    let (_, statistics) = kernels::normalize(
        &mut forward,
        &x,
        &layout,
        Some(&gamma),
        None,
        params,
        EPSILON,
    )?;
    let keros: Step = match backward {
        false => Box::new(move || {
            ws.recycle();
            let (gamma, beta) = (Some(&gamma), Some(&beta));
            kernels::normalize(&mut ws, &x, &layout, gamma, beta, params, EPSILON)?;
            Ok(())
        }),
        true => Box::new(move || {
            ws.recycle();
            let (dgamma, dbeta) = (Some(&dgamma), Some(&dbeta));
            let (s, gamma) = (&statistics, Some(&gamma));
            kernels::normalize_backward(
                &mut ws, &x, s, &dy, &layout, gamma, params, dgamma, dbeta, true,
            )?;
            Ok(())
        }),
    };
    Ok(Case {
        keros,
        candle: Some(candle),
    })
}
