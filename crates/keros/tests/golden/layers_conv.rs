//! The recorded layers that convolve, pool or normalize, and `Dense`.

use crate::fixture::{Case, Outcome, numbers, run_some};
use crate::test_device::test_device;
use keros::nn::layers::{
    AveragePooling2D, Axes, BatchNormalization, Conv1D, Conv2D, Conv2DTranspose, Dense,
    DepthwiseConv2D, GlobalAveragePooling2D, GlobalMaxPooling2D, GroupNormalization,
    LayerNormalization, MaxPooling2D, Padding, SeparableConv2D, UnitNormalization,
};
use keros::nn::{
    Activation, Initializer, Layer, LayerBuilder, Mode, Network, NnError, Pass, Sequential,
    SequentialBuilder,
};
use keros::tensor::access::{read, write};
use keros::tensor::{ParamId, Tensor, Workspace};
use serde_json::{Map, Value};

/// The classes of this suite.
pub(crate) const LAYERS: &[&str] = &[
    "AveragePooling2D",
    "BatchNormalization",
    "Conv1D",
    "Conv2D",
    "Conv2DTranspose",
    "Dense",
    "DepthwiseConv2D",
    "GlobalAveragePooling2D",
    "GlobalMaxPooling2D",
    "GroupNormalization",
    "LayerNormalization",
    "MaxPooling2D",
    "SeparableConv2D",
    "UnitNormalization",
];

#[test]
fn convolution_pooling_and_normalization() {
    let wanted = |case: &Case| {
        let layer = case.args.text("layer");
        layer.is_some_and(|layer| LAYERS.contains(&layer))
    };
    run_some("layers", &[], wanted, check);
}

/// The layer's arguments, which must all be taken.
struct Config(Map<String, Value>);

impl Config {
    fn value(&mut self, name: &str) -> Result<Value, String> {
        self.0
            .shift_remove(name)
            .ok_or_else(|| format!("no argument {name}"))
    }

    /// Takes an argument that has one possible value.
    fn only(&mut self, name: &str, expected: impl Into<Value>) -> Outcome {
        let (found, expected) = (self.value(name)?, expected.into());
        match found == expected {
            true => Ok(()),
            false => Err(format!("{name} is {found}, not {expected}")),
        }
    }

    fn count(&mut self, name: &str) -> Result<usize, String> {
        let value = self.value(name)?;
        let number = value.as_u64().ok_or(format!("{name} is {value}"))?;
        Ok(number as usize)
    }

    fn float(&mut self, name: &str) -> Result<f64, String> {
        let value = self.value(name)?;
        value.as_f64().ok_or(format!("{name} is {value}"))
    }

    fn flag(&mut self, name: &str) -> Result<bool, String> {
        let value = self.value(name)?;
        value.as_bool().ok_or(format!("{name} is {value}"))
    }

    fn counts<const N: usize>(&mut self, name: &str) -> Result<[usize; N], String> {
        serde_json::from_value::<Vec<usize>>(self.value(name)?)
            .ok()
            .and_then(|counts| counts.try_into().ok())
            .ok_or_else(|| format!("{name} is not {N} counts"))
    }

    fn size(&mut self, name: &str) -> Result<(usize, usize), String> {
        Ok(self.counts::<2>(name)?.into())
    }

    fn axes(&mut self, name: &str) -> Result<Axes, String> {
        let value = self.value(name)?;
        let axes = match value.is_array() {
            true => serde_json::from_value::<Vec<isize>>(value).map(Axes::from),
            false => serde_json::from_value::<isize>(value).map(Axes::from),
        };
        axes.map_err(|error| format!("{name}: {error}"))
    }

    fn axis(&mut self, name: &str) -> Result<isize, String> {
        let value = self.value(name)?;
        serde_json::from_value(value).map_err(|error| format!("{name}: {error}"))
    }

    fn padding(&mut self) -> Result<Padding, String> {
        match self.value("padding")?.as_str() {
            Some("valid") => Ok(Padding::Valid),
            Some("same") => Ok(Padding::Same),
            Some("causal") => Ok(Padding::Causal),
            other => Err(format!("unknown padding {other:?}")),
        }
    }

    fn activation(&mut self) -> Result<Activation, String> {
        let value = self.value("activation")?;
        let name = value.as_str().ok_or(format!("activation is {value}"))?;
        name.parse().map_err(|error: NnError| error.to_string())
    }

    fn finish(&self) -> Outcome {
        match self.0.keys().next() {
            None => Ok(()),
            Some(name) => Err(format!("unknown argument {name}: {}", self.0[name])),
        }
    }
}

const NAME: &str = "layer";

/// Adds the layer that a case is about.
fn add(
    builder: SequentialBuilder,
    class: &str,
    c: &mut Config,
    training: bool,
) -> Result<SequentialBuilder, String> {
    let images = !matches!(
        class,
        "Dense"
            | "BatchNormalization"
            | "LayerNormalization"
            | "GroupNormalization"
            | "UnitNormalization"
    );
    if images {
        c.only("data_format", "channels_last")?;
    }
    Ok(match class {
        "Dense" => builder.layer(
            Dense::new(c.count("units")?)
                .activation(c.activation()?)
                .use_bias(c.flag("use_bias")?)
                .name(NAME),
        ),
        "Conv1D" => builder.layer(
            Conv1D::new(c.count("filters")?, c.counts::<1>("kernel_size")?[0])
                .strides(c.counts::<1>("strides")?[0])
                .padding(c.padding()?)
                .dilation_rate(c.counts::<1>("dilation_rate")?[0])
                .groups(c.count("groups")?)
                .activation(c.activation()?)
                .use_bias(c.flag("use_bias")?)
                .name(NAME),
        ),
        "Conv2D" => builder.layer(
            Conv2D::new(c.count("filters")?, c.size("kernel_size")?)
                .strides(c.size("strides")?)
                .padding(c.padding()?)
                .dilation_rate(c.size("dilation_rate")?)
                .groups(c.count("groups")?)
                .activation(c.activation()?)
                .use_bias(c.flag("use_bias")?)
                .name(NAME),
        ),
        "DepthwiseConv2D" => builder.layer(
            DepthwiseConv2D::new(c.size("kernel_size")?)
                .strides(c.size("strides")?)
                .padding(c.padding()?)
                .depth_multiplier(c.count("depth_multiplier")?)
                .dilation_rate(c.size("dilation_rate")?)
                .activation(c.activation()?)
                .use_bias(c.flag("use_bias")?)
                .name(NAME),
        ),
        "SeparableConv2D" => builder.layer(
            SeparableConv2D::new(c.count("filters")?, c.size("kernel_size")?)
                .strides(c.size("strides")?)
                .padding(c.padding()?)
                .depth_multiplier(c.count("depth_multiplier")?)
                .dilation_rate(c.size("dilation_rate")?)
                .activation(c.activation()?)
                .use_bias(c.flag("use_bias")?)
                .name(NAME),
        ),
        "Conv2DTranspose" => builder.layer(
            Conv2DTranspose::new(c.count("filters")?, c.size("kernel_size")?)
                .strides(c.size("strides")?)
                .padding(c.padding()?)
                .dilation_rate(c.size("dilation_rate")?)
                .activation(c.activation()?)
                .use_bias(c.flag("use_bias")?)
                .name(NAME),
        ),
        "MaxPooling2D" => builder.layer(
            MaxPooling2D::new(c.size("pool_size")?)
                .strides(c.size("strides")?)
                .padding(c.padding()?)
                .name(NAME),
        ),
        "AveragePooling2D" => builder.layer(
            AveragePooling2D::new(c.size("pool_size")?)
                .strides(c.size("strides")?)
                .padding(c.padding()?)
                .name(NAME),
        ),
        "GlobalAveragePooling2D" => builder.layer(
            GlobalAveragePooling2D::new()
                .keepdims(c.flag("keepdims")?)
                .name(NAME),
        ),
        "GlobalMaxPooling2D" => builder.layer(
            GlobalMaxPooling2D::new()
                .keepdims(c.flag("keepdims")?)
                .name(NAME),
        ),
        "BatchNormalization" => {
            c.only("synchronized", false)?;
            c.only("renorm", false)?;
            // Without renorm it means nothing.
            c.only("renorm_momentum", 0.99)?;
            builder.layer(
                BatchNormalization::new()
                    .axis(c.axis("axis")?)
                    .momentum(c.float("momentum")?)
                    .epsilon(c.float("epsilon")? as f32)
                    .center(c.flag("center")?)
                    .scale(c.flag("scale")?)
                    // The gradients of inference are those of a frozen layer.
                    .trainable(training)
                    .name(NAME),
            )
        }
        "LayerNormalization" => {
            c.only("rms_scaling", false)?;
            builder.layer(
                LayerNormalization::new()
                    .axis(c.axes("axis")?)
                    .epsilon(c.float("epsilon")? as f32)
                    .center(c.flag("center")?)
                    .scale(c.flag("scale")?)
                    .name(NAME),
            )
        }
        "GroupNormalization" => builder.layer(
            GroupNormalization::new()
                .groups(c.count("groups")?)
                .axis(c.axis("axis")?)
                .epsilon(c.float("epsilon")? as f32)
                .center(c.flag("center")?)
                .scale(c.flag("scale")?)
                .name(NAME),
        ),
        "UnitNormalization" => {
            builder.layer(UnitNormalization::new().axis(c.axes("axis")?).name(NAME))
        }
        other => return Err(format!("unknown layer {other}")),
    })
}

/// A layer before the one in question, whose parameter takes the place of the input: its gradient
/// is that of the input.
struct Input {
    shape: Vec<usize>,
    value: Option<ParamId>,
}

impl Layer for Input {
    fn class_name(&self) -> &'static str {
        "Input"
    }

    fn name(&self) -> Option<&str> {
        Some("input")
    }

    fn build(
        &mut self,
        input: &[usize],
        builder: &mut LayerBuilder<'_>,
    ) -> Result<Vec<usize>, NnError> {
        self.value = Some(builder.param("x", &self.shape, Initializer::Zeros)?);
        Ok(input.to_vec())
    }

    fn forward(&self, _: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor, NnError> {
        Ok(pass.value(self.value.ok_or(NnError::NotBuilt)?).clone())
    }

    fn backward(&self, dy: &Tensor, pass: &mut Pass<'_>) -> Result<Option<Tensor>, NnError> {
        let dy = read::<f32>(dy)?;
        let grad = pass.grad(self.value.ok_or(NnError::NotBuilt)?);
        write(grad, |grad: &mut [f32]| grad.copy_from_slice(&dy))?;
        Ok(None)
    }
}

fn tensor(value: &Value) -> Tensor {
    let numbers = numbers(value);
    Tensor::from_vec(numbers.values, numbers.shape, test_device()).unwrap()
}

fn values(tensor: &Tensor) -> Vec<f32> {
    read::<f32>(tensor).unwrap().to_vec()
}

fn check(case: &mut Case) -> Outcome {
    let class = case.args.take("layer").unwrap();
    let class = class.as_str().unwrap();
    let (builder, training) = match case.args.take("dialect") {
        None => {
            let training = case.args.flag("training").ok_or("no argument training")?;
            let config = case.args.take("config").ok_or("no argument config")?;
            let mut config = Config(config.as_object().ok_or("no configuration")?.clone());
            let builder = add(begin(case), class, &mut config, training)?;
            config.finish()?;
            (builder, training)
        }
        Some(dialect) if dialect == "keras2" && class == "BatchNormalization" => {
            let layer = BatchNormalization::new()
                .momentum(case.args.float("momentum").ok_or("no momentum")?)
                .epsilon(case.args.float("epsilon").ok_or("no epsilon")? as f32)
                .unbiased_moving_variance(true)
                .name(NAME);
            (begin(case).layer(layer), true)
        }
        Some(dialect) => return Err(format!("unknown dialect {dialect} of {class}")),
    };
    case.args.finish()?;
    let built = builder.build(test_device(), 1);
    let mut network = built.map_err(|error| error.to_string())?;

    let x = tensor(&case.inputs["x"]);
    let weights = case.inputs["weights"].as_object().unwrap();
    let names: Vec<String> = network
        .params()
        .iter()
        .filter_map(|(_, param)| param.name().strip_prefix("layer/").map(str::to_owned))
        .collect();
    if names.len() != weights.len() || names.iter().any(|name| !weights.contains_key(name)) {
        return Err(format!("parameters {names:?}, not {:?}", weights.keys()));
    }
    let param = |network: &Sequential, name: &str| {
        let param = network.params().by_name(name).unwrap();
        (param.value().as_tensor().clone(), param.grad().clone())
    };
    let set = |name: &str, value: &Tensor| {
        let param = network.params().by_name(name).unwrap();
        param.set(value).map_err(|error| error.to_string())
    };
    set("input/x", &x)?;
    for (name, value) in weights {
        set(&format!("layer/{name}"), &tensor(value))?;
    }

    let ws = &mut Workspace::new(test_device());
    let inputs = std::slice::from_ref(&x);
    let y = numbers(&case.expected["y"]);
    if !training {
        let outputs = network.forward(ws, inputs, Mode::Inference).unwrap();
        let found = outputs[0].values(ws).unwrap();
        case.close("y of inference", &values(&found), &y)?;
        ws.recycle();
    }
    let mode = Mode::Training { seed: 1, step: 0 };
    let outputs = network.forward(ws, inputs, mode).unwrap();
    let found = outputs[0].values(ws).unwrap();
    if found.dims() != y.shape {
        return Err(format!("y has shape {:?}, not {:?}", found.dims(), y.shape));
    }
    case.close("y", &values(&found), &y)?;
    if let Some(upstream) = case.inputs.get("upstream") {
        network.backward(ws, &[tensor(upstream)]).unwrap();
        case.expected.get("grad_x").ok_or("no gradient of x")?;
    }
    for (what, expected) in case.expected.as_object().unwrap() {
        match what.as_str() {
            "y" => {}
            "grad_x" => {
                let (_, grad) = param(&network, "input/x");
                case.close(what, &values(&grad), &numbers(expected))?;
            }
            "weights_after" => {
                for (name, expected) in expected.as_object().unwrap() {
                    let (value, _) = param(&network, &format!("layer/{name}"));
                    case.close(name, &values(&value), &numbers(expected))?;
                }
            }
            other => {
                let name = other.strip_prefix("grad_").unwrap_or_default();
                if !weights.contains_key(name) {
                    return Err(format!("unknown expectation {other}"));
                }
                let (_, grad) = param(&network, &format!("layer/{name}"));
                case.close(other, &values(&grad), &numbers(expected))?;
            }
        }
    }
    Ok(())
}

/// A network for the case's input that begins with [`Input`].
fn begin(case: &Case) -> SequentialBuilder {
    let shape = numbers(&case.inputs["x"]).shape;
    Sequential::builder(&shape[1..]).layer(Input { shape, value: None })
}
