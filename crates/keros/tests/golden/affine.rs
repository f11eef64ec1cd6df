//! The suite of affine warps, in the geometries of both generations of Keras.

use crate::fixture::{Args, Case, Numbers, Outcome, numbers, run};
use keros::image::{Affine, Geometry, ImageShape, TransformParams};
use serde_json::Value;

/// The warp that a case asks for.
pub(crate) fn warp(args: &mut Args) -> Result<Affine, String> {
    let geometry = match dialect(args)?.as_str() {
        "kp112" => Geometry::KerasPreprocessing112,
        _ => Geometry::TfKeras,
    };
    let mut affine = Affine::new().geometry(geometry);
    if let Some(mode) = args.take("fill_mode") {
        let mode = serde_json::from_value(mode).map_err(|error| error.to_string())?;
        affine = affine.fill_mode(mode);
    }
    if let Some(cval) = args.float("cval") {
        affine = affine.cval(cval as f32);
    }
    if let Some(order) = args.float("interpolation_order") {
        affine = affine.interpolation_order(order as u8);
    }
    Ok(affine)
}

/// `kp112` or `tfk`.
pub(crate) fn dialect(args: &mut Args) -> Result<String, String> {
    match args.take("dialect") {
        Some(Value::String(dialect)) if matches!(dialect.as_str(), "kp112" | "tfk") => Ok(dialect),
        other => Err(format!("unknown dialect {other:?}")),
    }
}

/// The parameters of a case, by Keras's names.
pub(crate) fn params(args: &mut Args) -> TransformParams {
    TransformParams {
        rotation_deg: args.float("theta").unwrap_or(0.0),
        height_shift_px: args.float("tx").unwrap_or(0.0),
        width_shift_px: args.float("ty").unwrap_or(0.0),
        shear_deg: args.float("shear").unwrap_or(0.0),
        zoom_height: args.float("zx").unwrap_or(1.0),
        zoom_width: args.float("zy").unwrap_or(1.0),
        flip_horizontal: args.flag("flip_horizontal").unwrap_or(false),
        flip_vertical: args.flag("flip_vertical").unwrap_or(false),
    }
}

pub(crate) fn shape_of(image: &Numbers) -> ImageShape {
    ImageShape::new(image.shape[0], image.shape[1], image.shape[2])
}

pub(crate) fn warped(affine: &Affine, params: &TransformParams, image: &Numbers) -> Vec<f32> {
    let mut out = vec![0.0; image.values.len()];
    let shape = shape_of(image);
    affine
        .apply(params, &image.values, shape, &mut out)
        .unwrap();
    out
}

fn check(case: &mut Case) -> Outcome {
    let affine = warp(&mut case.args)?;
    let params = params(&mut case.args);
    case.args.finish()?;
    let mut found = warped(&affine, &params, &numbers(&case.inputs["image"]));
    let expected = numbers(&case.expected["image"]);
    if let Some(mask) = case.expected.get("stable_mask") {
        let mask = numbers(mask).values;
        for ((found, expected), mask) in found.iter_mut().zip(&expected.values).zip(&mask) {
            if *mask == 0.0 {
                *found = *expected;
            }
        }
    }
    case.close("image", &found, &expected)
}

#[test]
fn affine() {
    run("affine", &[], check);
}
