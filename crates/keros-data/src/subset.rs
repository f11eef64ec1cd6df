//! The two parts into which a generator's `validation_split` cuts its samples.

use std::ops::Range;

use crate::{DataError, ImageDataGenerator};

/// Which part of the samples a flow takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Subset {
    /// What is not for validation.
    Training,
    /// The first ones, as many as `validation_split` says, rounded down: of all samples of arrays
    /// and tables, of each class of a folder.
    Validation,
}

impl Subset {
    /// The positions of this part of `samples`.
    fn range(self, samples: usize, split: f64) -> Range<usize> {
        let cut = (samples as f64 * split) as usize;
        match self {
            Self::Training => cut..samples,
            Self::Validation => 0..cut,
        }
    }

    /// The error of a flow whose part of so many images has none.
    pub(crate) fn without_images(
        self,
        generator: &ImageDataGenerator,
        images: usize,
        doing: &'static str,
    ) -> DataError {
        let split = generator.split().unwrap_or_default();
        DataError::invalid(
            doing,
            "subset",
            "a part of the list of images that is not empty",
            format!("{self:?} with none of {images} images by a validation_split of {split}"),
        )
    }

    /// How a flow of this generator cuts a number of samples, and whether it augments them.
    ///
    /// # Errors
    /// A subset is asked for and the generator has no `validation_split`.
    pub(crate) fn of(
        subset: Option<Subset>,
        generator: &ImageDataGenerator,
        doing: &'static str,
    ) -> Result<(impl Fn(usize) -> Range<usize> + use<>, bool), DataError> {
        let split = generator.split();
        if let (Some(subset), None) = (subset, split) {
            let expected = "none, or an ImageDataGenerator with a validation_split";
            return Err(DataError::invalid(
                doing,
                "subset",
                expected,
                format!("{subset:?} without one"),
            ));
        }
        let range = move |samples| match (subset, split) {
            (Some(subset), Some(split)) => subset.range(samples, split),
            _ => 0..samples,
        };
        let augments = subset != Some(Subset::Validation) || generator.augments_validation();
        Ok((range, augments))
    }
}
