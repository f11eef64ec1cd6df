//! Starts batch normalization, and the sums over columns that group normalization shares with it.

use candle_core::cuda_backend::cudarc::driver::{DeviceRepr, LaunchConfig};
use candle_core::{DType, Tensor};

use super::{BLOCK, Gpu, Values, blocks, launch, small_size};
use crate::kernels::{Activation, BatchNorm};
use crate::{TensorError, Workspace};

/// Blocks that sum at the same time on a large GPU, a few for each of its processors.
const SUMMING_BLOCKS: usize = 1024;
/// Rows that a thread should have before there are more blocks: the second kernel reads what each has found.
const LEAST_ROWS: usize = 8;
/// Most columns that a block owns, as in columns.cuh.
const MOST_WIDTH: usize = 32;
/// Threads that fill a large GPU.
const MOST_THREADS: usize = 1 << 18;

/// How the columns and rows of `outer` matrices are shared out to blocks.
pub(crate) struct ColumnPlan {
    pub(crate) width: u32,
    pub(crate) tiles: u32,
    /// Partial sums of each matrix; 0 if it has no rows.
    pub(crate) chunks: u32,
}

impl ColumnPlan {
    pub(crate) fn new(
        op: &'static str,
        outer: usize,
        rows: usize,
        columns: usize,
    ) -> Result<Self, TensorError> {
        let tiles = columns.div_ceil(MOST_WIDTH);
        let width = columns.div_ceil(tiles);
        let chunks = Self::chunks(rows, tiles * outer, BLOCK / width);
        // The blocks of all matrices are numbered by 32 bits.
        small_size(op, "number of blocks", tiles * outer.max(1) * chunks.max(1))?;
        Ok(Self {
            width: width as u32,
            tiles: tiles as u32,
            chunks: chunks as u32,
        })
    }

    /// Chunks of `rows`, where there are `others` blocks for each, which take `lanes` rows at a time.
    fn chunks(rows: usize, others: usize, lanes: usize) -> usize {
        let wanted = SUMMING_BLOCKS.div_ceil(others.max(1));
        wanted.min(rows.div_ceil(lanes * LEAST_ROWS))
    }
}

/// `[outer, chunks, 2, columns]`: sums of `a` and of `a · b` over the rows of each chunk.
pub(crate) fn column_sums(
    op: &'static str,
    gpu: &Gpu,
    ws: &mut Workspace,
    (a, b): (&Tensor, &Tensor),
    [outer, rows, columns]: [usize; 3],
    plan: &ColumnPlan,
) -> Result<Tensor, TensorError> {
    let parts = outer * plan.chunks as usize;
    let partials = ws.take(&[parts, 2, columns], DType::F64)?;
    let values = Values::of(op, a)?;
    let (a, b) = (values.address(gpu, op, a)?, values.address(gpu, op, b)?);
    let to = gpu.address::<f64>(op, &partials)?;
    let (rows, columns) = (rows as i64, small_size(op, "number of columns", columns)?);
    let ColumnPlan {
        width,
        tiles,
        chunks,
    } = *plan;
    if parts > 0 {
        launch!(
            gpu,
            BATCH_NORM.partial_column_sums of values,
            blocks(parts * tiles as usize),
            a,
            b,
            rows,
            columns,
            width,
            tiles,
            chunks,
            to
        );
    }
    Ok(partials)
}

/// Threads for `n` elements, a multiple of `period` and about as many as fill the GPU beside `others` such groups.
pub(crate) fn periodic(period: usize, n: usize, others: usize) -> usize {
    let wanted = MOST_THREADS.div_ceil(others.max(1)).div_ceil(period);
    period * wanted.min(n.div_ceil(period)).max(1)
}

/// A warp for each of `n` things.
pub(crate) fn warps(n: usize) -> LaunchConfig {
    blocks(n.div_ceil(BLOCK / 32).max(1))
}

/// The struct Normalization of batch_norm.cu.
#[derive(Clone, Copy)]
#[repr(C)]
struct Normalization {
    mean: u64,
    variance: u64,
    gamma: u64,
    beta: u64,
    epsilon: f32,
    relu: i32,
}

// SAFETY: the fields of the struct there, in its order.
unsafe impl DeviceRepr for Normalization {}

impl Normalization {
    fn new(gpu: &Gpu, op: &'static str, norm: &BatchNorm<'_>) -> Result<Self, TensorError> {
        Ok(Self {
            mean: gpu.address::<f32>(op, norm.mean)?,
            variance: gpu.address::<f32>(op, norm.variance)?,
            gamma: gpu.address_or_null::<f32>(op, norm.gamma)?,
            beta: gpu.address_or_null::<f32>(op, norm.beta)?,
            epsilon: norm.epsilon,
            relu: i32::from(norm.activation == Activation::Relu),
        })
    }
}

/// A tensor seen as `[rows, channels, inner]`.
#[derive(Clone, Copy)]
pub(crate) struct Channels {
    pub(crate) rows: usize,
    pub(crate) channels: usize,
    pub(crate) inner: usize,
}

impl Channels {
    fn elements(self) -> usize {
        self.rows * self.channels * self.inner
    }

    /// Values of one channel, at least 1.
    fn count(self) -> f64 {
        (self.rows * self.inner).max(1) as f64
    }

    /// `[chunks, 2, channels]`: sums of `a` and of `a · b`, and the number of chunks. With a normalization of `b` that
    /// a ReLU follows, over those places where it passes the gradient `a` on.
    fn sums(
        self,
        op: &'static str,
        gpu: &Gpu,
        ws: &mut Workspace,
        (a, b): (&Tensor, &Tensor),
        of_relu: Option<Normalization>,
    ) -> Result<(Tensor, u32), TensorError> {
        let dims = [1, self.rows, self.channels];
        let columns = match self.inner {
            1 => Some(ColumnPlan::new(op, 1, self.rows, self.channels)?),
            _ => None,
        };
        if let (Some(plan), None) = (&columns, of_relu) {
            return Ok((column_sums(op, gpu, ws, (a, b), dims, plan)?, plan.chunks));
        }
        let lanes = BLOCK.div_ceil(self.inner);
        let count = match &columns {
            Some(plan) => plan.chunks as usize,
            None => ColumnPlan::chunks(self.rows, self.channels, lanes),
        };
        let partials = ws.take(&[count, 2, self.channels], DType::F64)?;
        let values = Values::of(op, a)?;
        let (a, b) = (values.address(gpu, op, a)?, values.address(gpu, op, b)?);
        let to = gpu.address::<f64>(op, &partials)?;
        let (rows, chunks) = (self.rows as i64, count as u32);
        let channels = small_size(op, "number of channels", self.channels)?;
        let inner = small_size(op, "size of a channel", self.inner)?;
        let threads = blocks(count * self.channels);
        match (columns, of_relu) {
            _ if count == 0 => {}
            (Some(plan), Some(norm)) => {
                let (width, tiles) = (plan.width, plan.tiles);
                let threads = blocks(count * tiles as usize);
                launch!(
                    gpu,
                    BATCH_NORM.partial_column_sums_relu of values,
                    threads,
                    a,
                    b,
                    norm,
                    rows,
                    channels,
                    width,
                    tiles,
                    chunks,
                    to
                );
            }
            (_, Some(norm)) => launch!(
                gpu,
                BATCH_NORM.channel_sums_relu of values,
                threads,
                a,
                b,
                norm,
                rows,
                channels,
                inner,
                chunks,
                to
            ),
            (_, None) => launch!(
                gpu,
                BATCH_NORM.channel_sums of values,
                threads,
                a,
                b,
                rows,
                channels,
                inner,
                chunks,
                to
            ),
        }
        Ok((partials, chunks))
    }
}

/// [`kernels::channel_statistics`](crate::kernels::channel_statistics).
pub(crate) fn channel_statistics(
    gpu: &Gpu,
    ws: &mut Workspace,
    x: &Tensor,
    shape: Channels,
) -> Result<(Tensor, Tensor), TensorError> {
    const OP: &str = "channel_statistics";
    let (sums, chunks) = shape.sums(OP, gpu, ws, (x, x), None)?;
    let mean = ws.take(&[shape.channels], DType::F32)?;
    let variance = ws.take(&[shape.channels], DType::F32)?;
    let from = gpu.address::<f64>(OP, &sums)?;
    let (to_mean, to_variance) = (
        gpu.address::<f32>(OP, &mean)?,
        gpu.address::<f32>(OP, &variance)?,
    );
    let (channels, count) = (shape.channels as u32, shape.count());
    launch!(
        gpu,
        BATCH_NORM.channel_statistics_f32,
        warps(shape.channels),
        from,
        chunks,
        channels,
        count,
        to_mean,
        to_variance
    );
    ws.give(&sums);
    Ok((mean, variance))
}

/// [`kernels::batch_norm`](crate::kernels::batch_norm).
pub(crate) fn batch_norm(
    gpu: &Gpu,
    ws: &mut Workspace,
    x: &Tensor,
    shape: Channels,
    norm: &BatchNorm<'_>,
) -> Result<Tensor, TensorError> {
    const OP: &str = "batch_norm";
    let values = Values::of(OP, x)?;
    let y = ws.take(x.dims(), values.dtype())?;
    let norm = Normalization::new(gpu, OP, norm)?;
    let (x, to) = (values.address(gpu, OP, x)?, values.address(gpu, OP, &y)?);
    let Threads {
        config,
        threads,
        channels,
        inner,
        n,
        by_4,
    } = Threads::new(OP, shape, &[x, to])?;
    macro_rules! start {
        ($kernel:ident) => {
            launch!(
                gpu,
                BATCH_NORM.$kernel of values,
                config,
                x,
                norm,
                channels,
                inner,
                threads,
                n,
                to
            )
        };
    }
    match by_4 {
        true => start!(batch_norm_by_4),
        false => start!(batch_norm),
    }
    Ok(y)
}

/// The threads for all elements, and the shape as kernels take it.
struct Threads {
    config: LaunchConfig,
    threads: u32,
    channels: u32,
    inner: u32,
    n: i64,
    /// Whether a thread has four channels, in which everything is counted.
    by_4: bool,
}

impl Threads {
    fn new(op: &'static str, shape: Channels, addresses: &[u64]) -> Result<Self, TensorError> {
        let aligned = addresses.iter().all(|address| address.is_multiple_of(16));
        let by_4 = shape.inner == 1 && shape.channels.is_multiple_of(4) && aligned;
        let unit = if by_4 { 4 } else { 1 };
        let (n, channels) = (shape.elements() / unit, shape.channels / unit);
        let threads = periodic(channels * shape.inner, n, 1);
        Ok(Self {
            config: blocks(threads.div_ceil(BLOCK)),
            threads: small_size(op, "size of a sample", threads)?,
            channels: channels as u32,
            inner: shape.inner as u32,
            n: n as i64,
            by_4,
        })
    }
}

/// [`kernels::batch_norm_backward`](crate::kernels::batch_norm_backward).
#[allow(clippy::too_many_arguments)]
pub(crate) fn batch_norm_backward(
    gpu: &Gpu,
    ws: &mut Workspace,
    x: &Tensor,
    dy: &Tensor,
    shape: Channels,
    norm: &BatchNorm<'_>,
    of_batch: bool,
    dgamma: Option<&Tensor>,
    dbeta: Option<&Tensor>,
    need_dx: bool,
) -> Result<Option<Tensor>, TensorError> {
    const OP: &str = "batch_norm backward";
    let norm = Normalization::new(gpu, OP, norm)?;
    let of_relu = (norm.relu != 0).then_some(norm);
    let (sums, chunks) = shape.sums(OP, gpu, ws, (dy, x), of_relu)?;
    let terms = match need_dx {
        true => Some(ws.take(&[2, shape.channels], DType::F32)?),
        false => None,
    };
    let partials = gpu.address::<f64>(OP, &sums)?;
    let dgamma = gpu.address_or_null::<f32>(OP, dgamma)?;
    let dbeta = gpu.address_or_null::<f32>(OP, dbeta)?;
    let to_terms = gpu.address_or_null::<f32>(OP, terms.as_ref())?;
    let (channels, count, of_batch) = (shape.channels as u32, shape.count(), i32::from(of_batch));
    launch!(
        gpu,
        BATCH_NORM.batch_norm_sums_f32,
        warps(shape.channels),
        partials,
        chunks,
        channels,
        count,
        norm,
        of_batch,
        dgamma,
        dbeta,
        to_terms
    );
    ws.give(&sums);
    let Some(terms) = terms else {
        return Ok(None);
    };
    let values = Values::of(OP, x)?;
    let dx = ws.take(x.dims(), values.dtype())?;
    let to = values.address(gpu, OP, &dx)?;
    let (x, dy) = (values.address(gpu, OP, x)?, values.address(gpu, OP, dy)?);
    let Threads {
        config,
        threads,
        channels,
        inner,
        n,
        by_4,
    } = Threads::new(OP, shape, &[x, dy, to])?;
    macro_rules! start {
        ($kernel:ident) => {
            launch!(
                gpu,
                BATCH_NORM.$kernel of values,
                config,
                x,
                dy,
                norm,
                to_terms,
                channels,
                inner,
                threads,
                n,
                to
            )
        };
    }
    match by_4 {
        true => start!(batch_norm_backward_by_4),
        false => start!(batch_norm_backward),
    }
    ws.give(&terms);
    Ok(Some(dx))
}
