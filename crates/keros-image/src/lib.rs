//! Images before they become tensors: decoding, resizing, augmentation and standardization.
//!
//! The crate knows no randomness and no tensor library. [`TransformParams`] says *what* is done to
//! an image: plain data that can be printed, stored, replayed, and applied to several images (an
//! image and its mask, say). [`Affine`] says *how*: fill mode, interpolation, geometry, rescaling;
//! [`Affine::apply`] does it, from `u8` or `f32` pixels in height–width–channel order to `f32`.
//! [`PixelParams`] and [`PixelOps`] are the same for the values after the warp, [`Standardize`] is
//! what comes last. [`Decoder`] reads files, [`Resize`] brings images to one size,
//! [`encode()`] makes files.
//!
//! ```
//! use keros_image::{Affine, ImageShape, TransformParams};
//!
//! # fn main() -> Result<(), keros_image::ImageError> {
//! let shape = ImageShape::new(2, 3, 1);
//! let image: [u8; 6] = [0, 10, 20, 30, 40, 50];
//! let params = TransformParams { flip_horizontal: true, ..TransformParams::default() };
//! let mut out = [0.0; 6];
//! Affine::new().rescale(0.5).apply(&params, &image, shape, &mut out)?;
//! assert_eq!(out, [10.0, 5.0, 0.0, 25.0, 20.0, 15.0]);
//! # Ok(())
//! # }
//! ```

mod affine;
mod decode;
mod encode;
mod error;
mod fill;
mod geometry;
mod jpeg;
mod owned;
mod params;
mod pixel;
mod pixel_ops;
mod png;
mod resize;
mod spline;
mod standardize;
mod statistics;
#[cfg(feature = "turbojpeg")]
mod turbo;

pub use affine::Affine;
pub use decode::{ColorMode, Decoder, Format};
pub use encode::encode;
pub use error::ImageError;
pub use fill::FillMode;
pub use geometry::Geometry;
pub use owned::{Image, Pixels};
pub use params::{ImageParams, TransformParams};
pub use pixel::{ImageShape, Pixel};
pub use pixel_ops::{
    BrightnessStyle, ColorJitter, ColorJitterParams, CutMix, CutMixParams, EraseParams, MixUp,
    MixUpParams, PixelOps, PixelParams, RandomErasing,
};
pub use resize::{Interpolation, Resize};
pub use standardize::Standardize;
pub use statistics::{Fit, Statistics, Whitening};

/// The code of the README, so that it compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
