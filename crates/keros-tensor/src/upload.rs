//! Host numbers into device tensors, converted on the way.

use candle_core::Tensor;

use crate::access::{self, Element};
use crate::parallel;
use crate::{TensorError, Workspace};

/// Elements per task: large enough that a task outweighs its start.
const CHUNK: usize = 1 << 16;

/// A tensor of `shape` from the workspace that holds `convert(value)` for each of `values`, in
/// row-major order.
///
/// # Errors
/// `values` has another length than the shape, or the workspace cannot be written from the host.
pub fn upload<S: Copy + Sync, T: Element>(
    ws: &mut Workspace,
    shape: &[usize],
    values: &[S],
    convert: impl Fn(S) -> T + Sync,
) -> Result<Tensor, TensorError> {
    const OP: &str = "uploading values";
    let tensor = ws.take(shape, T::DTYPE)?;
    if tensor.elem_count() != values.len() {
        let expected = format!("{} elements", values.len());
        return Err(TensorError::shape(OP, "shape", &expected, shape));
    }
    access::write(&tensor, |out: &mut [T]| {
        parallel::for_each_part(parallel::chunks_mut(out, CHUNK), |i, out: &mut [T]| {
            for (out, value) in out.iter_mut().zip(&values[i * CHUNK..]) {
                *out = convert(*value);
            }
        });
    })?;
    Ok(tensor)
}
