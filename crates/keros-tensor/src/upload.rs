//! Host numbers into device tensors, converted on the way.

use candle_core::Tensor;

use crate::access::{self, Element};
use crate::parallel;
use crate::{TensorError, Workspace};

/// Elements per task: large enough that a task outweighs its start.
const CHUNK: usize = 1 << 16;

mod sealed {
    pub trait Sealed<T>: Copy + Sync + 'static {
        /// The kernel that converts on a GPU; none for equal types.
        const KERNEL: Option<&'static str>;
        fn convert(self) -> T;
    }
}
pub(crate) use sealed::Sealed;

/// A number that [`upload`] turns into an element of type `T`, as Rust's `as` does.
///
/// These are `f32`, `u8` and `i64`, into `f32` and into `u32`.
pub trait Convert<T>: Sealed<T> {}

impl<S: Sealed<T>, T> Convert<T> for S {}

macro_rules! conversions {
    ($($from:ty => $to:ty: $kernel:expr;)*) => {$(
        impl Sealed<$to> for $from {
            const KERNEL: Option<&'static str> = $kernel;
            #[inline(always)]
            fn convert(self) -> $to {
                self as $to
            }
        }
    )*};
}

conversions! {
    f32 => f32: None;
    u8 => f32: Some("upload_u8_f32");
    i64 => f32: Some("upload_i64_f32");
    f32 => u32: Some("upload_f32_u32");
    u8 => u32: Some("upload_u8_u32");
    i64 => u32: Some("upload_i64_u32");
}

/// A tensor of `shape` from the workspace that holds each of `values`, in row-major order, converted
/// to `T`.
///
/// On a GPU the values travel as they are, through page-locked memory and beside the work that it
/// still has to do, and are converted there.
/// The call returns when they are copied out of `values`; it waits only for the uploads of three
/// steps before, where a step ends with [`Workspace::recycle`].
///
/// # Errors
/// `values` has another length than the shape, or the device has no memory left.
pub fn upload<S: Convert<T>, T: Element>(
    ws: &mut Workspace,
    shape: &[usize],
    values: &[S],
) -> Result<Tensor, TensorError> {
    const OP: &str = "uploading values";
    let tensor = ws.take(shape, T::DTYPE)?;
    if tensor.elem_count() != values.len() {
        let expected = format!("{} elements", values.len());
        return Err(TensorError::shape(OP, "shape", &expected, shape));
    }
    #[cfg(feature = "cuda")]
    if let Some(gpu) = &crate::cuda::gpu(&tensor) {
        crate::cuda::upload::upload::<S, T>(gpu, ws, &tensor, values)?;
        return Ok(tensor);
    }
    access::write(&tensor, |out: &mut [T]| {
        parallel::for_each_part(parallel::chunks_mut(out, CHUNK), |i, out: &mut [T]| {
            for (out, value) in out.iter_mut().zip(&values[i * CHUNK..]) {
                *out = value.convert();
            }
        });
    })?;
    Ok(tensor)
}
