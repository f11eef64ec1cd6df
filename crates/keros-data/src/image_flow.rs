//! `ImageDataGenerator::flow`: augmented batches of images in memory.

use keros_image::{Affine, ImageShape, Pixel, TransformParams};

use crate::array_sequence::batch_rows;
use crate::batch::check_rows;
use crate::epoch_order::EpochOrder;
use crate::rng::{self, Purpose};
use crate::{Array, Arrays, Batch, DataError, ImageDataGenerator, Sequence};

const DOING: &str = "setting up flow";

/// Options of [`ImageDataGenerator::flow`]. Write `FlowOptions { seed: 7, ..FlowOptions::default()
/// }`: options will be added.
#[derive(Clone, Debug, PartialEq)]
pub struct FlowOptions {
    /// Images per batch; the last batch of an epoch may be shorter. Default: 32.
    pub batch_size: usize,
    /// Whether every epoch has a new order. Default: true.
    pub shuffle: bool,
    /// Weight of every sample in the loss. Default: none.
    pub sample_weight: Option<Array>,
    /// Seed of the order and of the augmentation, which take independent streams from it. Default:
    /// 0.
    pub seed: u64,
}

impl Default for FlowOptions {
    fn default() -> Self {
        Self {
            batch_size: 32,
            shuffle: true,
            sample_weight: None,
            seed: 0,
        }
    }
}

/// A [`Sequence`] of augmented images, made by [`ImageDataGenerator::flow`].
///
/// # Determinism
/// The order is a pure function of (seed, epoch), the transformation of an image one of (seed,
/// epoch, sample index): it depends neither on the batch size, nor on shuffling, nor on the number
/// of workers. See [`rng`].
#[derive(Debug)]
pub struct ImageFlow {
    generator: ImageDataGenerator,
    affine: Affine,
    x: Array,
    shape: ImageShape,
    y: Option<Arrays>,
    sample_weight: Option<Arrays>,
    batch_size: usize,
    seed: u64,
    /// `None` keeps the order of the images.
    order: Option<EpochOrder>,
}

impl ImageFlow {
    pub(crate) fn new(
        generator: ImageDataGenerator,
        x: Array,
        y: Option<Array>,
        options: FlowOptions,
    ) -> Result<Self, DataError> {
        generator.check()?;
        let FlowOptions {
            batch_size,
            shuffle,
            sample_weight,
            seed,
        } = options;
        if batch_size == 0 {
            return Err(DataError::invalid(DOING, "batch_size", "at least 1", 0));
        }
        let [_, height, width, channels] = *x.shape() else {
            return Err(DataError::shape(
                DOING,
                "x",
                "[samples, height, width, channels]",
                x.shape(),
            ));
        };
        if !matches!(x, Array::U8(_) | Array::F32(_)) {
            return Err(wrong_element_type(&x));
        }
        let (x, y) = (Arrays::from(x), y.map(Arrays::from));
        let sample_weight = sample_weight.map(Arrays::from);
        check_rows(DOING, &x, y.as_ref(), sample_weight.as_ref())?;
        let shape = ImageShape::new(height, width, channels);
        shape.values()?;
        Ok(Self {
            affine: generator.rescaling_affine(),
            generator,
            // Once here instead of row by row in every batch.
            x: x.first().to_standard_layout(),
            shape,
            y: y.map(|y| y.to_standard_layout()),
            sample_weight: sample_weight.map(|weight| weight.to_standard_layout()),
            batch_size,
            seed,
            order: shuffle.then(|| EpochOrder::new(seed, Purpose::Samples)),
        })
    }

    /// The transformation of one sample in one epoch, without making the image.
    pub fn transform(&self, epoch: u64, sample: usize) -> TransformParams {
        let mut rng = rng::stream(self.seed, Purpose::Augmentation, epoch, sample as u64);
        self.generator.draw(self.shape, &mut rng)
    }

    /// Augmented images of the given samples.
    fn images<P: Pixel>(
        &self,
        source: &[P],
        epoch: u64,
        indices: &[usize],
    ) -> Result<Vec<f32>, DataError> {
        let values = self.shape.values()?;
        let mut out = vec![0.0; indices.len() * values];
        for (&sample, out) in indices.iter().zip(out.chunks_exact_mut(values)) {
            let source = &source[sample * values..(sample + 1) * values];
            self.affine
                .apply(&self.transform(epoch, sample), source, self.shape, out)
                .map_err(|source| DataError::Image {
                    sample,
                    source: Box::new(source),
                })?;
        }
        Ok(out)
    }
}

fn wrong_element_type(x: &Array) -> DataError {
    DataError::ElementType {
        doing: DOING,
        what: "x",
        expected: "u8 or f32",
        found: x.dtype(),
    }
}

impl Sequence for ImageFlow {
    fn len(&self) -> usize {
        self.x.len().div_ceil(self.batch_size)
    }

    fn batch(&self, epoch: u64, index: usize) -> Result<Batch, DataError> {
        let rows = batch_rows(index, self.batch_size, self.x.len())?;
        let indices = match &self.order {
            Some(order) => order.get(epoch, self.x.len())[rows].to_vec(),
            None => rows.collect(),
        };
        let images = if let Some(source) = self.x.as_slice::<u8>() {
            self.images(source, epoch, &indices)?
        } else if let Some(source) = self.x.as_slice::<f32>() {
            self.images(source, epoch, &indices)?
        } else {
            return Err(wrong_element_type(&self.x));
        };
        let ImageShape {
            height,
            width,
            channels,
        } = self.shape;
        Ok(Batch {
            inputs: Array::from_vec(&[indices.len(), height, width, channels], images)?.into(),
            targets: self.y.as_ref().map(|y| y.select(&indices)).transpose()?,
            sample_weight: self
                .sample_weight
                .as_ref()
                .map(|weight| weight.select(&indices))
                .transpose()?,
            indices,
        })
    }

    fn num_samples(&self) -> Option<usize> {
        Some(self.x.len())
    }
}
