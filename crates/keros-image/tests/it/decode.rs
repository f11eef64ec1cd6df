//! Decoding agrees with what Pillow reads, and any bytes give an image or an error.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use keros_image::{ColorMode, Decoder, Format, ImageError, ImageShape, Pixels};
use proptest::prelude::*;
use serde::Deserialize;

#[derive(Deserialize)]
struct Recorded {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    file: String,
    shape: [usize; 2],
    grayscale: Vec<f32>,
    rgb: String,
    rgba: String,
}

/// A small file of every kind, by name.
fn files() -> BTreeMap<String, Vec<u8>> {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/files"));
    let files = fs::read_dir(folder).unwrap();
    files
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read(entry.path()).unwrap())
        })
        .collect()
}

fn recorded() -> Vec<Case> {
    let cases: Recorded = serde_json::from_str(include_str!("decode_cases.json")).unwrap();
    cases.cases
}

fn hex(text: &str) -> Vec<f32> {
    let pairs = text.as_bytes().chunks_exact(2);
    let byte = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
    pairs.map(|pair| f32::from(byte(pair))).collect()
}

/// How far a value may be from Pillow's. Decoders of JPEG round differently, and interpolate
/// colours stored at half the resolution differently; with `turbojpeg` it is Pillow's own.
fn tolerance(file: &str) -> f32 {
    match file {
        "cmyk.jpg" => 4.0,
        _ if cfg!(feature = "turbojpeg") => 0.0,
        "subsampled.jpg" => 12.0,
        _ if file.ends_with(".jpg") => 4.0,
        _ => 0.0,
    }
}

fn check(case: &Case, mode: ColorMode, bytes: &[u8], expected: &[f32]) {
    let decoder = Decoder::new().color_mode(mode).apply_orientation(false);
    let image = decoder.decode(bytes).unwrap();
    let [height, width] = case.shape;
    assert_eq!(
        image.shape(),
        ImageShape::new(height, width, mode.channels())
    );
    for (i, (found, expected)) in image.into_f32().iter().zip(expected).enumerate() {
        assert!(
            (found - expected).abs() <= tolerance(&case.file),
            "{} as {mode}, value {i}: {expected} is {found}",
            case.file
        );
    }
}

#[test]
fn files_are_read_as_pillow_reads_them() {
    let files = files();
    let cases = recorded();
    assert_eq!(cases.len(), files.len());
    for case in cases {
        let bytes = &files[&case.file];
        match case.file.as_str() {
            // Pillow cuts these to 0..=255.
            "floats.tiff" | "gray32.tiff" => continue,
            "gray16.png" | "gray16.pgm" | "gray16.tiff" => {
                check(&case, ColorMode::Grayscale, bytes, &case.grayscale);
                // Here too Pillow cuts to 0..=255: the high byte is what other programs show.
                let high = case.grayscale.iter().map(|v| (v / 256.0).floor());
                let rgb: Vec<f32> = high.flat_map(|v| [v; 3]).collect();
                check(&case, ColorMode::Rgb, bytes, &rgb);
            }
            _ => {
                check(&case, ColorMode::Grayscale, bytes, &case.grayscale);
                check(&case, ColorMode::Rgb, bytes, &hex(&case.rgb));
                check(&case, ColorMode::Rgba, bytes, &hex(&case.rgba));
            }
        }
    }
}

#[test]
fn only_16_bit_gray_becomes_floats() {
    for (name, bytes) in files() {
        let decoder = Decoder::new().color_mode(ColorMode::Grayscale);
        if let Ok(image) = decoder.decode(&bytes) {
            let floats = matches!(image.pixels(), Pixels::F32(_));
            assert_eq!(floats, name.starts_with("gray16"), "{name}");
        }
    }
}

/// A PNG with one more chunk behind its header.
fn with_chunk(png: &[u8], name: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let named = [name, data].concat();
    let crc = named.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| match crc & 1 {
            1 => crc >> 1 ^ 0xedb8_8320,
            _ => crc >> 1,
        })
    });
    let (before, behind) = png.split_at(33);
    let length = (data.len() as u32).to_be_bytes();
    let chunk = [&length[..], &named, &(!crc).to_be_bytes()].concat();
    [before, &chunk, behind].concat()
}

#[test]
fn gray_of_16_bits_keeps_its_range_where_one_gray_is_transparent() {
    let bytes = &files()["gray16.png"];
    let gray = |bytes: &[u8]| {
        let decoder = Decoder::new().color_mode(ColorMode::Grayscale);
        decoder.decode(bytes).unwrap()
    };
    let opaque = gray(bytes);
    let Pixels::F32(values) = opaque.pixels() else {
        panic!("expected floats");
    };
    let transparent = (values[0] as u16).to_be_bytes();
    let with_transparent = with_chunk(bytes, b"tRNS", &transparent);
    assert_eq!(gray(&with_transparent), opaque);
    let decoder = Decoder::new().color_mode(ColorMode::Rgba);
    let rgba = decoder.decode(&with_transparent).unwrap().into_f32();
    assert_eq!(rgba[3], 0.0);
}

#[test]
fn photographs_are_turned_upright() {
    let bytes = &files()["turned.jpg"];
    let stored = Decoder::new().apply_orientation(false);
    let stored = stored.decode(bytes).unwrap();
    let upright = Decoder::new().decode(bytes).unwrap();
    let ImageShape { height, width, .. } = stored.shape();
    assert_eq!(upright.shape(), ImageShape::new(width, height, 3));
    let (stored, upright) = (stored.into_f32(), upright.into_f32());
    // Orientation 6: the first stored row is the right side of the picture.
    for row in 0..height {
        for column in 0..width {
            let from = (row * width + column) * 3;
            let to = (column * height + (height - 1 - row)) * 3;
            assert_eq!(stored[from..from + 3], upright[to..to + 3]);
        }
    }
}

#[test]
fn the_name_of_a_file_does_not_matter_but_its_format_does() {
    assert_eq!(Format::of(&files()["rgb.ppm"]), Some(Format::Pnm));
    let error = Decoder::new().decode(b"<svg></svg>").unwrap_err();
    assert!(
        matches!(error, ImageError::UnknownFormat { length: 11, .. }),
        "{error}"
    );
    let error = Decoder::new().decode(&[]).unwrap_err();
    assert!(
        matches!(error, ImageError::UnknownFormat { length: 0, .. }),
        "{error}"
    );
}

#[test]
fn floats_and_32_bit_gray_are_refused() {
    for name in ["floats.tiff", "gray32.tiff"] {
        let error = Decoder::new().decode(&files()[name]).unwrap_err();
        assert!(error.to_string().contains("TIFF"), "{name}: {error}");
    }
}

#[test]
fn too_many_pixels_are_refused_before_they_are_read() {
    for (name, bytes) in files() {
        let error = Decoder::new().max_pixels(20).decode(&bytes).unwrap_err();
        assert!(
            matches!(
                error,
                ImageError::TooManyPixels { .. } | ImageError::Undecodable { .. }
            ),
            "{name}: {error}"
        );
    }
    // Claims to be 60000×60000, in 33 bytes.
    let mut bytes = files()["rgb.png"].clone();
    bytes[16..20].copy_from_slice(&60_000_u32.to_be_bytes());
    bytes[20..24].copy_from_slice(&60_000_u32.to_be_bytes());
    assert!(Decoder::new().decode(&bytes).is_err());
    let bmp = |width: i32, height: i32| {
        let mut bytes = files()["rgb.bmp"].clone();
        bytes[18..22].copy_from_slice(&width.to_le_bytes());
        bytes[22..26].copy_from_slice(&height.to_le_bytes());
        Decoder::new().decode(&bytes)
    };
    let error = bmp(60_000, 60_000).unwrap_err();
    assert!(
        matches!(
            error,
            ImageError::TooManyPixels {
                height: 60_000,
                width: 60_000,
                ..
            }
        ),
        "{error}"
    );
    assert!(bmp(0, 5).is_err());
    assert!(bmp(7, 9_000).is_err());
    let ppm = b"P6 9000 9000 255\n";
    assert!(Decoder::new().decode(ppm).is_err());
}

/// What follows the first picture may be missing, but no part of the picture.
#[test]
fn a_truncated_file_is_an_error_or_the_same_picture_at_every_length() {
    for (name, bytes) in files() {
        let whole = Decoder::new().decode(&bytes);
        for length in 0..bytes.len() {
            if let Ok(image) = Decoder::new().decode(&bytes[..length]) {
                assert_eq!(
                    Some(&image),
                    whole.as_ref().ok(),
                    "{name} cut to {length} bytes of {}",
                    bytes.len()
                );
            }
        }
    }
}

#[test]
fn a_png_that_lacks_only_its_end_is_read() {
    for name in ["rgb.png", "gray16.png", "palette_alpha.png"] {
        let bytes = &files()[name];
        let whole = Decoder::new().decode(bytes).unwrap();
        // The length, the name and the checksum of the chunk that ends the file.
        let end = bytes.len() - 12;
        assert_eq!(&bytes[end + 4..end + 8], b"IEND");
        for length in end..bytes.len() {
            let image = Decoder::new().decode(&bytes[..length]).unwrap();
            assert_eq!(image, whole, "{name} cut to {length} bytes");
        }
        // Cut in its pixels, also where it gets another end.
        assert!(Decoder::new().decode(&bytes[..end - 1]).is_err());
        let pixels = bytes.windows(4).position(|name| name == b"IDAT").unwrap();
        let part = &bytes[pixels + 4..end - 4][..10];
        let mut less = bytes[..pixels - 4].to_vec();
        less.extend(10_u32.to_be_bytes());
        less.extend(b"IDAT");
        less.extend(part);
        less.extend(crc(&[b"IDAT", part].concat()).to_be_bytes());
        assert!(Decoder::new().decode(&less).is_err(), "{name}");
    }
}

/// The checksum of a chunk of a PNG.
fn crc(bytes: &[u8]) -> u32 {
    let shifted = |crc: u32| (crc >> 1) ^ (0xedb8_8320 * (crc & 1));
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| shifted(crc))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// An error or an image, whatever the bytes behind a good beginning.
    #[test]
    fn damaged_files_never_panic(
        file in 0_usize..29, mode in prop::sample::select(vec![ColorMode::Grayscale, ColorMode::Rgb, ColorMode::Rgba]),
        damage in prop::collection::vec((0_usize..1000, any::<u8>()), 1..8), cut in 0_usize..2000,
    ) {
        let (_, mut bytes) = files().into_iter().nth(file).unwrap();
        for (at, byte) in damage {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        bytes.truncate(cut.max(12));
        let decoder = Decoder::new().color_mode(mode).max_pixels(1_000_000);
        if let Ok(image) = decoder.decode(&bytes) {
            let shape = image.shape();
            prop_assert!(shape.height * shape.width <= 1_000_000);
            prop_assert_eq!(image.into_f32().len(), shape.values().unwrap());
        }
    }

    #[test]
    fn random_bytes_never_panic(
        begin in prop::sample::select(vec![
            &b""[..], b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM", b"P6", b"P5 3 3 255\n", b"GIF89a", b"II*\0", b"MM\0*",
            b"RIFF\x40\0\0\0WEBPVP8 ",
        ]),
        rest in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let bytes = [begin, &rest].concat();
        let _ = Decoder::new().max_pixels(1_000_000).decode(&bytes);
    }
}
