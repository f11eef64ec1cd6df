//! What holds for any image and any parameters, first of all agreement with a plain transcription
//! of scipy's semantics.

use keros_image::{Affine, FillMode, ImageShape, Pixel, TransformParams};
use proptest::prelude::*;

fn warp<P: Pixel>(
    affine: &Affine,
    params: &TransformParams,
    image: &[P],
    shape: ImageShape,
) -> Vec<f32> {
    let mut out = vec![f32::NAN; image.len()];
    affine.apply(params, image, shape, &mut out).unwrap();
    out
}

fn fill_mode() -> impl Strategy<Value = FillMode> {
    prop::sample::select(vec![
        FillMode::Constant,
        FillMode::Nearest,
        FillMode::Reflect,
        FillMode::Wrap,
    ])
}

fn params() -> impl Strategy<Value = TransformParams> {
    (
        -180.0..180.0,
        -90.0..90.0,
        -90.0..90.0,
        -60.0..60.0,
        0.2..3.0,
        0.2..3.0,
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(
            |(
                rotation_deg,
                height_shift_px,
                width_shift_px,
                shear_deg,
                zoom_height,
                zoom_width,
                h,
                v,
            )| {
                TransformParams {
                    rotation_deg,
                    height_shift_px,
                    width_shift_px,
                    shear_deg,
                    zoom_height,
                    zoom_width,
                    flip_horizontal: h,
                    flip_vertical: v,
                }
            },
        )
}

fn image() -> impl Strategy<Value = (ImageShape, Vec<u8>)> {
    (1_usize..40, 1_usize..80, 1_usize..6).prop_flat_map(|(height, width, channels)| {
        let shape = ImageShape::new(height, width, channels);
        (
            Just(shape),
            prop::collection::vec(any::<u8>(), height * width * channels),
        )
    })
}

/// Input coordinates of output pixel (row, column), by composing the maps one after the other.
fn input_coordinates(
    params: &TransformParams,
    shape: ImageShape,
    row: usize,
    column: usize,
) -> (f64, f64) {
    let row = if params.flip_vertical {
        shape.height - 1 - row
    } else {
        row
    };
    let column = if params.flip_horizontal {
        shape.width - 1 - column
    } else {
        column
    };
    let centre = (
        (shape.height - 1) as f64 / 2.0,
        (shape.width - 1) as f64 / 2.0,
    );
    let (x, y) = (row as f64 - centre.0, column as f64 - centre.1);
    let (x, y) = (x * params.zoom_height, y * params.zoom_width);
    let (sin, cos) = params.shear_deg.to_radians().sin_cos();
    let (x, y) = (x - sin * y, cos * y);
    let (x, y) = (x + params.height_shift_px, y + params.width_shift_px);
    let (sin, cos) = params.rotation_deg.to_radians().sin_cos();
    (cos * x - sin * y + centre.0, sin * x + cos * y + centre.1)
}

/// scipy's folding of a coordinate on an axis of `length` pixels; `None` is outside.
fn folded(c: f64, length: usize, mode: FillMode) -> Option<f64> {
    let last = (length - 1) as f64;
    let period = 2.0 * length as f64;
    match mode {
        FillMode::Constant => (0.0..=last).contains(&c).then_some(c),
        FillMode::Nearest => Some(c.clamp(0.0, last)),
        FillMode::Reflect => {
            let c = (c + 0.5).rem_euclid(period) - 0.5;
            Some(if c > length as f64 - 0.5 {
                period - 1.0 - c
            } else {
                c
            })
        }
        FillMode::Wrap if length == 1 => Some(0.0),
        FillMode::Wrap if (0.0..=last).contains(&c) => Some(c),
        FillMode::Wrap => Some(c.rem_euclid(last)),
    }
}

/// Whether a last bit can decide which pixel is taken.
fn on_border(c: f64, length: usize, order: u8, mode: FillMode) -> bool {
    let near = |x: f64| (x - x.round()).abs() < 1e-7;
    (order == 0 && near(c + 0.5))
        || (mode == FillMode::Constant
            && (c.abs() < 1e-7 || (c - (length - 1) as f64).abs() < 1e-7))
        || (mode == FillMode::Wrap && length > 1 && near(c / (length - 1) as f64))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn agrees_with_scipys_semantics_in_f64(
        (shape, image) in image(), params in params(), mode in fill_mode(), order in 0_u8..2,
    ) {
        let affine = Affine::new().fill_mode(mode).cval(17.25).interpolation_order(order).rescale(2.0);
        let out = warp(&affine, &params, &image, shape);
        let ImageShape { height, width, channels } = shape;
        let pixel = |row: f64, column: f64, channel: usize| {
            let row = (row.max(0.0) as usize).min(height - 1);
            let column = (column.max(0.0) as usize).min(width - 1);
            f64::from(image[(row * width + column) * channels + channel])
        };
        for row in 0..height {
            for column in 0..width {
                let (r, c) = input_coordinates(&params, shape, row, column);
                if on_border(r, height, order, mode) || on_border(c, width, order, mode) {
                    continue;
                }
                for channel in 0..channels {
                    let expected = match (folded(r, height, mode), folded(c, width, mode)) {
                        (Some(r), Some(c)) if order == 0 => pixel((r + 0.5).floor(), (c + 0.5).floor(), channel),
                        (Some(r), Some(c)) => {
                            let (r0, c0) = (r.floor(), c.floor());
                            let (down, right) = (r - r0, c - c0);
                            pixel(r0, c0, channel) * (1.0 - down) * (1.0 - right)
                                + pixel(r0, c0 + 1.0, channel) * (1.0 - down) * right
                                + pixel(r0 + 1.0, c0, channel) * down * (1.0 - right)
                                + pixel(r0 + 1.0, c0 + 1.0, channel) * down * right
                        }
                        _ => 17.25,
                    } * 2.0;
                    let found = f64::from(out[(row * width + column) * channels + channel]);
                    // Relative to the range of the pixels.
                    prop_assert!(
                        (found - expected).abs() <= 1e-6 * 510.0,
                        "({row}, {column}, {channel}) of {shape} from ({r}, {c}): {expected} is {found}",
                    );
                }
            }
        }
    }

    #[test]
    fn flips_equal_flipping_the_warped_image(
        (shape, image) in image(), params in params(), mode in fill_mode(), order in 0_u8..2,
    ) {
        let affine = Affine::new().fill_mode(mode).interpolation_order(order);
        let unflipped = TransformParams { flip_horizontal: false, flip_vertical: false, ..params.clone() };
        let flips = TransformParams {
            flip_horizontal: params.flip_horizontal, flip_vertical: params.flip_vertical, ..Default::default()
        };
        let warped = warp(&affine, &unflipped, &image, shape);
        prop_assert_eq!(warp(&affine, &flips, &warped, shape), warp(&affine, &params, &image, shape));
    }

    #[test]
    fn flips_undo_themselves((shape, image) in image(), horizontal: bool, vertical: bool) {
        let params = TransformParams {
            flip_horizontal: horizontal, flip_vertical: vertical, ..Default::default()
        };
        let once = warp(&Affine::new(), &params, &image, shape);
        let twice = warp(&Affine::new(), &params, &once, shape);
        prop_assert!(twice.iter().zip(&image).all(|(a, b)| *a == f32::from(*b)));
    }

    #[test]
    fn whole_shifts_are_exact((shape, image) in image(), down in -10_i32..10, right in -10_i32..10, order in 0_u8..2) {
        let params = TransformParams {
            height_shift_px: down.into(), width_shift_px: right.into(), ..Default::default()
        };
        let affine = Affine::new().fill_mode(FillMode::Constant).cval(-3.0).interpolation_order(order);
        let out = warp(&affine, &params, &image, shape);
        let ImageShape { height, width, channels } = shape;
        for (i, found) in out.iter().enumerate() {
            let (row, column) = (i / channels / width, i / channels % width);
            let (r, c) = (row as i32 + down, column as i32 + right);
            let inside = (0..height as i32).contains(&r) && (0..width as i32).contains(&c);
            let expected = if inside {
                f32::from(image[(r as usize * width + c as usize) * channels + i % channels])
            } else {
                -3.0
            };
            prop_assert_eq!(*found, expected);
        }
    }

    /// A plane is reproduced exactly by linear interpolation, so that there and back is the
    /// identity where both ways stay inside.
    #[test]
    fn the_inverse_undoes_a_warp(
        angle in -180.0..180.0_f64, down in -5.0..5.0_f64, zoom in 0.5..2.0_f64, slope in -3.0..3.0_f32,
    ) {
        let shape = ImageShape::new(41, 33, 1);
        let plane: Vec<f32> = (0..41 * 33).map(|i| slope * (i / 33) as f32 - 1.5 * (i % 33) as f32 + 40.0).collect();
        // in = Z R out, and in = R^-1 Z^-1 out; with only one of a kind per call every call is
        // about the same centre.
        let steps = [
            TransformParams { rotation_deg: angle, ..Default::default() },
            TransformParams { zoom_height: zoom, zoom_width: zoom, ..Default::default() },
            TransformParams { height_shift_px: down, ..Default::default() },
            TransformParams { height_shift_px: -down, ..Default::default() },
            TransformParams { zoom_height: 1.0 / zoom, zoom_width: 1.0 / zoom, ..Default::default() },
            TransformParams { rotation_deg: -angle, ..Default::default() },
        ];
        // The same way with ones shows which pixels took nothing from outside.
        let affine = Affine::new().fill_mode(FillMode::Constant);
        let (mut back, mut mask) = (plane.clone(), vec![1.0_f32; plane.len()]);
        for step in &steps {
            back = warp(&affine, step, &back, shape);
            mask = warp(&affine, step, &mask, shape);
        }
        let inside: Vec<usize> = (0..back.len()).filter(|i| mask[*i] > 0.999_99).collect();
        prop_assert!(inside.len() > 30, "{}", inside.len());
        for i in inside {
            prop_assert!((back[i] - plane[i]).abs() < 1e-2, "{i}: {} {}", back[i], plane[i]);
        }
    }

    #[test]
    fn u8_and_f32_sources_and_all_channel_counts_agree(
        (shape, image) in image(), params in params(), mode in fill_mode(), order in 0_u8..2,
    ) {
        let affine = Affine::new().fill_mode(mode).cval(9.0).interpolation_order(order).rescale(0.25);
        let out = warp(&affine, &params, &image, shape);
        let floats: Vec<f32> = image.iter().map(|value| f32::from(*value)).collect();
        prop_assert_eq!(&warp(&affine, &params, &floats, shape), &out);
        let single = ImageShape { channels: 1, ..shape };
        for channel in 0..shape.channels {
            let plane: Vec<u8> = image.iter().skip(channel).step_by(shape.channels).copied().collect();
            let expected: Vec<f32> = out.iter().skip(channel).step_by(shape.channels).copied().collect();
            prop_assert_eq!(warp(&affine, &params, &plane, single), expected);
        }
    }

    /// Whatever the parameters: an error, or an image whose values lie within those of the source.
    #[test]
    fn wild_parameters_never_leave_the_range(
        (shape, image) in image(),
        mode in fill_mode(),
        order in 0_u8..2,
        rotation_deg: f64, height_shift_px: f64, width_shift_px: f64, shear_deg: f64, zoom_height: f64, zoom_width: f64,
    ) {
        let params = TransformParams {
            rotation_deg, height_shift_px, width_shift_px, shear_deg, zoom_height, zoom_width, ..Default::default()
        };
        let affine = Affine::new().fill_mode(mode).interpolation_order(order);
        let mut out = vec![0.0; image.len()];
        if affine.apply(&params, &image, shape, &mut out).is_ok() {
            prop_assert!(out.iter().all(|value| (0.0..=255.001).contains(value)));
        }
    }
}
