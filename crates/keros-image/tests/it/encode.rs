//! Files that are written and read again.

use keros_image::{ColorMode, Decoder, Format, ImageError, ImageShape, Pixels, encode};

#[test]
fn values_are_stretched_and_come_back_in_every_lossless_format() {
    let shape = ImageShape::new(2, 3, 3);
    let values: Vec<f32> = (0..18).map(|i| i as f32 / 17.0 - 0.25).collect();
    for format in [
        Format::Png,
        Format::Bmp,
        Format::Tiff,
        Format::WebP,
        Format::Pnm,
    ] {
        let file = encode(&values, shape, format).unwrap();
        assert_eq!(Format::of(&file), Some(format));
        let image = Decoder::new().decode(&file).unwrap();
        assert_eq!(image.shape(), shape);
        let Pixels::U8(found) = image.pixels() else {
            panic!("{format}: bytes are read as bytes");
        };
        let near = |(i, found): (u8, &u8)| found.abs_diff(15 * i) <= 1;
        assert!((0..).zip(found).all(near), "{format}: {found:?}");
    }
}

#[test]
fn gray_and_flat_images_are_written() {
    let shape = ImageShape::new(1, 2, 1);
    let read = |values: &[f32]| {
        let file = encode(values, shape, Format::Png).unwrap();
        let decoder = Decoder::new().color_mode(ColorMode::Grayscale);
        decoder.decode(&file).unwrap().into_f32()
    };
    assert_eq!(read(&[-3.0, 5.0]), [0.0, 255.0]);
    assert_eq!(read(&[7.0, 7.0]), [0.0, 0.0]);
    assert!(encode(&[0.0, 1.0], shape, Format::Jpeg).is_ok());
    // Whatever the range, whose reciprocal need not be a number.
    for i in 1..2000 {
        let range = i as f32 * 0.37;
        assert_eq!(read(&[-1.0, range - 1.0]), [0.0, 255.0], "{range}");
    }
}

#[test]
fn what_no_format_has_is_refused() {
    let refused = |channels, values: &[f32], format| {
        let error = encode(values, ImageShape::new(1, 1, channels), format).unwrap_err();
        assert!(matches!(error, ImageError::Unwritable { .. }), "{error}");
        error.to_string()
    };
    let error = refused(2, &[0.0, 1.0], Format::Png);
    assert_eq!(
        error,
        "encoding a PNG image of 1×1×2: expected 1, 3 or 4 channels, found 2"
    );
    refused(1, &[f32::NAN], Format::Png);
    refused(4, &[0.0, 1.0, 2.0, 3.0], Format::Jpeg);
    let error = encode(&[0.0], ImageShape::new(2, 1, 1), Format::Png).unwrap_err();
    assert!(matches!(error, ImageError::BufferLength { .. }), "{error}");
}
