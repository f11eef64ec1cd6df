//! Starts the merges of several tensors.

use candle_core::Tensor;
use candle_core::cuda_backend::cudarc::driver::DeviceRepr;

use super::elementwise::copied;
use super::{Gpu, Values, each, launch};
use crate::kernels::{Activation, MergeOp};
use crate::{TensorError, Workspace};

/// As many tensors as fit into the parameters of a kernel, INPUTS in merge.cu.
const INPUTS: usize = 480;

#[repr(C)]
struct MergeInputs([u64; INPUTS]);

// SAFETY: the struct MergeInputs of merge.cu.
unsafe impl DeviceRepr for MergeInputs {}

fn addresses(
    gpu: &Gpu,
    op: &'static str,
    values: Values,
    inputs: &[Tensor],
) -> Result<(MergeInputs, i32), TensorError> {
    if inputs.len() > INPUTS {
        let expected = format!("at most {INPUTS} on a GPU");
        return Err(TensorError::argument(op, "inputs", expected, inputs.len()));
    }
    let mut addresses = [0; INPUTS];
    for (to, input) in addresses.iter_mut().zip(inputs) {
        *to = values.address(gpu, op, input)?;
    }
    Ok((MergeInputs(addresses), inputs.len() as i32))
}

/// As the enum Op in merge.cu.
fn number(op: MergeOp) -> i32 {
    match op {
        MergeOp::Add => 0,
        MergeOp::Subtract => 1,
        MergeOp::Multiply => 2,
        MergeOp::Average => 3,
        MergeOp::Maximum => 4,
        MergeOp::Minimum => 5,
    }
}

/// [`kernels::merge`](crate::kernels::merge).
pub(crate) fn merge(
    gpu: &Gpu,
    ws: &mut Workspace,
    inputs: &[Tensor],
    shape: &[usize],
    op: MergeOp,
    activation: Activation,
) -> Result<Tensor, TensorError> {
    const OP: &str = "merging";
    let values = Values::of(OP, &inputs[0])?;
    let relu = i32::from(activation == Activation::Relu);
    if let (MergeOp::Add, [a, b]) = (op, inputs) {
        let y = ws.take(shape, values.dtype())?;
        let (threads, n) = (each(y.elem_count().div_ceil(4)), y.elem_count() as i64);
        let (a, b) = (values.address(gpu, OP, a)?, values.address(gpu, OP, b)?);
        let to = values.address(gpu, OP, &y)?;
        launch!(gpu, MERGE.add of values, threads, a, b, to, n, relu);
        return Ok(y);
    }
    let (inputs, count) = addresses(gpu, OP, values, inputs)?;
    let y = ws.take(shape, values.dtype())?;
    let (threads, n) = (each(y.elem_count()), y.elem_count() as i64);
    let (to, op) = (values.address(gpu, OP, &y)?, number(op));
    launch!(gpu, MERGE.merge of values, threads, inputs, count, to, n, op, relu);
    Ok(y)
}

/// [`kernels::merge_backward`](crate::kernels::merge_backward).
pub(crate) fn merge_backward(
    gpu: &Gpu,
    ws: &mut Workspace,
    inputs: &[Tensor],
    dy: &Tensor,
    index: usize,
    op: MergeOp,
) -> Result<Tensor, TensorError> {
    const OP: &str = "merging backward";
    if op == MergeOp::Add {
        return copied(gpu, OP, ws, dy);
    }
    let values = Values::of(OP, dy)?;
    let (inputs, count) = addresses(gpu, OP, values, inputs)?;
    let dx = ws.take(dy.dims(), values.dtype())?;
    let (threads, n) = (each(dx.elem_count()), dx.elem_count() as i64);
    let (dy, to) = (values.address(gpu, OP, dy)?, values.address(gpu, OP, &dx)?);
    let (index, op) = (index as i32, number(op));
    launch!(
        gpu,
        MERGE.merge_backward of values,
        threads,
        inputs,
        count,
        dy,
        index,
        to,
        n,
        op
    );
    Ok(dx)
}
