//! Slices of tensor memory: how kernels, here and in other crates, read and write candle tensors.
//!
//! candle guards every storage with a lock and lets nobody outside write but through an in-place
//! operation.
//! [`read`] holds the read lock as long as the returned [`Slice`] lives; [`write()`], [`write2`],
//! [`write3`] and [`write_all`] hold the write lock while their closure runs.
//!
//! Two rules keep a thread from waiting for itself, and both are checked:
//! a tensor that is written shares its storage with no other tensor in use on this thread, and no
//! access starts inside the closure of a write.
//! Open all inputs first, then write:
//!
//! ```
//! use keros_tensor::{Device, Tensor, access};
//!
//! let x = Tensor::new(&[1f32, 2.0], &Device::Cpu)?;
//! let y = Tensor::zeros_like(&x)?;
//! let input = access::read::<f32>(&x)?;
//! access::write(&y, |output: &mut [f32]| output.copy_from_slice(&input))?;
//! assert_eq!(y.to_vec1::<f32>()?, [1.0, 2.0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The memory of a GPU is read and written through a copy on the host, which waits until the GPU has
//! done what it was told before.
//! So everything works on every device, and what has to be fast there is a kernel of
//! [`kernels`](crate::kernels); [`host_copies`] tells how often this thread has gone the slow way.

use std::cell::{Cell, RefCell};
use std::marker::PhantomData;
use std::ops::{Deref, Range};

use candle_core::{CpuStorage, DType, Device, InplaceOp1, Layout, Storage, StorageRef, Tensor};

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;

use crate::{TensorError, device};

mod sealed {
    pub trait Sealed: Sized {
        /// The elements of a storage on a GPU, copied to the host.
        #[cfg(feature = "cuda")]
        fn download(
            storage: &candle_core::CudaStorage,
            range: std::ops::Range<usize>,
        ) -> candle_core::Result<Vec<Self>>;
        /// Elements from the host into a storage on a GPU.
        #[cfg(feature = "cuda")]
        fn upload(
            storage: &mut candle_core::CudaStorage,
            range: std::ops::Range<usize>,
            values: &[Self],
        ) -> candle_core::Result<()>;
    }
}

/// An element type whose memory can be accessed: `f32`, `f64`, `u8`, `u32` and `i64`.
pub trait Element: sealed::Sealed + Copy + Default + Send + Sync + 'static {
    /// candle's name of the type.
    const DTYPE: DType;
    #[doc(hidden)]
    fn slice(storage: &CpuStorage) -> Option<&[Self]>;
    #[doc(hidden)]
    fn slice_mut(storage: &mut CpuStorage) -> Option<&mut [Self]>;
}

macro_rules! element {
    ($($type:ty, $variant:ident;)*) => {$(
        impl sealed::Sealed for $type {
            #[cfg(feature = "cuda")]
            fn download(
                storage: &CudaStorage,
                range: Range<usize>,
            ) -> candle_core::Result<Vec<Self>> {
                let slice = storage.as_cuda_slice::<Self>()?;
                storage.device.clone_dtoh(&slice.slice(range))
            }
            #[cfg(feature = "cuda")]
            fn upload(
                storage: &mut CudaStorage,
                range: Range<usize>,
                values: &[Self],
            ) -> candle_core::Result<()> {
                let device = storage.device.clone();
                let slice = storage.as_cuda_slice_mut::<Self>()?;
                device.memcpy_htod(values, &mut slice.slice_mut(range))
            }
        }
        impl Element for $type {
            const DTYPE: DType = DType::$variant;
            fn slice(storage: &CpuStorage) -> Option<&[Self]> {
                match storage {
                    CpuStorage::$variant(values) => Some(values),
                    _ => None,
                }
            }
            fn slice_mut(storage: &mut CpuStorage) -> Option<&mut [Self]> {
                match storage {
                    CpuStorage::$variant(values) => Some(values),
                    _ => None,
                }
            }
        }
    )*};
}

element! {
    f32, F32;
    f64, F64;
    u8, U8;
    u32, U32;
    i64, I64;
}

/// The storages that the current thread has open.
#[derive(Default)]
struct Open {
    reading: Vec<usize>,
    writing: bool,
}

thread_local! {
    static OPEN: RefCell<Open> = RefCell::default();
    static HOST_COPIES: Cell<u64> = const { Cell::new(0) };
}

/// How many times this thread has copied the memory of a GPU to or from the host in order to
/// [`read`] or [`write()`] it. Of a CPU's memory no copies are made.
pub fn host_copies() -> u64 {
    HOST_COPIES.get()
}

/// Counts a copy of a GPU's memory, which comes after all that is recorded.
#[cfg(feature = "cuda")]
fn start_host_copy() -> Result<(), TensorError> {
    HOST_COPIES.set(HOST_COPIES.get() + 1);
    crate::cuda::recording::flush()
}

/// Identity of a storage: its address, which is unique while a tensor keeps it alive.
fn key(storage: &Storage) -> usize {
    std::ptr::from_ref(storage).addr()
}

/// Identity of the storage behind `tensor`, the same for all views of it.
///
/// # Errors
/// [`TensorError::Aliased`] inside the closure of a write.
pub(crate) fn storage_key(tensor: &Tensor) -> Result<usize, TensorError> {
    check_not_writing("access")?;
    Ok(key(&tensor.storage_and_layout().0))
}

/// Whether each tensor of `written` has a storage of its own, which no other and none of `read` shares, as a write
/// through this module would check.
///
/// # Errors
/// [`TensorError::Aliased`] if not, or inside the closure of a write.
#[cfg(feature = "cuda")]
pub(crate) fn check_apart<'a>(
    op: &'static str,
    written: impl IntoIterator<Item = &'a Tensor>,
    read: &[&Tensor],
) -> Result<(), TensorError> {
    let mut taken = read
        .iter()
        .map(|tensor| storage_key(tensor))
        .collect::<Result<Vec<_>, _>>()?;
    for tensor in written {
        let key = storage_key(tensor)?;
        if taken.contains(&key) {
            return Err(TensorError::Aliased { op });
        }
        taken.push(key);
    }
    Ok(())
}

fn check_not_writing(op: &'static str) -> Result<(), TensorError> {
    if OPEN.with_borrow(|open| open.writing) {
        return Err(TensorError::Aliased { op });
    }
    Ok(())
}

fn check_dtype<T: Element>(op: &'static str, tensor: &Tensor) -> Result<(), TensorError> {
    if tensor.dtype() != T::DTYPE {
        return Err(TensorError::DType {
            op,
            expected: T::DTYPE,
            found: tensor.dtype(),
        });
    }
    Ok(())
}

fn check_dense(op: &'static str, tensor: &Tensor) -> Result<(), TensorError> {
    if !matches!(tensor.device(), Device::Cpu) && !cfg!(feature = "cuda") {
        return Err(not_on_cpu(op, tensor));
    }
    if !tensor.is_contiguous() {
        return Err(TensorError::NotContiguous {
            op,
            found: tensor.dims().into(),
        });
    }
    Ok(())
}

pub(crate) fn not_on_cpu(op: &'static str, tensor: &Tensor) -> TensorError {
    TensorError::Device {
        op,
        expected: "cpu",
        found: device::kind(tensor.device()),
    }
}

fn range(layout: &Layout) -> Range<usize> {
    layout.start_offset()..layout.start_offset() + layout.shape().elem_count()
}

/// A storage that this thread has open for reading, until dropped.
pub(crate) struct Reading<'a>(StorageRef<'a>);

impl<'a> Reading<'a> {
    /// Opens a contiguous tensor and tells where its elements lie.
    pub(crate) fn start(
        op: &'static str,
        tensor: &'a Tensor,
    ) -> Result<(Self, Range<usize>), TensorError> {
        check_not_writing(op)?;
        check_dense(op, tensor)?;
        let (guard, layout) = tensor.storage_and_layout();
        OPEN.with_borrow_mut(|open| open.reading.push(key(&guard)));
        Ok((Self(guard), range(layout)))
    }

    pub(crate) fn storage(&self) -> Option<&CpuStorage> {
        match &*self.0 {
            Storage::Cpu(storage) => Some(storage),
            _ => None,
        }
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        let key = key(&self.0);
        OPEN.with_borrow_mut(|open| {
            if let Some(at) = open.reading.iter().rposition(|&k| k == key) {
                open.reading.swap_remove(at);
            }
        });
    }
}

/// The elements of a contiguous tensor in row-major order, read-locked until dropped.
pub struct Slice<'a, T> {
    reading: Reading<'a>,
    range: Range<usize>,
    /// The elements, where they are not on the CPU.
    copied: Vec<T>,
}

impl<T: Element> Deref for Slice<'_, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        let values = self.reading.storage().and_then(T::slice);
        values.map_or(&self.copied, |values| &values[self.range.clone()])
    }
}

/// Opens `tensor` for reading.
///
/// # Errors
/// The tensor is not of type `T` or is not contiguous, or the call is made inside the closure of a
/// write.
pub fn read<T: Element>(tensor: &Tensor) -> Result<Slice<'_, T>, TensorError> {
    const OP: &str = "reading tensor";
    check_dtype::<T>(OP, tensor)?;
    let (reading, range) = Reading::start(OP, tensor)?;
    let copied = match &*reading.0 {
        Storage::Cpu(_) => Vec::new(),
        #[cfg(feature = "cuda")]
        Storage::Cuda(storage) => {
            start_host_copy()?;
            T::download(storage, range.clone())?
        }
        _ => return Err(not_on_cpu(OP, tensor)),
    };
    Ok(Slice {
        reading,
        range,
        copied,
    })
}

/// The one candle operation behind every write: runs a closure on the elements.
struct Write<T, F> {
    run: RefCell<Option<F>>,
    element: PhantomData<T>,
}

impl<T: Element, F: FnOnce(&mut [T])> InplaceOp1 for Write<T, F> {
    fn name(&self) -> &'static str {
        "keros-write"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        if let (Some(values), Some(run)) = (T::slice_mut(storage), self.run.take()) {
            run(&mut values[range(layout)]);
        }
        Ok(())
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, storage: &mut CudaStorage, layout: &Layout) -> candle_core::Result<()> {
        start_host_copy().map_err(candle_core::Error::wrap)?;
        let mut values = T::download(storage, range(layout))?;
        if let Some(run) = self.run.take() {
            run(&mut values);
        }
        T::upload(storage, range(layout), &values)
    }
}

/// Runs `f` under the write lock of `tensor`, which the caller has checked.
fn locked<T: Element, R>(
    tensor: &Tensor,
    f: impl FnOnce(&mut [T]) -> Result<R, TensorError>,
) -> Result<R, TensorError> {
    // candle takes the zero strides of an empty tensor for elements that overlap.
    if tensor.elem_count() == 0 {
        return f(&mut []);
    }
    let mut result = Err(TensorError::Aliased {
        op: "writing tensor",
    });
    tensor.inplace_op1(&Write {
        run: RefCell::new(Some(|values: &mut [T]| result = f(values))),
        element: PhantomData,
    })?;
    result
}

/// Marks the thread as writing until dropped, also when the closure panics.
struct Writing;

impl Writing {
    fn start(keys: &[usize]) -> Result<Self, TensorError> {
        const OP: &str = "writing tensor";
        let repeated = (1..keys.len()).any(|i| keys[..i].contains(&keys[i]));
        OPEN.with_borrow_mut(|open| {
            if repeated || open.writing || keys.iter().any(|k| open.reading.contains(k)) {
                return Err(TensorError::Aliased { op: OP });
            }
            open.writing = true;
            Ok(Self)
        })
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        OPEN.with_borrow_mut(|open| open.writing = false);
    }
}

fn check_write<T: Element>(tensor: &Tensor) -> Result<usize, TensorError> {
    const OP: &str = "writing tensor";
    check_not_writing(OP)?;
    check_dtype::<T>(OP, tensor)?;
    check_dense(OP, tensor)?;
    storage_key(tensor)
}

/// Runs `f` on the elements of `tensor` in row-major order and returns its result.
///
/// Views of the tensor, clones included, see the new values.
///
/// # Errors
/// The tensor is not of type `T`, is not contiguous or shares its storage with
/// one that this thread has open ([`TensorError::Aliased`]).
pub fn write<T: Element, R>(
    tensor: &Tensor,
    f: impl FnOnce(&mut [T]) -> R,
) -> Result<R, TensorError> {
    let key = check_write::<T>(tensor)?;
    let _writing = Writing::start(&[key])?;
    locked(tensor, |a| Ok(f(a)))
}

/// [`write()`] for two tensors at once.
///
/// # Errors
/// As [`write()`]; the two share no storage.
pub fn write2<A: Element, B: Element, R>(
    a: &Tensor,
    b: &Tensor,
    f: impl FnOnce(&mut [A], &mut [B]) -> R,
) -> Result<R, TensorError> {
    let keys = [check_write::<A>(a)?, check_write::<B>(b)?];
    let _writing = Writing::start(&keys)?;
    locked(a, |a| locked(b, |b| Ok(f(a, b))))
}

/// [`write()`] for three tensors at once.
///
/// # Errors
/// As [`write()`]; no two share a storage.
pub fn write3<A: Element, B: Element, C: Element, R>(
    a: &Tensor,
    b: &Tensor,
    c: &Tensor,
    f: impl FnOnce(&mut [A], &mut [B], &mut [C]) -> R,
) -> Result<R, TensorError> {
    let keys = [
        check_write::<A>(a)?,
        check_write::<B>(b)?,
        check_write::<C>(c)?,
    ];
    let _writing = Writing::start(&keys)?;
    locked(a, |a| locked(b, |b| locked(c, |c| Ok(f(a, b, c)))))
}

/// [`write()`] for `N` tensors of one element type at once.
///
/// # Errors
/// As [`write()`]; no two share a storage.
pub fn write_all<T: Element, const N: usize, R>(
    tensors: [&Tensor; N],
    f: impl FnOnce([&mut [T]; N]) -> R,
) -> Result<R, TensorError> {
    let mut keys = [0; N];
    for (key, tensor) in keys.iter_mut().zip(tensors) {
        *key = check_write::<T>(tensor)?;
    }
    let _writing = Writing::start(&keys)?;
    lock_rest(&tensors, std::array::from_fn(|_| &mut [][..]), f)
}

/// Locks the last of `tensors`, then those before it, and runs `f` on all slices.
fn lock_rest<T: Element, const N: usize, R>(
    tensors: &[&Tensor],
    slices: [&mut [T]; N],
    f: impl FnOnce([&mut [T]; N]) -> R,
) -> Result<R, TensorError> {
    let Some((tensor, rest)) = tensors.split_last() else {
        return Ok(f(slices));
    };
    locked(tensor, |slice| {
        let mut slices = slices;
        slices[rest.len()] = slice;
        lock_rest(rest, slices, f)
    })
}
