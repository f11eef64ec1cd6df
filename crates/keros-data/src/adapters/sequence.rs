//! The methods that adapt a sequence.

use super::{
    Cache, Chain, Map, MapIndexed, Rebatch, Repeat, ShuffleBatches, Skip, Take, Zip, ZipWith,
};
use crate::{Batch, DataError, Sequence};

/// Adapters of a [`Sequence`]. Every sequence has them, also one behind an `Arc`.
///
/// Threads run adapters as they are. [Worker processes](crate::worker) cannot be told of functions:
/// for them make a sequence of your own that has a recipe and adapts inside.
///
/// # Determinism
/// If batches of the source are pure functions of (epoch, index), so are those of the adapters.
pub trait SequenceExt: Sequence + Sized {
    /// Changes every batch, in the workers that prepare it.
    ///
    /// Samples keep their indices: if the function makes a new batch of as many rows and without
    /// indices, it gets those of the old one.
    ///
    /// # Determinism
    /// The function has to be pure. For random numbers see [`SequenceExt::map_indexed`].
    fn map<F>(self, function: F) -> Map<Self, F>
    where
        F: Fn(Batch) -> Result<Batch, DataError> + Send + Sync,
    {
        Map::new(self, function)
    }

    /// As [`SequenceExt::map`], with a function that is also told epoch and index of the batch, which
    /// random numbers can be made of.
    ///
    /// ```
    /// use keros_data::rng::{Purpose, stream, unit};
    /// use keros_data::{Array, ArraySequence, Sequence, SequenceExt};
    ///
    /// # fn main() -> Result<(), keros_data::DataError> {
    /// let x = Array::from_vec(&[4, 1], vec![0.0_f32; 4])?;
    /// let noisy = ArraySequence::inputs_only(x)?.map_indexed(|epoch, index, mut batch| {
    ///     let mut rng = stream(42, Purpose::Custom, epoch, index as u64);
    ///     let noise = (0..batch.len()).map(|_| unit(&mut rng) as f32).collect();
    ///     batch.inputs = Array::from_vec(&[batch.len(), 1], noise)?.into();
    ///     Ok(batch)
    /// });
    /// assert_eq!(noisy.batch(3, 0)?, noisy.batch(3, 0)?);
    /// assert_ne!(noisy.batch(3, 0)?, noisy.batch(4, 0)?);
    /// # Ok(())
    /// # }
    /// ```
    fn map_indexed<F>(self, function: F) -> MapIndexed<Self, F>
    where
        F: Fn(u64, usize, Batch) -> Result<Batch, DataError> + Send + Sync,
    {
        MapIndexed::new(self, function)
    }

    /// The same samples in batches of another size; the last one may be shorter.
    ///
    /// A batch of the source is prepared once for every new batch that has a part of it. Where that
    /// is dear, make the one size a multiple of the other, or [`cache`](SequenceExt::cache) before.
    /// Parts are copied, so that none keeps its whole batch in memory.
    ///
    /// # Errors
    /// Zero; a source that does not know its number of samples, or whose batches are not all of one
    /// size (the last one aside). The size is that of the first batch, which is prepared here.
    fn rebatch(self, batch_size: usize) -> Result<Rebatch<Self>, DataError> {
        Rebatch::new(self, batch_size)
    }

    /// The batches in a new order every epoch, a pure function of (seed, epoch). Their contents stay.
    /// With more than 2²⁸ batches per epoch each of them is an error.
    fn shuffle_batches(self, seed: u64) -> ShuffleBatches<Self> {
        ShuffleBatches::new(self, seed)
    }

    /// The first batches of every epoch, at most `batches` of them.
    fn take(self, batches: usize) -> Take<Self> {
        Take::new(self, batches)
    }

    /// Every epoch without its first `batches` batches.
    fn skip(self, batches: usize) -> Skip<Self> {
        Skip::new(self, batches)
    }

    /// Keras's `zip(image_generator, mask_generator)`: the inputs of the second sequence are the
    /// targets of the first, in place of any it has.
    ///
    /// Two flows over the same samples with the same seed draw the same transformation for each of
    /// them, and come in the same order:
    ///
    /// ```
    /// use keros_data::{Array, FlowOptions, ImageDataGenerator, Sequence, SequenceExt};
    ///
    /// # fn main() -> Result<(), keros_data::DataError> {
    /// let pictures = Array::from_vec(&[8, 16, 16, 3], vec![9_u8; 8 * 16 * 16 * 3])?;
    /// let masks = Array::from_vec(&[8, 16, 16, 1], vec![1_u8; 8 * 16 * 16])?;
    /// let geometry = ImageDataGenerator::new().rotation_range(30.0).zoom_range(0.2);
    /// let options = FlowOptions { seed: 7, ..FlowOptions::default() };
    ///
    /// let pictures = geometry
    ///     .clone()
    ///     .brightness_range(0.8, 1.2)
    ///     .rescale(1.0 / 255.0)
    ///     .flow(pictures, None, options.clone())?;
    /// // Classes must not be blended: the nearest pixel is taken.
    /// let masks = geometry.interpolation_order(0).flow(masks, None, options)?;
    /// let pairs = pictures.zip(masks)?;
    /// let batch = pairs.batch(0, 0)?;
    /// assert_eq!(batch.targets.map(|masks| masks.first().shape().to_vec()), Some(vec![8, 16, 16, 1]));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Sequences of different lengths. A batch is an error if it does not have the same samples in
    /// both, as far as their indices tell.
    fn zip<B: Sequence>(self, targets: B) -> Result<Zip<Self, B>, DataError> {
        let as_targets: fn(Batch, Batch) -> Result<Batch, DataError> = |inputs, targets| {
            Ok(Batch {
                targets: Some(targets.inputs),
                ..inputs
            })
        };
        self.zip_with(targets, as_targets)
    }

    /// Two sequences of the same samples as one, by a function that makes one batch of two;
    /// [`Batch::merge`] is one, for the inputs of a network with several of them.
    ///
    /// # Errors
    /// As [`SequenceExt::zip`].
    fn zip_with<B, F>(self, other: B, function: F) -> Result<ZipWith<Self, B, F>, DataError>
    where
        B: Sequence,
        F: Fn(Batch, Batch) -> Result<Batch, DataError> + Send + Sync,
    {
        ZipWith::new(self, other, function)
    }

    /// The batches of this sequence, then those of the other.
    ///
    /// Samples of the second are numbered after those of the first. If the first does not know how
    /// many it has, samples have no indices.
    fn chain<B: Sequence>(self, other: B) -> Chain<Self, B> {
        Chain::new(self, other)
    }

    /// Keeps prepared batches in memory, at most `max_bytes` of them; those that have no room are
    /// prepared each time. Counted are the elements of a batch: one that is a
    /// [slice](Batch::slice) of another keeps more.
    ///
    /// Every epoch is epoch 0 of the source: what changes from epoch to epoch (shuffling,
    /// augmentation) belongs after the cache. So the values do not depend on what is kept. Batches
    /// are kept in the order in which they are first asked for, and never thrown out.
    fn cache(self, max_bytes: usize) -> Cache<Self> {
        Cache::new(self, max_bytes)
    }

    /// Several passes over the source as one epoch: pass `p` of epoch `e` is the source's epoch
    /// `e · passes + p`.
    ///
    /// # Errors
    /// Zero passes; a source that [changes at the end of an epoch](Sequence::changes_on_epoch_end),
    /// because the passes of an epoch are prepared before it ends.
    fn repeat(self, passes: usize) -> Result<Repeat<Self>, DataError> {
        Repeat::new(self, passes)
    }
}

impl<S: Sequence> SequenceExt for S {}
