//! Fused updates of the optimizers.

use anyhow::Result;
use candle_core::Var;
use candle_nn::{AdamW, Optimizer as _, ParamsAdamW, SGD};
use keros::tensor::kernels::{self, FtrlStrengths, Update};
use keros::tensor::{Device, TensorError, Workspace};

use crate::{Case, Ops, Step, Work, tensor};

/// Elements of the parameter.
const LEN: usize = 1 << 21;
const LR: f64 = 1e-3;
const EPSILON: f64 = 1e-7;

/// One update.
type Run = fn(&[Update<'_>]) -> Result<(), TensorError>;

/// candle's optimizer, if it has this one.
type Candle = Option<fn() -> Result<Step>>;

pub(crate) fn cases(ops: &mut Ops) {
    let updates: [(&str, usize, Run, Candle); 13] = [
        ("sgd", 0, sgd, Some(candle_sgd)),
        ("sgd momentum", 1, momentum, None),
        ("sgd nesterov", 1, nesterov, None),
        ("rmsprop", 1, rmsprop, None),
        ("adam", 2, adam, Some(candle_adam)),
        ("adam amsgrad", 3, amsgrad, None),
        ("adagrad", 1, adagrad, None),
        ("adadelta", 2, adadelta, None),
        ("adamax", 2, adamax, None),
        ("nadam", 2, nadam, None),
        ("lamb", 2, lamb, None),
        ("lion", 1, lion, None),
        ("ftrl", 2, ftrl, None),
    ];
    for (name, states, update, candle) in updates {
        // The gradient is read, parameter and state are read and written.
        let work = Work::Floats((3 + 2 * states) * LEN);
        ops.case("optimizer", name, work, || {
            // From 0 on: an accumulator is not negative.
            let of = |seed| Ok::<_, anyhow::Error>(tensor(seed, &[LEN])?.abs()?);
            let (w, g) = (tensor(1, &[LEN])?, tensor(2, &[LEN])?);
            let state = (0..states).map(|i| of(3 + i as u64));
            let state = state.collect::<Result<Vec<_>>>()?;
            Ok(Case {
                keros: Box::new(move || {
                    Ok(update(&[Update {
                        param: &w,
                        grad: &g,
                        state: &state,
                    }])?)
                }),
                candle: candle.map(|candle| candle()).transpose()?,
            })
        });
    }
}

fn sgd(updates: &[Update<'_>]) -> Result<(), TensorError> {
    kernels::sgd_update(updates, None, LR, false)
}

fn momentum(updates: &[Update<'_>]) -> Result<(), TensorError> {
    kernels::sgd_update(updates, Some(0.9), LR, false)
}

fn nesterov(updates: &[Update<'_>]) -> Result<(), TensorError> {
    kernels::sgd_update(updates, Some(0.9), LR, true)
}

fn rmsprop(updates: &[Update<'_>]) -> Result<(), TensorError> {
    kernels::rmsprop_update(updates, false, None, LR, 0.9, EPSILON)
}

fn adam(updates: &[Update<'_>]) -> Result<(), TensorError> {
    kernels::adam_update(updates, LR, 0.9, 0.999, EPSILON)
}

fn amsgrad(updates: &[Update<'_>]) -> Result<(), TensorError> {
    kernels::amsgrad_update(updates, LR, 0.9, 0.999, EPSILON)
}

fn adagrad(updates: &[Update<'_>]) -> Result<(), TensorError> {
    kernels::adagrad_update(updates, LR, EPSILON)
}

fn adadelta(updates: &[Update<'_>]) -> Result<(), TensorError> {
    kernels::adadelta_update(updates, LR, 0.95, EPSILON)
}

fn adamax(updates: &[Update<'_>]) -> Result<(), TensorError> {
    kernels::adamax_update(updates, LR, 0.9, 0.999, EPSILON)
}

fn nadam(updates: &[Update<'_>]) -> Result<(), TensorError> {
    kernels::nadam_update(updates, (LR, LR), 1.0, 0.9, 0.999, EPSILON)
}

fn lamb(updates: &[Update<'_>]) -> Result<(), TensorError> {
    // It takes no memory on the CPU.
    let ws = &mut Workspace::new(&Device::Cpu);
    kernels::lamb_update(ws, updates, LR, (1.0, 1.0), 0.9, 0.999, EPSILON)
}

fn lion(updates: &[Update<'_>]) -> Result<(), TensorError> {
    kernels::lion_update(updates, LR, 0.9, 0.99)
}

fn ftrl(updates: &[Update<'_>]) -> Result<(), TensorError> {
    let strengths = FtrlStrengths {
        l1: 0.0,
        l2: 0.0,
        l2_shrinkage: 0.0,
    };
    kernels::ftrl_update(updates, LR, -0.5, strengths)
}

/// A parameter of candle's and the gradients of the sum of its squares.
fn candle_parameter() -> Result<(Var, candle_core::backprop::GradStore)> {
    let w = Var::from_tensor(&tensor(1, &[LEN])?)?;
    let grads = w.sqr()?.sum_all()?.backward()?;
    Ok((w, grads))
}

fn candle_sgd() -> Result<Step> {
    let (w, grads) = candle_parameter()?;
    let mut optimizer = SGD::new(vec![w], LR)?;
    Ok(Box::new(move || Ok(optimizer.step(&grads)?)))
}

/// Without weight decay it is Adam.
fn candle_adam() -> Result<Step> {
    let (w, grads) = candle_parameter()?;
    let params = ParamsAdamW {
        lr: LR,
        weight_decay: 0.0,
        ..ParamsAdamW::default()
    };
    let mut optimizer = AdamW::new(vec![w], params)?;
    Ok(Box::new(move || Ok(optimizer.step(&grads)?)))
}
