//! Matrix products by cuBLAS.

use std::ffi::CStr;

use candle_core::cuda_backend::cudarc::cublas::{result, sys};

use super::{Gpu, Values, failure, int};
use crate::{TensorError, tf32};

/// A matrix on a GPU whose rows lie one after the other, or one for each of some groups.
#[derive(Clone, Copy)]
pub(crate) struct Matrix {
    first: u64,
    row_step: usize,
    group_step: usize,
    transposed: bool,
    values: Values,
}

impl Matrix {
    /// The matrix of `f32` at an address, its rows so many elements apart.
    pub(crate) fn new(first: u64, row_step: usize) -> Self {
        Self {
            first,
            row_step,
            group_step: 0,
            transposed: false,
            values: Values::F32,
        }
    }

    /// A matrix of another type.
    pub(crate) fn of(self, values: Values) -> Self {
        Self { values, ..self }
    }

    /// The first of matrices that begin so many elements apart.
    pub(crate) fn of_groups(self, group_step: usize) -> Self {
        Self { group_step, ..self }
    }

    pub(crate) fn transposed(self) -> Self {
        Self {
            transposed: !self.transposed,
            ..self
        }
    }

    fn data_type(self) -> sys::cudaDataType_t {
        match self.values {
            Values::F32 => sys::cudaDataType_t::CUDA_R_32F,
            Values::Bf16 => sys::cudaDataType_t::CUDA_R_16BF,
            Values::F16 => sys::cudaDataType_t::CUDA_R_16F,
        }
    }

    fn operation(self) -> sys::cublasOperation_t {
        match self.transposed {
            true => sys::cublasOperation_t::CUBLAS_OP_T,
            false => sys::cublasOperation_t::CUBLAS_OP_N,
        }
    }
}

/// `c = a · b`, or `c += a · b`, for each of `groups`; `a` has as many rows as `c`, `b` as many columns,
/// and both `inner` of the other.
///
/// At least one of each is there, `c` is not transposed, and `a` and `b` are of one type. Sums are taken in `f32`.
#[allow(clippy::too_many_arguments)]
pub(crate) fn product(
    gpu: &Gpu,
    op: &'static str,
    (rows, columns, inner): (usize, usize, usize),
    groups: usize,
    a: Matrix,
    b: Matrix,
    c: Matrix,
    add: bool,
) -> Result<(), TensorError> {
    let compute = match tf32() && a.values == Values::F32 {
        true => sys::cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_TF32,
        false => sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
    };
    let algorithm = sys::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT;
    let (alpha, beta) = (1.0_f32, if add { 1.0_f32 } else { 0.0 });
    let (alpha, beta) = ((&raw const alpha).cast(), (&raw const beta).cast());
    let (rows, columns, inner) = (int(op, rows)?, int(op, columns)?, int(op, inner)?);
    let row_step = |matrix: Matrix| int(op, matrix.row_step);
    let (a_step, b_step, c_step) = (row_step(a)?, row_step(b)?, row_step(c)?);
    let bound = gpu.stream().context().bind_to_thread();
    bound.map_err(|error| failure(op, &error))?;
    let blas = gpu.0.cublas_handle();
    // cuBLAS takes rows for columns: what it sees are the transposed matrices.
    let (first, second) = (b.operation(), a.operation());
    let (left, right, out) = (b.first as *const _, a.first as *const _, c.first as *mut _);
    // SAFETY: the caller gives matrices of these sizes, which nothing else on the stream uses in
    // between; cuBLAS checks the rest. The factors are read before the call returns.
    let status = unsafe {
        if groups == 1 {
            result::gemm_ex(
                *blas.handle(),
                first,
                second,
                columns,
                rows,
                inner,
                alpha,
                left,
                b.data_type(),
                b_step,
                right,
                a.data_type(),
                a_step,
                beta,
                out,
                c.data_type(),
                c_step,
                compute,
                algorithm,
            )
        } else {
            result::gemm_strided_batched_ex(
                *blas.handle(),
                first,
                second,
                columns,
                rows,
                inner,
                alpha,
                left,
                b.data_type(),
                b_step,
                b.group_step as i64,
                right,
                a.data_type(),
                a_step,
                a.group_step as i64,
                beta,
                out,
                c.data_type(),
                c_step,
                c.group_step as i64,
                int(op, groups)?,
                compute,
                algorithm,
            )
        }
    };
    status.map_err(|error| {
        // SAFETY: cuBLAS has a text, which it never frees, for every status.
        let text = unsafe { CStr::from_ptr(sys::cublasGetStatusString(error.0)) };
        failure(op, &format_args!("cuBLAS: {}", text.to_string_lossy()))
    })
}
