//! Starts group normalization: the values of a group lie in short pieces, a piece at each position, so the columns of each
//! sample are summed, of which groups consist.

use candle_core::cuda_backend::cudarc::driver::LaunchConfig;
use candle_core::{DType, Tensor};

use super::batch_norm::{ColumnPlan, column_sums, periodic, warps};
use super::normalize::Sets;
use super::{BLOCK, Gpu, blocks, launch, small_size};
use crate::kernels::NormLayout;
use crate::{TensorError, Workspace};

/// The columns of each sample, which groups consist of.
struct Groups {
    columns: usize,
    sample: usize,
    plan: ColumnPlan,
    sets: Sets,
    /// Threads of a sample, in so many blocks.
    threads: u32,
    blocks: u32,
    config: LaunchConfig,
}

impl Groups {
    fn new(op: &'static str, layout: &NormLayout) -> Result<Self, TensorError> {
        let columns = layout.kept * layout.after;
        let sample = layout.before * columns;
        let threads = periodic(columns, sample, layout.outer);
        let count = threads.div_ceil(BLOCK);
        small_size(op, "number of blocks", layout.outer * count)?;
        Ok(Self {
            columns,
            sample,
            plan: ColumnPlan::new(op, layout.outer, layout.before, columns)?,
            sets: Sets::new(op, layout)?.0,
            threads: small_size(op, "size of a sample", threads)?,
            blocks: count as u32,
            config: blocks(layout.outer * count),
        })
    }

    fn sums(
        &self,
        op: &'static str,
        gpu: &Gpu,
        ws: &mut Workspace,
        inputs: (&Tensor, &Tensor),
        layout: &NormLayout,
    ) -> Result<Tensor, TensorError> {
        let dims = [layout.outer, layout.before, self.columns];
        column_sums(op, gpu, ws, inputs, dims, &self.plan)
    }
}

/// Statistics of groups and their normalized values, at the addresses of `x`, the statistics, the parameters and the
/// output.
pub(super) fn forward(
    gpu: &Gpu,
    ws: &mut Workspace,
    op: &'static str,
    x: &Tensor,
    layout: &NormLayout,
    epsilon: f32,
    [from, of_sets, gamma, beta, to]: [u64; 5],
) -> Result<(), TensorError> {
    let groups = Groups::new(op, layout)?;
    let sums = groups.sums(op, gpu, ws, (x, x), layout)?;
    let (sets, chunks, threads) = (groups.sets, groups.plan.chunks, groups.threads);
    let (partials, blocks_of_sample) = (gpu.address::<f64>(op, &sums)?, groups.blocks);
    let sample = groups.sample as i64;
    launch!(
        gpu,
        NORMALIZE.group_statistics_f32,
        warps(layout.outer * layout.kept),
        partials,
        chunks,
        sets,
        epsilon,
        of_sets
    );
    ws.give(&sums);
    launch!(
        gpu,
        NORMALIZE.group_norm_f32,
        groups.config,
        from,
        of_sets,
        gamma,
        beta,
        sets,
        blocks_of_sample,
        threads,
        sample,
        to
    );
    Ok(())
}

/// [`kernels::normalize_backward`](crate::kernels::normalize_backward) of groups.
#[allow(clippy::too_many_arguments)]
pub(super) fn backward(
    gpu: &Gpu,
    ws: &mut Workspace,
    op: &'static str,
    x: &Tensor,
    statistics: &Tensor,
    dy: &Tensor,
    layout: &NormLayout,
    gamma: Option<&Tensor>,
    dgamma: Option<&Tensor>,
    dbeta: Option<&Tensor>,
    need_dx: bool,
) -> Result<Option<Tensor>, TensorError> {
    let groups = Groups::new(op, layout)?;
    let sums = groups.sums(op, gpu, ws, (dy, x), layout)?;
    let partials = gpu.address::<f64>(op, &sums)?;
    let of_sets = gpu.address::<f32>(op, statistics)?;
    let gamma = gpu.address_or_null::<f32>(op, gamma)?;
    let (sets, chunks, threads) = (groups.sets, groups.plan.chunks, groups.threads);
    if dgamma.is_some() || dbeta.is_some() {
        let dgamma = gpu.address_or_null::<f32>(op, dgamma)?;
        let dbeta = gpu.address_or_null::<f32>(op, dbeta)?;
        let outer = layout.outer as i64;
        launch!(
            gpu,
            NORMALIZE.group_params_f32,
            warps(groups.columns),
            partials,
            outer,
            chunks,
            sets,
            of_sets,
            dgamma,
            dbeta
        );
    }
    let dx = match need_dx {
        false => None,
        true => Some(ws.take(x.dims(), DType::F32)?),
    };
    if let (Some(dx), true) = (&dx, layout.outer > 0) {
        let terms = ws.take(&[layout.outer * layout.kept, 2], DType::F32)?;
        let (to, of_terms) = (gpu.address::<f32>(op, dx)?, gpu.address::<f32>(op, &terms)?);
        let (x, dy) = (gpu.address::<f32>(op, x)?, gpu.address::<f32>(op, dy)?);
        let (sample, blocks_of_sample) = (groups.sample as i64, groups.blocks);
        launch!(
            gpu,
            NORMALIZE.group_terms_f32,
            warps(layout.outer * layout.kept),
            partials,
            chunks,
            sets,
            of_sets,
            gamma,
            of_terms
        );
        launch!(
            gpu,
            NORMALIZE.group_norm_backward_f32,
            groups.config,
            x,
            dy,
            of_sets,
            of_terms,
            gamma,
            sets,
            blocks_of_sample,
            threads,
            sample,
            to
        );
        ws.give(&terms);
    }
    ws.give(&sums);
    Ok(dx)
}
