//! Which original pixels make a new one, and with which weights, along one axis.

use std::f64::consts::PI;

use super::{Interpolation, Span};

/// The weights of one axis. New pixel `i` is the sum of the original pixels from `starts[i]` on,
/// each times its weight in row `i` of `weights`.
pub(super) struct Weights {
    /// The first original pixel of each new one.
    pub(super) starts: Vec<usize>,
    /// The weights of each new pixel, a row of `taps`; what a border cuts off is zero at its end.
    pub(super) weights: Vec<f64>,
    /// Number of weights of each new pixel, cut at the borders.
    pub(super) lengths: Vec<usize>,
    /// The length of a row.
    pub(super) taps: usize,
}

impl Weights {
    /// The most weights of an axis: those of ten million pixels by any filter. Each takes up to 28 bytes.
    pub(super) const MAX: usize = 1 << 26;

    /// For an axis of `length` pixels, of which `span` becomes `to` pixels. Otherwise how many weights
    /// there would be, if they are more than [`Self::MAX`].
    pub(super) fn new(
        interpolation: Interpolation,
        length: usize,
        span: Span,
        to: usize,
    ) -> Result<Self, usize> {
        let (filter, support) = filter(interpolation);
        let scale = span.length as f64 / to as f64;
        let shrink = scale.max(1.0);
        let support = support * shrink;
        let taps = (support.ceil() as usize * 2 + 1).min(length);
        let count = taps.saturating_mul(to);
        if count > Self::MAX {
            return Err(count);
        }
        let mut starts = Vec::with_capacity(to);
        let mut lengths = Vec::with_capacity(to);
        let mut weights = vec![0.0; count];
        for (i, row) in weights.chunks_exact_mut(taps).enumerate() {
            let centre = span.start as f64 + (i as f64 + 0.5) * scale;
            // A cast to an unsigned integer ends at zero.
            let start = (centre - support + 0.5) as usize;
            let end = ((centre + support + 0.5) as usize).min(length);
            let row = &mut row[..end - start];
            for (k, weight) in row.iter_mut().enumerate() {
                *weight = filter((k as f64 + start as f64 - centre + 0.5) * (1.0 / shrink));
            }
            let sum: f64 = row.iter().sum();
            if sum != 0.0 {
                row.iter_mut().for_each(|weight| *weight /= sum);
            }
            starts.push(start);
            lengths.push(row.len());
        }
        Ok(Self {
            starts,
            weights,
            lengths,
            taps,
        })
    }

    /// The weights of a new pixel, cut at the borders, where `all` are those of all pixels.
    pub(super) fn taps_of<'a, T>(&self, all: &'a [T], pixel: usize) -> &'a [T] {
        &all[pixel * self.taps..][..self.lengths[pixel]]
    }

    /// The original pixels that have a weight at all.
    pub(super) fn used(&self) -> Span {
        let start = self.starts.first().copied().unwrap_or(0);
        let ends = self.starts.iter().zip(&self.lengths);
        let end = ends.map(|(start, length)| start + length).max();
        Span {
            start,
            length: end.unwrap_or(0).saturating_sub(start),
        }
    }
}

/// The filter, and how far from zero it reaches. Formulas of Pillow's `Resample.c`.
fn filter(interpolation: Interpolation) -> (fn(f64) -> f64, f64) {
    match interpolation {
        Interpolation::Nearest | Interpolation::Box => (box_filter, 0.5),
        Interpolation::Bilinear => (|x| (1.0 - x.abs()).max(0.0), 1.0),
        Interpolation::Hamming => (hamming, 1.0),
        Interpolation::Bicubic => (bicubic, 2.0),
        Interpolation::Lanczos => (lanczos, 3.0),
    }
}

fn box_filter(x: f64) -> f64 {
    if x > -0.5 && x <= 0.5 { 1.0 } else { 0.0 }
}

fn hamming(x: f64) -> f64 {
    let x = x.abs();
    if x == 0.0 {
        1.0
    } else if x >= 1.0 {
        0.0
    } else {
        let x = x * PI;
        x.sin() / x * (0.54 + 0.46 * x.cos())
    }
}

fn bicubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

fn lanczos(x: f64) -> f64 {
    fn sinc(x: f64) -> f64 {
        if x == 0.0 {
            return 1.0;
        }
        let x = x * PI;
        x.sin() / x
    }
    if (-3.0..3.0).contains(&x) {
        sinc(x) * sinc(x / 3.0)
    } else {
        0.0
    }
}
