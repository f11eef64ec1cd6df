//! Fashion-MNIST and the network that learns it.

use anyhow::{Context, Result, bail, ensure};
use keros::data::idx;
use keros::nn::NnError;
use keros::prelude::*;
use std::path::{Path, PathBuf};

/// Names of the classes, by label.
pub const CLASSES: [&str; 10] = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
];

/// Images `[N, 28, 28, 1]` u8 and labels `[N]` u8 below 10, for training and testing.
pub struct Fashion {
    /// Training images.
    pub train_x: Array,
    /// Training labels.
    pub train_y: Array,
    /// Test images.
    pub test_x: Array,
    /// Test labels.
    pub test_y: Array,
}

/// The subset that comes with the repository.
#[must_use]
pub fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/fashion-mnist")
}

impl Fashion {
    /// Reads the four IDX files of a folder; keeps the first `limit` images of each set.
    ///
    /// # Errors
    /// A file that is missing, broken or of another size, a label from 10 on, a limit beyond the
    /// number of images: what was expected and found, and in which file.
    pub fn load(dir: &Path, limit: Option<usize>) -> Result<Fashion> {
        let data = idx::load_folder(dir)?;
        let mut parts = Vec::new();
        for (name, images, labels) in [
            ("train", data.train_images, data.train_labels),
            ("t10k", data.test_images, data.test_labels),
        ] {
            let size = &images.shape()[1..];
            ensure!(
                size == [28, 28, 1],
                "reading {}: the {name} images have the wrong size (expected 28×28, found {}×{})",
                dir.display(),
                size[0],
                size[1],
            );
            let classes = CLASSES.len();
            let found = labels.as_slice::<u8>().context("labels are bytes")?;
            if let Some(row) = found
                .iter()
                .position(|label| usize::from(*label) >= classes)
            {
                bail!(
                    "reading {}: label {row} of {name}-labels-idx1-ubyte is out of range \
                     (expected 0 to {}, found {})",
                    dir.display(),
                    classes - 1,
                    found[row],
                );
            }
            parts.extend([images, labels]);
        }
        let [train_x, train_y, test_x, test_y]: [Array; 4] =
            parts.try_into().ok().context("two sets of two arrays")?;
        let mut fashion = Fashion {
            train_x,
            train_y,
            test_x,
            test_y,
        };
        if let Some(limit) = limit {
            let rows = fashion.train_x.len();
            ensure!(
                (1..=rows).contains(&limit),
                "limiting the data of {}: --limit is out of range (expected 1 to {rows}, found {limit})",
                dir.display(),
            );
            let test = limit.min(fashion.test_x.len());
            fashion.train_x = fashion.train_x.slice(0..limit)?;
            fashion.train_y = fashion.train_y.slice(0..limit)?;
            fashion.test_x = fashion.test_x.slice(0..test)?;
            fashion.test_y = fashion.test_y.slice(0..test)?;
        }
        Ok(fashion)
    }
}

/// Bytes as floats in `[0, 1]`.
///
/// # Errors
/// An array that does not hold bytes.
pub fn to_unit(images: &Array) -> Result<Array> {
    let bytes = images.as_slice::<u8>().context("images are bytes")?;
    let floats: Vec<f32> = bytes
        .iter()
        .map(|byte| f32::from(*byte) * RESCALE)
        .collect();
    Ok(Array::from_vec(images.shape(), floats)?)
}

/// What brings bytes to `[0, 1]`.
pub const RESCALE: f32 = 1.0 / 255.0;

/// The augmentation of the training images.
#[must_use]
pub fn augmentation() -> ImageDataGenerator {
    ImageDataGenerator::new()
        .rotation_range(5.0)
        .width_shift_range(0.05)
        .height_shift_range(0.05)
        .shear_range(4.0)
        .zoom_range(0.05)
        .horizontal_flip(true)
        .rescale(RESCALE)
}

/// Two convolutions with pooling, dropout and a softmax: 34,826 parameters.
///
/// # Errors
/// When the device has no memory for it.
pub fn mnist_convnet(device: &Device, seed: u64) -> Result<Sequential, NnError> {
    Sequential::builder([28, 28, 1])
        .layer(Conv2D::new(32, 3).activation(Activation::Relu))
        .layer(MaxPooling2D::new(2))
        .layer(Conv2D::new(64, 3).activation(Activation::Relu))
        .layer(MaxPooling2D::new(2))
        .layer(Flatten::new())
        .layer(Dropout::new(0.5))
        .layer(Dense::new(CLASSES.len()).activation(Activation::Softmax))
        .build(device, seed)
}

/// The network with Adam, crossentropy and accuracy.
///
/// # Errors
/// When the device has no memory for it.
pub fn trainer(device: &Device, seed: u64) -> Result<Trainer<Sequential>> {
    Ok(Trainer::builder(mnist_convnet(device, seed)?)
        .optimizer("adam")
        .loss("sparse_categorical_crossentropy")
        .metric("accuracy")
        .seed(seed)
        .compile()?)
}

/// The most likely class of each image `[N, 28, 28, 1]` u8, and its probability.
///
/// # Errors
/// Images of another form, or a network that does not end in the probabilities of the classes.
pub fn predict<N: Network>(trainer: &mut Trainer<N>, images: &Array) -> Result<Vec<(usize, f32)>> {
    let options = PredictOptions {
        batch_size: Some(250),
        verbose: Verbose::Silent,
        ..PredictOptions::default()
    };
    let outputs = trainer.predict(to_unit(images)?, options)?;
    let probabilities = outputs[0]
        .as_slice::<f32>()
        .context("predictions are floats")?;
    let classes = outputs[0].shape().last().copied().unwrap_or(1);
    let best = |row: &[f32]| {
        let mut best = (0, f32::NEG_INFINITY);
        for (class, probability) in row.iter().enumerate() {
            if *probability > best.1 {
                best = (class, *probability);
            }
        }
        best
    };
    Ok(probabilities.chunks_exact(classes).map(best).collect())
}
