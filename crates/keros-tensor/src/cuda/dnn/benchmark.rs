//! Which of cuDNN's ways of a convolution is the fastest, by starting each of them.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use candle_core::DType;
use candle_core::cuda_backend::cudarc::cudnn::sys;
use candle_core::cuda_backend::cudarc::driver::sys::CUevent_flags;

use super::plan::{Addresses, Plan, WORKSPACE};
use super::{Key, refusal, with_library};
use crate::cuda::{Gpu, recording};
use crate::{TensorError, Workspace};

/// Ways that are measured at most, of which many are the same kernels otherwise arranged.
const WAYS: usize = 24;
/// Starts of each that are timed together, after one that is not.
const STARTS: usize = 3;

/// Lets each way compute the convolution a few times, in memory that its result is for, and has the fastest taken from
/// then on. There is none where the GPU has no memory for any of them, or none runs.
pub(super) fn fastest(
    gpu: &Gpu,
    ws: &mut Workspace,
    op: &'static str,
    key: &Key,
    tensors: &Addresses,
) -> Result<Option<Arc<Plan>>, TensorError> {
    // What was recorded may still use this memory for something else.
    recording::flush()?;
    let ways = with_library(gpu, |library| {
        Plan::ways(library.handle, key, WORKSPACE, WAYS)
    });
    let mut ways = ways.map_err(|error| refusal(op, error))?;
    let memory = loop {
        let Some(largest) = ways.iter().map(|way| way.workspace).max() else {
            return Ok(None);
        };
        match ws.take(&[largest], DType::U8) {
            Err(TensorError::OutOfMemory { .. }) => ways.retain(|way| way.workspace < largest),
            taken => break taken?,
        }
    };
    let addresses = Addresses {
        workspace: gpu.address::<u8>(op, &memory)?,
        ..*tensors
    };
    let fastest = with_library(gpu, |library| {
        let timed = ways.into_iter().filter_map(|way| {
            let time = milliseconds(gpu, library.handle, &way, &addresses)?;
            Some((time, way))
        });
        let fastest = timed.min_by(|(one, _), (other, _)| one.total_cmp(other));
        let fastest = fastest.map(|(_, way)| Arc::new(way));
        if let Some(way) = &fastest {
            way.has_run.store(true, Ordering::Relaxed);
            library.plans.insert(*key, Some(Arc::clone(way)));
        }
        Ok(fastest)
    });
    ws.give(&memory);
    fastest.map_err(|error| refusal(op, error))
}

/// How long the GPU takes for some starts of it; none if it does not run. What broke the GPU itself is told by what is
/// started next.
fn milliseconds(
    gpu: &Gpu,
    handle: sys::cudnnHandle_t,
    way: &Plan,
    addresses: &Addresses,
) -> Option<f32> {
    let stream = gpu.stream();
    let event = || {
        let timed = CUevent_flags::CU_EVENT_DEFAULT;
        stream.context().new_event(Some(timed)).ok()
    };
    let (begin, end) = (event()?, event()?);
    // SAFETY: the tensors are as large as the plan says, as is the workspace, which is that of the largest.
    let start = || unsafe { way.run(handle, addresses) }.ok();
    start()?;
    begin.record(&stream).ok()?;
    for _ in 0..STARTS {
        start()?;
    }
    end.record(&stream).ok()?;
    begin.elapsed_ms(&end).ok()
}
