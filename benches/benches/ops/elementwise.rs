//! Activations, dropout, noise and merging: functions of one element, or of one of each tensor.

use anyhow::Result;
use candle_core::{Device, Tensor, Var};
use candle_nn::ops;
use keros::tensor::kernels::{self, Activation, Function, MergeOp};
use keros::tensor::{Stream, Workspace};

use crate::{Case, Ops, Work, tensor};

/// Elements: more than a second-level cache holds.
const LEN: usize = 1 << 21;
const RATE: f32 = 0.5;

/// What candle calls this function.
type Candle = fn(&Tensor) -> candle_core::Result<Tensor>;

const RELU: Function = Function::Relu {
    max_value: f32::INFINITY,
    negative_slope: 0.0,
    threshold: 0.0,
};

pub(crate) fn cases(ops: &mut Ops) {
    let functions: [(&str, Function, Option<Candle>); 13] = [
        ("relu", RELU, Some(|x| x.relu())),
        ("sigmoid", Function::Sigmoid, Some(ops::sigmoid)),
        ("tanh", Function::Tanh, Some(|x| x.tanh())),
        ("softplus", Function::Softplus, None),
        ("softsign", Function::Softsign, None),
        ("exponential", Function::Exponential, Some(|x| x.exp())),
        ("elu", Function::Elu { alpha: 1.0 }, Some(|x| x.elu(1.0))),
        (
            "selu",
            Function::Selu,
            Some(|x| ops::selu(x, 1.673_263_2, 1.050_701)),
        ),
        ("silu", Function::Silu, Some(|x| x.silu())),
        ("gelu", Function::Gelu, Some(|x| x.gelu_erf())),
        ("mish", Function::Mish, Some(ops::mish)),
        (
            "hard_sigmoid",
            Function::HardSigmoid,
            Some(ops::hard_sigmoid),
        ),
        ("hard_silu", Function::HardSilu, None),
    ];
    for (name, function, candle) in functions {
        let group = format!("activation {name}");
        let forward = Work::Floats(2 * LEN);
        ops.case(&group, "forward", forward, || {
            activation(function, candle, false)
        });
        let backward = Work::Floats(3 * LEN);
        ops.case(&group, "backward", backward, || {
            activation(function, candle, true)
        });
    }
    // Its gradient is the same function with the same mask.
    ops.case(
        "dropout",
        "forward or backward",
        Work::Floats(2 * LEN),
        dropout,
    );
    ops.case(
        "gaussian noise",
        "forward",
        Work::Floats(2 * LEN),
        gaussian_noise,
    );
    ops.case("merge add", "forward", Work::Floats(3 * LEN), || {
        merge(false)
    });
    ops.case("merge add", "backward", Work::Floats(2 * LEN), || {
        merge(true)
    });
}

fn activation(function: Function, candle: Option<Candle>, backward: bool) -> Result<Case> {
    let (x, dy) = (tensor(1, &[LEN])?, tensor(2, &[LEN])?);
    let mut ws = Workspace::new(&Device::Cpu);
    let kept = match function.keeps_output() {
        true => kernels::function(&mut ws, &x, function)?.copy()?,
        false => x.clone(),
    };
    let candle_x = Var::from_tensor(&x)?;
    let candle_side: Option<crate::Step> = match (candle, backward) {
        (None, _) => None,
        (Some(candle), false) => Some(Box::new(move || {
            candle(&candle_x)?;
            Ok(())
        })),
        (Some(candle), true) => {
            let y = candle(&candle_x)?;
            Some(Box::new(move || {
                y.backward()?;
                Ok(())
            }))
        }
    };
    Ok(Case {
        keros: match backward {
            false => Box::new(move || {
                ws.recycle();
                kernels::function(&mut ws, &x, function)?;
                Ok(())
            }),
            true => Box::new(move || {
                ws.recycle();
                kernels::function_backward(&mut ws, &kept, &dy, function)?;
                Ok(())
            }),
        },
        candle: candle_side,
    })
}

fn dropout() -> Result<Case> {
    let x = tensor(1, &[LEN])?;
    let candle_x = x.clone();
    let mut ws = Workspace::new(&Device::Cpu);
    let mut step = 0;
    Ok(Case {
        keros: Box::new(move || {
            ws.recycle();
            step += 1;
            kernels::dropout(&mut ws, &x, RATE, Stream::new(1, step))?;
            Ok(())
        }),
        candle: Some(Box::new(move || {
            ops::dropout(&candle_x, RATE)?;
            Ok(())
        })),
    })
}

fn gaussian_noise() -> Result<Case> {
    let x = tensor(1, &[LEN])?;
    let candle_x = x.clone();
    let mut ws = Workspace::new(&Device::Cpu);
    let mut step = 0;
    Ok(Case {
        keros: Box::new(move || {
            ws.recycle();
            step += 1;
            kernels::gaussian_noise(&mut ws, &x, RATE, Stream::new(1, step))?;
            Ok(())
        }),
        candle: Some(Box::new(move || {
            let noise = candle_x.randn_like(0.0, f64::from(RATE))?;
            (&candle_x + noise)?;
            Ok(())
        })),
    })
}

fn merge(backward: bool) -> Result<Case> {
    let inputs = [tensor(1, &[LEN])?, tensor(2, &[LEN])?];
    let dy = tensor(3, &[LEN])?;
    let (a, b) = (Var::from_tensor(&inputs[0])?, Var::from_tensor(&inputs[1])?);
    let mut ws = Workspace::new(&Device::Cpu);
    Ok(match backward {
        false => Case {
            keros: Box::new(move || {
                ws.recycle();
                kernels::merge(&mut ws, &inputs, MergeOp::Add, Activation::Linear)?;
                Ok(())
            }),
            candle: Some(Box::new(move || {
                a.add(&b)?;
                Ok(())
            })),
        },
        true => Case {
            keros: Box::new(move || {
                ws.recycle();
                kernels::merge_backward(&mut ws, &inputs, &dy, 0, MergeOp::Add)?;
                Ok(())
            }),
            candle: None,
        },
    })
}
