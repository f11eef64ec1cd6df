//! Splines agree with recorded results of scipy, and pass through the pixels they are made of.

use keros_image::{Affine, FillMode, ImageShape, TransformParams};
use serde::Deserialize;

use crate::noise::noise;

#[derive(Deserialize)]
struct Recorded {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    #[serde(flatten)]
    params: TransformParams,
    order: u8,
    fill_mode: FillMode,
    expected: Vec<f32>,
}

#[test]
fn splines_are_scipys() {
    let recorded: Recorded = serde_json::from_str(include_str!("spline_cases.json")).unwrap();
    let image = noise(9 * 7);
    for case in recorded.cases {
        let affine = Affine::new()
            .interpolation_order(case.order)
            .fill_mode(case.fill_mode)
            .cval(3.5);
        let mut out = vec![0.0; image.len()];
        let shape = ImageShape::new(9, 7, 1);
        affine.apply(&case.params, &image, shape, &mut out).unwrap();
        // Order 5 forgets a border slowest, and on sides as short as these scipy's reflecting filter
        // shows that it reads its own unfinished sum; ours keeps an image of one colour as it is.
        let tolerance = if case.order == 5 { 1e-2 } else { 1e-3 };
        for (i, (found, expected)) in out.iter().zip(&case.expected).enumerate() {
            assert!(
                (found - expected).abs() <= tolerance,
                "order {}, {:?}, {:?}, value {i}: {expected} is {found}",
                case.order,
                case.fill_mode,
                case.params
            );
        }
    }
}

#[test]
fn whole_shifts_flips_and_rescaling_are_exact_in_every_order() {
    let shape = ImageShape::new(6, 5, 3);
    let image = noise(6 * 5 * 3);
    for order in 2..=5 {
        let affine = Affine::new().interpolation_order(order).rescale(0.5);
        let params = TransformParams {
            height_shift_px: 1.0,
            width_shift_px: -2.0,
            flip_horizontal: true,
            flip_vertical: true,
            ..TransformParams::default()
        };
        let (mut spline, mut linear) = (vec![0.0; image.len()], vec![0.0; image.len()]);
        affine.apply(&params, &image, shape, &mut spline).unwrap();
        let affine = affine.interpolation_order(1);
        affine.apply(&params, &image, shape, &mut linear).unwrap();
        for (spline, linear) in spline.iter().zip(&linear) {
            assert!(
                (spline - linear).abs() < 1e-4,
                "{order}: {linear} is {spline}"
            );
        }
    }
}

#[test]
fn sides_of_one_pixel_and_wild_parameters_do_no_harm() {
    for (height, width) in [(1, 1), (1, 4), (4, 1), (2, 2)] {
        let shape = ImageShape::new(height, width, 2);
        let image = vec![7_u8; height * width * 2];
        for order in 2..=5 {
            for fill_mode in [FillMode::Nearest, FillMode::Reflect, FillMode::Wrap] {
                for (rotation_deg, zoom_width, height_shift_px) in
                    [(30.0, 1.0, 0.0), (0.0, 1e200, 0.0), (1e9, 0.0, 1e300)]
                {
                    let params = TransformParams {
                        rotation_deg,
                        zoom_width,
                        height_shift_px,
                        ..TransformParams::default()
                    };
                    let affine = Affine::new()
                        .interpolation_order(order)
                        .fill_mode(fill_mode);
                    let mut out = vec![0.0; image.len()];
                    affine.apply(&params, &image, shape, &mut out).unwrap();
                    for value in out {
                        assert!(
                            (value - 7.0).abs() < 1e-3,
                            "{shape}, {order}, {fill_mode:?}: {value}"
                        );
                    }
                }
            }
        }
    }
}
