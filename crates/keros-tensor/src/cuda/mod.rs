//! The kernels on NVIDIA GPUs: how they are found and started, and where their tensors lie.
//!
//! A kernel is written in CUDA C++ in one of the `.cu` files of this folder, each of which is a module that is loaded
//! when the first of its kernels is used. The functions of [`kernels`](crate::kernels) check shapes and, for tensors
//! of a GPU, hand on to the functions here, which only start work: nothing here waits for the GPU.
//!
//! Everything that one device is told to do happens in that order, on its stream. So a buffer may be used again, or
//! given back to the driver, while the GPU is still at work on what was started before.
//!
//! Sums are taken in a fixed order, and no kernel adds floats from several threads to one place: the same seed gives
//! the same numbers on the same GPU.

pub(crate) mod batch_norm;
pub(crate) mod bias;
mod blas;
mod command;
pub(crate) mod constraint;
pub(crate) mod conv;
pub(crate) mod ctc_loss;
pub(crate) mod dense;
pub(crate) mod depthwise;
#[cfg(feature = "cudnn")]
mod dnn;
pub(crate) mod element_loss;
pub(crate) mod elementwise;
pub(crate) mod embedding;
#[cfg(feature = "cudnn")]
mod fold;
pub(crate) mod function;
pub(crate) mod global_pool;
pub(crate) mod graph;
mod group_norm;
mod host;
pub(crate) mod loss;
pub(crate) mod merge;
pub(crate) mod muon;
pub(crate) mod normalize;
pub(crate) mod optimizer;
pub(crate) mod overlap_loss;
mod patches;
pub(crate) mod pool;
pub(crate) mod prelu;
pub(crate) mod readback;
pub(crate) mod recording;
pub(crate) mod resample;
pub(crate) mod row_loss;
pub(crate) mod shape;
mod small_window;
pub(crate) mod softmax;
pub(crate) mod upload;
mod weight_gradient;
mod window;

use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, RwLock};

use candle_core::cuda_backend::cudarc::driver::{
    CudaContext, CudaFunction, CudaStream, DevicePtr as _, DriverError, LaunchConfig, result, sys,
};
use candle_core::cuda_backend::{CudaDType, CudaDevice, CudaError, DeviceId};
use candle_core::{DType, Device, Error, Storage, Tensor};

use half::{bf16, f16};

use crate::{TensorError, device, tf32};
use command::{Command, Kernel, Zero};

/// The compiled `.cu` files.
#[allow(unreachable_pub, reason = "they are written so when compiled")]
#[cfg_attr(
    not(feature = "cudnn"),
    allow(dead_code, reason = "filter.cu and fold.cu are for cuDNN")
)]
pub(crate) mod modules {
    include!(concat!(env!("OUT_DIR"), "/modules.rs"));
}

/// Threads in a block, as BLOCK in common.cuh.
pub(crate) const BLOCK: usize = 256;
/// Blocks that keep every GPU busy; kernels loop where they have more to do.
const MOST_BLOCKS: usize = 1 << 16;

/// The GPUs that were opened by name: a number names the same device each time.
static OPENED: Mutex<Vec<(usize, Device)>> = Mutex::new(Vec::new());

/// Opens a GPU, or says why that cannot be done.
pub(crate) fn open(index: usize) -> Result<Device, Box<str>> {
    let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, device)) = opened.iter().find(|(other, _)| *other == index) {
        return Ok(device.clone());
    }
    result::init().map_err(|error| format!("the CUDA driver does not start ({error})"))?;
    let count =
        CudaContext::device_count().map_err(|error| format!("no GPU is found ({error})"))?;
    if index >= count.max(0) as usize {
        let there_are = match count {
            0 => "none".to_owned(),
            _ => format!("cuda:0 to cuda:{}", count - 1),
        };
        return Err(format!("there is no such GPU (there are: {there_are})").into());
    }
    let device = Device::new_cuda_with_stream(index).map_err(|error| error.to_string())?;
    if let Device::Cuda(gpu) = &device {
        // SAFETY: candle's tensors are used on this one stream; what this crate copies on another one it orders by
        // events of its own.
        unsafe { gpu.disable_event_tracking() };
    }
    opened.push((index, device.clone()));
    Ok(device)
}

/// The GPU that a tensor is on.
pub(crate) fn gpu(tensor: &Tensor) -> Option<Gpu> {
    Gpu::of(tensor.device())
}

/// A GPU to start kernels on.
#[derive(Clone)]
pub(crate) struct Gpu(CudaDevice);

/// The kernels that were used, by GPU and name: the driver and candle take a microsecond to find one.
static FUNCTIONS: LazyLock<RwLock<HashMap<(DeviceId, &str), CudaFunction>>> =
    LazyLock::new(RwLock::default);

impl Gpu {
    /// That of a device, if it is one.
    pub(crate) fn of(device: &Device) -> Option<Self> {
        match device {
            Device::Cuda(device) => Some(Self(device.clone())),
            _ => None,
        }
    }

    pub(crate) fn function(
        &self,
        name: &'static str,
        (module, ptx): (&str, &str),
    ) -> Result<CudaFunction, TensorError> {
        let key = (self.0.id(), name);
        let known = FUNCTIONS.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(function) = known.get(&key) {
            return Ok(function.clone());
        }
        drop(known);
        let function = self.0.get_or_load_custom_func(name, module, ptx);
        let function = function.map_err(|error| failure("loading kernel", &error))?;
        let function = function.into_cuda_function();
        let mut known = FUNCTIONS.write().unwrap_or_else(PoisonError::into_inner);
        Ok(known.entry(key).or_insert(function).clone())
    }

    /// The stream on which everything happens.
    pub(crate) fn stream(&self) -> Arc<CudaStream> {
        self.0.cuda_stream()
    }

    /// Whether its tensor cores multiply values of this type, and may: `f32` as TF32.
    fn has_tensor_cores_for(&self, values: Values) -> bool {
        let oldest = match values {
            Values::F32 | Values::Bf16 => 8,
            Values::F16 => 7,
        };
        let capability = self.stream().context().compute_capability();
        (values != Values::F32 || tf32()) && capability.is_ok_and(|(major, _)| major >= oldest)
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.0.id() == other.0.id()
    }

    /// Address of the first element of a contiguous tensor on this GPU, valid as long as the tensor.
    ///
    /// # Errors
    /// The tensor is on another device, is of another type or has gaps.
    pub(crate) fn address<T: CudaDType>(
        &self,
        op: &'static str,
        tensor: &Tensor,
    ) -> Result<u64, TensorError> {
        let (storage, layout) = tensor.storage_and_layout();
        let elsewhere = |found| TensorError::Device {
            op,
            expected: "the GPU of the other tensors",
            found,
        };
        let storage = match &*storage {
            Storage::Cuda(storage) if storage.device.id() == self.0.id() => storage,
            Storage::Cuda(_) => return Err(elsewhere("another GPU, or the same opened twice")),
            _ => return Err(elsewhere(device::kind(tensor.device()))),
        };
        if !layout.is_contiguous() {
            return Err(TensorError::NotContiguous {
                op,
                found: tensor.dims().into(),
            });
        }
        let slice = storage.as_cuda_slice::<T>()?;
        let (first, _no_event) = slice.device_ptr(slice.stream());
        recording::keep(tensor);
        Ok(first + (layout.start_offset() * size_of::<T>()) as u64)
    }

    /// [`address`](Self::address) of a tensor that may be missing, and 0 for none.
    pub(crate) fn address_or_null<T: CudaDType>(
        &self,
        op: &'static str,
        tensor: Option<&Tensor>,
    ) -> Result<u64, TensorError> {
        tensor.map_or(Ok(0), |tensor| self.address::<T>(op, tensor))
    }

    /// [`address`](Self::address) of a tensor whose elements are an [`Element`](crate::access::Element).
    pub(crate) fn address_of_any(
        &self,
        op: &'static str,
        tensor: &Tensor,
    ) -> Result<u64, TensorError> {
        match tensor.dtype() {
            DType::F32 => self.address::<f32>(op, tensor),
            DType::F64 => self.address::<f64>(op, tensor),
            DType::U8 => self.address::<u8>(op, tensor),
            DType::U32 => self.address::<u32>(op, tensor),
            DType::I64 => self.address::<i64>(op, tensor),
            found => Err(TensorError::DType {
                op,
                expected: DType::F32,
                found,
            }),
        }
    }

    /// Starts a kernel, or records it.
    ///
    /// # Safety
    /// The parameters are those of the kernel, as long as the sizes say, and the memory that they name is as large as
    /// the kernel expects.
    pub(crate) unsafe fn start(
        &self,
        kernel: Kernel,
        parameters: &mut [*mut c_void],
        sizes: &[usize],
    ) -> Result<(), TensorError> {
        if recording::is_on(self) {
            // SAFETY: as the caller says.
            recording::record(|commands| unsafe {
                commands.push_kernel(kernel, parameters, sizes);
            });
            return Ok(());
        }
        // SAFETY: as the caller says.
        unsafe { kernel.start(self, parameters) }
    }
}

/// What there is one of for each GPU, opened when it is first asked for.
pub(crate) fn of_gpu<'a, T, E>(
    all: &'a mut Vec<(DeviceId, T)>,
    gpu: &Gpu,
    open: impl FnOnce(&Gpu) -> Result<T, E>,
) -> Result<&'a mut T, E> {
    let id = gpu.0.id();
    let at = match all.iter().position(|(other, _)| *other == id) {
        Some(at) => at,
        None => {
            all.push((id, open(gpu)?));
            all.len() - 1
        }
    };
    Ok(&mut all[at].1)
}

/// An error of the driver or a library in an operation.
pub(crate) fn failure(op: &'static str, reason: &dyn std::fmt::Display) -> TensorError {
    TensorError::Gpu {
        op,
        reason: reason.to_string().into(),
    }
}

/// Whether an operation of candle failed because the memory of a GPU is used up.
pub(crate) fn is_out_of_memory(error: &Error) -> bool {
    match error {
        Error::Cuda(error) => matches!(
            error.downcast_ref(),
            Some(CudaError::Cuda(DriverError(
                sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY
            )))
        ),
        Error::WithBacktrace { inner, .. }
        | Error::Context { inner, .. }
        | Error::WithPath { inner, .. } => is_out_of_memory(inner),
        _ => false,
    }
}

/// The error of memory that is used up, with what the GPU of this thread has left.
pub(crate) fn out_of_memory(op: &'static str, bytes: Option<usize>) -> TensorError {
    let (free, total) = result::mem_get_info().unwrap_or_default();
    TensorError::OutOfMemory {
        op,
        bytes,
        free,
        total,
    }
}

/// The type of values that layers hand on to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Values {
    F32,
    /// Of mixed precision, as the next: kernels read and write them, and compute in `f32`.
    Bf16,
    F16,
}

impl Values {
    /// That of a tensor.
    ///
    /// # Errors
    /// It is of another type.
    pub(crate) fn of(op: &'static str, tensor: &Tensor) -> Result<Self, TensorError> {
        Self::of_dtype(op, tensor.dtype())
    }

    /// The one with candle's name.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn of_dtype(op: &'static str, dtype: DType) -> Result<Self, TensorError> {
        match dtype {
            DType::F32 => Ok(Self::F32),
            DType::BF16 => Ok(Self::Bf16),
            DType::F16 => Ok(Self::F16),
            found => Err(TensorError::DType {
                op,
                expected: DType::F32,
                found,
            }),
        }
    }

    pub(crate) fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::Bf16 => DType::BF16,
            Self::F16 => DType::F16,
        }
    }

    pub(crate) fn bytes(self) -> usize {
        self.dtype().size_in_bytes()
    }

    /// [`Gpu::address`] of a tensor of this type.
    pub(crate) fn address(
        self,
        gpu: &Gpu,
        op: &'static str,
        tensor: &Tensor,
    ) -> Result<u64, TensorError> {
        match self {
            Self::F32 => gpu.address::<f32>(op, tensor),
            Self::Bf16 => gpu.address::<bf16>(op, tensor),
            Self::F16 => gpu.address::<f16>(op, tensor),
        }
    }

    /// [`Gpu::address_or_null`] of a tensor of this type.
    pub(crate) fn address_or_null(
        self,
        gpu: &Gpu,
        op: &'static str,
        tensor: Option<&Tensor>,
    ) -> Result<u64, TensorError> {
        tensor.map_or(Ok(0), |tensor| self.address(gpu, op, tensor))
    }
}

/// A number of elements or the like as kernels and libraries take it.
///
/// # Errors
/// It is 2³¹ or more.
pub(crate) fn int(op: &'static str, n: usize) -> Result<i32, TensorError> {
    Ok(small_size(op, "size for a GPU", n)?.cast_signed())
}

/// Fills a tensor with zeros.
pub(crate) fn zero(gpu: &Gpu, op: &'static str, tensor: &Tensor) -> Result<(), TensorError> {
    let values = Values::of(op, tensor)?;
    let zero = Zero {
        first: values.address(gpu, op, tensor)?,
        bytes: tensor.elem_count() * values.bytes(),
    };
    match zero.bytes {
        0 => Ok(()),
        _ if recording::is_on(gpu) => {
            recording::record(|commands| commands.push(Command::Zero(zero)));
            Ok(())
        }
        _ => zero.start(gpu),
    }
}

/// The number of elements of a tensor, of which there may be as many as fit into 31 bits: places are then
/// taken apart with divisions of 32 bits, which are much faster than longer ones.
///
/// # Errors
/// There are more.
pub(crate) fn small(op: &'static str, tensor: &Tensor) -> Result<u32, TensorError> {
    let n = tensor.elem_count();
    if n > i32::MAX as usize {
        let expected = "less than 2^31 elements, on a GPU";
        return Err(TensorError::shape(op, "tensor", expected, tensor.dims()));
    }
    Ok(n as u32)
}

/// A size that kernels take in 32 bits, with which they can divide fast.
///
/// # Errors
/// It is 2³¹ or more.
pub(crate) fn small_size(
    op: &'static str,
    what: &'static str,
    n: usize,
) -> Result<u32, TensorError> {
    i32::try_from(n)
        .map(i32::cast_unsigned)
        .map_err(|_| TensorError::argument(op, what, "less than 2^31", n))
}

/// Threads for `n` elements, each handled by one of them.
pub(crate) fn each(n: usize) -> LaunchConfig {
    blocks(n.div_ceil(BLOCK).clamp(1, MOST_BLOCKS))
}

/// So many blocks of [`BLOCK`] threads.
pub(crate) fn blocks(n: usize) -> LaunchConfig {
    LaunchConfig {
        grid_dim: (n as u32, 1, 1),
        block_dim: (BLOCK as u32, 1, 1),
        shared_mem_bytes: 0,
    }
}

/// Starts a kernel, or records it: `launch!(gpu, MODULE.kernel, threads, arguments…)`, or the one for the [`Values`]
/// of some type: `launch!(gpu, MODULE.kernel of values, threads, arguments…)`.
///
/// The arguments are variables whose types are those of the kernel's parameters: `u64` for an address, `i64` for
/// `long long`, `i32` for `int`, `f32` and `f64`.
macro_rules! launch {
    (@start $gpu:expr, $module:ident, $name:expr, $threads:expr, $($argument:expr),* $(,)?) => {{
        let (name, module) = ($name, (stringify!($module), $crate::cuda::modules::$module));
        let kernel = $crate::cuda::command::Kernel {
            name,
            function: $gpu.function(name, module)?,
            threads: $threads,
        };
        let mut parameters = [$((&raw const $argument).cast_mut().cast()),*];
        let sizes = [$($crate::cuda::command::size(&$argument)),*];
        // SAFETY: the arguments are those of the kernel, and tensors are as large as it expects: each call is beside
        // the check of its shapes.
        unsafe { $gpu.start(kernel, &mut parameters, &sizes) }?;
    }};
    ($gpu:expr, $module:ident.$kernel:ident of $values:expr, $($rest:tt)*) => {{
        let name = match $values {
            $crate::cuda::Values::F32 => concat!(stringify!($kernel), "_f32"),
            $crate::cuda::Values::Bf16 => concat!(stringify!($kernel), "_bf16"),
            $crate::cuda::Values::F16 => concat!(stringify!($kernel), "_f16"),
        };
        $crate::cuda::launch!(@start $gpu, $module, name, $($rest)*)
    }};
    ($gpu:expr, $module:ident.$kernel:ident, $($rest:tt)*) => {
        $crate::cuda::launch!(@start $gpu, $module, stringify!($kernel), $($rest)*)
    };
}
pub(crate) use launch;
