//! What both sides train on: random images and labels, the same in every run.

use keros_benches::{floats, labels};

pub(crate) const CLASSES: usize = 10;
/// Values of an image.
const PIXELS: usize = 28 * 28;

pub(crate) struct Data {
    /// Image after image.
    pub(crate) pixels: Vec<f32>,
    /// Below [`CLASSES`].
    pub(crate) labels: Vec<u32>,
}

impl Data {
    pub(crate) fn new(images: usize) -> Data {
        Data {
            pixels: floats(1, images * PIXELS),
            labels: labels(2, images, CLASSES as u32),
        }
    }
}
