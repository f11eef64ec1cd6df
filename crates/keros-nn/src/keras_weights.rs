//! Weights of Keras into networks here.

use crate::error::NnError;
use crate::names::default_name;
use crate::network::Network;
use keros_tensor::{KerasLayer, LoadKeras, LoadedWeights, load_keras_params};
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
    load_keras_weights_with(network, path, LoadKeras::default()).map(drop)
}

/// As [`load_keras_weights`], for a network that is not quite that of the file, such as one with
/// another head. Returns which parameters the file has filled, which not and why, and what of the
/// file nobody took. A layer is filled as a whole or not at all.
///
/// ```no_run
/// use keros_nn::layers::{Conv2D, Dense, GlobalAveragePooling2D};
/// use keros_nn::{LoadKeras, Network, Sequential, load_keras_weights_with};
///
/// let mut network = Sequential::builder([32, 32, 3])
///     .layer(Conv2D::new(16, 3).activation("relu").name("edges"))
///     .layer(GlobalAveragePooling2D::new())
///     .layer(Dense::new(5).activation("softmax").name("five_classes"))
///     .build(&keros_tensor::Device::Cpu, 42)?;
/// let loaded = load_keras_weights_with(
///     &network,
///     "ten_classes.keras",
///     LoadKeras { by_name: true, skip_mismatch: true },
/// )?;
/// println!("{loaded}");
/// if loaded.loaded.iter().any(|param| param == "edges/kernel") {
///     network.set_trainable("edges", false)?;
/// }
/// # Ok::<(), keros_nn::NnError>(())
/// ```
///
/// # Errors
/// A file that cannot be read, is damaged, or does not name its layers where they are matched by
/// name; layers that do not match and are not to be skipped, all listed by name. No parameter has
/// changed then.
pub fn load_keras_weights_with(
    network: &dyn Network,
    path: impl AsRef<Path>,
    options: LoadKeras,
) -> Result<LoadedWeights, NnError> {
    let mut counts = HashMap::new();
    let layers: Vec<_> = network
        .layers()
        .into_iter()
        .map(|layer| KerasLayer {
            path: default_name(layer.class_name, &mut counts),
            name: layer.name,
            params: layer.params,
        })
        .collect();
    Ok(load_keras_params(network.params(), &layers, options, path)?)
}
