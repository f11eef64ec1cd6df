//! From the pixels of a sample to its place in a batch: draw, warp, change, standardize, store.

use std::fs;
use std::path::PathBuf;

use keros_image::{
    Affine, Format, Image, ImageError, ImageParams, ImageShape, Pixel, Pixels, encode,
};
use serde::{Deserialize, Serialize};

use crate::error::Mismatch;
use crate::layout::to_channels_first;
use crate::rng::{self, Purpose};
use crate::{DataError, DataFormat, ImageDataGenerator, Subset};

/// Keras's `save_to_dir`: every image that is made is also written to a folder, as
/// `{prefix}_{epoch}_{sample}.{extension}`, stretched from black to white; with a subset as
/// `{prefix}_training_…` or `{prefix}_validation_…`, so that both can have one folder. To look at what
/// the network sees; it costs time and space.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SaveImages {
    /// The folder; it is made if it is missing.
    #[serde(with = "crate::path_serde")]
    pub directory: PathBuf,
    /// The beginning of each name, without a path separator. Keras: `save_prefix`.
    pub prefix: String,
    /// The format, one that can hold images of this size and number of channels. Keras: `save_format`,
    /// whose default is PNG.
    pub format: Format,
}

impl SaveImages {
    /// PNG files without a prefix.
    pub fn to(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            prefix: String::new(),
            format: Format::Png,
        }
    }

    /// Whether images of this shape can be written so.
    fn check(&self, shape: ImageShape) -> Result<(), DataError> {
        const DOING: &str = "setting up save_to_dir";
        if self.prefix.contains(std::path::is_separator) {
            let expected = "the beginning of a file's name, without a folder";
            return Err(DataError::invalid(DOING, "prefix", expected, &self.prefix));
        }
        match encode(&vec![0.0; shape.values()?], shape, self.format) {
            Ok(_) => Ok(()),
            Err(ImageError::Unwritable { reason, .. }) => {
                let expected = format!("one that can hold images of {shape}");
                let found = format!("{}: {reason}", self.format);
                Err(DataError::InvalidArgument {
                    doing: DOING,
                    argument: "format",
                    mismatch: Mismatch::boxed(expected, found),
                })
            }
            Err(other) => Err(other.into()),
        }
    }
}

/// What a flow does to each of its samples.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Pipeline {
    generator: ImageDataGenerator,
    warp: Affine,
    shape: ImageShape,
    seed: u64,
    augments: bool,
    /// With the prefix of the subset.
    save: Option<SaveImages>,
}

impl Pipeline {
    pub(crate) fn new(
        generator: ImageDataGenerator,
        shape: ImageShape,
        seed: u64,
        augments: bool,
        mut save: Option<SaveImages>,
        subset: Option<Subset>,
    ) -> Result<Self, DataError> {
        generator.check()?;
        generator.check_statistics(shape)?;
        if let Some(save) = &mut save {
            save.check(shape)?;
            match subset {
                Some(Subset::Training) => save.prefix.push_str("_training"),
                Some(Subset::Validation) => save.prefix.push_str("_validation"),
                None => {}
            }
            fs::create_dir_all(&save.directory).map_err(|source| DataError::Write {
                path: save.directory.clone(),
                source,
            })?;
        }
        Ok(Self {
            warp: generator.warp(),
            generator,
            shape,
            seed,
            augments,
            save,
        })
    }

    /// Whether all of it can be written down, which a function of the user's cannot.
    pub(crate) fn check_portable(&self, sequence: &'static str) -> Result<(), DataError> {
        match self.generator.has_function() {
            false => Ok(()),
            true => Err(DataError::NotPortable {
                sequence,
                reason: "its preprocessing_function is code, which cannot be described",
            }),
        }
    }

    pub(crate) fn shape(&self) -> ImageShape {
        self.shape
    }

    /// The shape of a batch.
    pub(crate) fn batch_shape(&self, rows: usize) -> [usize; 4] {
        let [a, b, c] = self.generator.layout().axes(self.shape);
        [rows, a, b, c]
    }

    pub(crate) fn params(&self, epoch: u64, sample: usize) -> ImageParams {
        if !self.augments {
            return ImageParams::default();
        }
        let mut rng = rng::stream(self.seed, Purpose::Augmentation, epoch, sample as u64);
        self.generator.draw(self.shape, &mut rng)
    }

    /// Whether the image of a sample, as it came, has values to which can be done what is to be done.
    pub(crate) fn check_values(&self, image: &Image) -> Result<(), DataError> {
        match image.pixels() {
            Pixels::U8(pixels) if self.augments => self.generator.check_values(pixels),
            Pixels::F32(pixels) if self.augments => self.generator.check_values(pixels),
            _ => Ok(()),
        }
    }

    /// Makes the image of a sample from its pixels.
    pub(crate) fn make<P: Pixel>(
        &self,
        source: &[P],
        epoch: u64,
        sample: usize,
        out: &mut [f32],
    ) -> Result<(), DataError> {
        let params = self.params(epoch, sample);
        self.warp
            .apply(&params.transform, source, self.shape, out)?;
        self.generator.finish(&params.pixels, out, self.shape)?;
        if let Some(save) = &self.save {
            self.save(save, epoch, sample, out)?;
        }
        if self.generator.layout() == DataFormat::ChannelsFirst {
            to_channels_first(out, self.shape);
        }
        Ok(())
    }

    fn save(
        &self,
        save: &SaveImages,
        epoch: u64,
        sample: usize,
        image: &[f32],
    ) -> Result<(), DataError> {
        let bytes = encode(image, self.shape, save.format)?;
        let extension = save.format.to_string().to_lowercase();
        let name = format!("{}_{epoch}_{sample}.{extension}", save.prefix);
        let path = save.directory.join(name);
        fs::write(&path, bytes).map_err(|source| DataError::Write { path, source })
    }
}
