//! Two-dimensional convolution: what it takes and returns, and which implementation runs.

mod depthwise;
mod direct;
mod geometry;
mod im2col;
#[cfg_attr(
    not(any(target_arch = "x86_64", target_arch = "aarch64")),
    allow(dead_code, reason = "the other processors have no micro-kernels")
)]
mod microkernel;
mod rows;
mod transpose;

pub use depthwise::{depthwise_conv2d, depthwise_conv2d_backward};
pub use transpose::{conv2d_transpose, conv2d_transpose_backward};

use candle_core::{DType, Tensor};

use super::activation::{Activation, add};
use super::{CHUNK, Padding, dims, expect_dims};
use crate::parallel::{chunks_mut, for_each_part};
use crate::{TensorError, Workspace, access};
use direct::{Backward, ManyWeights};
pub(crate) use geometry::Geometry;
use microkernel::Isa;

/// Strides, padding, dilation and groups of a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Conv2dSpec {
    /// Vertical and horizontal step, at least 1.
    pub strides: (usize, usize),
    /// What happens at the borders; padding is zero.
    pub padding: Padding,
    /// Vertical and horizontal distance of neighbouring kernel cells, at least 1.
    pub dilation: (usize, usize),
    /// Number of groups that input and output channels fall into, at least 1: the outputs of a group
    /// see its inputs only.
    pub groups: usize,
}

impl Default for Conv2dSpec {
    /// Strides, dilation and groups of 1, no padding: Keras's defaults.
    fn default() -> Self {
        Self {
            strides: (1, 1),
            padding: Padding::Valid,
            dilation: (1, 1),
            groups: 1,
        }
    }
}

impl Conv2dSpec {
    /// The shape `[N, oh, ow, out]` that comes of an input `[N, H, W, in]` and a kernel
    /// `[kh, kw, in / groups, out]`.
    ///
    /// # Errors
    /// [`TensorError::Shape`] if the kernel does not fit the input, [`TensorError::Argument`] if the
    /// groups do not divide the channels.
    pub fn output_shape(&self, x: [usize; 4], w: [usize; 4]) -> Result<[usize; 4], TensorError> {
        Ok(Geometry::new("conv2d", x, w, self)?.output_shape())
    }
}

/// Most partial sums of a weight gradient, each over some of the images: as many tasks.
///
/// The number depends on the shapes and not on the number of threads, and so does the order of
/// summation.
const PARTIALS: usize = 16;
/// Fewest partial sums, however much memory they take.
const MIN_PARTIALS: usize = 4;
/// Floats of all partial sums together, where [`MIN_PARTIALS`] allows: 64 MiB.
const PARTIAL_FLOATS: usize = 16 << 20;

/// `y = activation(conv(x, w) + bias)`, a cross-correlation as everywhere in the field.
///
/// `x`: `[N, H, W, in]`; `w`: `[kh, kw, in / groups, out]`; `bias`: `[out]`; `y`: `[N, oh, ow, out]`.
///
/// # Errors
/// See [the module](super) and [`Conv2dSpec::output_shape`].
pub fn conv2d(
    ws: &mut Workspace,
    x: &Tensor,
    w: &Tensor,
    bias: Option<&Tensor>,
    spec: &Conv2dSpec,
    activation: Activation,
) -> Result<Tensor, TensorError> {
    const OP: &str = "conv2d";
    let g = geometry(OP, x, w, spec)?;
    if let Some(bias) = bias {
        expect_dims(OP, "bias", bias, &[g.co])?;
    }
    on_gpu!(x, |gpu| {
        let direction = cuda::conv::Direction::Outputs;
        cuda::conv::forward(gpu, ws, OP, &g, direction, (x, w), bias, activation)
    });
    let y = ws.take(&g.output_shape(), DType::F32)?;
    let (x, w) = (access::read::<f32>(x)?, access::read::<f32>(w)?);
    let bias = bias.map(access::read::<f32>).transpose()?;
    let (x, w, bias) = (&*x, &*w, bias.as_deref());
    match direct_isa(&g, g.patch(), g.co_group()) {
        Some(isa) => {
            let packed = ws.take(&[w.len()], DType::F32)?;
            access::write(&packed, |packed| direct::pack_forward(isa, &g, w, packed))?;
            {
                let packed = access::read::<f32>(&packed)?;
                let packed = &*packed;
                access::write(&y, |y| {
                    direct::forward(isa, &g, x, packed, bias, activation, y);
                })?;
            }
            ws.give(&packed);
        }
        None => access::write(&y, |y| im2col::forward(&g, x, w, bias, activation, y))?,
    }
    Ok(y)
}

/// Weights above which the gradient leaves the second-level cache, and adding each image to it takes
/// longer than matrix products of several images.
const DIRECT_WEIGHTS: usize = 512 << 10;

/// Output pixels of an image that make it worth to read and write the sums of a tile for it.
const PIXELS: usize = 16;

/// The micro-kernels for the gradient of a kernel that is larger than the cache, and than an image and its
/// outputs, if there are: then memory would set the pace of sums over some of the images each.
fn many_weights_isa(g: &Geometry) -> Option<&'static Isa> {
    let is_large = g.weights() > DIRECT_WEIGHTS.max(g.image() + g.output());
    match is_large && g.groups == 1 && g.oh * g.ow >= PIXELS {
        // Matrix products use the widest vectors for any number of channels.
        true => direct_isa(g, 0, g.co_group()).filter(|isa| isa.is_widest()),
        false => None,
    }
}

/// Rows and columns that a border may add to an image, beyond doubling it: the micro-kernels need
/// the border in memory.
const BORDER: usize = 16;

/// The micro-kernels for outputs that see `inputs` inputs and have `channels` channels in a group, if
/// there are.
fn direct_isa(g: &Geometry, inputs: usize, channels: usize) -> Option<&'static Isa> {
    let small_border =
        (g.kh - 1) * g.dilation.0 <= g.h + BORDER && (g.kw - 1) * g.dilation.1 <= g.w + BORDER;
    microkernel::isa(channels, g.groups).filter(|isa| inputs <= isa.max_inputs && small_border)
}

/// The micro-kernels for the input gradient, if there are.
fn turned_isa(g: &Geometry) -> Option<&'static Isa> {
    direct_isa(g, direct::turned_inputs(g)?, g.ci_group())
}

/// The gradients of [`conv2d`]: fills `dw` (as `w`) and `dbias` (`[out]`), returns `dx` (as `x`) if
/// `need_dx`.
///
/// `y` is the output of the forward pass and `dy` the gradient with respect to it.
///
/// # Errors
/// As [`conv2d`]. After an error the gradients are unspecified.
#[allow(clippy::too_many_arguments)]
pub fn conv2d_backward(
    ws: &mut Workspace,
    x: &Tensor,
    w: &Tensor,
    y: &Tensor,
    dy: &Tensor,
    spec: &Conv2dSpec,
    activation: Activation,
    dw: &Tensor,
    dbias: Option<&Tensor>,
    need_dx: bool,
) -> Result<Option<Tensor>, TensorError> {
    const OP: &str = "conv2d backward";
    let g = geometry(OP, x, w, spec)?;
    expect_dims(OP, "output", y, &g.output_shape())?;
    expect_dims(OP, "output gradient", dy, &g.output_shape())?;
    expect_dims(OP, "kernel gradient", dw, w.dims())?;
    if let Some(dbias) = dbias {
        expect_dims(OP, "bias gradient", dbias, &[g.co])?;
    }
    on_gpu!(x, |gpu| cuda::conv::backward(
        gpu,
        ws,
        OP,
        &g,
        cuda::conv::Direction::Outputs,
        (x, w, y, dy),
        activation,
        dw,
        dbias,
        need_dx
    ));
    let turned_isa = if need_dx { turned_isa(&g) } else { None };
    let turned = match turned_isa {
        Some(isa) => {
            let packed = ws.take(w.dims(), DType::F32)?;
            let w = access::read::<f32>(w)?;
            access::write(&packed, |packed| direct::pack_turned(isa, &g, &w, packed))?;
            Some(packed)
        }
        None => None,
    };
    let dx = if need_dx {
        Some(ws.take(x.dims(), DType::F32)?)
    } else {
        None
    };
    {
        let (x, w) = (access::read::<f32>(x)?, access::read::<f32>(w)?);
        let (y, dy) = (access::read::<f32>(y)?, access::read::<f32>(dy)?);
        let packed = turned.as_ref().map(access::read::<f32>).transpose()?;
        let many_weights_isa = many_weights_isa(&g);
        let small_weights_isa = match g.weights() <= DIRECT_WEIGHTS {
            true => direct_isa(&g, 0, g.co_group()),
            false => None,
        };
        let of = Backward {
            g: &g,
            x: &x,
            w: &w,
            y: &y,
            dy: &dy,
            activation,
            weights: small_weights_isa,
            turned: turned_isa.zip(packed.as_deref()),
        };
        match many_weights_isa {
            Some(isa) => backward_by_rows(ws, isa, &of, dw, dbias, dx.as_ref())?,
            None => backward_by_partials(ws, &of, dw, dbias, dx.as_ref())?,
        }
    }
    if let Some(packed) = &turned {
        ws.give(packed);
    }
    Ok(dx)
}

/// Images of a partial sum of the weight gradient.
fn images_per_partial(g: &Geometry) -> usize {
    let partials = (PARTIAL_FLOATS / (g.weights() + g.co)).clamp(MIN_PARTIALS, PARTIALS);
    g.n.div_ceil(partials).max(1)
}

/// The gradients, those of weights and bias as sums over some of the images each, which are then added up.
fn backward_by_partials(
    ws: &mut Workspace,
    of: &Backward<'_>,
    dw: &Tensor,
    dbias: Option<&Tensor>,
    dx: Option<&Tensor>,
) -> Result<(), TensorError> {
    let (g, images_per_partial) = (of.g, images_per_partial(of.g));
    let partial_len = g.weights() + g.co;
    let partials = g.n.div_ceil(images_per_partial);
    let sums = ws.take(&[partials, partial_len], DType::F32)?;
    let run = |sums: &mut [f32], dx: Option<&mut [f32]>| {
        let parts = (
            chunks_mut(sums, partial_len),
            dx.map(|dx| chunks_mut(dx, images_per_partial * g.image())),
        );
        for_each_part(parts, |i, (sums, dx)| {
            let (dw, dbias) = sums.split_at_mut(g.weights());
            dw.fill(0.0);
            dbias.fill(0.0);
            let first = i * images_per_partial;
            let images = first..g.n.min(first + images_per_partial);
            // Each gradient by the one or the other.
            let (direct_weights, weights) = match of.weights {
                Some(_) => (Some((dw, dbias)), None),
                None => (None, Some((dw, dbias))),
            };
            let (direct_dx, dx) = match of.turned {
                Some(_) => (dx, None),
                None => (None, dx),
            };
            if direct_weights.is_some() || direct_dx.is_some() {
                of.images(images.clone(), direct_weights, direct_dx);
            }
            im2col::backward(of, images, weights, dx);
        });
    };
    match dx {
        Some(dx) => access::write2(&sums, dx, |sums, dx| run(sums, Some(dx)))?,
        None => access::write(&sums, |sums| run(sums, None))?,
    }
    {
        let sums = access::read::<f32>(&sums)?;
        let add_up = |offset: usize, out: &mut [f32]| {
            for_each_part(chunks_mut(out, CHUNK), |i, out| {
                out.fill(0.0);
                for partial in sums.chunks_exact(partial_len) {
                    add(&partial[offset + i * CHUNK..], out);
                }
            });
        };
        access::write(dw, |dw| add_up(0, dw))?;
        if let Some(dbias) = dbias {
            access::write(dbias, |dbias| add_up(g.weights(), dbias))?;
        }
    }
    ws.give(&sums);
    Ok(())
}

/// The gradients, those of weights by tasks that each sum some rows over all images, of which some are laid
/// out at a time.
fn backward_by_rows(
    ws: &mut Workspace,
    isa: &'static Isa,
    of: &Backward<'_>,
    dw: &Tensor,
    dbias: Option<&Tensor>,
    dx: Option<&Tensor>,
) -> Result<(), TensorError> {
    let g = of.g;
    if let Some(dx) = dx.filter(|_| of.turned.is_none()) {
        let together = images_per_partial(g);
        access::write(dx, |dx| {
            for_each_part(chunks_mut(dx, together * g.image()), |i, dx| {
                let images = i * together..g.n.min((i + 1) * together);
                im2col::backward(of, images, None, Some(dx));
            });
        })?;
    }
    let dx = dx.filter(|_| of.turned.is_some());
    let weights = ManyWeights::new(isa, g, of.turned.is_some());
    let (len, rows) = (weights.image_len(), weights.task_rows());
    let together = (PARTIAL_FLOATS / len).clamp(1, g.n.max(1));
    let images = ws.take(&[together, len], DType::F32)?;
    if g.n == 0 {
        access::write(dw, |dw: &mut [f32]| dw.fill(0.0))?;
    }
    if let Some(dbias) = dbias {
        access::write(dbias, |dbias: &mut [f32]| dbias.fill(0.0))?;
    }
    for first in (0..g.n).step_by(together) {
        let count = together.min(g.n - first);
        let lay_out = |images: &mut [f32], dx: Option<&mut [f32]>| {
            let dx = dx.map(|dx| &mut dx[first * g.image()..][..count * g.image()]);
            let parts = (
                chunks_mut(&mut images[..count * len], len),
                dx.map(|dx| chunks_mut(dx, g.image())),
            );
            for_each_part(parts, |n, (image, dx)| {
                weights.lay_out(of, first + n, image, dx);
            });
        };
        match dx {
            Some(dx) => access::write2(&images, dx, |images, dx| lay_out(images, Some(dx)))?,
            None => access::write(&images, |images| lay_out(images, None))?,
        }
        let images = access::read::<f32>(&images)?;
        let images = &images[..count * len];
        access::write(dw, |dw| {
            for_each_part(chunks_mut(dw, rows * g.co), |i, dw| {
                if first == 0 {
                    dw.fill(0.0);
                }
                weights.add(images, i * rows, dw);
            });
        })?;
        if let Some(dbias) = dbias {
            access::write(dbias, |dbias| weights.add_bias(images, dbias))?;
        }
    }
    ws.give(&images);
    Ok(())
}

fn geometry(
    op: &'static str,
    x: &Tensor,
    w: &Tensor,
    spec: &Conv2dSpec,
) -> Result<Geometry, TensorError> {
    Geometry::new(
        op,
        dims(op, "input", x, "[N, H, W, in]")?,
        dims(op, "kernel", w, "[kh, kw, in / groups, out]")?,
        spec,
    )
}
