//! Any bytes are an image, which can be resized, or an error.

use keros_image::{ColorMode, Decoder, Format, Interpolation, Resize};

const MAX_PIXELS: u64 = 1 << 16;

/// Panics if the promise is broken.
pub(crate) fn target(bytes: &[u8]) {
    let modes = [ColorMode::Grayscale, ColorMode::Rgb, ColorMode::Rgba];
    let kinds = [
        Interpolation::Nearest,
        Interpolation::Bilinear,
        Interpolation::Bicubic,
        Interpolation::Box,
        Interpolation::Lanczos,
    ];
    // The length chooses, so that a file stays a file whatever it is read as.
    let mode = modes[bytes.len() % modes.len()];
    let decoder = Decoder::new().color_mode(mode).max_pixels(MAX_PIXELS);
    match decoder.decode(bytes) {
        Ok(image) => {
            let shape = image.shape();
            assert!((shape.height * shape.width) as u64 <= MAX_PIXELS);
            assert_eq!(shape.channels, mode.channels());
            assert!(Format::of(bytes).is_some());
            let resize = Resize::new(5, 7)
                .interpolation(kinds[bytes.len() % kinds.len()])
                .keep_aspect_ratio(bytes.len().is_multiple_of(2));
            let small = resize.apply(image).map(|small| small.shape());
            assert!(small.is_ok_and(|small| (small.height, small.width) == (5, 7)));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
