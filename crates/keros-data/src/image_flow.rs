//! `ImageDataGenerator::flow`: augmented batches of images in memory.

use std::collections::BTreeSet;

use keros_image::{ImageParams, Pixel};
use serde::{Deserialize, Serialize};

use crate::array_sequence::batch_rows;
use crate::batch::check_rows;
use crate::epoch_order::EpochOrder;
use crate::layout::images;
use crate::pipeline::Pipeline;
use crate::recycle;
use crate::rng::Purpose;
use crate::{
    Array, Arrays, Batch, DataError, Element, ImageDataGenerator, Recipe, SaveImages, Sequence,
    Subset, worker,
};

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
    /// Where the images are written too. Default: nowhere.
    pub save_to_dir: Option<SaveImages>,
    /// The part of the samples that is taken. Default: all of them. Targets and weights are cut as
    /// the images are; Keras forgets the weights.
    pub subset: Option<Subset>,
    /// Whether training and validation may have different classes. A class is a value of the targets,
    /// or the place of the one in a row of zeros; targets with values that are no whole numbers have
    /// none. Default: false.
    pub ignore_class_split: bool,
}

impl Default for FlowOptions {
    fn default() -> Self {
        Self {
            batch_size: 32,
            shuffle: true,
            sample_weight: None,
            seed: 0,
            save_to_dir: None,
            subset: None,
            ignore_class_split: false,
        }
    }
}

/// A [`Sequence`] of augmented images, made by [`ImageDataGenerator::flow`].
///
/// The indices of a batch are positions in the flow's own samples, which with a subset are not those
/// of the arrays.
///
/// # Determinism
/// The order is a pure function of (seed, epoch), the transformation of an image one of (seed,
/// epoch, sample index): it depends neither on the batch size, nor on shuffling, nor on the number
/// of workers. See [`rng`](crate::rng).
#[derive(Debug, Serialize, Deserialize)]
pub struct ImageFlow {
    pipeline: Pipeline,
    x: Array,
    /// The inputs besides the images.
    others: Option<Arrays>,
    /// Name of the images among the inputs.
    name: String,
    y: Option<Arrays>,
    sample_weight: Option<Arrays>,
    batch_size: usize,
    /// `None` keeps the order of the images.
    order: Option<EpochOrder>,
}

impl ImageFlow {
    pub(crate) const RECIPE: &'static str = "keros::ImageFlow";

    pub(crate) fn new(
        generator: ImageDataGenerator,
        x: Arrays,
        y: Option<Array>,
        options: FlowOptions,
    ) -> Result<Self, DataError> {
        generator.check()?;
        let FlowOptions {
            batch_size,
            shuffle,
            sample_weight,
            seed,
            save_to_dir,
            subset,
            ignore_class_split,
        } = options;
        if batch_size == 0 {
            return Err(DataError::invalid(DOING, "batch_size", "at least 1", 0));
        }
        let (part, augments) = Subset::of(subset, &generator, DOING)?;
        let y = y.map(Arrays::from);
        let sample_weight = sample_weight.map(Arrays::from);
        check_rows(DOING, &x, y.as_ref(), sample_weight.as_ref())?;
        let rows = part(x.rows());
        if rows.is_empty() {
            return Err(DataError::Empty {
                doing: DOING,
                what: "the subset".into(),
            });
        }
        if let (Some(subset), Some(y), false) = (subset, &y, ignore_class_split) {
            let cut = match subset {
                Subset::Validation => rows.end,
                Subset::Training => rows.start,
            };
            check_classes(y, cut)?;
        }
        let cut = |arrays: &Arrays| arrays.slice(rows.clone());
        let mut inputs = cut(&x)?.into_pairs().into_iter();
        let Some((name, first)) = inputs.next() else {
            return Err(DataError::Empty {
                doing: DOING,
                what: "x".into(),
            });
        };
        let (x, shape) = images(&first, generator.layout(), DOING)?;
        if augments {
            let values = shape.values()?;
            match &x {
                Array::U8(_) => check_values::<u8>(&generator, &x, values),
                _ => check_values::<f32>(&generator, &x, values),
            }?;
        }
        let others: Vec<(String, Array)> = inputs.collect();
        Ok(Self {
            pipeline: Pipeline::new(generator, shape, seed, augments, save_to_dir, subset)?,
            x,
            others: match others.is_empty() {
                true => None,
                false => Some(Arrays::from_pairs(others)?.to_standard_layout()),
            },
            name,
            y: y.as_ref()
                .map(cut)
                .transpose()?
                .map(|y| y.to_standard_layout()),
            sample_weight: sample_weight
                .as_ref()
                .map(cut)
                .transpose()?
                .map(|weight| weight.to_standard_layout()),
            batch_size,
            order: shuffle.then(|| EpochOrder::new(seed, Purpose::Samples)),
        })
    }

    /// What is done to one sample in one epoch, without making the image.
    pub fn transform(&self, epoch: u64, sample: usize) -> ImageParams {
        self.pipeline.params(epoch, sample)
    }

    /// Augmented images of the given samples.
    fn images<P: Pixel>(
        &self,
        source: &[P],
        epoch: u64,
        indices: &[usize],
    ) -> Result<Vec<f32>, DataError> {
        let values = self.pipeline.shape().values()?;
        let mut out = recycle::vector(indices.len() * values);
        for (&sample, out) in indices.iter().zip(out.chunks_exact_mut(values)) {
            worker::working_on(sample, None);
            let source = &source[sample * values..(sample + 1) * values];
            self.pipeline
                .make(source, epoch, sample, out)
                .map_err(|error| error.in_sample(sample))?;
        }
        worker::working_on_nothing();
        Ok(out)
    }
}

/// Whether all images, of so many values, can be augmented.
fn check_values<P: Pixel + Element>(
    generator: &ImageDataGenerator,
    x: &Array,
    values: usize,
) -> Result<(), DataError> {
    let images = x.as_slice::<P>().unwrap_or_default().chunks_exact(values);
    for (sample, image) in images.enumerate() {
        let checked = generator.check_values(image);
        checked.map_err(|error| error.in_sample(sample))?;
    }
    Ok(())
}

/// Whether the samples before `cut`, which are for validation, have the same classes as the others,
/// which are for training.
fn check_classes(y: &Arrays, cut: usize) -> Result<(), DataError> {
    let y = y.first().to_standard_layout();
    for (part, samples) in [("validation", cut), ("training", y.len() - cut)] {
        if samples == 0 {
            return Err(DataError::Empty {
                doing: DOING,
                what: format!("the {part} part of {} samples", y.len()).into(),
            });
        }
    }
    let parts = match y {
        Array::U8(_) => classes(&y, cut, |value: u8| Some(i64::from(value))),
        Array::I64(_) => classes(&y, cut, |value: i64| Some(value)),
        Array::F32(_) => classes(&y, cut, |value: f32| {
            (value.fract() == 0.0).then_some(value as i64)
        }),
    };
    match parts {
        Some([validation, training]) if validation != training => Err(DataError::invalid(
            DOING,
            "subset",
            "the same classes for training and validation (shuffle the arrays, or set \
             ignore_class_split)",
            format!(
                "{} and {} classes, not the same",
                training.len(),
                validation.len()
            ),
        )),
        _ => Ok(()),
    }
}

/// The classes among the rows before `cut` and among the others: where a row has its one, if each has
/// one and else zeros, and otherwise the values. `None` if there are values that are no class, as
/// those of a regression.
fn classes<T: Element>(
    y: &Array,
    cut: usize,
    class: impl Fn(T) -> Option<i64>,
) -> Option<[BTreeSet<i64>; 2]> {
    let values = y.as_slice::<T>()?;
    let width = values.len() / y.len();
    let is_one_hot = |row: &[T]| {
        let count = |wanted| {
            row.iter()
                .filter(|value| class(**value) == Some(wanted))
                .count()
        };
        (count(0), count(1)) == (width - 1, 1)
    };
    let one_hot = y.ndim() == 2 && values.chunks(width.max(1)).all(is_one_hot);
    let of = |values: &[T]| {
        let (mut found, mut last) = (BTreeSet::new(), None);
        for (place, value) in values.iter().enumerate() {
            let class = match class(*value)? {
                0 if one_hot => continue,
                _ if one_hot => (place % width) as i64,
                class => class,
            };
            // Most pixels of a mask are of the class of the one before.
            if last.replace(class) != Some(class) {
                found.insert(class);
            }
        }
        Some(found)
    };
    let (validation, training) = values.split_at(cut * width);
    Some([of(validation)?, of(training)?])
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
        let images = match &self.x {
            Array::U8(_) => {
                let source = self.x.as_slice::<u8>().unwrap_or_default();
                self.images(source, epoch, &indices)?
            }
            _ => {
                let source = self.x.as_slice::<f32>().unwrap_or_default();
                self.images(source, epoch, &indices)?
            }
        };
        let images = Array::from_vec(&self.pipeline.batch_shape(indices.len()), images)?;
        let select = |arrays: &Arrays| arrays.select(&indices);
        let inputs = match &self.others {
            None if self.name.is_empty() => images.into(),
            None => Arrays::from_pairs([(self.name.clone(), images)])?,
            Some(others) => {
                let mut pairs = vec![(self.name.clone(), images)];
                pairs.extend(select(others)?.into_pairs());
                Arrays::from_pairs(pairs)?
            }
        };
        Ok(Batch {
            inputs,
            targets: self.y.as_ref().map(select).transpose()?,
            sample_weight: self.sample_weight.as_ref().map(select).transpose()?,
            indices,
        })
    }

    fn changes_on_epoch_end(&self) -> bool {
        false
    }

    fn recipe(&self) -> Result<Recipe<'_>, DataError> {
        self.pipeline.check_portable("an ImageFlow")?;
        Ok(Recipe::new(Self::RECIPE, self))
    }

    fn num_samples(&self) -> Option<usize> {
        Some(self.x.len())
    }
}
