//! The suite of what is done to images besides the warp: flips, channel shift, brightness,
//! standardization, whitening, and the order of a flow.

use crate::affine::{dialect, params, shape_of, warp, warped};
use crate::dirs;
use crate::fixture::{Args, Case, Numbers, Outcome, numbers, run};
use keros::data::{Array, FlowOptions, ImageDataGenerator, Sequence};
use keros::image::{
    Affine, BrightnessStyle, Fit, ImageShape, PixelOps, PixelParams, Standardize, Whitening,
};
use serde_json::Value;

fn changed(params: &PixelParams, ops: &PixelOps, image: &Numbers) -> Vec<f32> {
    let mut values = image.values.clone();
    ops.apply(params, &mut values, shape_of(image)).unwrap();
    values
}

fn brightness(case: &mut Case) -> Outcome {
    let style = match dialect(&mut case.args)?.as_str() {
        "kp112" => BrightnessStyle::KerasPreprocessing112,
        _ => BrightnessStyle::TfKeras,
    };
    let params = PixelParams {
        brightness: case.args.float("brightness"),
        ..PixelParams::default()
    };
    case.args.finish()?;
    let ops = PixelOps::new().brightness_style(style);
    let found = changed(&params, &ops, &numbers(&case.inputs["image"]));
    // The recorded tolerance is a level of a byte; ours is that of a float.
    case.close_within("image", &found, &numbers(&case.expected["image"]), 1e-6)
}

/// Affine warp, flips and channel shift.
fn transform(case: &mut Case) -> Outcome {
    let channels_first = match case.args.take("data_format") {
        Some(Value::String(format)) if format == "channels_first" => true,
        None => false,
        other => return Err(format!("unknown data_format {other:?}")),
    };
    let image = numbers(&case.inputs["image"]);
    let (affine, mut args) = match case.args.take("transform_parameters") {
        Some(parameters) => (warp(&mut case.args)?, Args::of(Some(parameters))),
        None => (
            Affine::new(),
            std::mem::replace(&mut case.args, Args::of(None)),
        ),
    };
    let pixels = PixelParams {
        channel_shift: args.float("channel_shift_intensity").unwrap_or(0.0),
        ..PixelParams::default()
    };
    let params = params(&mut args);
    args.finish()?;
    case.args.finish()?;
    let image = match channels_first {
        true => channels_last(&image),
        false => image,
    };
    let image = Numbers {
        values: warped(&affine, &params, &image),
        shape: image.shape,
    };
    let found = changed(&pixels, &PixelOps::new(), &image);
    let expected = numbers(&case.expected["image"]);
    let expected = match channels_first {
        true => channels_last(&expected),
        false => expected,
    };
    case.close("image", &found, &expected)
}

fn channels_last(image: &Numbers) -> Numbers {
    let &[channels, height, width] = image.shape.as_slice() else {
        panic!("no image: {:?}", image.shape);
    };
    let pixels = height * width;
    let value = |i: usize| image.values[i % channels * pixels + i / channels];
    Numbers {
        shape: vec![height, width, channels],
        values: (0..image.values.len()).map(value).collect(),
    }
}

/// The images of a tensor `[samples, height, width, channels]`.
fn images(x: &Numbers) -> (ImageShape, impl Iterator<Item = &[f32]>) {
    let &[_, height, width, channels] = x.shape.as_slice() else {
        panic!("no images: {:?}", x.shape);
    };
    let shape = ImageShape::new(height, width, channels);
    (shape, x.values.chunks_exact(height * width * channels))
}

fn standardize(case: &mut Case) -> Outcome {
    let args = &mut case.args;
    let mut steps = Standardize::new();
    if let Some(rescale) = args.float("rescale") {
        steps = steps.rescale(rescale as f32);
    }
    macro_rules! flags {
        ($($flag:ident)*) => {$(
            if let Some(flag) = args.flag(stringify!($flag)) {
                steps = steps.$flag(flag);
            }
        )*};
    }
    flags!(samplewise_center samplewise_std_normalization featurewise_center);
    flags!(featurewise_std_normalization);
    let whitening = match args.flag("zca_whitening") {
        Some(whiten) => {
            steps = steps.zca_whitening(whiten);
            Some(match dialect(args)?.as_str() {
                "kp112" => Whitening::Variance,
                _ => Whitening::SingularValue,
            })
        }
        None => None,
    };
    let epsilon = args.float("zca_epsilon");
    let preprocessing = match args.take("preprocessing_function") {
        None => false,
        Some(Value::String(text)) if text == "x -> reverse_channels(x)*2-3" => true,
        other => return Err(format!("unknown preprocessing_function {other:?}")),
    };
    args.finish()?;

    let x = numbers(&case.inputs["x"]);
    let (shape, all) = images(&x);
    let mut fit = Fit::new(&steps, shape).unwrap();
    if let Some(whitening) = whitening {
        fit = fit.zca_whitening(whitening, epsilon.unwrap()).unwrap();
    }
    for image in all {
        fit.add(image).unwrap();
    }
    let statistics = fit.finish().unwrap();
    let mut standardized = Vec::new();
    for image in images(&x).1.take(4) {
        let mut image = image.to_vec();
        if preprocessing {
            for pixel in image.chunks_exact_mut(shape.channels) {
                pixel.reverse();
                pixel
                    .iter_mut()
                    .for_each(|value| *value = *value * 2.0 - 3.0);
            }
        }
        steps.apply(Some(&statistics), &mut image, shape).unwrap();
        standardized.extend(image);
    }
    for (key, expected) in case.expected.as_object().unwrap() {
        let found = match key.as_str() {
            "standardized" => &standardized,
            "mean" => statistics.mean(),
            "std" => statistics.std(),
            "matrix" => statistics.zca_matrix().unwrap(),
            other => return Err(format!("unknown result {other}")),
        };
        match case.id.as_str() {
            // Keras sums the values 0..=255 in f32: its mean is off in the last digits.
            "standardize_featurewise_center" => {
                case.close_within(key, found, &numbers(expected), 1e-4)?;
            }
            _ => case.close(key, found, &numbers(expected))?,
        }
    }
    Ok(())
}

/// Which samples are in which batch.
fn flow(case: &mut Case) -> Outcome {
    let samples = case.args.float("n").unwrap() as usize;
    let batch_size = dirs::count(&mut case.args, "batch_size", 32);
    let subset = dirs::subset(&mut case.args)?;
    let options = FlowOptions {
        batch_size,
        shuffle: case.args.flag("shuffle").unwrap_or(false),
        subset,
        ..FlowOptions::default()
    };
    let generator = match case.args.float("validation_split") {
        Some(split) => ImageDataGenerator::new().validation_split(split),
        None => ImageDataGenerator::new(),
    };
    case.args.finish()?;
    let numbered = (0..samples).map(|i| i as f32).collect();
    let x = Array::from_vec(&[samples, 1, 1, 1], numbered).unwrap();
    let column = |step: f32, start: f32| {
        let values: Vec<f32> = (0..samples).map(|i| start + step * i as f32).collect();
        Array::from_vec(&[samples], values).unwrap()
    };
    let weights = case.expected.get("w").is_some();
    let options = FlowOptions {
        sample_weight: weights.then(|| column(0.5, 0.5)),
        ..options
    };
    let y = weights.then(|| column(10.0, 0.0));
    let flow = generator.flow(x, y, options).unwrap();
    // A pass is an epoch; a reset begins a new one.
    let pass = |epoch| (0..flow.len()).map(move |index| (epoch, index));
    let order: Vec<_> = match case.id.as_str() {
        "flow_reset" => pass(0).take(2).chain(pass(1).take(1)).collect(),
        _ => pass(0).chain(pass(1)).chain(pass(2)).collect(),
    };
    let floats = |array: &Array| array.as_slice::<f32>().unwrap().to_vec();
    for (key, expected) in case.expected.as_object().unwrap() {
        if key == "len" {
            case.close_number(key, flow.len() as f64, expected)?;
            continue;
        }
        if key == "indices" {
            let batch = flow.batch(0, 0).unwrap();
            case.close(key, &floats(batch.inputs.first()), &numbers(expected))?;
            continue;
        }
        for (expected, (epoch, index)) in expected.as_array().unwrap().iter().zip(&order) {
            let batch = flow.batch(*epoch, *index).unwrap();
            let found = match key.as_str() {
                "next_indices" => batch.indices.iter().map(|i| *i as f32).collect(),
                "y" => floats(batch.targets.unwrap().first()),
                "w" => floats(batch.sample_weight.unwrap().first()),
                other => return Err(format!("unknown result {other}")),
            };
            case.close(key, &found, &numbers(expected))?;
        }
    }
    Ok(())
}

#[test]
fn image_ops() {
    run("image_ops", &[], |case| match case.id.split('_').next() {
        Some("flip" | "channel" | "full") => transform(case),
        Some("brightness") => brightness(case),
        Some("standardize" | "zca") => standardize(case),
        Some("flow") => flow(case),
        other => Err(format!("unknown kind {other:?}")),
    });
}
