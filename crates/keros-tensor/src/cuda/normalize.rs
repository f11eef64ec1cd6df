//! Starts layer and unit normalization, and hands on to [`group_norm`] where the values of a set lie apart.

use candle_core::cuda_backend::cudarc::driver::{DeviceRepr, LaunchConfig};
use candle_core::{DType, Tensor};

use super::batch_norm::{ColumnPlan, warps};
use super::{BLOCK, Gpu, blocks, group_norm, launch, small_size};
use crate::kernels::{NormLayout, NormParams};
use crate::{TensorError, Workspace};

/// Longest row that a warp has; a block has longer ones.
const ROW_OF_WARP: usize = 1024;

/// How many threads work on a row of so many values, and the blocks for `rows` of them.
pub(crate) fn teams(rows: usize, values: usize) -> (u32, LaunchConfig) {
    let size = match values {
        0..=32 => values.next_power_of_two(),
        33..=ROW_OF_WARP => 32,
        _ => BLOCK,
    };
    (size as u32, blocks(rows.div_ceil(BLOCK / size).max(1)))
}

/// The struct Sets of normalize.cu.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Sets {
    before: u32,
    kept: u32,
    after: u32,
    team: u32,
    count: i64,
}

// SAFETY: the fields of the struct there, in its order.
unsafe impl DeviceRepr for Sets {}

impl Sets {
    /// The sets of a layout, and the threads with a team for each.
    pub(super) fn new(
        op: &'static str,
        layout: &NormLayout,
    ) -> Result<(Self, LaunchConfig), TensorError> {
        let count = layout.outer * layout.kept;
        let (team, config) = teams(count, layout.before * layout.after);
        let sets = Self {
            before: small_size(op, "normalized values", layout.before)?,
            kept: small_size(op, "sets of values", layout.kept)?,
            after: small_size(op, "normalized values", layout.after)?,
            team,
            count: count as i64,
        };
        Ok((sets, config))
    }
}

/// Whether the values of a set lie apart, and columns are summed instead.
fn by_columns(layout: &NormLayout, params: NormParams) -> bool {
    params == NormParams::Trailing && layout.before > 1
}

/// [`kernels::normalize`](crate::kernels::normalize).
#[allow(clippy::too_many_arguments)]
pub(crate) fn normalize(
    gpu: &Gpu,
    ws: &mut Workspace,
    x: &Tensor,
    layout: &NormLayout,
    gamma: Option<&Tensor>,
    beta: Option<&Tensor>,
    params: NormParams,
    epsilon: f32,
) -> Result<(Tensor, Tensor), TensorError> {
    const OP: &str = "normalize";
    let y = ws.take(x.dims(), DType::F32)?;
    let statistics = ws.take(&[layout.outer, 2 * layout.kept], DType::F32)?;
    if layout.outer == 0 {
        return Ok((y, statistics));
    }
    let (to, of_sets) = (
        gpu.address::<f32>(OP, &y)?,
        gpu.address::<f32>(OP, &statistics)?,
    );
    let gamma = gpu.address_or_null::<f32>(OP, gamma)?;
    let beta = gpu.address_or_null::<f32>(OP, beta)?;
    let from = gpu.address::<f32>(OP, x)?;
    if by_columns(layout, params) {
        let addresses = [from, of_sets, gamma, beta, to];
        group_norm::forward(gpu, ws, OP, x, layout, epsilon, addresses)?;
        return Ok((y, statistics));
    }
    let (sets, config) = Sets::new(OP, layout)?;
    let trailing = i32::from(params == NormParams::Trailing);
    launch!(
        gpu,
        NORMALIZE.normalize_f32,
        config,
        from,
        gamma,
        beta,
        sets,
        trailing,
        epsilon,
        to,
        of_sets
    );
    Ok((y, statistics))
}

/// [`kernels::normalize_backward`](crate::kernels::normalize_backward).
#[allow(clippy::too_many_arguments)]
pub(crate) fn normalize_backward(
    gpu: &Gpu,
    ws: &mut Workspace,
    x: &Tensor,
    statistics: &Tensor,
    dy: &Tensor,
    layout: &NormLayout,
    gamma: Option<&Tensor>,
    params: NormParams,
    dgamma: Option<&Tensor>,
    dbeta: Option<&Tensor>,
    need_dx: bool,
) -> Result<Option<Tensor>, TensorError> {
    const OP: &str = "normalize backward";
    if by_columns(layout, params) {
        return group_norm::backward(
            gpu, ws, OP, x, statistics, dy, layout, gamma, dgamma, dbeta, need_dx,
        );
    }
    param_gradients(gpu, ws, x, statistics, dy, layout, params, dgamma, dbeta)?;
    if !need_dx {
        return Ok(None);
    }
    let dx = ws.take(x.dims(), DType::F32)?;
    if layout.outer == 0 {
        return Ok(Some(dx));
    }
    let to = gpu.address::<f32>(OP, &dx)?;
    let (x, dy) = (gpu.address::<f32>(OP, x)?, gpu.address::<f32>(OP, dy)?);
    let gamma = gpu.address_or_null::<f32>(OP, gamma)?;
    let of_sets = gpu.address::<f32>(OP, statistics)?;
    let (sets, config) = Sets::new(OP, layout)?;
    let trailing = i32::from(params == NormParams::Trailing);
    launch!(
        gpu,
        NORMALIZE.normalize_backward_f32,
        config,
        x,
        dy,
        gamma,
        of_sets,
        sets,
        trailing,
        to
    );
    Ok(Some(dx))
}

/// Fills the gradients of the parameters, where sets lie side by side.
#[allow(clippy::too_many_arguments)]
fn param_gradients(
    gpu: &Gpu,
    ws: &mut Workspace,
    x: &Tensor,
    statistics: &Tensor,
    dy: &Tensor,
    layout: &NormLayout,
    params: NormParams,
    dgamma: Option<&Tensor>,
    dbeta: Option<&Tensor>,
) -> Result<(), TensorError> {
    const OP: &str = "normalize backward";
    if dgamma.is_none() && dbeta.is_none() {
        return Ok(());
    }
    let (trailing, rows) = match params {
        NormParams::Trailing => (1i32, layout.outer),
        NormParams::Normalized => (0, layout.outer * layout.kept),
    };
    let len = layout.params(params);
    let ColumnPlan {
        width,
        tiles,
        chunks,
    } = ColumnPlan::new(OP, 1, rows, len)?;
    let sums = ws.take(&[chunks as usize, 2, len], DType::F64)?;
    let partials = gpu.address::<f64>(OP, &sums)?;
    let dgamma = gpu.address_or_null::<f32>(OP, dgamma)?;
    let dbeta = gpu.address_or_null::<f32>(OP, dbeta)?;
    let params = small_size(OP, "number of parameters", len)?;
    if chunks > 0 {
        let (x, dy) = (gpu.address::<f32>(OP, x)?, gpu.address::<f32>(OP, dy)?);
        let of_sets = gpu.address::<f32>(OP, statistics)?;
        let (sets, _) = Sets::new(OP, layout)?;
        let rows = i64::from(small_size(OP, "sets of values", rows)?);
        launch!(
            gpu,
            NORMALIZE.norm_param_sums_f32,
            blocks(chunks as usize * tiles as usize),
            x,
            dy,
            of_sets,
            sets,
            trailing,
            rows,
            params,
            width,
            tiles,
            chunks,
            partials
        );
    }
    launch!(
        gpu,
        NORMALIZE.norm_params_f32,
        warps(len),
        partials,
        chunks,
        params,
        dgamma,
        dbeta
    );
    ws.give(&sums);
    Ok(())
}

/// [`kernels::unit_normalize`](crate::kernels::unit_normalize).
pub(crate) fn unit_normalize(
    gpu: &Gpu,
    ws: &mut Workspace,
    x: &Tensor,
    layout: &NormLayout,
) -> Result<(Tensor, Tensor), TensorError> {
    const OP: &str = "unit_normalize";
    let y = ws.take(x.dims(), DType::F32)?;
    let factors = ws.take(&[layout.outer, layout.kept], DType::F32)?;
    let (to, of_sets) = (
        gpu.address::<f32>(OP, &y)?,
        gpu.address::<f32>(OP, &factors)?,
    );
    let x = gpu.address::<f32>(OP, x)?;
    let (sets, config) = Sets::new(OP, layout)?;
    launch!(
        gpu,
        NORMALIZE.unit_normalize_f32,
        config,
        x,
        sets,
        to,
        of_sets
    );
    Ok((y, factors))
}

/// [`kernels::unit_normalize_backward`](crate::kernels::unit_normalize_backward).
pub(crate) fn unit_normalize_backward(
    gpu: &Gpu,
    ws: &mut Workspace,
    y: &Tensor,
    factors: &Tensor,
    dy: &Tensor,
    layout: &NormLayout,
) -> Result<Tensor, TensorError> {
    const OP: &str = "unit_normalize backward";
    let dx = ws.take(y.dims(), DType::F32)?;
    if layout.outer == 0 {
        return Ok(dx);
    }
    let to = gpu.address::<f32>(OP, &dx)?;
    let (y, dy) = (gpu.address::<f32>(OP, y)?, gpu.address::<f32>(OP, dy)?);
    let of_sets = gpu.address::<f32>(OP, factors)?;
    let (sets, config) = Sets::new(OP, layout)?;
    launch!(
        gpu,
        NORMALIZE.unit_normalize_backward_f32,
        config,
        y,
        dy,
        of_sets,
        sets,
        to
    );
    Ok(dx)
}
