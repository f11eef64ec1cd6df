//! Weights of Keras into the same architecture here.

use crate::error::NnError;
use crate::network::Network;
use crate::sequential::default_name;
use keros_tensor::load_keras_params;
use std::collections::HashMap;
use std::path::Path;

/// Fills the parameters of `network` from a `.weights.h5` or `.keras` file that Keras 3 wrote for the
/// same architecture: either all of them, or none.
///
/// Keras files name a layer by its class and by how many layers of the class come before it, whatever
/// the layer's own name is; so do we in looking them up.
///
/// # Errors
/// A file that cannot be read or is damaged; layers that are missing, left over, or have variables of
/// another number or shape, all listed by name.
pub fn load_keras_weights(network: &dyn Network, path: impl AsRef<Path>) -> Result<(), NnError> {
    let mut counts = HashMap::new();
    let layers: Vec<_> = network
        .layers()
        .into_iter()
        .map(|layer| (default_name(layer.class_name, &mut counts), layer.params))
        .collect();
    Ok(load_keras_params(network.params(), &layers, path)?)
}
