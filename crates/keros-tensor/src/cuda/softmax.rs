//! Starts softmax and its logarithm over rows.

use candle_core::cuda_backend::cudarc::driver::LaunchConfig;
use candle_core::{DType, Tensor};

use super::normalize::teams;
use super::{Gpu, launch, small_size};
use crate::{TensorError, Workspace};

/// A matrix as the kernels take it, with a team for each row.
pub(crate) struct Rows {
    pub(crate) config: LaunchConfig,
    pub(crate) rows: i64,
    pub(crate) classes: u32,
    pub(crate) team: u32,
}

impl Rows {
    pub(crate) fn new(op: &'static str, rows: usize, classes: usize) -> Result<Self, TensorError> {
        let (team, config) = teams(rows, classes);
        Ok(Self {
            config,
            rows: rows as i64,
            classes: small_size(op, "number of classes", classes)?,
            team,
        })
    }
}

/// A kernel with one input of `[rows, classes]`, or two, and an output like them.
macro_rules! of_rows {
    ($(#[$doc:meta])* $function:ident, $kernel:ident, $op:literal, $($input:ident),+) => {
        $(#[$doc])*
        pub(crate) fn $function(
            gpu: &Gpu,
            ws: &mut Workspace,
            $($input: &Tensor,)+
        ) -> Result<Tensor, TensorError> {
            let dims = [$($input.dims()),+][0];
            let classes = dims.last().copied().unwrap_or(1).max(1);
            let rows = dims.iter().product::<usize>() / classes;
            let y = ws.take(dims, DType::F32)?;
            let to = gpu.address::<f32>($op, &y)?;
            $(let $input = gpu.address::<f32>($op, $input)?;)+
            let Rows { config, rows, classes, team } = Rows::new($op, rows, classes)?;
            launch!(gpu, SOFTMAX.$kernel, config, $($input,)+ rows, classes, team, to);
            Ok(y)
        }
    };
}

of_rows! {
    /// [`kernels::softmax`](crate::kernels::softmax).
    softmax, softmax_f32, "softmax", x
}
of_rows! {
    /// [`kernels::softmax_backward`](crate::kernels::softmax_backward).
    softmax_backward, softmax_backward_f32, "softmax backward", y, dy
}
of_rows! {
    /// [`kernels::log_softmax`](crate::kernels::log_softmax).
    log_softmax, log_softmax_f32, "log softmax", x
}
of_rows! {
    /// [`kernels::log_softmax_backward`](crate::kernels::log_softmax_backward).
    log_softmax_backward, log_softmax_backward_f32, "log softmax backward", y, dy
}
