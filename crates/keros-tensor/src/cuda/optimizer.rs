//! Starts updates of all parameters at once, and what is done around them.

use candle_core::cuda_backend::cudarc::driver::{DeviceRepr, LaunchConfig};
use candle_core::{DType, Tensor};

use super::{Gpu, blocks, each, launch};
use crate::kernels::{Factor, Group, Update, global_average_pool, single};
use crate::{TensorError, Workspace, access};

/// Groups that one start takes, as in optimizer.cu.
const TENSORS: usize = 64;
/// Tensors that a group has at most, as there.
const COLUMNS: usize = 5;
/// Elements that one block handles, as there.
const CHUNK: usize = 2048;

/// The struct TensorTable of optimizer.cu.
#[repr(C)]
pub(crate) struct TensorTable {
    address: [[u64; TENSORS]; COLUMNS],
    length: [i64; TENSORS],
    first_chunk: [u32; TENSORS],
    count: i32,
    /// What the compiler would leave unset: parameters are compared byte by byte.
    padding: u32,
}

// SAFETY: the fields of the struct there, in its order.
unsafe impl DeviceRepr for TensorTable {}

/// What one start takes.
struct Batch {
    tensors: TensorTable,
    chunks: u32,
}

impl Batch {
    fn threads(&self) -> LaunchConfig {
        blocks(self.chunks as usize)
    }
}

/// The groups as parameters of as many starts as they need; those without elements are left out.
fn batches<const N: usize>(
    gpu: &Gpu,
    op: &'static str,
    groups: &[Group<'_, N>],
) -> Result<Vec<Batch>, TensorError> {
    let mut batches = Vec::with_capacity(groups.len().div_ceil(TENSORS));
    let with_elements = |group: &&Group<'_, N>| group.changed.iter().all(|t| t.elem_count() > 0);
    let groups: Vec<_> = groups.iter().filter(with_elements).collect();
    for groups in groups.chunks(TENSORS) {
        let mut tensors = TensorTable {
            address: [[0; TENSORS]; COLUMNS],
            length: [0; TENSORS],
            first_chunk: [0; TENSORS],
            count: groups.len() as i32,
            padding: 0,
        };
        let mut chunks = 0;
        for (i, group) in groups.iter().enumerate() {
            access::check_apart(op, group.changed, group.read.as_slice())?;
            for (column, tensor) in group.changed.into_iter().chain(group.read).enumerate() {
                tensors.address[column][i] = gpu.address::<f32>(op, tensor)?;
            }
            let length = group.changed.first().map_or(0, |t| t.elem_count());
            tensors.length[i] = length as i64;
            tensors.first_chunk[i] = chunks;
            chunks += length.div_ceil(CHUNK) as u32;
        }
        batches.push(Batch { tensors, chunks });
    }
    Ok(batches)
}

macro_rules! rules {
    ($($kernel:ident)*) => {
        /// A rule of optimizer.cu.
        #[derive(Clone, Copy, Debug)]
        #[allow(non_camel_case_types, reason = "the names of the kernels")]
        pub(crate) enum Rule {
            $($kernel,)*
        }

        /// Applies a rule, with the numbers that it takes in its order, to all groups.
        pub(crate) fn update<const N: usize, const K: usize>(
            gpu: &Gpu,
            op: &'static str,
            groups: &[Group<'_, N>],
            rule: Rule,
            numbers: [f32; K],
        ) -> Result<(), TensorError> {
            let mut all = [0.0_f32; 6];
            for (to, number) in all.iter_mut().zip(numbers) {
                *to = number;
            }
            let [a, b, c, d, e, f] = all;
            for batch in batches(gpu, op, groups)? {
                let (threads, tensors) = (batch.threads(), batch.tensors);
                match rule {
                    $(Rule::$kernel => {
                        launch!(gpu, OPTIMIZER.$kernel, threads, tensors, a, b, c, d, e, f);
                    })*
                }
            }
            Ok(())
        }
    };
}

rules! {
    adam_f32 amsgrad_f32 sgd_f32 sgd_momentum_f32 sgd_nesterov_f32
    rmsprop_f32 rmsprop_momentum_f32 rmsprop_centered_f32 rmsprop_centered_momentum_f32
    adagrad_f32 adadelta_f32 adamax_f32 nadam_f32 lion_f32 ftrl_f32 ftrl_power_f32
    lamb_f32 adafactor_f32 muon_f32 muon_nesterov_f32
    accumulate_f32 mean_of_accumulated_f32 moving_average_f32 weight_decay_f32 scale_f32 clamp_f32
    l1_l2_gradient_f32 non_negative_f32
}

/// What is added up.
#[derive(Clone, Copy)]
enum Of {
    Squares,
    Sizes,
}

/// The sum over each tensor that has elements, in double precision, as a tensor.
fn sums(
    gpu: &Gpu,
    op: &'static str,
    ws: &mut Workspace,
    batches: &[Batch],
    of: Of,
) -> Result<Tensor, TensorError> {
    let count: usize = batches
        .iter()
        .map(|batch| batch.tensors.count as usize)
        .sum();
    let most = batches.iter().map(|batch| batch.chunks).max().unwrap_or(0);
    let sums = ws.take(&[count], DType::F64)?;
    let partial = ws.take(&[most as usize], DType::F64)?;
    let (mut to, of_chunks) = (
        gpu.address::<f64>(op, &sums)?,
        gpu.address::<f64>(op, &partial)?,
    );
    for batch in batches {
        let (threads, tensors, chunks) = (batch.threads(), &batch.tensors, batch.chunks);
        match of {
            Of::Squares => {
                launch!(
                    gpu,
                    OPTIMIZER.squares_of_chunks_f32,
                    threads,
                    *tensors,
                    of_chunks
                );
            }
            Of::Sizes => {
                launch!(
                    gpu,
                    OPTIMIZER.sizes_of_chunks_f32,
                    threads,
                    *tensors,
                    of_chunks
                );
            }
        }
        let threads = blocks(tensors.count as usize);
        launch!(
            gpu,
            OPTIMIZER.sums_of_tensors,
            threads,
            *tensors,
            chunks,
            of_chunks,
            to
        );
        to += (tensors.count as usize * size_of::<f64>()) as u64;
    }
    ws.give(&partial);
    Ok(sums)
}

/// [`kernels::clip_norms`](crate::kernels::clip_norms), or of all together
/// [`kernels::clip_global_norm`](crate::kernels::clip_global_norm). What the gradients are multiplied with
/// stays on the GPU.
pub(crate) fn clip(
    gpu: &Gpu,
    op: &'static str,
    ws: &mut Workspace,
    grads: &[Group<'_, 1>],
    limit: f64,
    together: bool,
) -> Result<(), TensorError> {
    let batches = batches(gpu, op, grads)?;
    let squares = sums(gpu, op, ws, &batches, Of::Squares)?;
    let n = squares.elem_count();
    if n == 0 {
        return Ok(());
    }
    let factors = ws.take(&[n], DType::F32)?;
    let (from, mut to) = (
        gpu.address::<f64>(op, &squares)?,
        gpu.address::<f32>(op, &factors)?,
    );
    let (threads, count) = (each(n), n as u32);
    if together {
        let threads = blocks(1);
        launch!(
            gpu,
            OPTIMIZER.global_clip_factor,
            threads,
            from,
            to,
            count,
            limit
        );
    } else {
        launch!(gpu, OPTIMIZER.clip_factors, threads, from, to, count, limit);
    }
    let for_each = i32::from(!together);
    for batch in batches {
        let (threads, tensors) = (batch.threads(), batch.tensors);
        let own = tensors.count as usize * usize::from(!together);
        launch!(gpu, OPTIMIZER.clip_f32, threads, tensors, to, for_each);
        to += (own * size_of::<f32>()) as u64;
    }
    ws.give(&squares);
    ws.give(&factors);
    Ok(())
}

/// Goes along directions, those that the groups read; how far is found on the GPU.
pub(crate) fn descend(
    gpu: &Gpu,
    op: &'static str,
    ws: &mut Workspace,
    pairs: &[Group<'_, 1>],
    factor: Factor,
) -> Result<(), TensorError> {
    let directions: Vec<&Tensor> = pairs.iter().filter_map(|pair| pair.read).collect();
    let directions = batches(gpu, op, &single(&directions))?;
    let batches = batches(gpu, op, pairs)?;
    let of_w = sums(gpu, op, ws, &batches, Of::Squares)?;
    let of_u = sums(gpu, op, ws, &directions, Of::Squares)?;
    let n = of_w.elem_count();
    if n == 0 {
        return Ok(());
    }
    let factors = ws.take(&[n], DType::F32)?;
    let (mut w, mut u) = (
        gpu.address::<f64>(op, &of_w)?,
        gpu.address::<f64>(op, &of_u)?,
    );
    let mut to = gpu.address::<f32>(op, &factors)?;
    for batch in batches {
        let (chunks, tensors) = (batch.threads(), batch.tensors);
        let count = tensors.count as usize;
        let threads = each(count);
        match factor {
            Factor::Trust { lr } => {
                launch!(gpu, OPTIMIZER.trust_factors, threads, tensors, w, u, to, lr);
            }
            Factor::Clipped {
                rate,
                epsilon,
                threshold,
            } => {
                launch!(
                    gpu,
                    OPTIMIZER.clipped_factors,
                    threads,
                    tensors,
                    w,
                    u,
                    to,
                    rate,
                    epsilon,
                    threshold
                );
            }
        }
        launch!(gpu, OPTIMIZER.descend_f32, chunks, tensors, to);
        w += (count * size_of::<f64>()) as u64;
        u += (count * size_of::<f64>()) as u64;
        to += (count * size_of::<f32>()) as u64;
    }
    for done in [&of_w, &of_u, &factors] {
        ws.give(done);
    }
    Ok(())
}

/// The direction of Adafactor in the place of the gradient of a parameter of so many matrices of rows and columns.
pub(crate) fn factored_direction(
    gpu: &Gpu,
    op: &'static str,
    ws: &mut Workspace,
    update: &Update<'_>,
    [matrices, rows, columns]: [usize; 3],
) -> Result<(), TensorError> {
    let n = update.grad.elem_count();
    if n == 0 {
        return Ok(());
    }
    let [r, c] = [&update.state[0], &update.state[1]];
    access::check_apart(op, [update.grad], &[r, c])?;
    let means = global_average_pool(ws, &r.reshape((matrices, rows, 1))?)?;
    let g = gpu.address::<f32>(op, update.grad)?;
    let (r, c) = (gpu.address::<f32>(op, r)?, gpu.address::<f32>(op, c)?);
    let of_matrices = gpu.address::<f32>(op, &means)?;
    let (threads, n) = (each(n), n as i64);
    let (rows, columns) = (rows as u32, columns as u32);
    launch!(
        gpu,
        OPTIMIZER.factored_direction_f32,
        threads,
        g,
        r,
        c,
        of_matrices,
        n,
        rows,
        columns
    );
    ws.give(&means);
    Ok(())
}

/// Divides tensors that have elements by their norms, to which `epsilon` is added. What they are multiplied with stays
/// on the GPU.
pub(crate) fn normalize(
    gpu: &Gpu,
    op: &'static str,
    ws: &mut Workspace,
    tensors: &[&Tensor],
    epsilon: f64,
) -> Result<(), TensorError> {
    let batches = batches(gpu, op, &single(tensors))?;
    let squares = sums(gpu, op, ws, &batches, Of::Squares)?;
    let n = squares.elem_count();
    let factors = ws.take(&[n], DType::F32)?;
    let (from, mut to) = (
        gpu.address::<f64>(op, &squares)?,
        gpu.address::<f32>(op, &factors)?,
    );
    let (threads, count) = (each(n), n as u32);
    launch!(
        gpu,
        OPTIMIZER.norm_factors,
        threads,
        from,
        to,
        count,
        epsilon
    );
    for batch in batches {
        let (threads, tensors, for_each) = (batch.threads(), batch.tensors, 1_i32);
        let own = tensors.count as usize;
        launch!(gpu, OPTIMIZER.clip_f32, threads, tensors, to, for_each);
        to += (own * size_of::<f32>()) as u64;
    }
    ws.give(&squares);
    ws.give(&factors);
    Ok(())
}

/// `[N]` f64: the sum of `|x|` or `x²` of each tensor.
pub(crate) fn sums_of(
    gpu: &Gpu,
    ws: &mut Workspace,
    tensors: &[&Tensor],
    squares: bool,
) -> Result<Tensor, TensorError> {
    const OP: &str = "penalties";
    let of = if squares { Of::Squares } else { Of::Sizes };
    sums(gpu, OP, ws, &batches(gpu, OP, &single(tensors))?, of)
}
