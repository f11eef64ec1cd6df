//! The sizes of windows over images as kernels take them.

use candle_core::cuda_backend::cudarc::driver::DeviceRepr;

use super::int;
use crate::TensorError;
use crate::kernels::{ConvGeometry, PoolGeometry};

/// `Window` of window.cuh.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Window {
    pub(crate) images: i32,
    pub(crate) height: i32,
    pub(crate) width: i32,
    pub(crate) channels: i32,
    pub(crate) window_height: i32,
    pub(crate) window_width: i32,
    pub(crate) rows: i32,
    pub(crate) columns: i32,
    pub(crate) stride_y: i32,
    pub(crate) stride_x: i32,
    pub(crate) dilation_y: i32,
    pub(crate) dilation_x: i32,
    pub(crate) top: i32,
    pub(crate) left: i32,
}

// SAFETY: as its fields, laid out as in C.
unsafe impl DeviceRepr for Window {}

impl Window {
    /// The windows of a convolution, whose inputs and outputs have fewer than 2³¹ elements.
    pub(crate) fn of_convolution(op: &'static str, g: &ConvGeometry) -> Result<Self, TensorError> {
        int(op, g.n * g.h * g.w * g.ci)?;
        int(op, g.n * g.oh * g.ow * g.co)?;
        int(op, g.kh * g.kw * (g.ci / g.groups) * g.co)?;
        let (dilation_y, top) = cut_dilation((g.h, g.oh), g.strides.0, g.kh, g.dilation.0, g.top);
        let (dilation_x, left) = cut_dilation((g.w, g.ow), g.strides.1, g.kw, g.dilation.1, g.left);
        // All of a window lies in this range.
        int(
            op,
            g.h.saturating_add((g.kh - 1).saturating_mul(dilation_y)),
        )?;
        int(
            op,
            g.w.saturating_add((g.kw - 1).saturating_mul(dilation_x)),
        )?;
        Ok(Self {
            images: int(op, g.n)?,
            height: int(op, g.h)?,
            width: int(op, g.w)?,
            channels: int(op, g.ci)?,
            window_height: int(op, g.kh)?,
            window_width: int(op, g.kw)?,
            rows: int(op, g.oh)?,
            columns: int(op, g.ow)?,
            stride_y: int(op, g.strides.0)?,
            stride_x: int(op, g.strides.1)?,
            dilation_y: int(op, dilation_y)?,
            dilation_x: int(op, dilation_x)?,
            top: int(op, top)?,
            left: int(op, left)?,
        })
    }

    /// The windows of a pool, whose inputs and outputs have fewer than 2³¹ elements.
    pub(crate) fn of_pool(op: &'static str, g: &PoolGeometry) -> Result<Self, TensorError> {
        int(op, g.n * g.h * g.w * g.c)?;
        int(op, g.n * g.oh * g.ow * g.c)?;
        int(op, g.window.0.saturating_mul(g.window.1))?;
        Ok(Self {
            images: int(op, g.n)?,
            height: int(op, g.h)?,
            width: int(op, g.w)?,
            channels: int(op, g.c)?,
            window_height: int(op, g.window.0)?,
            window_width: int(op, g.window.1)?,
            rows: int(op, g.oh)?,
            columns: int(op, g.ow)?,
            // Steps that are never taken may be of any length.
            stride_y: int(op, g.strides.0.min(g.h))?,
            stride_x: int(op, g.strides.1.min(g.w))?,
            dilation_y: 1,
            dilation_x: 1,
            top: int(op, g.top)?,
            left: int(op, g.left)?,
        })
    }

    /// The same with channels counted in fours.
    pub(crate) fn in_fours(self) -> Self {
        Self {
            channels: self.channels / 4,
            ..self
        }
    }

    /// Elements of one input image.
    pub(crate) fn image(&self) -> usize {
        (self.height * self.width * self.channels) as usize
    }

    /// Cells of one window.
    pub(crate) fn cells(&self) -> usize {
        (self.window_height * self.window_width) as usize
    }

    /// Windows over one image.
    pub(crate) fn windows(&self) -> usize {
        (self.rows * self.columns) as usize
    }
}

/// Dilation and cells before the border, the dilation made smaller where it goes far beyond the
/// image: cells of a window that see nothing still see nothing, and the others the same.
fn cut_dilation(
    (length, outputs): (usize, usize),
    stride: usize,
    window: usize,
    dilation: usize,
    before: usize,
) -> (usize, usize) {
    let reach = length + (outputs - 1) * stride;
    // The cells beside the middle of a window that is padded on both sides are half a dilation away.
    let halves = dilation.saturating_sub(3 * reach + 2) / 2;
    if before == (window - 1) * dilation {
        let dilation = dilation - 2 * halves;
        return (dilation, (window - 1) * dilation);
    }
    (dilation - 2 * halves, before - (window - 1) * halves)
}

/// Whether channels can be handled by four: their number, and where the tensors begin.
pub(crate) fn by_4(channels: i32, addresses: &[u64]) -> bool {
    channels % 4 == 0 && addresses.iter().all(|address| address % 16 == 0)
}
