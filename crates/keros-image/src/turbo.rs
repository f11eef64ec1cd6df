//! The picture of a JPEG file by libjpeg-turbo: the pixels that Pillow gets from the same library.

use image::{DynamicImage, GrayImage, RgbImage};
use turbojpeg::{Colorspace, Decompressor, Image, PixelFormat};

/// A camera writes about ten; files made to keep decoders busy have thousands.
const SCANS_MAX: u32 = 500;

/// The picture of a file of this size. `None` where another decoder has to judge: colours that are
/// neither gray nor made of three, and files that libjpeg-turbo has something to say about.
pub(crate) fn picture(bytes: &[u8], width: u32, height: u32) -> Option<DynamicImage> {
    let mut decompressor = Decompressor::new().ok()?;
    decompressor.set_scan_limit(SCANS_MAX).ok()?;
    let header = decompressor.read_header(bytes).ok()?;
    if (header.width, header.height) != (width as usize, height as usize) {
        return None;
    }
    let (format, channels) = match header.colorspace {
        Colorspace::Gray => (PixelFormat::GRAY, 1),
        Colorspace::RGB | Colorspace::YCbCr => (PixelFormat::RGB, 3),
        Colorspace::CMYK | Colorspace::YCCK => return None,
    };
    let pitch = header.width * channels;
    let mut pixels = vec![0; pitch * header.height];
    let output = Image {
        pixels: &mut pixels[..],
        width: header.width,
        pitch,
        height: header.height,
        format,
    };
    decompressor.decompress(bytes, output).ok()?;
    if channels == 1 {
        GrayImage::from_raw(width, height, pixels).map(DynamicImage::ImageLuma8)
    } else {
        RgbImage::from_raw(width, height, pixels).map(DynamicImage::ImageRgb8)
    }
}
