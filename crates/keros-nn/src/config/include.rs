//! Parts of a trained network in a new one.

use super::functional::Functional;
use super::sequential::{Chain, read_network};
use super::{Registry, parse};
use crate::error::NnError;
use crate::graph::{GraphBuilder, Node};
use crate::network::{Network, unknown_layer};
use keros_tensor::TensorError;

impl GraphBuilder {
    /// Adds the layers of `network` that the outputs of the layers of these names need, its inputs
    /// and the layers themselves included, and returns these outputs: Keras's
    /// `Model(network.inputs, network.get_layer(name).output)`, to build as it is or to add layers to.
    ///
    /// The parameters are copies, with the values they have now and frozen as they are now: what is
    /// trained here changes nothing in `network`. In Keras they are shared.
    ///
    /// ```
    /// use keros_nn::layers::{Dense, Flatten};
    /// use keros_nn::{Graph, Network, Sequential};
    /// use keros_tensor::Device;
    ///
    /// let base = Sequential::builder([4, 4, 1])
    ///     .layer(Flatten::new())
    ///     .layer(Dense::new(8).activation("relu").name("features"))
    ///     .layer(Dense::new(10).activation("softmax"))
    ///     .build(&Device::Cpu, 42)?;
    /// let mut g = Graph::builder();
    /// let [features] = g.include(&base, ["features"])?;
    /// let head = g.layer(Dense::new(3).activation("softmax").name("head"), features);
    /// let mut network = g.build(&[("head", head)], &Device::Cpu, 7)?;
    /// network.set_trainable("features", false)?;
    /// # Ok::<(), keros_nn::NnError>(())
    /// ```
    ///
    /// # Errors
    /// A name that is no layer of the network, or that of a layer which has several outputs because
    /// it is used several times; a network that cannot be written as a configuration, such as a
    /// candle module. Inputs and layers of names that the graph has already are told by
    /// [`build`](GraphBuilder::build).
    pub fn include<const N: usize>(
        &mut self,
        network: &dyn Network,
        layers: [&str; N],
    ) -> Result<[Node; N], NnError> {
        self.include_with(network, layers, &Registry::new())
    }

    /// As [`include`](Self::include), with layers of the user's own.
    ///
    /// # Errors
    /// As [`include`](Self::include).
    pub fn include_with<const N: usize>(
        &mut self,
        network: &dyn Network,
        layers: [&str; N],
        registry: &Registry,
    ) -> Result<[Node; N], NnError> {
        let Some(json) = network.config() else {
            let expected = "one whose layers can all be written as a configuration";
            return Err(NnError::argument(
                "including a network",
                expected,
                "another",
            ));
        };
        let infos = network.layers();
        if let Some(name) = layers
            .iter()
            .find(|name| !infos.iter().any(|info| info.name == **name))
        {
            return Err(unknown_layer(name, &infos));
        }
        let (class, arguments, frozen) =
            read_network(parse(&json)?, &["Functional", "Sequential"])?;
        let known = self.layers.len();
        let nodes = match class.as_str() {
            "Functional" => {
                let mut functional = Functional::read(arguments)?;
                functional.cut(&layers)?;
                functional
                    .add(self, registry, frozen)?
                    .into_iter()
                    .map(|(_, node)| node)
                    .collect()
            }
            _ => self.include_chain(Chain::read(arguments, registry, frozen)?, &layers),
        };
        for layer in &mut self.layers[known..] {
            let info = infos.iter().find(|info| Some(info.name) == layer.name());
            let params = info.map_or(&[][..], |info| info.params);
            let values = params.iter().map(|id| {
                let param = &network.params()[*id];
                let value = param.value().copy();
                value.map(|value| (value, param.trainable()))
            });
            layer.values = values
                .collect::<Result<_, _>>()
                .map_err(TensorError::from)?;
        }
        nodes.try_into().map_err(|nodes: Vec<Node>| {
            NnError::argument("including a network", N.to_string(), nodes.len())
        })
    }

    /// Adds a chain up to the last of these layers; returns the outputs of all of them.
    fn include_chain(&mut self, chain: Chain, wanted: &[&str]) -> Vec<Node> {
        let mut node = self.input(chain.input, chain.shape);
        let mut found = vec![None; wanted.len()];
        for planned in chain.layers {
            if found.iter().all(Option::is_some) {
                break;
            }
            let name = planned.name().map(str::to_owned);
            let layer = self.plan(planned);
            node = self.apply(layer, node);
            for (found, wanted) in found.iter_mut().zip(wanted) {
                if name.as_deref() == Some(*wanted) {
                    *found = Some(node);
                }
            }
        }
        found.into_iter().flatten().collect()
    }
}
