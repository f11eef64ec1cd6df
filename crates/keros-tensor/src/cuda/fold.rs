//! Convolutions of few channels that step by more than one pixel, as the first of many networks, folded for tensor
//! cores: the pixels of a step become channels of one pixel ("space to depth"), over which windows step by one.

use candle_core::{DType, Tensor};

use super::conv::{Convolution, Direction};
use super::window::Window;
use super::{Gpu, Values, each, launch, small, small_window, zero};
use crate::{TensorError, Workspace};

/// Most channels of images that fill tensor cores badly.
const FEW: i32 = 4;

/// A convolution and the folded one that computes the same.
pub(crate) struct Fold {
    window: Window,
    pub(crate) folded: Convolution,
}

impl Fold {
    /// That of a convolution of such values, if it pays.
    pub(crate) fn of(gpu: &Gpu, convolution: &Convolution, values: Values) -> Option<Self> {
        let g = convolution.window;
        let steps = g.stride_y * g.stride_x;
        if small_window::is_small(convolution)
            || convolution.groups != 1
            || g.channels > FEW
            || steps == 1
            || (g.dilation_y, g.dilation_x) != (1, 1)
            || g.window_height < g.stride_y
            || g.window_width < g.stride_x
            || !gpu.has_tensor_cores_for(values)
        {
            return None;
        }
        let parts = |all: i32, part: i32| (all + part - 1) / part;
        // Channels of 16 bytes, which cuDNN's fastest kernels read at once.
        let unit = 16 / values.bytes() as i32;
        let channels = parts(steps * g.channels, unit) * unit;
        let (window_height, window_width) = (
            parts(g.window_height, g.stride_y),
            parts(g.window_width, g.stride_x),
        );
        let (height, width) = (g.rows + window_height - 1, g.columns + window_width - 1);
        let size = [g.images, height, width, channels].map(i64::from);
        let window = Window {
            height,
            width,
            channels,
            window_height,
            window_width,
            stride_y: 1,
            stride_x: 1,
            top: 0,
            left: 0,
            ..g
        };
        (size.iter().product::<i64>() <= i64::from(i32::MAX)).then_some(Self {
            window: g,
            folded: Convolution {
                window,
                ..*convolution
            },
        })
    }

    /// The folded images.
    pub(crate) fn images(
        &self,
        gpu: &Gpu,
        ws: &mut Workspace,
        op: &'static str,
        x: &Tensor,
    ) -> Result<Tensor, TensorError> {
        let (g, to) = (self.window, self.folded.window);
        let size = [to.images, to.height, to.width, to.channels].map(|n| n as usize);
        let folded = ws.take(&size, x.dtype())?;
        let values = Values::of(op, x)?;
        let n = small(op, &folded)? / 4;
        let (x, to_images) = (
            values.address(gpu, op, x)?,
            values.address(gpu, op, &folded)?,
        );
        let (rows, columns, channels) = (to.height, to.width, to.channels);
        let threads = each(n as usize);
        launch!(
            gpu,
            FOLD.fold_images of values,
            threads,
            x,
            to_images,
            g,
            rows,
            columns,
            channels,
            n
        );
        Ok(folded)
    }

    /// Room for the folded filter.
    pub(crate) fn filter(&self, ws: &mut Workspace) -> Result<Tensor, TensorError> {
        let to = self.folded.window;
        let size = [
            to.window_height,
            to.window_width,
            to.channels,
            self.folded.outputs,
        ];
        ws.take(&size.map(|n| n as usize), DType::F32)
    }

    /// Writes the folded filter or, where that is the gradient of the weights, the one that was folded.
    pub(crate) fn move_filter(
        &self,
        gpu: &Gpu,
        op: &'static str,
        direction: Direction,
        w: &Tensor,
        folded: &Tensor,
    ) -> Result<(), TensorError> {
        let (g, outputs, channels) = (
            self.window,
            self.folded.outputs,
            self.folded.window.channels,
        );
        let n = small(op, w)?;
        let threads = each(n as usize);
        let (own, other) = (gpu.address::<f32>(op, w)?, gpu.address::<f32>(op, folded)?);
        if direction == Direction::Weights {
            launch!(
                gpu,
                FOLD.unfold_filter,
                threads,
                other,
                own,
                g,
                outputs,
                channels,
                n
            );
        } else {
            zero(gpu, op, folded)?;
            launch!(
                gpu,
                FOLD.fold_filter,
                threads,
                own,
                other,
                g,
                outputs,
                channels,
                n
            );
        }
        Ok(())
    }
}
