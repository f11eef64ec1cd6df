//! Whole networks from the files of Keras.

use super::Registry;
use crate::error::NnError;
use crate::graph::Graph;
use crate::keras_weights::load_keras_weights;
use keros_tensor::{Device, read_keras_config};
use std::path::Path;

/// The network in a `.keras` file that Keras 3 wrote, functional or sequential, with its weights. How
/// it was compiled is not read.
///
/// ```no_run
/// use keros_nn::{load_keras_model, summary};
///
/// let network = load_keras_model("model.keras", &keros_tensor::Device::Cpu)?;
/// println!("{}", summary(&network));
/// # Ok::<(), keros_nn::NnError>(())
/// ```
///
/// # Errors
/// A file that cannot be read or is damaged; a layer, by name, with a class or argument that is not
/// supported here; weights that do not fit.
pub fn load_keras_model(path: impl AsRef<Path>, device: &Device) -> Result<Graph, NnError> {
    load_keras_model_with(path, &Registry::new(), device)
}

/// As [`load_keras_model`], with layers of the user's own.
///
/// # Errors
/// As [`load_keras_model`].
pub fn load_keras_model_with(
    path: impl AsRef<Path>,
    registry: &Registry,
    device: &Device,
) -> Result<Graph, NnError> {
    let path = path.as_ref();
    let json = read_keras_config(path)?;
    // No value of the seed's stays.
    let graph = Graph::from_json_with(&json, registry, device, 0);
    let graph = graph.map_err(|source| NnError::Model {
        path: path.to_owned(),
        source: Box::new(source),
    })?;
    load_keras_weights(&graph, path)?;
    Ok(graph)
}
