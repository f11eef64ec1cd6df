//! How a run was set up, as JSON: for callbacks that note or show it.

use crate::seen::Seen;
use keros_nn::Port;
use keros_tensor::{Device, device_name};
use serde::Serialize;
use serde_json::{Map, Value};

#[derive(Serialize)]
struct Facts<'a> {
    /// Version of keros.
    version: &'static str,
    device: String,
    seed: u64,
    epochs: u64,
    initial_epoch: u64,
    /// Batches per epoch, if known.
    steps: Option<u64>,
    validation: bool,
    metrics: &'a [String],
    optimizer: OptimizerFacts,
    inputs: Vec<PortFacts<'a>>,
    outputs: Vec<OutputFacts<'a>>,
    parameters: u64,
    trainable_parameters: u64,
    /// Keras's configuration of the network, if it has one.
    network: Option<Value>,
}

#[derive(Serialize)]
struct OptimizerFacts {
    name: &'static str,
    scheduled: bool,
    #[serde(flatten)]
    numbers: Map<String, Value>,
}

/// Name and shape of one sample.
#[derive(Serialize)]
struct PortFacts<'a> {
    name: &'a str,
    shape: &'a [usize],
}

#[derive(Serialize)]
struct OutputFacts<'a> {
    #[serde(flatten)]
    port: PortFacts<'a>,
    loss: Option<&'static str>,
    loss_weight: f64,
}

impl<'a> From<&'a Port> for PortFacts<'a> {
    fn from(port: &'a Port) -> PortFacts<'a> {
        PortFacts {
            name: &port.name,
            shape: &port.shape,
        }
    }
}

/// The facts of the run of an event, an object in this order.
pub(crate) fn tell(seen: &Seen<'_>) -> serde_json::Result<String> {
    let params = seen.network.params();
    let count = |only_trainable: bool| {
        let counted = params.iter().map(|(_, param)| param);
        let counted = counted.filter(|param| param.trainable() || !only_trainable);
        counted.map(|param| param.value().elem_count() as u64).sum()
    };
    let numbers = seen.optimizer.numbers().into_iter();
    let device = params.iter().next();
    let facts = Facts {
        version: env!("CARGO_PKG_VERSION"),
        device: device_name(device.map_or(&Device::Cpu, |(_, param)| param.value().device())),
        seed: seen.seed,
        epochs: seen.info.epochs,
        initial_epoch: seen.info.initial_epoch,
        steps: seen.info.steps,
        validation: seen.info.validation,
        metrics: &seen.info.metrics,
        optimizer: OptimizerFacts {
            name: seen.optimizer.name(),
            scheduled: seen.optimizer.is_scheduled(),
            numbers: numbers
                .map(|(name, value)| (name.to_owned(), value.into()))
                .collect(),
        },
        inputs: seen.network.inputs().iter().map(PortFacts::from).collect(),
        outputs: seen
            .network
            .outputs()
            .iter()
            .zip(seen.heads)
            .map(|(port, head)| OutputFacts {
                port: port.into(),
                loss: head.loss.as_ref().map(|loss| loss.name()),
                loss_weight: head.weight,
            })
            .collect(),
        parameters: count(false),
        trainable_parameters: count(true),
        network: match seen.network.config() {
            Some(config) => Some(serde_json::from_str(&config)?),
            None => None,
        },
    };
    serde_json::to_string(&facts)
}
