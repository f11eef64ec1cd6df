//! Warps recorded from Keras itself: the historical geometries reproduce them.

use keros_image::{Affine, FillMode, Geometry, ImageShape, TransformParams};
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Deserialize)]
struct Golden {
    images: BTreeMap<String, Image>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Image {
    shape: [usize; 3],
    values: Vec<f32>,
}

/// Keras's own names; what is absent is neutral.
#[derive(Deserialize)]
struct Case {
    id: String,
    image: String,
    dialect: String,
    fill_mode: FillMode,
    cval: f32,
    interpolation_order: u8,
    #[serde(default)]
    theta: f64,
    #[serde(default)]
    tx: f64,
    #[serde(default)]
    ty: f64,
    #[serde(default)]
    shear: f64,
    #[serde(default = "one")]
    zx: f64,
    #[serde(default = "one")]
    zy: f64,
    expected: Vec<f32>,
    #[serde(default)]
    unstable: Vec<usize>,
}

fn one() -> f64 {
    1.0
}

/// Checks all cases of a file; the largest deviation relative to `max(1, |expected|)`.
pub(crate) fn check_cases(json: &str) -> f32 {
    let golden: Golden = serde_json::from_str(json).unwrap();
    assert!(!golden.cases.is_empty());
    let mut largest = 0.0_f32;
    for case in &golden.cases {
        let image = &golden.images[&case.image];
        let [height, width, channels] = image.shape;
        let params = TransformParams {
            rotation_deg: case.theta,
            height_shift_px: case.tx,
            width_shift_px: case.ty,
            shear_deg: case.shear,
            zoom_height: case.zx,
            zoom_width: case.zy,
            ..TransformParams::default()
        };
        let geometry = match case.dialect.as_str() {
            "kp112" => Geometry::KerasPreprocessing112,
            "tfk" => Geometry::TfKeras,
            other => panic!("{other}: unknown dialect"),
        };
        let affine = Affine::new()
            .geometry(geometry)
            .fill_mode(case.fill_mode)
            .cval(case.cval)
            .interpolation_order(case.interpolation_order);
        let mut out = vec![0.0; image.values.len()];
        let shape = ImageShape::new(height, width, channels);
        affine
            .apply(&params, &image.values, shape, &mut out)
            .unwrap();
        for (i, (found, expected)) in out.iter().zip(&case.expected).enumerate() {
            let deviation = (found - expected).abs() / expected.abs().max(1.0);
            if !case.unstable.contains(&i) {
                assert!(
                    deviation <= 2e-4,
                    "{}: value {i} should be {expected}, is {found}",
                    case.id
                );
                largest = largest.max(deviation);
            }
        }
    }
    largest
}

#[test]
fn keras_warps_are_reproduced() {
    check_cases(include_str!("affine_cases.json"));
}
