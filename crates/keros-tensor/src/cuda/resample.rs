//! Starts the kernels that enlarge along an axis, and those of the gradient.

use candle_core::{DType, Tensor};

use super::{Gpu, each, int, launch};
use crate::kernels::Enlargement;
use crate::{TensorError, Workspace};

/// [`kernels::resample`](crate::kernels::resample); `shape` is that of the result.
pub(crate) fn resample(
    gpu: &Gpu,
    ws: &mut Workspace,
    x: &Tensor,
    shape: &[usize],
    axis: usize,
    enlargement: Enlargement,
) -> Result<Tensor, TensorError> {
    const OP: &str = "resampling";
    let y = ws.take(shape, DType::F32)?;
    int(OP, x.elem_count())?;
    let (threads, n) = (each(y.elem_count()), int(OP, y.elem_count())?);
    let inner = int(OP, shape[axis + 1..].iter().product())?;
    let (factor, linear) = (
        int(OP, enlargement.factor)?,
        i32::from(enlargement.is_linear),
    );
    let (from, to) = (gpu.address::<f32>(OP, x)?, gpu.address::<f32>(OP, &y)?);
    if enlargement.is_transposed {
        let length = int(OP, shape[axis])?;
        launch!(
            gpu,
            RESAMPLE.enlarge_gradient_f32,
            threads,
            from,
            to,
            length,
            inner,
            factor,
            linear,
            n
        );
    } else {
        let length = int(OP, x.dims()[axis])?;
        launch!(
            gpu,
            RESAMPLE.enlarge_f32,
            threads,
            from,
            to,
            length,
            inner,
            factor,
            linear,
            n
        );
    }
    Ok(y)
}
