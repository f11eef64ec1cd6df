//! The sizes of one convolution, checked.

use super::Conv2dSpec;
use crate::TensorError;

/// All sizes of a convolution: `h × w × ci` images, a `kh × kw × (ci / groups) × co` kernel and
/// `oh × ow × co` outputs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Geometry {
    pub(crate) n: usize,
    pub(crate) h: usize,
    pub(crate) w: usize,
    pub(crate) ci: usize,
    pub(crate) kh: usize,
    pub(crate) kw: usize,
    pub(crate) co: usize,
    pub(crate) oh: usize,
    pub(crate) ow: usize,
    pub(crate) strides: (usize, usize),
    pub(crate) dilation: (usize, usize),
    pub(crate) groups: usize,
    /// Rows of padding above the image.
    pub(crate) top: usize,
    /// Columns of padding left of the image.
    pub(crate) left: usize,
}

impl Geometry {
    pub(super) fn new(
        op: &'static str,
        x: [usize; 4],
        kernel: [usize; 4],
        spec: &Conv2dSpec,
    ) -> Result<Self, TensorError> {
        let [n, h, w, ci] = x;
        let [kh, kw, ci_group, co] = kernel;
        let groups = spec.groups;
        if groups == 0 || !ci.is_multiple_of(groups) || !co.is_multiple_of(groups) {
            return Err(TensorError::argument(
                op,
                "groups",
                format_args!("a divisor of {ci} inputs and {co} outputs"),
                groups,
            ));
        }
        if ci_group * groups != ci || ci == 0 || co == 0 {
            return Err(TensorError::shape(
                op,
                "kernel",
                format_args!("[kh, kw, {}, out]", ci / groups),
                &kernel,
            ));
        }
        let axis = |n, k, stride, dilation| spec.padding.resolve(n, k, stride, dilation);
        match (
            axis(h, kh, spec.strides.0, spec.dilation.0),
            axis(w, kw, spec.strides.1, spec.dilation.1),
        ) {
            (Some((oh, top)), Some((ow, left))) => Ok(Self {
                n,
                h,
                w,
                ci,
                kh,
                kw,
                co,
                oh,
                ow,
                // Steps that are never taken are cut, so that products with them do not overflow.
                strides: (spec.strides.0.min(h), spec.strides.1.min(w)),
                dilation: (
                    if kh == 1 { 1 } else { spec.dilation.0 },
                    if kw == 1 { 1 } else { spec.dilation.1 },
                ),
                groups,
                top,
                left,
            }),
            _ => Err(TensorError::shape(
                op,
                "input",
                format_args!(
                    "[N, H, W, {ci}] that holds a {kh} × {kw} kernel, sizes, strides and dilation of at least 1"
                ),
                &x,
            )),
        }
    }

    pub(super) fn output_shape(&self) -> [usize; 4] {
        [self.n, self.oh, self.ow, self.co]
    }

    /// Elements of one input image.
    pub(super) fn image(&self) -> usize {
        self.h * self.w * self.ci
    }

    /// Elements of one output image.
    pub(super) fn output(&self) -> usize {
        self.oh * self.ow * self.co
    }

    /// Elements of the kernel.
    pub(super) fn weights(&self) -> usize {
        self.kh * self.kw * self.ci_group() * self.co
    }

    /// Input channels of a group.
    pub(super) fn ci_group(&self) -> usize {
        self.ci / self.groups
    }

    /// Output channels of a group.
    pub(super) fn co_group(&self) -> usize {
        self.co / self.groups
    }

    /// Inputs that one output sees.
    pub(super) fn patch(&self) -> usize {
        self.kh * self.kw * self.ci_group()
    }
}
