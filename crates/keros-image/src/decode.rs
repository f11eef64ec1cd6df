//! From the bytes of a file to pixels: what Keras's `load_img` does with the help of Pillow, with
//! limits against files that claim more than they hold.

use std::borrow::Cow;
use std::fmt;
use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use image::{
    DynamicImage, ExtendedColorType, ImageDecoder as _, ImageFormat, ImageReader, Limits, Luma,
    LumaA, Rgb, Rgba,
};
use serde::{Deserialize, Serialize};

#[cfg(feature = "turbojpeg")]
use crate::turbo;
use crate::{Image, ImageError, ImageShape, Pixels, jpeg, png};

/// Which channels an image is read into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ColorMode {
    /// One channel. Colours become luma as Pillow computes it,
    /// (19595 R + 38470 G + 7471 B + 32768) >> 16; alpha is dropped. Files of 16-bit gray keep
    /// their range: [`Pixels::F32`] with values 0..=65535, as in Keras.
    Grayscale,
    /// Red, green and blue. Alpha is dropped without blending. Keras's default.
    #[default]
    Rgb,
    /// Red, green, blue and alpha; 255 (opaque) where the file has no alpha.
    Rgba,
}

impl ColorMode {
    /// Values per pixel: 1, 3 or 4.
    pub fn channels(self) -> usize {
        match self {
            ColorMode::Grayscale => 1,
            ColorMode::Rgb => 3,
            ColorMode::Rgba => 4,
        }
    }
}

impl fmt::Display for ColorMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ColorMode::Grayscale => "grayscale",
            ColorMode::Rgb => "rgb",
            ColorMode::Rgba => "rgba",
        })
    }
}

/// The formats that are read, told from the first bytes of a file and never from its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Format {
    /// Portable Network Graphics; of an animation the default picture.
    Png,
    /// JPEG, baseline and progressive, gray, colour and CMYK. The feature `turbojpeg` reads gray and
    /// colour with libjpeg-turbo: with the pixels of Pillow, which other decoders come near.
    Jpeg,
    /// Windows bitmap.
    Bmp,
    /// PBM, PGM, PPM and PAM.
    Pnm,
    /// GIF, the first frame.
    Gif,
    /// TIFF, the first page.
    Tiff,
    /// WebP, the first frame.
    WebP,
}

impl Format {
    /// The format of a file that begins with these bytes.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        Some(match image::guess_format(bytes).ok()? {
            ImageFormat::Png => Format::Png,
            ImageFormat::Jpeg => Format::Jpeg,
            ImageFormat::Bmp => Format::Bmp,
            ImageFormat::Pnm => Format::Pnm,
            ImageFormat::Gif => Format::Gif,
            ImageFormat::Tiff => Format::Tiff,
            ImageFormat::WebP => Format::WebP,
            _ => return None,
        })
    }

    pub(crate) fn name(self) -> ImageFormat {
        match self {
            Format::Png => ImageFormat::Png,
            Format::Jpeg => ImageFormat::Jpeg,
            Format::Bmp => ImageFormat::Bmp,
            Format::Pnm => ImageFormat::Pnm,
            Format::Gif => ImageFormat::Gif,
            Format::Tiff => ImageFormat::Tiff,
            Format::WebP => ImageFormat::WebP,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Format::WebP => f.write_str("WebP"),
            other => f.write_str(&format!("{other:?}").to_uppercase()),
        }
    }
}

/// How files are read.
///
/// Setters consume and return the value. Three things differ from Keras on purpose: photographs are
/// turned upright ([`Decoder::apply_orientation`] turns that off), 16-bit gray read as `rgb` keeps
/// its high byte where Pillow turns all above 255 into white, and files of floats are refused where
/// Pillow cuts them to 0..=255.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Decoder {
    color_mode: ColorMode,
    max_pixels: u64,
    apply_orientation: bool,
}

impl Default for Decoder {
    fn default() -> Self {
        Self {
            color_mode: ColorMode::default(),
            max_pixels: 100_000_000,
            apply_orientation: true,
        }
    }
}

impl Decoder {
    /// The defaults: `rgb`, at most 100 million pixels, upright.
    pub fn new() -> Self {
        Self::default()
    }

    /// Which channels an image is read into. Default: [`ColorMode::Rgb`].
    pub fn color_mode(mut self, color_mode: ColorMode) -> Self {
        self.color_mode = color_mode;
        self
    }

    /// A file that claims more pixels (height × width) is refused before memory is taken. Default:
    /// 100 million. A decoder takes at most 16 bytes per pixel of this limit, besides the result.
    pub fn max_pixels(mut self, max_pixels: u64) -> Self {
        self.max_pixels = max_pixels;
        self
    }

    /// Whether a picture is turned as its EXIF orientation tells. Default: true, what image viewers
    /// show and people label. Keras's `load_img` (Pillow) leaves it as stored: set false to get its
    /// pixels. In TIFF the orientation is no note of a camera but part of the format: it is always
    /// applied, by Pillow too.
    pub fn apply_orientation(mut self, apply: bool) -> Self {
        self.apply_orientation = apply;
        self
    }

    /// Reads the image in the bytes of a file.
    ///
    /// The result has [`ColorMode::channels`] channels; it is [`Pixels::U8`] except for 16-bit gray
    /// in grayscale mode.
    ///
    /// # Errors
    /// An unknown format; more pixels than allowed; a truncated or damaged file; pixels of a kind
    /// that is not read. The caller knows the name of the file and may add it.
    pub fn decode(&self, bytes: &[u8]) -> Result<Image, ImageError> {
        let format = Format::of(bytes).ok_or_else(|| ImageError::UnknownFormat {
            length: bytes.len(),
            begin: bytes.iter().take(8).copied().collect(),
        })?;
        // Decoders are other people's code: where one panics, the file is damaged and the program is
        // not. Nothing of it is looked at again.
        catch_unwind(AssertUnwindSafe(|| self.decode_as(format, bytes))).unwrap_or_else(|_| {
            Err(ImageError::Undecodable {
                format,
                reason: "the decoder panicked".to_owned(),
            })
        })
    }

    fn decode_as(&self, format: Format, bytes: &[u8]) -> Result<Image, ImageError> {
        let undecodable = |error: image::ImageError| ImageError::Undecodable {
            format,
            reason: error.to_string(),
        };
        if format == Format::Jpeg && !jpeg::is_whole(bytes) {
            return Err(ImageError::Truncated {
                format,
                length: bytes.len(),
            });
        }
        let file = match format {
            Format::Png => png::with_end(bytes),
            _ => Cow::Borrowed(bytes),
        };
        let mut reader = ImageReader::with_format(Cursor::new(file.as_ref()), format.name());
        let mut limits = Limits::no_limits();
        limits.max_alloc = Some(self.max_pixels.saturating_mul(16));
        reader.limits(limits);
        let mut decoder = reader.into_decoder().map_err(undecodable)?;
        let (width, height) = decoder.dimensions();
        if u64::from(width) * u64::from(height) > self.max_pixels {
            return Err(ImageError::TooManyPixels {
                format,
                height,
                width,
                limit: self.max_pixels,
            });
        }
        let shape = ImageShape::new(height as usize, width as usize, self.color_mode.channels());
        shape.values()?;
        let whole_gray = decoder.original_color_type() == ExtendedColorType::L16
            || (format == Format::Png && is_gray_of_16_bits(bytes));
        let orientation = match self.apply_orientation || format == Format::Tiff {
            true => Some(decoder.orientation().map_err(undecodable)?),
            false => None,
        };
        #[cfg(feature = "turbojpeg")]
        let fast = match format {
            Format::Jpeg => turbo::picture(bytes, width, height),
            _ => None,
        };
        #[cfg(not(feature = "turbojpeg"))]
        let fast = None;
        let mut picture = match fast {
            Some(picture) => picture,
            None => DynamicImage::from_decoder(decoder).map_err(undecodable)?,
        };
        if let Some(orientation) = orientation {
            picture.apply_orientation(orientation);
        }
        let shape = ImageShape::new(
            picture.height() as usize,
            picture.width() as usize,
            shape.channels,
        );
        let pixels = match (self.color_mode, picture) {
            (ColorMode::Grayscale, DynamicImage::ImageLuma16(gray)) if whole_gray => {
                Pixels::F32(gray.into_raw().into_iter().map(f32::from).collect())
            }
            (ColorMode::Grayscale, DynamicImage::ImageLumaA16(pixels)) if whole_gray => {
                Pixels::F32(pixels.pixels().map(|LumaA([l, _])| f32::from(*l)).collect())
            }
            (mode, picture) => Pixels::U8(bytes_of(mode, picture, format)?),
        };
        Image::new(shape, pixels)
    }
}

/// Whether the header of a PNG says so. One gray may stand for transparent, of which the decoder makes
/// an alpha channel that the file does not have.
fn is_gray_of_16_bits(png: &[u8]) -> bool {
    // The signature, length and name of the first chunk, width, height; bits per channel, kind of colour.
    png.get(24..26) == Some(&[16, 0])
}

/// The pixels in the channels of `mode`, of 16-bit values the high bytes.
fn bytes_of(mode: ColorMode, picture: DynamicImage, format: Format) -> Result<Vec<u8>, ImageError> {
    fn high(value: u16) -> u8 {
        (value >> 8) as u8
    }
    // Each arm turns a pixel of the picture into red, green, blue, alpha.
    macro_rules! convert {
        ($pixels:expr, $pixel:pat => $rgba:expr) => {{
            let colours = $pixels.pixels().map(|$pixel| $rgba);
            match mode {
                ColorMode::Grayscale => colours.map(luma).collect(),
                ColorMode::Rgb => colours.flat_map(|[r, g, b, _]| [r, g, b]).collect(),
                ColorMode::Rgba => colours.flatten().collect(),
            }
        }};
    }
    Ok(match (mode, picture) {
        (ColorMode::Grayscale, DynamicImage::ImageLuma8(pixels)) => pixels.into_raw(),
        (ColorMode::Rgb, DynamicImage::ImageRgb8(pixels)) => pixels.into_raw(),
        (ColorMode::Rgba, DynamicImage::ImageRgba8(pixels)) => pixels.into_raw(),
        (_, DynamicImage::ImageLuma8(pixels)) => convert!(pixels, &Luma([l]) => [l, l, l, 255]),
        (_, DynamicImage::ImageLumaA8(pixels)) => convert!(pixels, &LumaA([l, a]) => [l, l, l, a]),
        (_, DynamicImage::ImageRgb8(pixels)) => convert!(pixels, &Rgb([r, g, b]) => [r, g, b, 255]),
        (_, DynamicImage::ImageRgba8(pixels)) => convert!(pixels, &Rgba(rgba) => rgba),
        (_, DynamicImage::ImageLuma16(pixels)) => {
            convert!(pixels, &Luma([l]) => [high(l), high(l), high(l), 255])
        }
        (_, DynamicImage::ImageLumaA16(pixels)) => {
            convert!(pixels, &LumaA([l, a]) => [high(l), high(l), high(l), high(a)])
        }
        (_, DynamicImage::ImageRgb16(pixels)) => {
            convert!(pixels, &Rgb([r, g, b]) => [high(r), high(g), high(b), 255])
        }
        (_, DynamicImage::ImageRgba16(pixels)) => convert!(pixels, &Rgba(rgba) => rgba.map(high)),
        (mode, other) => {
            return Err(ImageError::PixelKind {
                format,
                mode,
                found: format!("{:?}", other.color()),
            });
        }
    })
}

/// Pillow's luma; exact for gray, whose three weights sum to 2¹⁶.
fn luma([r, g, b, _]: [u8; 4]) -> u8 {
    ((19595 * u32::from(r) + 38470 * u32::from(g) + 7471 * u32::from(b) + 32768) >> 16) as u8
}
