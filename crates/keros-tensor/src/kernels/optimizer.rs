//! Optimizer updates of one parameter in one pass over its memory.

use candle_core::Tensor;

use super::{CHUNK, expect_dims};
use crate::parallel::{chunks_mut, for_each_part};
use crate::simd::multiversion;
use crate::{TensorError, access};

/// One update of Adam (D. Kingma, J. Ba, 2015) in Keras's form.
///
/// `m += (1 - beta1) (g - m)`, `v += (1 - beta2) (g² - v)`, `w -= alpha m / (√v + epsilon)`, where
/// the caller gives `alpha = lr √(1 - beta2^t) / (1 - beta1^t)` for update number `t` from 1.
/// `param`, `grad`, `m` and `v` have one shape; `m` and `v` start at 0.
///
/// # Errors
/// See [the module](super).
#[allow(clippy::too_many_arguments)]
pub fn adam_update(
    param: &Tensor,
    grad: &Tensor,
    m: &Tensor,
    v: &Tensor,
    alpha: f64,
    beta1: f64,
    beta2: f64,
    epsilon: f64,
) -> Result<(), TensorError> {
    const OP: &str = "Adam update";
    expect_dims(OP, "gradient", grad, param.dims())?;
    expect_dims(OP, "first moment", m, param.dims())?;
    expect_dims(OP, "second moment", v, param.dims())?;
    let (alpha, epsilon) = (alpha as f32, epsilon as f32);
    let (rate1, rate2) = ((1.0 - beta1) as f32, (1.0 - beta2) as f32);
    let grad = access::read::<f32>(grad)?;
    let grad = &*grad;
    access::write3(param, m, v, |param, m, v| {
        let parts = (
            chunks_mut(param, CHUNK),
            chunks_mut(m, CHUNK),
            chunks_mut(v, CHUNK),
        );
        for_each_part(parts, |i, (param, m, v)| {
            let grad = &grad[i * CHUNK..];
            adam(param, grad, m, v, alpha, rate1, rate2, epsilon);
        });
    })
}

/// One update of stochastic gradient descent in Keras's form, the learning rate inside the momentum.
///
/// Without momentum `w -= lr g`.
/// With `Some((velocity, mu))`: `velocity = mu velocity - lr g`, then `w += velocity`, or for
/// `nesterov` `w += mu velocity - lr g`; `velocity` has the shape of `param` and starts at 0.
///
/// # Errors
/// [`TensorError::Argument`] for `nesterov` without momentum; otherwise see [the module](super).
pub fn sgd_update(
    param: &Tensor,
    grad: &Tensor,
    momentum: Option<(&Tensor, f64)>,
    lr: f64,
    nesterov: bool,
) -> Result<(), TensorError> {
    const OP: &str = "SGD update";
    expect_dims(OP, "gradient", grad, param.dims())?;
    let lr = lr as f32;
    let Some((velocity, mu)) = momentum else {
        if nesterov {
            return Err(TensorError::argument(
                OP,
                "nesterov",
                "false without momentum",
                nesterov,
            ));
        }
        let grad = access::read::<f32>(grad)?;
        let grad = &*grad;
        return access::write(param, |param| {
            for_each_part(chunks_mut(param, CHUNK), |i, param| {
                descend(param, &grad[i * CHUNK..], lr);
            });
        });
    };
    expect_dims(OP, "velocity", velocity, param.dims())?;
    let mu = mu as f32;
    let grad = access::read::<f32>(grad)?;
    let grad = &*grad;
    access::write2(param, velocity, |param, velocity| {
        let parts = (chunks_mut(param, CHUNK), chunks_mut(velocity, CHUNK));
        for_each_part(parts, |i, (param, velocity)| {
            let grad = &grad[i * CHUNK..];
            if nesterov {
                descend_nesterov(param, grad, velocity, mu, lr);
            } else {
                descend_momentum(param, grad, velocity, mu, lr);
            }
        });
    })
}

multiversion! {
    fn adam(
        param: &mut [f32],
        grad: &[f32],
        m: &mut [f32],
        v: &mut [f32],
        alpha: f32,
        rate1: f32,
        rate2: f32,
        epsilon: f32,
    ) {
        for (((w, &g), m), v) in param.iter_mut().zip(grad).zip(m).zip(v) {
            *m += rate1 * (g - *m);
            *v += rate2 * (g * g - *v);
            *w -= alpha * *m / (v.sqrt() + epsilon);
        }
    }

    fn descend(param: &mut [f32], grad: &[f32], lr: f32) {
        for (w, &g) in param.iter_mut().zip(grad) {
            *w -= lr * g;
        }
    }

    fn descend_momentum(param: &mut [f32], grad: &[f32], velocity: &mut [f32], mu: f32, lr: f32) {
        for ((w, &g), u) in param.iter_mut().zip(grad).zip(velocity) {
            *u = mu * *u - lr * g;
            *w += *u;
        }
    }

    fn descend_nesterov(param: &mut [f32], grad: &[f32], velocity: &mut [f32], mu: f32, lr: f32) {
        for ((w, &g), u) in param.iter_mut().zip(grad).zip(velocity) {
            *u = mu * *u - lr * g;
            *w += mu * *u - lr * g;
        }
    }
}
