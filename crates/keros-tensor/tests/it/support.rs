//! Test values, comparisons and the naive references that several tests share.

use std::cell::RefCell;

use crate::test_device::test_device;
use keros_tensor::kernels::{Conv2dSpec, Padding};
use keros_tensor::simd::{Level, with_level};
use keros_tensor::{Stream, Tensor};

/// Reproducible values in [-1, 1).
pub(crate) fn values(seed: u64, len: usize) -> Vec<f32> {
    let mut values = vec![0.0; len];
    Stream::new(seed, 0).fill_uniform(0, -1.0, 1.0, &mut values);
    values
}

/// A tensor of [`values`].
pub(crate) fn random(seed: u64, shape: &[usize]) -> Tensor {
    Tensor::from_vec(values(seed, shape.iter().product()), shape, test_device()).unwrap()
}

pub(crate) fn tensor(values: &[f32], shape: &[usize]) -> Tensor {
    Tensor::from_slice(values, shape, test_device()).unwrap()
}

pub(crate) fn labels(values: &[u32]) -> Tensor {
    Tensor::from_slice(values, values.len(), test_device()).unwrap()
}

/// The elements in row-major order.
pub(crate) fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

pub(crate) fn flat64(tensor: &Tensor) -> Vec<f64> {
    flat(tensor).into_iter().map(f64::from).collect()
}

/// What a check on one path found.
struct Found {
    what: String,
    values: Vec<f32>,
    tolerance: f64,
}

thread_local! {
    static FOUND: RefCell<Vec<Found>> = const { RefCell::new(Vec::new()) };
}

/// Runs a check with the kernels of every level that this processor has: whatever it passes to
/// [`check_close`] also agrees with what the portable kernels gave, to twice the tolerance.
#[track_caller]
pub(crate) fn on_every_path(check: impl Fn()) {
    compare_levels(check, |a, b, tolerance| {
        f64::from((a - b).abs()) <= 2.0 * tolerance * f64::from(b.abs()).max(1.0)
    });
}

/// As [`on_every_path`], and the kernels agree in every bit.
#[track_caller]
pub(crate) fn same_bits_on_every_path(check: impl Fn()) {
    compare_levels(check, |a, b, _| a.to_bits() == b.to_bits());
}

#[track_caller]
fn compare_levels(check: impl Fn(), agree: impl Fn(f32, f32, f64) -> bool) {
    let found_at = |level| {
        FOUND.take();
        with_level(level, &check).unwrap();
        FOUND.take()
    };
    let portable = found_at(Level::Portable);
    let others = Level::ALL.into_iter().skip(1);
    for level in others.filter(|level| level.is_available()) {
        let wide = found_at(level);
        assert_eq!(wide.len(), portable.len(), "number of results with {level}");
        for (wide, plain) in wide.iter().zip(&portable) {
            let what = &wide.what;
            for (i, (&a, &b)) in wide.values.iter().zip(&plain.values).enumerate() {
                assert!(
                    agree(a, b, plain.tolerance),
                    "{what}[{i}]: {a} with {level}, {b} with portable kernels"
                );
            }
        }
    }
}

fn keep(what: &str, values: Vec<f32>, tolerance: f64) {
    let what = what.to_owned();
    FOUND.with_borrow_mut(|found| {
        found.push(Found {
            what,
            values,
            tolerance,
        });
    });
}

/// Keeps a result for [`on_every_path`].
pub(crate) fn found(what: &str, tensor: &Tensor) {
    keep(what, flat(tensor), 0.0);
}

/// All elements agree to `tolerance`, relative for large and absolute for small ones.
#[track_caller]
pub(crate) fn check_close(what: &str, actual: &Tensor, expected: &[f64], tolerance: f64) {
    let actual = flat(actual);
    keep(what, actual.clone(), tolerance);
    assert_eq!(actual.len(), expected.len(), "{what}: number of elements");
    for (i, (&a, &e)) in actual.iter().zip(expected).enumerate() {
        let error = (f64::from(a) - e).abs();
        assert!(
            error <= tolerance * e.abs().max(1.0),
            "{what}[{i}]: {a} instead of {e}"
        );
    }
}

/// Values of a reference as a kernel takes them.
pub(crate) fn rounded(values: &[f64], shape: &[usize]) -> Tensor {
    let values: Vec<f32> = values.iter().map(|&value| value as f32).collect();
    tensor(&values, shape)
}

/// The gradient before the activation, by the mask of its output.
pub(crate) fn masked(dy: &[f64], y: &[f32], relu: bool) -> Vec<f64> {
    let pairs = dy.iter().zip(y);
    pairs
        .map(|(&dy, &y)| if relu && y <= 0.0 { 0.0 } else { dy })
        .collect()
}

/// The derivative of `f` with respect to each element of `x`, by central differences.
pub(crate) fn finite_differences(x: &[f64], mut f: impl FnMut(&[f64]) -> f64) -> Vec<f64> {
    let step = 1e-6;
    let mut x = x.to_vec();
    (0..x.len())
        .map(|i| {
            let value = x[i];
            x[i] = value + step;
            let above = f(&x);
            x[i] = value - step;
            let below = f(&x);
            x[i] = value;
            (above - below) / (2.0 * step)
        })
        .collect()
}

/// Positions and padding before the border along one axis: Keras's rule written out.
pub(crate) fn axis(
    padding: Padding,
    n: usize,
    k: usize,
    stride: usize,
    dilation: usize,
) -> (usize, isize) {
    let extent = (k - 1) * dilation + 1;
    match padding {
        Padding::Valid => ((n - extent) / stride + 1, 0),
        Padding::Same => {
            let out = n.div_ceil(stride);
            let total = ((out - 1) * stride + extent).saturating_sub(n);
            (out, (total / 2) as isize)
        }
        Padding::Causal => (n.div_ceil(stride), (extent - 1) as isize),
    }
}

/// A convolution in double precision, seven loops deep.
#[derive(Debug)]
pub(crate) struct NaiveConv {
    pub(crate) x: [usize; 4],
    pub(crate) w: [usize; 4],
    pub(crate) spec: Conv2dSpec,
}

impl NaiveConv {
    pub(crate) fn output_shape(&self) -> [usize; 4] {
        let (oh, _, ow, _) = self.axes();
        [self.x[0], oh, ow, self.w[3]]
    }

    fn axes(&self) -> (usize, isize, usize, isize) {
        let spec = &self.spec;
        let (oh, top) = axis(
            spec.padding,
            self.x[1],
            self.w[0],
            spec.strides.0,
            spec.dilation.0,
        );
        let (ow, left) = axis(
            spec.padding,
            self.x[2],
            self.w[1],
            spec.strides.1,
            spec.dilation.1,
        );
        (oh, top, ow, left)
    }

    /// Calls `visit(x index, w index, y index)` for every product of the convolution.
    fn products(&self, mut visit: impl FnMut(usize, usize, usize)) {
        let [n, h, w, ci] = self.x;
        let [kh, kw, ci_group, co] = self.w;
        let co_group = co / self.spec.groups;
        let (oh, top, ow, left) = self.axes();
        for image in 0..n {
            for oy in 0..oh {
                for ox in 0..ow {
                    for ky in 0..kh {
                        for kx in 0..kw {
                            let y = (oy * self.spec.strides.0 + ky * self.spec.dilation.0) as isize
                                - top;
                            let x = (ox * self.spec.strides.1 + kx * self.spec.dilation.1) as isize
                                - left;
                            if y < 0 || x < 0 || y >= h as isize || x >= w as isize {
                                continue;
                            }
                            for c in 0..ci_group {
                                for o in 0..co {
                                    let input = o / co_group * ci_group + c;
                                    visit(
                                        ((image * h + y as usize) * w + x as usize) * ci + input,
                                        ((ky * kw + kx) * ci_group + c) * co + o,
                                        ((image * oh + oy) * ow + ox) * co + o,
                                    );
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    pub(crate) fn forward(&self, x: &[f64], w: &[f64], bias: &[f64], relu: bool) -> Vec<f64> {
        let mut y: Vec<f64> = (0..self.output_shape().iter().product())
            .map(|i| bias[i % self.w[3]])
            .collect();
        self.products(|i, j, k| y[k] += x[i] * w[j]);
        if relu {
            y.iter_mut().for_each(|y| *y = y.max(0.0));
        }
        y
    }

    /// Gradients of x, w and bias from the gradient `dz` before the activation.
    pub(crate) fn backward(
        &self,
        x: &[f64],
        w: &[f64],
        dz: &[f64],
    ) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
        let (mut dx, mut dw) = (vec![0.0; x.len()], vec![0.0; w.len()]);
        let mut dbias = vec![0.0; self.w[3]];
        self.products(|i, j, k| {
            dx[i] += w[j] * dz[k];
            dw[j] += x[i] * dz[k];
        });
        for (k, dz) in dz.iter().enumerate() {
            dbias[k % self.w[3]] += dz;
        }
        (dx, dw, dbias)
    }
}
