//! Small images with results known by hand, and everything that is refused.

use keros_image::{Affine, FillMode, Geometry, ImageError, ImageShape, TransformParams};

fn neutral() -> TransformParams {
    TransformParams::default()
}

fn apply(
    affine: &Affine,
    params: &TransformParams,
    image: &[u8],
    height: usize,
    width: usize,
) -> Vec<f32> {
    let mut out = vec![f32::NAN; image.len()];
    let shape = ImageShape::new(height, width, image.len() / (height * width));
    affine.apply(params, image, shape, &mut out).unwrap();
    out
}

/// One row of five pixels sampled three to the right and three to the left.
fn check_fill(fill_mode: FillMode, right: [f32; 5], left: [f32; 5]) {
    let affine = Affine::new().fill_mode(fill_mode).cval(7.0);
    for order in [0, 1] {
        let affine = affine.clone().interpolation_order(order);
        for (shift, expected) in [(3.0, right), (-3.0, left)] {
            let horizontal = TransformParams {
                width_shift_px: shift,
                ..neutral()
            };
            assert_eq!(
                apply(&affine, &horizontal, &[10, 20, 30, 40, 50], 1, 5),
                expected,
                "order {order}"
            );
            let vertical = TransformParams {
                height_shift_px: shift,
                ..neutral()
            };
            assert_eq!(
                apply(&affine, &vertical, &[10, 20, 30, 40, 50], 5, 1),
                expected,
                "order {order}"
            );
        }
    }
}

#[test]
fn constant_fills_with_cval() {
    check_fill(
        FillMode::Constant,
        [40.0, 50.0, 7.0, 7.0, 7.0],
        [7.0, 7.0, 7.0, 10.0, 20.0],
    );
}

#[test]
fn nearest_repeats_the_border() {
    check_fill(
        FillMode::Nearest,
        [40.0, 50.0, 50.0, 50.0, 50.0],
        [10.0, 10.0, 10.0, 10.0, 20.0],
    );
}

#[test]
fn reflect_mirrors_with_the_border_doubled() {
    check_fill(
        FillMode::Reflect,
        [40.0, 50.0, 50.0, 40.0, 30.0],
        [30.0, 20.0, 10.0, 10.0, 20.0],
    );
}

#[test]
fn wrap_repeats_with_one_pixel_less() {
    // Coordinates 5, 6, 7 become 1, 2, 3; -3, -2, -1 become 1, 2, 3.
    check_fill(
        FillMode::Wrap,
        [40.0, 50.0, 20.0, 30.0, 40.0],
        [20.0, 30.0, 40.0, 10.0, 20.0],
    );
}

#[test]
fn half_a_pixel_is_the_mean_of_two() {
    let params = TransformParams {
        width_shift_px: 0.5,
        ..neutral()
    };
    let image = [0, 100, 50, 200];
    assert_eq!(
        apply(&Affine::new(), &params, &image, 1, 4),
        [50.0, 75.0, 125.0, 200.0]
    );
    assert_eq!(
        apply(&Affine::new().interpolation_order(0), &params, &image, 1, 4),
        [100.0, 50.0, 200.0, 200.0]
    );
    // Outside is outside, however little, and is not blended.
    let constant = Affine::new().fill_mode(FillMode::Constant).cval(-1.0);
    assert_eq!(
        apply(&constant, &params, &image, 1, 4),
        [50.0, 75.0, 125.0, -1.0]
    );
}

#[test]
fn a_quarter_turn_about_the_true_centre_keeps_every_pixel() {
    #[rustfmt::skip]
    let (image, turned) = ([1, 2, 3,
                            4, 5, 6,
                            7, 8, 9],
                           [3.0, 6.0, 9.0,
                            2.0, 5.0, 8.0,
                            1.0, 4.0, 7.0]);
    let params = TransformParams {
        rotation_deg: -90.0,
        ..neutral()
    };
    let close = |found: Vec<f32>, expected: [f32; 9]| {
        assert!(
            found
                .iter()
                .zip(expected)
                .all(|(a, b)| (a - b).abs() < 1e-5),
            "{found:?}"
        );
    };
    let found = apply(&Affine::new(), &params, &image, 3, 3);
    let mirrored: [f32; 9] = std::array::from_fn(|i| turned[8 - i]);
    close(found, turned);
    // tf-keras turns the other way.
    let exchanged = Affine::new().geometry(Geometry::TfKeras);
    close(apply(&exchanged, &params, &image, 3, 3), mirrored);
}

#[test]
fn shifts_move_along_the_side_they_are_named_after_except_in_tf_keras() {
    let image = [1, 2, 3, 4];
    let down = TransformParams {
        height_shift_px: 1.0,
        ..neutral()
    };
    assert_eq!(
        apply(&Affine::new(), &down, &image, 2, 2),
        [3.0, 4.0, 3.0, 4.0]
    );
    let historical = Affine::new().geometry(Geometry::KerasPreprocessing112);
    assert_eq!(
        apply(&historical, &down, &image, 2, 2),
        [3.0, 4.0, 3.0, 4.0]
    );
    let exchanged = Affine::new().geometry(Geometry::TfKeras);
    assert_eq!(apply(&exchanged, &down, &image, 2, 2), [2.0, 2.0, 4.0, 4.0]);
}

#[test]
fn neutral_parameters_copy_and_rescale() {
    let image: Vec<u8> = (0..=255).collect();
    let out = apply(
        &Affine::new().rescale(1.0 / 255.0),
        &neutral(),
        &image,
        16,
        16,
    );
    let expected: Vec<f32> = image
        .iter()
        .map(|value| f32::from(*value) * (1.0 / 255.0))
        .collect();
    assert_eq!(out, expected);
}

#[test]
fn flips_mirror_pixels_not_channels() {
    let image = [1, 2, 3, 4, 5, 6, 7, 8];
    let horizontal = TransformParams {
        flip_horizontal: true,
        ..neutral()
    };
    assert_eq!(
        apply(&Affine::new(), &horizontal, &image, 2, 2),
        [3.0, 4.0, 1.0, 2.0, 7.0, 8.0, 5.0, 6.0]
    );
    let vertical = TransformParams {
        flip_vertical: true,
        ..neutral()
    };
    assert_eq!(
        apply(&Affine::new(), &vertical, &image, 2, 2),
        [5.0, 6.0, 7.0, 8.0, 1.0, 2.0, 3.0, 4.0]
    );
}

#[test]
fn cval_is_rescaled_like_a_pixel() {
    let affine = Affine::new()
        .fill_mode(FillMode::Constant)
        .cval(100.0)
        .rescale(0.5);
    let params = TransformParams {
        width_shift_px: 1.0,
        ..neutral()
    };
    assert_eq!(apply(&affine, &params, &[10, 20], 1, 2), [10.0, 50.0]);
}

#[test]
fn a_single_pixel_survives_every_mode() {
    let params = TransformParams {
        rotation_deg: 30.0,
        height_shift_px: 3.0,
        zoom_width: 0.5,
        ..neutral()
    };
    for mode in [FillMode::Nearest, FillMode::Reflect, FillMode::Wrap] {
        for order in [0, 1] {
            let affine = Affine::new().fill_mode(mode).interpolation_order(order);
            assert_eq!(apply(&affine, &params, &[42], 1, 1), [42.0], "{mode:?}");
        }
    }
}

/// The message of the error that applying gives; the output must be untouched.
fn refusal(
    affine: &Affine,
    params: &TransformParams,
    image: &[u8],
    shape: ImageShape,
    out_len: usize,
) -> String {
    let mut out = vec![-1.0; out_len];
    let error: ImageError = affine.apply(params, image, shape, &mut out).unwrap_err();
    assert!(out.iter().all(|value| *value == -1.0));
    error.to_string()
}

#[test]
fn refusals_say_what_was_wrong() {
    let shape = ImageShape::new(2, 2, 1);
    let good = Affine::new();
    let turn = TransformParams {
        rotation_deg: 10.0,
        ..neutral()
    };
    let check = |found: String, expected: &str| assert_eq!(found, expected);
    check(
        refusal(
            &good.clone().interpolation_order(6),
            &turn,
            &[0; 4],
            shape,
            4,
        ),
        "warping an image: unknown interpolation_order (expected 0 to 5, found 6)",
    );
    check(
        refusal(&good, &turn, &[0; 3], shape, 4),
        "reading an image: the source buffer does not fit the shape 2×2×1 (expected 4 values, found 3)",
    );
    check(
        refusal(&good, &turn, &[0; 4], shape, 5),
        "reading an image: the output buffer does not fit the shape 2×2×1 (expected 4 values, found 5)",
    );
    check(
        refusal(&good, &turn, &[], ImageShape::new(0, 2, 1), 0),
        "reading an image: height, width and channels must not be zero (expected at least 1×1×1, found 0×2×1)",
    );
    check(
        refusal(&good, &turn, &[], ImageShape::new(usize::MAX, 2, 2), 0),
        "reading an image: 18446744073709551615×2×2 is too large (expected at most 1073741824 values)",
    );
    let nan = TransformParams {
        shear_deg: f64::NAN,
        ..neutral()
    };
    check(
        refusal(&good, &nan, &[0; 4], shape, 4),
        "warping an image: shear_deg must be finite (expected a number, found NaN)",
    );
    let huge = TransformParams {
        rotation_deg: 45.0,
        height_shift_px: f64::MAX,
        width_shift_px: f64::MAX,
        ..neutral()
    };
    check(
        refusal(&good, &huge, &[0; 4], shape, 4),
        "warping an image: shifts and zooms are too large (expected a finite matrix, found an infinite one)",
    );
    check(
        refusal(&good.clone().cval(f32::INFINITY), &turn, &[0; 4], shape, 4),
        "warping an image: cval must be finite (expected a number, found inf)",
    );
}

#[test]
fn parameters_are_plain_data() {
    let params = TransformParams {
        rotation_deg: 12.345_678_901_234_5,
        flip_vertical: true,
        ..neutral()
    };
    let json = serde_json::to_string(&params).unwrap();
    assert_eq!(
        serde_json::from_str::<TransformParams>(&json).unwrap(),
        params
    );
    assert_eq!(
        serde_json::from_str::<TransformParams>("{}").unwrap(),
        neutral()
    );
}
