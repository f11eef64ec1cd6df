//! Starts what moves the norms of vectors within bounds.

use candle_core::Tensor;
use candle_core::cuda_backend::cudarc::driver::DeviceRepr;

use super::{Gpu, blocks, launch, small};
use crate::TensorError;
use crate::kernels::NormBounds;

/// As in constraint.cu.
const AXES: usize = 8;

/// The struct NormAxes of constraint.cu.
#[derive(Default)]
#[repr(C)]
struct NormAxes {
    count: u32,
    length: [u32; AXES],
    step: [u32; AXES],
}

// SAFETY: four-byte numbers, as there.
unsafe impl DeviceRepr for NormAxes {}

impl NormAxes {
    /// The axes of `x` for which `is_one` holds, the fastest first, and the number of their places.
    fn new(x: &Tensor, is_one: impl Fn(usize) -> bool) -> (NormAxes, u32) {
        let (mut axes, mut places, mut count) = (NormAxes::default(), 1, 0);
        for axis in (0..x.dims().len()).rev().filter(|axis| is_one(*axis)) {
            axes.length[count] = x.dims()[axis] as u32;
            axes.step[count] = x.stride()[axis] as u32;
            places *= axes.length[count];
            count += 1;
        }
        axes.count = count as u32;
        (axes, places)
    }
}

/// [`kernels::bound_norms`](crate::kernels::bound_norms).
pub(crate) fn bound_norms(
    gpu: &Gpu,
    op: &'static str,
    x: &Tensor,
    axes: &[usize],
    bounds: NormBounds,
    epsilon: f64,
) -> Result<(), TensorError> {
    let rank = x.dims().len();
    if rank > AXES {
        let expected = format!("a tensor of at most {AXES} axes, on a GPU");
        return Err(TensorError::shape(op, "tensor", expected, x.dims()));
    }
    if small(op, x)? == 0 {
        return Ok(());
    }
    let start = gpu.address::<f32>(op, x)?;
    let (between, vectors) = NormAxes::new(x, |axis| !axes.contains(&axis));
    let (along, size) = NormAxes::new(x, |axis| axes.contains(&axis));
    let across = match axes.contains(&(rank - 1)) {
        true => 1,
        false => vectors.next_power_of_two().min(32),
    };
    let threads = blocks(vectors.div_ceil(across) as usize);
    let (low, high) = (bounds.min, bounds.max);
    let (blends, rate) = (i32::from(bounds.rate.is_some()), bounds.rate.unwrap_or(1.0));
    launch!(
        gpu,
        CONSTRAINT.bound_norms_f32,
        threads,
        start,
        vectors,
        size,
        between,
        along,
        across,
        low,
        high,
        blends,
        rate,
        epsilon
    );
    Ok(())
}
