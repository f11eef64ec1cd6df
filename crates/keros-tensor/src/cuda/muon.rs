//! What is done with the matrices by which Muon makes a momentum orthogonal.

use candle_core::Tensor;

use super::blas::{self, Matrix};
use super::{Gpu, each, launch};
use crate::TensorError;

/// The product `y` of two matrices, each as it is or transposed; `inner` is what they have in common.
pub(crate) fn product(
    gpu: &Gpu,
    op: &'static str,
    (a, a_transposed): (&Tensor, bool),
    (b, b_transposed): (&Tensor, bool),
    y: &Tensor,
    inner: usize,
) -> Result<(), TensorError> {
    let matrix = |x: &Tensor, transposed: bool| {
        let matrix = Matrix::new(gpu.address::<f32>(op, x)?, x.dim(1)?);
        Ok::<_, TensorError>(match transposed {
            true => matrix.transposed(),
            false => matrix,
        })
    };
    let (a, b) = (matrix(a, a_transposed)?, matrix(b, b_transposed)?);
    let sizes = (y.dim(0)?, y.dim(1)?, inner);
    blas::product(gpu, op, sizes, 1, a, b, matrix(y, false)?, false)
}

/// `square = a I + b gram + c square` of matrices of this many rows and columns.
pub(crate) fn polynomial(
    gpu: &Gpu,
    op: &'static str,
    square: &Tensor,
    gram: &Tensor,
    size: usize,
    [a, b, c]: [f32; 3],
) -> Result<(), TensorError> {
    let n = square.elem_count();
    let (square, gram) = (
        gpu.address::<f32>(op, square)?,
        gpu.address::<f32>(op, gram)?,
    );
    let (threads, n, size) = (each(n), n as i64, size as u32);
    launch!(
        gpu,
        OPTIMIZER.muon_polynomial_f32,
        threads,
        square,
        gram,
        n,
        size,
        a,
        b,
        c
    );
    Ok(())
}
