//! What both sides train on: random images and labels, the same in every run.

use anyhow::Result;
use keros::prelude::Array;
use keros_benches::{bytes, floats, labels};

use crate::model::Model;

pub(crate) struct Data {
    pub(crate) pixels: Pixels,
    /// Below the number of classes.
    pub(crate) labels: Vec<u32>,
}

/// Image after image.
pub(crate) enum Pixels {
    Floats(Vec<f32>),
    /// As images are decoded, for networks on a GPU to scale.
    Bytes(Vec<u8>),
}

impl Data {
    /// Bytes if they are to travel to a GPU, floats if not.
    pub(crate) fn new(model: Model, images: usize, on_gpu: bool) -> Data {
        let len = images * model.sample_shape().iter().product::<usize>();
        Data {
            pixels: match on_gpu {
                true => Pixels::Bytes(bytes(1, len)),
                false => Pixels::Floats(floats(1, len)),
            },
            labels: labels(2, images, model.classes() as u32),
        }
    }

    /// Bytes of all pixels.
    pub(crate) fn bytes(&self) -> usize {
        match &self.pixels {
            Pixels::Floats(pixels) => size_of_val(pixels.as_slice()),
            Pixels::Bytes(pixels) => pixels.len(),
        }
    }
}

impl Pixels {
    pub(crate) fn into_array(self, shape: &[usize]) -> Result<Array> {
        Ok(match self {
            Pixels::Floats(pixels) => Array::from_vec(shape, pixels)?,
            Pixels::Bytes(pixels) => Array::from_vec(shape, pixels)?,
        })
    }
}
