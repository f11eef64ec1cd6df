//! A factor and a summand for each channel.

use candle_core::{DType, Tensor};

use super::{CHUNK, rows};
use crate::parallel::{chunks_mut, for_each_part};
use crate::{TensorError, Workspace, access};

/// `y = scale * x + offset`; both have one number for all elements, or one for each position of the
/// last axis.
///
/// # Errors
/// Another number of factors or summands; otherwise see [the module](super).
pub fn affine(
    ws: &mut Workspace,
    x: &Tensor,
    scale: &[f32],
    offset: &[f32],
) -> Result<Tensor, TensorError> {
    const OP: &str = "scaling";
    let (_, channels) = rows(OP, "input", x)?;
    for (what, numbers) in [("scale", scale), ("offset", offset)] {
        if numbers.len() != 1 && numbers.len() != channels {
            let expected = format!("1 or {channels} numbers");
            return Err(TensorError::argument(OP, what, expected, numbers.len()));
        }
    }
    let each = |numbers: &[f32]| -> Vec<f32> {
        let numbers = numbers.iter().copied().cycle();
        numbers.take(channels).collect()
    };
    let same = scale.len() == 1 && offset.len() == 1;
    let (scales, offsets) = (each(scale), each(offset));
    on_gpu!(x, |gpu| match same {
        true => cuda::elementwise::affine(gpu, ws, x, scale, offset),
        false => cuda::elementwise::affine(gpu, ws, x, &scales, &offsets),
    });
    let y = ws.take(x.dims(), DType::F32)?;
    let x = access::read::<f32>(x)?;
    let x = &*x;
    let chunk = (CHUNK / channels).max(1) * channels;
    access::write(&y, |y| {
        for_each_part(chunks_mut(y, chunk), |i, y: &mut [f32]| {
            let x = &x[i * chunk..];
            if same {
                let (scale, offset) = (scale[0], offset[0]);
                let pairs = y.iter_mut().zip(x);
                pairs.for_each(|(y, x)| *y = scale * x + offset);
                return;
            }
            let rows = y.chunks_exact_mut(channels).zip(x.chunks_exact(channels));
            for (y, x) in rows {
                let numbers = scales.iter().zip(&offsets);
                for ((y, x), (scale, offset)) in y.iter_mut().zip(x).zip(numbers) {
                    *y = scale * x + offset;
                }
            }
        });
    })?;
    Ok(y)
}
