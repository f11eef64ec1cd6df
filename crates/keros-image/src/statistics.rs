//! Numbers of a whole data set that standardizing needs: Keras's `ImageDataGenerator.fit`, one
//! image at a time.

use nalgebra::{DMatrix, SymmetricEigen};
use serde::{Deserialize, Serialize};

use crate::standardize::EPSILON;
use crate::{ImageError, ImageShape, Pixel, Standardize};

/// Images whose products are summed up together.
const BLOCK: usize = 64;

/// Mean, standard deviation and, if asked for, the whitening matrix of a data set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Stored")]
pub struct Statistics {
    height: usize,
    width: usize,
    pub(crate) mean: Vec<f32>,
    pub(crate) std: Vec<f32>,
    pub(crate) zca_matrix: Option<Vec<f32>>,
}

/// [`Statistics`] as they come out of a file.
#[derive(Deserialize)]
struct Stored {
    height: usize,
    width: usize,
    mean: Vec<f32>,
    std: Vec<f32>,
    zca_matrix: Option<Vec<f32>>,
}

impl TryFrom<Stored> for Statistics {
    type Error = ImageError;

    fn try_from(stored: Stored) -> Result<Self, ImageError> {
        let shape = ImageShape::new(stored.height, stored.width, stored.mean.len());
        Self::new(shape, stored.mean, stored.std, stored.zca_matrix)
    }
}

/// How the spectrum of the data becomes the whitening matrix `U diag(…) Uᵀ`, with `n` images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Whitening {
    /// `1 / √(v + ε)` of the variances `v`: the definition, and keras-preprocessing 1.1.2 (Keras
    /// 2.0 to 2.8). With fewer images than values per image the rest of the space, where there is
    /// no variance, is amplified by `1 / √ε`.
    #[default]
    Variance,
    /// `√n / (s + ε)` of the singular values `s` of the data, of which there are at most `n`: as
    /// tf.keras 2.9 and later, tf-keras and Keras 3 do.
    SingularValue,
}

impl Statistics {
    /// Statistics that are known already.
    ///
    /// # Shapes
    /// `mean` and `std` have a value for each channel of `shape`; `zca_matrix` has, row by row, the
    /// square of its number of values.
    ///
    /// # Errors
    /// A shape that is empty or too large, or another number of values.
    pub fn new(
        shape: ImageShape,
        mean: Vec<f32>,
        std: Vec<f32>,
        zca_matrix: Option<Vec<f32>>,
    ) -> Result<Self, ImageError> {
        let values = shape.values()?;
        let lengths = [
            ("mean", mean.len(), shape.channels),
            ("std", std.len(), shape.channels),
            (
                "zca_matrix",
                zca_matrix.as_ref().map_or(values * values, Vec::len),
                values * values,
            ),
        ];
        for (buffer, found, expected) in lengths {
            if found != expected {
                return Err(ImageError::BufferLength {
                    buffer,
                    shape,
                    expected,
                    found,
                });
            }
        }
        Ok(Self {
            height: shape.height,
            width: shape.width,
            mean,
            std,
            zca_matrix,
        })
    }

    /// Mean of each channel.
    pub fn mean(&self) -> &[f32] {
        &self.mean
    }

    /// Standard deviation (of the population) of each channel.
    pub fn std(&self) -> &[f32] {
        &self.std
    }

    /// The whitening matrix, `[values, values]` with height × width × channels values, row by row;
    /// `None` if it was not asked for.
    pub fn zca_matrix(&self) -> Option<&[f32]> {
        self.zca_matrix.as_deref()
    }

    fn shape(&self) -> ImageShape {
        ImageShape::new(self.height, self.width, self.mean.len())
    }

    pub(crate) fn check_channels(&self, found: ImageShape) -> Result<(), ImageError> {
        match found.channels == self.mean.len() {
            true => Ok(()),
            false => self.check_shape(found),
        }
    }

    pub(crate) fn check_shape(&self, found: ImageShape) -> Result<(), ImageError> {
        let expected = self.shape();
        match found == expected {
            true => Ok(()),
            false => Err(ImageError::ShapeMismatch { expected, found }),
        }
    }
}

/// The computation of [`Statistics`] while images come in, in `f64`.
///
/// As in Keras the images are rescaled first; the samplewise steps are not part of it.
///
/// ```
/// use keros_image::{Fit, ImageShape, Standardize};
///
/// # fn main() -> Result<(), keros_image::ImageError> {
/// let shape = ImageShape::new(1, 2, 1);
/// let steps = Standardize::new().featurewise_std_normalization(true);
/// let mut fit = Fit::new(&steps, shape)?;
/// fit.add(&[1_u8, 3])?;
/// fit.add(&[3_u8, 5])?;
/// let statistics = fit.finish()?;
/// assert_eq!((statistics.mean(), statistics.std()), (&[3.0][..], &[2.0_f32.sqrt()][..]));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Fit {
    shape: ImageShape,
    rescale: f32,
    normalizes: bool,
    images: usize,
    /// Running mean and sum of squared distances to it, per channel.
    mean: Vec<f64>,
    squares: Vec<f64>,
    zca: Option<Products>,
}

/// What a whitening matrix is made of.
#[derive(Clone, Debug)]
struct Products {
    whitening: Whitening,
    epsilon: f64,
    /// Sum of the images.
    sum: Vec<f64>,
    /// Sum of the products of all pairs of values.
    products: DMatrix<f64>,
    /// Images that are not in `products` yet, one after the other.
    block: Vec<f64>,
}

impl Products {
    fn flush(&mut self) {
        let values = self.sum.len();
        let block = DMatrix::from_column_slice(values, self.block.len() / values, &self.block);
        self.products.gemm(1.0, &block, &block.transpose(), 1.0);
        self.block.clear();
    }
}

impl Fit {
    /// The most values an image may have to be whitened; the matrix has the square of them.
    pub const MAX_WHITENED: usize = 12_288;

    /// Statistics of images of the given shape for the given steps, without a whitening matrix.
    ///
    /// # Errors
    /// A shape that is empty or too large.
    pub fn new(steps: &Standardize, shape: ImageShape) -> Result<Self, ImageError> {
        shape.values()?;
        Ok(Self {
            shape,
            rescale: steps.factor(),
            normalizes: steps.normalizes(),
            images: 0,
            mean: vec![0.0; shape.channels],
            squares: vec![0.0; shape.channels],
            zca: None,
        })
    }

    /// Asks for the whitening matrix, with Keras's `zca_epsilon` (its default is 1e-6).
    ///
    /// Memory and time grow with the square and the third power of the values of an image.
    ///
    /// # Errors
    /// More than [`Fit::MAX_WHITENED`] values per image; an `epsilon` that is negative or not
    /// finite.
    pub fn zca_whitening(mut self, whitening: Whitening, epsilon: f64) -> Result<Self, ImageError> {
        let values = self.shape.values()?;
        if values > Self::MAX_WHITENED {
            return Err(ImageError::WhiteningSize {
                limit: Self::MAX_WHITENED,
                found: values,
                shape: self.shape,
            });
        }
        crate::pixel_ops::factor_of("zca_epsilon", epsilon)?;
        self.zca = Some(Products {
            whitening,
            epsilon,
            sum: vec![0.0; values],
            products: DMatrix::zeros(values, values),
            block: Vec::with_capacity(values * BLOCK),
        });
        Ok(self)
    }

    /// Takes one image into account.
    ///
    /// # Shapes
    /// `[height, width, channels]` of `u8` or `f32`.
    ///
    /// # Errors
    /// An image that does not fit the shape, or has a value that, rescaled, is not finite. It does not
    /// count then.
    pub fn add<P: Pixel>(&mut self, image: &[P]) -> Result<(), ImageError> {
        let values = self.shape.check_length("source", image.len())?;
        let rescale = self.rescale;
        let rescaled = |pixel: P| pixel.to_f32() * rescale;
        if let Some(index) = image.iter().position(|pixel| !rescaled(*pixel).is_finite()) {
            let pixel = index / self.shape.channels;
            return Err(ImageError::NotFiniteValue {
                found: rescaled(image[index]),
                row: pixel / self.shape.width,
                column: pixel % self.shape.width,
                channel: index % self.shape.channels,
            });
        }
        let value = |pixel: P| f64::from(rescaled(pixel));
        // Mean and squares of this image, joined with those of the others (Chan et al. 1979).
        let pixels = (self.shape.height * self.shape.width) as f64;
        let before = self.images as f64 * pixels;
        for (channel, (mean, squares)) in self.mean.iter_mut().zip(&mut self.squares).enumerate() {
            let plane = || image.iter().skip(channel).step_by(self.shape.channels);
            let here = plane().map(|pixel| value(*pixel)).sum::<f64>() / pixels;
            let spread: f64 = plane().map(|pixel| (value(*pixel) - here).powi(2)).sum();
            let distance = here - *mean;
            *mean += distance * pixels / (before + pixels);
            *squares += spread + distance.powi(2) * before * pixels / (before + pixels);
        }
        self.images += 1;
        if let Some(zca) = &mut self.zca {
            zca.block.extend(image.iter().map(|pixel| value(*pixel)));
            for (sum, pixel) in zca.sum.iter_mut().zip(image) {
                *sum += value(*pixel);
            }
            if zca.block.len() == values * BLOCK {
                zca.flush();
            }
        }
        Ok(())
    }

    /// The statistics of all images.
    ///
    /// # Errors
    /// When there were none; a `zca_epsilon` so small that the whitening matrix is not finite, as 0 is
    /// where values of all images are the same.
    pub fn finish(mut self) -> Result<Statistics, ImageError> {
        if self.images == 0 {
            return Err(ImageError::NoImages);
        }
        let pixels = (self.images * self.shape.height * self.shape.width) as f64;
        let std = self.squares.iter().map(|squares| (squares / pixels).sqrt());
        let std: Vec<f64> = std.collect();
        let zca_matrix = match self.zca.take() {
            Some(zca) => Some(self.whitening_matrix(zca, &std)?),
            None => None,
        };
        let floats = |values: &[f64]| values.iter().map(|value| *value as f32).collect();
        Statistics::new(self.shape, floats(&self.mean), floats(&std), zca_matrix)
    }

    fn whitening_matrix(&self, mut zca: Products, std: &[f64]) -> Result<Vec<f32>, ImageError> {
        zca.flush();
        let Products {
            whitening,
            epsilon,
            sum,
            products: mut centred,
            ..
        } = zca;
        let images = self.images as f64;
        let channels = self.shape.channels;
        let divisor = |channel: usize| match self.normalizes {
            true => std[channel] + EPSILON,
            false => 1.0,
        };
        // Σ (xᵢ − mᵢ)(xⱼ − mⱼ), from the sums of products and values.
        for ((i, j), product) in (0..sum.len())
            .flat_map(|j| (0..sum.len()).map(move |i| (i, j)))
            .zip(centred.iter_mut())
        {
            let (mean_i, mean_j) = (self.mean[i % channels], self.mean[j % channels]);
            *product += images * mean_i * mean_j - mean_i * sum[j] - sum[i] * mean_j;
            *product /= divisor(i % channels) * divisor(j % channels);
        }
        let SymmetricEigen {
            eigenvectors,
            eigenvalues,
        } = SymmetricEigen::new(centred);
        let mut spectrum: Vec<(usize, f64)> = eigenvalues.iter().copied().enumerate().collect();
        spectrum.sort_by(|a, b| b.1.total_cmp(&a.1));
        if whitening == Whitening::SingularValue {
            spectrum.truncate(self.images);
        }
        let mut scaled = DMatrix::zeros(sum.len(), spectrum.len());
        let mut vectors = DMatrix::zeros(sum.len(), spectrum.len());
        for (to, (from, squared)) in spectrum.into_iter().enumerate() {
            let squared = squared.max(0.0);
            let factor = match whitening {
                Whitening::Variance => 1.0 / (squared / images + epsilon).sqrt(),
                Whitening::SingularValue => images.sqrt() / (squared.sqrt() + epsilon),
            };
            let vector = eigenvectors.column(from);
            scaled.set_column(to, &(vector * factor));
            vectors.set_column(to, &vector);
        }
        let matrix = scaled * vectors.transpose();
        // Symmetric, so that rows and columns are the same.
        let matrix: Vec<f32> = matrix.iter().map(|value| *value as f32).collect();
        match matrix.iter().all(|value| value.is_finite()) {
            true => Ok(matrix),
            false => Err(ImageError::WhiteningEpsilon { found: epsilon }),
        }
    }
}
