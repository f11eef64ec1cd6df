//! Between the types of mixed precision.

use candle_core::{DType, Tensor};

use crate::{TensorError, Workspace};

/// The values of `x`, which is `F32`, `BF16` or `F16`, as another of these types, rounded to the nearest, half-way
/// cases to the even one. What is too large for `F16` becomes infinite.
///
/// On a GPU one of the two is `F32`, or both are the same.
///
/// # Errors
/// Another type of `x` or to convert to; otherwise see [the module](super).
pub fn cast(ws: &mut Workspace, x: &Tensor, dtype: DType) -> Result<Tensor, TensorError> {
    const OP: &str = "casting";
    for found in [x.dtype(), dtype] {
        if !matches!(found, DType::F32 | DType::BF16 | DType::F16) {
            let expected = DType::F32;
            return Err(TensorError::DType {
                op: OP,
                expected,
                found,
            });
        }
    }
    on_gpu!(x, |gpu| cuda::elementwise::cast(
        gpu,
        OP,
        ws,
        x,
        cuda::Values::of_dtype(OP, dtype)?
    ));
    // No workspace of the CPU has such buffers.
    let _ = ws;
    Ok(x.to_dtype(dtype)?)
}
