//! Matrix products by cuBLAS.

use std::ffi::CStr;
use std::sync::{Mutex, PoisonError};

use candle_core::cuda_backend::DeviceId;
use candle_core::cuda_backend::cudarc::cublas::result::{self, CublasError};
use candle_core::cuda_backend::cudarc::cublas::sys;
use candle_core::cuda_backend::cudarc::driver;
use candle_core::cuda_backend::cudarc::driver::sys::CUstream;

use super::command::{Call, Command};
use super::{Gpu, Values, failure, int, of_gpu, recording};
use crate::{TensorError, tf32};

/// A matrix on a GPU whose rows lie one after the other, or one for each of some groups.
#[derive(Clone, Copy, PartialEq)]
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
    let row_step = |matrix: Matrix| int(op, matrix.row_step);
    let product = Product {
        op,
        sizes: [int(op, rows)?, int(op, columns)?, int(op, inner)?],
        groups: int(op, groups)?,
        steps: [row_step(a)?, row_step(b)?, row_step(c)?],
        matrices: [a, b, c],
        add,
        tf32: tf32() && a.values == Values::F32,
    };
    match recording::is_on(gpu) {
        true => {
            recording::record(|commands| commands.push(Command::Call(Call::Product(product))));
            Ok(())
        }
        false => product.start(gpu, None),
    }
}

/// A product of matrices to be started.
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct Product {
    op: &'static str,
    /// Rows and columns of `c`, and what `a` and `b` have in common.
    sizes: [i32; 3],
    groups: i32,
    /// From row to row of `a`, `b` and `c`.
    steps: [i32; 3],
    matrices: [Matrix; 3],
    /// Whether it is added to `c`.
    add: bool,
    tf32: bool,
}

impl Product {
    /// Makes sure that a library is there to note it on this stream.
    pub(crate) fn prepare(self, gpu: &Gpu, notes: CUstream) -> Result<(), TensorError> {
        with_library(gpu, Some(notes), |_| Ok(())).map_err(|error| self.failure(error))
    }

    /// Starts it, on the stream of notes if that is given.
    pub(crate) fn start(self, gpu: &Gpu, notes: Option<CUstream>) -> Result<(), TensorError> {
        let compute = match self.tf32 {
            true => sys::cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_TF32,
            false => sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
        };
        let algorithm = sys::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT;
        let (alpha, beta) = (1.0_f32, if self.add { 1.0_f32 } else { 0.0 });
        let (alpha, beta) = ((&raw const alpha).cast(), (&raw const beta).cast());
        let bound = gpu.stream().context().bind_to_thread();
        bound.map_err(|error| failure(self.op, &error))?;
        let [rows, columns, inner] = self.sizes;
        let [a_step, b_step, c_step] = self.steps;
        let [a, b, c] = self.matrices;
        // cuBLAS takes rows for columns: what it sees are the transposed matrices.
        let (first, second) = (b.operation(), a.operation());
        let (left, right, out) = (b.first as *const _, a.first as *const _, c.first as *mut _);
        // SAFETY: the caller of `product` gives matrices of these sizes, which nothing else on the stream uses in
        // between; cuBLAS checks the rest. The factors are read before the call returns.
        with_library(gpu, notes, |handle| unsafe {
            if self.groups == 1 {
                result::gemm_ex(
                    handle,
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
                    handle,
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
                    self.groups,
                    compute,
                    algorithm,
                )
            }
        })
        .map_err(|error| self.failure(error))
    }

    fn failure(self, error: CublasError) -> TensorError {
        // SAFETY: cuBLAS has a text, which it never frees, for every status.
        let text = unsafe { CStr::from_ptr(sys::cublasGetStatusString(error.0)) };
        failure(self.op, &format_args!("cuBLAS: {}", text.to_string_lossy()))
    }
}

/// cuBLAS on each GPU, apart from candle's: whoever starts something holds the lock.
static LIBRARIES: Mutex<Vec<(DeviceId, Library)>> = Mutex::new(Vec::new());

/// cuBLAS on one GPU, for as long as the program runs.
struct Library {
    handle: sys::cublasHandle_t,
    /// What starts on the stream of notes, once there are some.
    noting: Option<sys::cublasHandle_t>,
}

// SAFETY: the handles belong to no thread; they are used by one at a time.
unsafe impl Send for Library {}

impl Library {
    fn open(gpu: &Gpu) -> Result<Self, CublasError> {
        Ok(Self {
            handle: handle_on(gpu.stream().cu_stream())?,
            noting: None,
        })
    }

    /// The handle for the GPU's stream, or for that of notes.
    fn handle(&mut self, notes: Option<CUstream>) -> Result<sys::cublasHandle_t, CublasError> {
        Ok(match (notes, self.noting) {
            (None, _) => self.handle,
            (Some(_), Some(noting)) => noting,
            (Some(stream), None) => *self.noting.insert(handle_on(stream)?),
        })
    }
}

/// Bytes of the memory that a handle works in: what cuBLAS recommends for the largest GPUs.
const WORKSPACE: usize = 32 << 20;

/// A handle that starts what it is asked for on this stream, with memory of its own to work in, which a graph can name.
///
/// One memory for all would not do: between the two kernels of a product whose sum is taken in parts, another thread may
/// start a graph.
fn handle_on(stream: CUstream) -> Result<sys::cublasHandle_t, CublasError> {
    let handle = result::create_handle()?;
    // Parts of a sum stay `f32` where what comes out is shorter.
    let math = sys::cublasMath_t::CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION;
    // SAFETY: the context is current, handle and stream live, and so does the memory, which is never read before it is
    // written.
    unsafe {
        sys::cublasSetMathMode(handle, math).result()?;
        result::set_stream(handle, stream.cast())?;
        // After the stream, which takes it away. Where there is no memory left, cuBLAS takes its own.
        if let Ok(workspace) = driver::result::malloc_sync(WORKSPACE) {
            sys::cublasSetWorkspace_v2(handle, workspace as *mut _, WORKSPACE).result()?;
        }
    }
    Ok(handle)
}

/// Lets `start` use cuBLAS on this GPU, whose context is current, on its stream or on that of notes.
fn with_library<R>(
    gpu: &Gpu,
    notes: Option<CUstream>,
    start: impl FnOnce(sys::cublasHandle_t) -> Result<R, CublasError>,
) -> Result<R, CublasError> {
    let mut libraries = LIBRARIES.lock().unwrap_or_else(PoisonError::into_inner);
    let library = of_gpu(&mut libraries, gpu, Library::open)?;
    start(library.handle(notes)?)
}
