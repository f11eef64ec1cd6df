//! Chains of layers as configurations.

use super::{Arguments, Config, Object, Registry, parse};
use crate::config::registry::Class;
use crate::dtype_policy::DtypePolicy;
use crate::error::NnError;
use crate::part::{Part, PlannedLayer};
use crate::sequential::{Sequential, SequentialBuilder};
use keros_tensor::Device;
use serde_json::{Value, json};

/// Class, arguments and place of a layer in a network.
pub(super) struct LayerEntry {
    pub(super) class: String,
    pub(super) name: Option<String>,
    pub(super) trainable: Option<bool>,
    pub(super) arguments: Arguments,
    /// What else stands beside the class.
    pub(super) rest: Config,
}

impl LayerEntry {
    /// Takes a layer apart.
    pub(super) fn read(value: Value) -> Result<LayerEntry, NnError> {
        let object = Object::read("layer", value)?;
        let mut arguments = Arguments::new(object.config);
        let class = object.class;
        let taken = match class.as_str() {
            "InputLayer" => take_input_dtype(&mut arguments),
            _ => take_policy(&mut arguments),
        };
        let taken = taken.and_then(|()| take_base(&mut arguments));
        let (name, trainable) = taken.map_err(|error| error.in_layer(&class))?;
        Ok(LayerEntry {
            class,
            name,
            trainable,
            arguments,
            rest: object.rest,
        })
    }

    /// The layer; `frozen` if its network is not trained.
    pub(super) fn make(self, registry: &Registry, frozen: bool) -> Result<Made, NnError> {
        let (class, name) = (self.class, self.name);
        let made = registry.make(&class, self.arguments);
        let made = made.map_err(|error| error.in_layer(name.as_deref().unwrap_or(&class)))?;
        Ok(match made {
            Class::Layer(layer) => Made::Layer(PlannedLayer {
                layer,
                name,
                trainable: if frozen { Some(false) } else { self.trainable },
                values: Vec::new(),
            }),
            Class::Merge(merge) => Made::Merge(merge, name),
        })
    }
}

/// What a [`LayerEntry`] becomes.
pub(super) enum Made {
    Layer(PlannedLayer),
    Merge(Box<dyn crate::layer::Merge>, Option<String>),
}

/// The types of numbers that an input of Keras's may have.
const INPUT_DTYPES: [&str; 12] = [
    "float16", "bfloat16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8",
    "uint16", "uint32", "uint64",
];

/// Checks the type of a network's input, which is `f32` here, whatever the network's policy.
fn take_input_dtype(arguments: &mut Arguments) -> Result<(), NnError> {
    let is_known = |name: &str| INPUT_DTYPES.contains(&name);
    take_dtype(
        arguments,
        is_known,
        "a type of numbers, such as float32 or uint8",
    )
}

/// Checks the policy of a layer or network.
///
/// Parameters are `f32`, as those of Keras's mixed policies are; in which types batches are computed is
/// chosen for a network, not kept with it.
fn take_policy(arguments: &mut Arguments) -> Result<(), NnError> {
    let is_known = |name: &str| name.parse::<DtypePolicy>().is_ok();
    take_dtype(
        arguments,
        is_known,
        "float32, mixed_bfloat16 or mixed_float16",
    )
}

fn take_dtype(
    arguments: &mut Arguments,
    is_known: impl Fn(&str) -> bool,
    expected: &str,
) -> Result<(), NnError> {
    let found = arguments.value("dtype").unwrap_or_default();
    // A policy is an object that has the name.
    let name = found.pointer("/config/name").unwrap_or(&found);
    match found.is_null() || name.as_str().is_some_and(is_known) {
        true => Ok(()),
        false => Err(NnError::config("dtype", expected, name)),
    }
}

/// The arguments that every layer has: its name and whether it is trained.
fn take_base(arguments: &mut Arguments) -> Result<(Option<String>, Option<bool>), NnError> {
    Ok((arguments.take("name")?, arguments.take("trainable")?))
}

/// The shape of a sample that an input layer is for. Batches of all sizes are taken, also where Keras
/// was told one.
pub(super) fn input_shape(arguments: &mut Arguments) -> Result<Vec<usize>, NnError> {
    let old = arguments.value("batch_input_shape");
    let shape = arguments.value("batch_shape").or(old).unwrap_or_default();
    for (name, value) in [("sparse", false), ("ragged", false), ("optional", false)] {
        arguments.only(name, &Value::Bool(value))?;
    }
    let sample = match shape.as_array().map(Vec::as_slice) {
        Some([batch, sample @ ..]) if batch.is_null() || batch.is_u64() => sample
            .iter()
            .map(|length| usize::try_from(length.as_u64()?).ok())
            .collect(),
        _ => None,
    };
    sample.ok_or_else(|| {
        let expected = "a list of null or a whole number, for the batch, and whole numbers";
        NnError::config("batch_shape", expected, &shape)
    })
}

/// An input layer as Keras writes it.
pub(super) fn write_input(name: &str, shape: &[usize]) -> Value {
    let lengths = shape.iter().map(|&length| json!(length));
    let batch: Vec<Value> = std::iter::once(Value::Null).chain(lengths).collect();
    let config = json!({ "batch_shape": batch, "dtype": "float32", "sparse": false, "name": name });
    let config = config.as_object().cloned().unwrap_or_default();
    Object::write("keras.layers", "InputLayer", config)
}

/// A layer as Keras writes it.
pub(super) fn write_layer(part: &Part) -> Result<Value, NnError> {
    write_class(
        part.class_name(),
        &part.name,
        part.trainable,
        part.config.as_ref(),
    )
}

/// A layer of this class and configuration as Keras writes it.
pub(super) fn write_class(
    class: &str,
    name: &str,
    trainable: bool,
    own: Option<&Config>,
) -> Result<Value, NnError> {
    let Some(own) = own else {
        return Err(NnError::NoConfig {
            layer: name.to_owned(),
            class_name: class.to_owned(),
        });
    };
    let mut config = Config::new();
    config.insert("name".to_owned(), json!(name));
    config.insert("trainable".to_owned(), json!(trainable));
    config.insert("dtype".to_owned(), json!("float32"));
    config.extend(
        own.iter()
            .map(|(name, value)| (name.clone(), value.clone())),
    );
    Ok(Object::write("keras.layers", class, config))
}

/// The arguments of a network of this class, and whether it is frozen.
pub(super) fn read_network(
    value: Value,
    classes: &[&str],
) -> Result<(String, Arguments, bool), NnError> {
    let object = Object::read("network", value)?;
    if !classes.contains(&object.class.as_str()) {
        let expected = classes.join(" or ");
        return Err(NnError::config(
            "class of the network",
            expected,
            object.class,
        ));
    }
    let mut arguments = Arguments::new(object.config);
    take_policy(&mut arguments)?;
    let (_, trainable) = take_base(&mut arguments)?;
    Ok((object.class, arguments, trainable == Some(false)))
}

/// The layers of a network.
pub(super) fn take_layers(arguments: &mut Arguments) -> Result<Vec<Value>, NnError> {
    match arguments.value("layers") {
        Some(Value::Array(layers)) => Ok(layers),
        found => {
            let found = found.unwrap_or_default();
            Err(NnError::config("layers", "a list", &found))
        }
    }
}

/// The input's name and shape, and the layers, of a chain.
pub(super) struct Chain {
    pub(super) input: String,
    pub(super) shape: Vec<usize>,
    pub(super) layers: Vec<PlannedLayer>,
}

impl Chain {
    pub(super) fn read(
        mut arguments: Arguments,
        registry: &Registry,
        frozen: bool,
    ) -> Result<Chain, NnError> {
        let mut layers = take_layers(&mut arguments)?.into_iter().peekable();
        // Keras repeats the input's shape.
        arguments.value("build_input_shape");
        arguments.finish()?;
        let expected = "an InputLayer with a `batch_shape` at the beginning";
        let first = layers
            .next()
            .ok_or_else(|| NnError::config("layers", expected, "no layer"))?;
        let mut first = LayerEntry::read(first)?;
        if first.class != "InputLayer" {
            return Err(NnError::config("layers", expected, &first.class));
        }
        let shape = input_shape(&mut first.arguments)
            .and_then(|shape| first.arguments.finish().map(|()| shape))
            .map_err(|error| error.in_layer("InputLayer"))?;
        let layers = layers.map(
            |layer| match LayerEntry::read(layer)?.make(registry, frozen)? {
                Made::Layer(layer) => Ok(layer),
                Made::Merge(merge, _) => {
                    let expected = "layers of one input in a chain";
                    Err(NnError::config("layers", expected, merge.class_name()))
                }
            },
        );
        Ok(Chain {
            input: first.name.unwrap_or_else(|| "input_layer".to_owned()),
            shape,
            layers: layers.collect::<Result<_, _>>()?,
        })
    }
}

impl Sequential {
    /// The layers and their arguments as JSON with the names and in the form of Keras. The values of
    /// the parameters are not part of it.
    ///
    /// # Errors
    /// [`NnError::NoConfig`]: a layer of the user's own that has no
    /// [`config`](crate::Layer::config), or one with such a regularizer or constraint.
    pub fn to_json(&self) -> Result<String, NnError> {
        let [input] = &self.inputs;
        let mut layers = vec![write_input(&input.name, &input.shape)];
        for part in &self.parts {
            layers.push(write_layer(part)?);
        }
        let config = Config::from_iter([
            ("name".to_owned(), json!("sequential")),
            ("layers".to_owned(), Value::Array(layers)),
        ]);
        Ok(Object::write("keras", "Sequential", config).to_string())
    }

    /// The network that [`to_json`](Self::to_json) has written, or Keras 3 with its method of this
    /// name, with new parameters that start from `seed`. Its input is called `input`, and takes `f32`
    /// in batches of any size, whatever type and size Keras was told.
    ///
    /// # Errors
    /// Text that is no such network; a layer, by name, with an unknown class or argument, an argument
    /// of another type or value than is supported, or one that cannot be built.
    pub fn from_json(json: &str, device: &Device, seed: u64) -> Result<Sequential, NnError> {
        Sequential::from_json_with(json, &Registry::new(), device, seed)
    }

    /// As [`from_json`](Self::from_json), with layers of the user's own.
    ///
    /// # Errors
    /// As [`from_json`](Self::from_json).
    pub fn from_json_with(
        json: &str,
        registry: &Registry,
        device: &Device,
        seed: u64,
    ) -> Result<Sequential, NnError> {
        let (_, arguments, frozen) = read_network(parse(json)?, &["Sequential"])?;
        let chain = Chain::read(arguments, registry, frozen)?;
        let mut builder: SequentialBuilder = Sequential::builder(chain.shape);
        for layer in chain.layers {
            builder.push(layer);
        }
        builder.build(device, seed)
    }
}
