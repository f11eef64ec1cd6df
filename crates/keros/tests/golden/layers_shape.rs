//! Activations, shapes, borders, tables and merges: the layers without convolutions.

use crate::fixture::{Args, Case, Numbers, Outcome, numbers, run_some};
use crate::test_device::test_device;
use keros::nn::layers::{
    Activation, Add, Average, Concatenate, Cropping2D, Dropout, ELU, Embedding, Flatten,
    Interpolation, LeakyReLU, Maximum, Minimum, Multiply, PReLU, Permute, ReLU, RepeatVector,
    Rescaling, Reshape, Softmax, Subtract, UpSampling2D, ZeroPadding2D,
};
use keros::nn::{Layer, LayerBuilder, Merge, Mode, ParamRules, Pass};
use keros::tensor::access::{read, write};
use keros::tensor::{Params, Tensor, Workspace};
use serde_json::Value;

/// The classes whose cases this file runs.
pub(crate) const LAYERS: &[&str] = &[
    "Activation",
    "Add",
    "Average",
    "Concatenate",
    "Cropping2D",
    "Dropout",
    "ELU",
    "Embedding",
    "Flatten",
    "LeakyReLU",
    "Maximum",
    "Minimum",
    "Multiply",
    "PReLU",
    "Permute",
    "ReLU",
    "RepeatVector",
    "Rescaling",
    "Reshape",
    "Softmax",
    "Subtract",
    "UpSampling2D",
    "ZeroPadding2D",
];

#[test]
fn layers_without_convolutions() {
    let mine = |case: &Case| {
        let layer = case.args.text("layer");
        layer.is_some_and(|layer| LAYERS.contains(&layer))
    };
    run_some("layers", &[], mine, |case| {
        let class = case.args.take("layer").unwrap();
        let class = class.as_str().unwrap();
        let mut config = Args::of(case.args.take("config"));
        let training = case.args.flag("training").unwrap_or(false);
        case.args.finish()?;
        if let Some(format) = config.take("data_format")
            && format != "channels_last"
        {
            return Err(format!("data_format {format}"));
        }
        let layer = layer(class, &mut config)?;
        let merge = merge(class);
        config.finish()?;
        match (layer, merge) {
            (Some(layer), _) => check_layer(case, layer, training),
            (None, Some(merge)) => check_merge(case, merge),
            (None, None) => Err(format!("unknown layer {class}")),
        }
    });
}

fn layer(class: &str, config: &mut Args) -> Result<Option<Box<dyn Layer>>, String> {
    Ok(Some(match class {
        "Activation" => {
            let name = config.take("activation").unwrap();
            Box::new(Activation::new(name.as_str().unwrap()))
        }
        "Cropping2D" => Box::new(Cropping2D::new(border(config.take("cropping")))),
        "Dropout" => Box::new(Dropout::new(number(config, "rate").unwrap())),
        "ELU" => Box::new(ELU::new().alpha(number(config, "alpha").unwrap())),
        "Embedding" => {
            if config.flag("mask_zero") == Some(true) {
                return Err("mask_zero".into());
            }
            let size = |name| whole(&config.take(name).unwrap());
            let [rows, width] = ["input_dim", "output_dim"].map(size);
            Box::new(Embedding::new(rows, width))
        }
        "Flatten" => Box::new(Flatten::new()),
        "LeakyReLU" => {
            let slope = number(config, "negative_slope").unwrap();
            Box::new(LeakyReLU::new().negative_slope(slope))
        }
        "PReLU" => Box::new(PReLU::new()),
        "Permute" => Box::new(Permute::new(wholes(config.take("dims")))),
        "ReLU" => Box::new(
            ReLU::new()
                .max_value(number(config, "max_value").unwrap())
                .negative_slope(number(config, "negative_slope").unwrap())
                .threshold(number(config, "threshold").unwrap()),
        ),
        "RepeatVector" => Box::new(RepeatVector::new(whole(&config.take("n").unwrap()))),
        "Rescaling" => {
            let scale = number(config, "scale").unwrap();
            Box::new(Rescaling::new(scale).offset(number(config, "offset").unwrap()))
        }
        "Reshape" => {
            let shape = config.take("target_shape").unwrap();
            let shape = shape.as_array().unwrap().iter();
            let shape: Vec<isize> = shape.map(|n| n.as_i64().unwrap() as isize).collect();
            Box::new(Reshape::new(shape))
        }
        "Softmax" => {
            let axis = config.take("axis").unwrap().as_i64().unwrap();
            Box::new(Softmax::new().axis(axis as isize))
        }
        "UpSampling2D" => {
            let size = wholes(config.take("size"));
            let interpolation = config.take("interpolation").unwrap();
            let interpolation = match interpolation.as_str().unwrap() {
                "nearest" => Interpolation::Nearest,
                "bilinear" => Interpolation::Bilinear,
                other => return Err(format!("interpolation {other}")),
            };
            Box::new(UpSampling2D::new((size[0], size[1])).interpolation(interpolation))
        }
        "ZeroPadding2D" => Box::new(ZeroPadding2D::new(border(config.take("padding")))),
        _ => return Ok(None),
    }))
}

fn merge(class: &str) -> Option<Box<dyn Merge>> {
    Some(match class {
        "Add" => Box::new(Add::new()),
        "Average" => Box::new(Average::new()),
        "Concatenate" => Box::new(Concatenate::default()),
        "Maximum" => Box::new(Maximum::new()),
        "Minimum" => Box::new(Minimum::new()),
        "Multiply" => Box::new(Multiply::new()),
        "Subtract" => Box::new(Subtract::new()),
        _ => return None,
    })
}

/// Runs a layer with the recorded weights; compares the output and every recorded gradient.
fn check_layer(case: &Case, mut layer: Box<dyn Layer>, training: bool) -> Outcome {
    let words = |error: keros::nn::NnError| error.to_string();
    let x = tensor(&case.inputs["x"]);
    let mut params = Params::new();
    let mut rules = ParamRules::default();
    let mut builder = LayerBuilder::new(&mut params, &mut rules, "layer", test_device(), 0);
    let output = layer.build(&x.dims()[1..], &mut builder).map_err(words)?;
    let weights = case.inputs["weights"].as_object().unwrap();
    if weights.len() != params.len() {
        return Err(format!(
            "expected {} weights, found {}",
            weights.len(),
            params.len()
        ));
    }
    for (name, value) in weights {
        let value = numbers(value);
        let param = params.by_name(&format!("layer/{name}"));
        let param = param.ok_or_else(|| format!("no weight {name}"))?.value();
        assert_eq!(param.dims(), value.shape, "{name}");
        write(param, |param: &mut [f32]| {
            param.copy_from_slice(&value.values);
        })
        .unwrap();
    }

    let (mut workspace, mut tape) = (Workspace::new(test_device()), Vec::new());
    let mode = match training {
        true => Mode::Training { seed: 0, step: 0 },
        false => Mode::Inference,
    };
    let mut pass = Pass::new(&mut workspace, &params, &mut tape, mode);
    let y = layer.forward(&x, &mut pass).map_err(words)?;
    if y.dims()[1..] != output[..] {
        return Err(format!("built for {output:?}, found {:?}", y.dims()));
    }
    close(case, "y", &y)?;
    let dx = layer
        .backward(&tensor(&case.inputs["upstream"]), &mut pass)
        .map_err(words)?;
    for name in case.expected.as_object().unwrap().keys() {
        match name.strip_prefix("grad_") {
            Some("x") => close(case, name, dx.as_ref().ok_or("no gradient of x")?)?,
            Some(weight) => {
                let param = params.by_name(&format!("layer/{weight}"));
                let param = param.ok_or_else(|| format!("no weight {weight}"))?;
                close(case, name, param.grad())?;
            }
            None if name == "y" => {}
            None => return Err(format!("unknown expected value {name}")),
        }
    }
    match tape.len() {
        0 => Ok(()),
        left => Err(format!("{left} saved tensors were not restored")),
    }
}

fn check_merge(case: &Case, mut merge: Box<dyn Merge>) -> Outcome {
    let words = |error: keros::nn::NnError| error.to_string();
    let inputs = ["a", "b"].map(|name| tensor(&case.inputs[name]));
    let shapes = inputs.each_ref().map(|x| x.dims()[1..].to_vec());
    let output = merge.build(&shapes).map_err(words)?;
    let (mut workspace, mut tape) = (Workspace::new(test_device()), Vec::new());
    let params = Params::new();
    let mut pass = Pass::new(&mut workspace, &params, &mut tape, Mode::Inference);
    let y = merge.forward(&inputs, &mut pass).map_err(words)?;
    assert_eq!(y.dims()[1..], output);
    let expected = case.expected.as_object().unwrap();
    assert_eq!(expected.len(), 1, "merges are recorded without gradients");
    close(case, "y", &y)
}

fn close(case: &Case, name: &str, found: &Tensor) -> Outcome {
    let expected = numbers(&case.expected[name]);
    if found.dims() != expected.shape {
        return Err(format!(
            "{name}: expected shape {:?}, found {:?}",
            expected.shape,
            found.dims()
        ));
    }
    case.close(name, &read::<f32>(found).unwrap(), &expected)
}

fn tensor(value: &Value) -> Tensor {
    let Numbers { shape, values } = numbers(value);
    Tensor::from_vec(values, shape, test_device()).unwrap()
}

fn number(config: &mut Args, name: &str) -> Option<f32> {
    config.float(name).map(|value| value as f32)
}

fn whole(value: &Value) -> usize {
    usize::try_from(value.as_u64().unwrap()).unwrap()
}

fn wholes(value: Option<Value>) -> Vec<usize> {
    value
        .unwrap()
        .as_array()
        .unwrap()
        .iter()
        .map(whole)
        .collect()
}

fn border(value: Option<Value>) -> ((usize, usize), (usize, usize)) {
    let ends = |value: &Value| {
        let ends = wholes(Some(value.clone()));
        (ends[0], ends[1])
    };
    let value = value.unwrap();
    (ends(&value[0]), ends(&value[1]))
}
