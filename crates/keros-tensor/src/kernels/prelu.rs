//! ReLU whose slope below 0 is learned.

use candle_core::{DType, Tensor};

use super::{CHUNK, expect_dims};
use crate::parallel::{chunks_mut, for_each_part};
use crate::{TensorError, Workspace, access};

/// Elements of `alpha` that one task of the reverse pass handles.
const COLUMNS: usize = 1024;

/// `y = x` above 0 and `alpha * x` below.
///
/// `x`: `[N, …]`; `alpha`: `[…]`.
///
/// # Errors
/// See [the module](super).
pub fn prelu(ws: &mut Workspace, x: &Tensor, alpha: &Tensor) -> Result<Tensor, TensorError> {
    let sample = check("prelu", x, alpha)?;
    on_gpu!(x, |gpu| cuda::prelu::prelu(gpu, ws, x, alpha));
    let y = ws.take(x.dims(), DType::F32)?;
    let (x, alpha) = (access::read::<f32>(x)?, access::read::<f32>(alpha)?);
    let (x, alpha) = (&*x, &*alpha);
    let samples = (CHUNK / sample.max(1)).max(1);
    access::write(&y, |y| {
        for_each_part(chunks_mut(y, samples * sample), |i, y: &mut [f32]| {
            let x = x[i * samples * sample..].chunks_exact(sample);
            for (y, x) in y.chunks_exact_mut(sample).zip(x) {
                for ((y, &x), &alpha) in y.iter_mut().zip(x).zip(alpha) {
                    *y = if x < 0.0 { alpha * x } else { x };
                }
            }
        });
    })?;
    Ok(y)
}

/// The gradients of [`prelu`]: fills `dalpha` with their sum over the batch and returns `dx`; both
/// are 0 at 0.
///
/// # Errors
/// See [the module](super).
pub fn prelu_backward(
    ws: &mut Workspace,
    x: &Tensor,
    alpha: &Tensor,
    dy: &Tensor,
    dalpha: &Tensor,
) -> Result<Tensor, TensorError> {
    const OP: &str = "prelu backward";
    let sample = check(OP, x, alpha)?;
    expect_dims(OP, "output gradient", dy, x.dims())?;
    expect_dims(OP, "gradient of alpha", dalpha, alpha.dims())?;
    on_gpu!(x, |gpu| {
        crate::access::check_apart(OP, [dalpha], &[dy])?;
        cuda::prelu::prelu_backward(gpu, ws, x, alpha, dy, dalpha)
    });
    let dx = ws.take(x.dims(), DType::F32)?;
    let (x, dy) = (access::read::<f32>(x)?, access::read::<f32>(dy)?);
    let (x, dy) = (&*x, &*dy);
    {
        let alpha = access::read::<f32>(alpha)?;
        let alpha = &*alpha;
        let samples = (CHUNK / sample.max(1)).max(1);
        access::write(&dx, |dx| {
            for_each_part(chunks_mut(dx, samples * sample), |i, dx: &mut [f32]| {
                let rest = i * samples * sample..;
                let x = x[rest.clone()].chunks_exact(sample);
                let dy = dy[rest].chunks_exact(sample);
                for ((dx, x), dy) in dx.chunks_exact_mut(sample).zip(x).zip(dy) {
                    for (((dx, &x), &dy), &alpha) in dx.iter_mut().zip(x).zip(dy).zip(alpha) {
                        *dx = slope(x, alpha) * dy;
                    }
                }
            });
        })?;
    }
    access::write(dalpha, |dalpha| {
        for_each_part(chunks_mut(dalpha, COLUMNS), |i, dalpha: &mut [f32]| {
            dalpha.fill(0.0);
            let first = i * COLUMNS;
            for (x, dy) in x.chunks_exact(sample).zip(dy.chunks_exact(sample)) {
                let pairs = x[first..].iter().zip(&dy[first..]);
                for (sum, (&x, &dy)) in dalpha.iter_mut().zip(pairs) {
                    *sum += x.min(0.0) * dy;
                }
            }
        });
    })?;
    Ok(dx)
}

fn slope(x: f32, alpha: f32) -> f32 {
    if x > 0.0 {
        1.0
    } else if x < 0.0 {
        alpha
    } else {
        0.0
    }
}

/// Checks that `alpha` has the shape of a sample and returns its size.
fn check(op: &'static str, x: &Tensor, alpha: &Tensor) -> Result<usize, TensorError> {
    let sample = x.dims().get(1..).unwrap_or_default();
    expect_dims(op, "alpha", alpha, sample)?;
    Ok(sample.iter().product())
}
