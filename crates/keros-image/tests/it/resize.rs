//! Resizing agrees with recorded results of Pillow, bit for bit, and keeps what any resizing keeps.

use keros_image::{Image, ImageError, ImageShape, Interpolation, Pixels, Resize};
use proptest::prelude::*;
use serde::Deserialize;

use crate::noise::noise;

#[derive(Deserialize)]
struct Recorded {
    bytes: Vec<Case<String>>,
    floats: Vec<Case<Vec<f32>>>,
}

#[derive(Deserialize)]
struct Case<T> {
    shape: [usize; 3],
    to: [usize; 2],
    interpolation: Interpolation,
    #[serde(default)]
    keep_aspect_ratio: bool,
    expected: T,
}

impl<T> Case<T> {
    fn shape(&self) -> ImageShape {
        ImageShape::new(self.shape[0], self.shape[1], self.shape[2])
    }

    fn run(&self, pixels: Pixels) -> Pixels {
        let resize = Resize::new(self.to[0], self.to[1])
            .interpolation(self.interpolation)
            .keep_aspect_ratio(self.keep_aspect_ratio);
        let resized = resize
            .apply(Image::new(self.shape(), pixels).unwrap())
            .unwrap();
        assert_eq!(
            resized.shape(),
            ImageShape::new(self.to[0], self.to[1], self.shape[2])
        );
        resized.into_pixels()
    }

    fn name(&self) -> String {
        let keep = self.keep_aspect_ratio;
        format!(
            "{:?} to {:?}, {:?}, {keep}",
            self.shape, self.to, self.interpolation
        )
    }
}

fn recorded() -> Recorded {
    serde_json::from_str(include_str!("resize_cases.json")).unwrap()
}

#[test]
fn bytes_are_pillows() {
    for case in recorded().bytes {
        let bytes = case.expected.as_bytes().chunks_exact(2);
        let hex = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
        let expected: Vec<u8> = bytes.map(hex).collect();
        let found = case.run(Pixels::U8(noise(case.shape.iter().product())));
        assert_eq!(found, Pixels::U8(expected), "{}", case.name());
    }
}

#[test]
fn floats_are_pillows() {
    for case in recorded().floats {
        let pixels = noise(case.shape.iter().product());
        let pixels = pixels.iter().map(|v| f32::from(*v) * 257.0).collect();
        let Pixels::F32(found) = case.run(Pixels::F32(pixels)) else {
            panic!("{}: no floats", case.name());
        };
        for (found, expected) in found.iter().zip(&case.expected) {
            let near = (found - expected).abs() <= 1e-6 * expected.abs().max(1.0);
            assert!(near, "{}: {expected} is {found}", case.name());
        }
    }
}

#[test]
fn an_empty_size_is_refused() {
    let image = Image::new(ImageShape::new(1, 1, 1), Pixels::U8(vec![1])).unwrap();
    let error = Resize::new(0, 3).apply(image).unwrap_err();
    assert!(error.to_string().contains("0×3×1"), "{error}");
}

/// The kinds of interpolation that sum up pixels.
const SUMS: [Interpolation; 5] = [
    Interpolation::Bilinear,
    Interpolation::Bicubic,
    Interpolation::Box,
    Interpolation::Hamming,
    Interpolation::Lanczos,
];

#[test]
fn an_image_too_thin_to_be_resized_is_refused() {
    let resize = |from: (usize, usize), to: (usize, usize), interpolation| {
        let shape = ImageShape::new(from.0, from.1, 1);
        let image = Image::new(shape, Pixels::U8(vec![7; from.0 * from.1])).unwrap();
        let resize = Resize::new(to.0, to.1).interpolation(interpolation);
        resize.apply(image)
    };
    const LONG: usize = 70_000_000;
    for interpolation in SUMS {
        for (from, to) in [((1, LONG), (2, 8)), ((LONG, 1), (8, 2))] {
            let error = resize(from, to, interpolation).unwrap_err();
            assert!(
                matches!(
                    error,
                    ImageError::TooLargeToResize {
                        what: "weights of an axis",
                        ..
                    }
                ),
                "{interpolation:?}: {error}"
            );
        }
        let error = resize((1 << 20, 1), (2, 1025), interpolation).unwrap_err();
        assert_eq!(
            error.to_string(),
            "resizing an image of 1048576×1×1: it takes too many values between the two passes \
             (expected at most 1073741824, found 1074790400)"
        );
    }
    let nearest = resize((1, LONG), (2, 8), Interpolation::Nearest).unwrap();
    assert_eq!(nearest.pixels(), &Pixels::U8(vec![7; 16]));
}

#[test]
fn a_panorama_is_resized() {
    for interpolation in SUMS {
        for (height, width) in [(2, 1_000_000), (1_000_000, 2)] {
            let shape = ImageShape::new(height, width, 3);
            let image = Image::new(shape, Pixels::U8(vec![9; 6_000_000])).unwrap();
            let resized = Resize::new(8, 8).interpolation(interpolation).apply(image);
            assert_eq!(resized.unwrap().pixels(), &Pixels::U8(vec![9; 192]));
        }
    }
}

fn interpolation() -> impl Strategy<Value = Interpolation> {
    prop::sample::select(vec![
        Interpolation::Nearest,
        Interpolation::Bilinear,
        Interpolation::Bicubic,
        Interpolation::Box,
        Interpolation::Hamming,
        Interpolation::Lanczos,
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn one_colour_stays_that_colour(
        value: u8, from in (1_usize..90, 1_usize..90), to in (1_usize..90, 1_usize..90),
        channels in 1_usize..4, interpolation in interpolation(), keep: bool,
    ) {
        let shape = ImageShape::new(from.0, from.1, channels);
        let image = Image::new(shape, Pixels::U8(vec![value; shape.values().unwrap()])).unwrap();
        let resize = Resize::new(to.0, to.1).interpolation(interpolation).keep_aspect_ratio(keep);
        let Pixels::U8(values) = resize.apply(image).unwrap().into_pixels() else { unreachable!() };
        prop_assert_eq!(values, vec![value; to.0 * to.1 * channels]);
    }

    #[test]
    fn channels_do_not_mix(
        from in (1_usize..30, 1_usize..30), to in (1_usize..30, 1_usize..30),
        channels in prop::sample::select(vec![2_usize, 3, 5]), interpolation in interpolation(),
    ) {
        let values = noise(from.0 * from.1 * channels);
        let resized = |values: Vec<u8>, channels| {
            let image = Image::new(ImageShape::new(from.0, from.1, channels), Pixels::U8(values)).unwrap();
            Resize::new(to.0, to.1).interpolation(interpolation).apply(image).unwrap().into_f32()
        };
        let whole = resized(values.clone(), channels);
        for channel in 0..channels {
            let plane = values.iter().skip(channel).step_by(channels).copied().collect();
            let expected: Vec<f32> = whole.iter().skip(channel).step_by(channels).copied().collect();
            prop_assert_eq!(resized(plane, 1), expected);
        }
    }
}
