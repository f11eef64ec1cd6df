//! What both sides train on: random images and labels, the same in every run.

use keros_benches::{floats, labels};

use crate::model::Model;

pub(crate) const CLASSES: usize = 10;

pub(crate) struct Data {
    /// Image after image.
    pub(crate) pixels: Vec<f32>,
    /// Below [`CLASSES`].
    pub(crate) labels: Vec<u32>,
}

impl Data {
    pub(crate) fn new(model: Model, images: usize) -> Data {
        let values: usize = model.sample_shape().iter().product();
        Data {
            pixels: floats(1, images * values),
            labels: labels(2, images, CLASSES as u32),
        }
    }
}
