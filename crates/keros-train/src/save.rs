//! Files of a trainer: its weights alone, or with the state of the optimizer.
//!
//! A model file is a safetensors file: the parameters behind `model/`, what the optimizer keeps
//! behind `optimizer/`, and, as text, the configuration of the network if it can be written. A
//! checkpoint is a model file that also holds the state of a run.

use crate::error::TrainError;
use crate::trainer::Trainer;
use keros_nn::{Graph, Network, NnError, Optimizer, Registry};
use keros_tensor::access::read;
use keros_tensor::{
    Device, LoadedWeights, ParamId, Params, SkipReason, Tensor, TensorError, check_params,
    load_fitting_params, load_npz, load_params, load_tensors, save_npz, save_params, save_tensors,
    set_params,
};
use serde_json::{Map, Value};
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

const MODEL: &str = "model/";
const OPTIMIZER: &str = "optimizer/";
const CONFIG: &str = "config";
const RUN: &str = "run";
const SAFETENSORS: &str = "safetensors";
const NPZ: &str = "npz";

impl<N: Network> Trainer<N> {
    /// Writes the parameters under their names to a safetensors file or, if the name ends in `.npz`,
    /// to one of numpy. As in [`save`](Self::save), averages that stand in their place are written.
    ///
    /// # Errors
    /// A file name that ends in neither `.safetensors` nor `.npz`, or a file that cannot be written;
    /// the file that was there, if any, is unchanged.
    pub fn save_weights(&self, path: impl AsRef<Path>) -> Result<(), TrainError> {
        save_weights(self.network.params(), path.as_ref())
    }

    /// Reads the parameters from a file that [`save_weights`](Self::save_weights) wrote for a network
    /// of the same parameters, or from such a file of another program. Of a file that
    /// [`save`](Self::save) or a checkpoint wrote it takes the parameters alone, as Keras does.
    ///
    /// # Errors
    /// A file that cannot be read or is of another network, with every difference; the parameters
    /// are then as they were.
    pub fn load_weights(&mut self, path: impl AsRef<Path>) -> Result<(), TrainError> {
        self.put_weights_back()?;
        load_weights(self.network.params(), path.as_ref())
    }

    /// As [`load_weights`](Self::load_weights), for a network that is not quite that of the file:
    /// Keras's `load_weights(path, skip_mismatch=True)`. A layer whose parameters are all in the
    /// file, under their names and with their shapes, is filled; another is left as it is. Returns
    /// what was filled, what not and why, and what of the file's parameters nobody took.
    ///
    /// # Errors
    /// A file that cannot be read, is no safetensors file or has nothing that fits; the parameters are
    /// then as they were.
    pub fn load_weights_skip_mismatch(
        &mut self,
        path: impl AsRef<Path>,
    ) -> Result<LoadedWeights, TrainError> {
        self.put_weights_back()?;
        let path = path.as_ref();
        let params = self.network.params();
        let ids: Vec<ParamId> = params.iter().map(|(id, _)| id).collect();
        let layers = self.network.layers();
        // A network without layers has nothing that belongs together.
        let groups: Vec<&[ParamId]> = match layers.is_empty() {
            true => ids.chunks(1).collect(),
            false => layers.iter().map(|layer| layer.params).collect(),
        };
        let loaded = match is_model_file(params, path) {
            true => load_fitting_model(params, &groups, path)?,
            false => load_fitting_params(params, &groups, path)?,
        };
        if loaded.loaded.is_empty() && !params.is_empty() {
            let report = loaded.to_string().replace('\n', "; ");
            return Err(TrainError::argument(
                "loading the weights that fit",
                "path",
                "a file with the parameters of at least one layer",
                format!("{} with none: {report}", path.display()),
            ));
        }
        Ok(loaded)
    }

    /// Writes the parameters, the state of the optimizer, its learning rate included, and the
    /// configuration of the network to a safetensors file. [`load_network`] makes the network again.
    ///
    /// The parameters are written as they stand in the network. In a loop of your own with
    /// [`SwapEmaWeights::swap_on_epoch`](keros_callbacks::SwapEmaWeights::swap_on_epoch) these are their
    /// averages between epochs; if the loop is left without its end, until the trainer is used next.
    ///
    /// # Errors
    /// A file name that does not end in `.safetensors`, or a file that cannot be written; the file
    /// that was there, if any, is unchanged.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), TrainError> {
        save_model(&self.network, self.optimizer.as_ref(), path.as_ref())
    }

    /// Reads what [`save`](Self::save) or a checkpoint wrote for a network of the same parameters
    /// and an optimizer of the same kind.
    ///
    /// # Errors
    /// A file that cannot be read, or is of another network or optimizer, with every difference;
    /// nothing has changed then.
    pub fn load(&mut self, path: impl AsRef<Path>) -> Result<(), TrainError> {
        ModelFile::read(path.as_ref())?.apply(self.network.params(), self.optimizer.as_mut())
    }
}

/// The network in a file that [`Trainer::save`] or a checkpoint wrote, with its parameters, for
/// predictions or to train it further: then [`Trainer::load`] brings back the optimizer.
///
/// A `Sequential` comes back as a `Graph` of one path.
///
/// # Errors
/// A file that cannot be read; one of a network that has no configuration, such as a candle module;
/// a layer that is not known, by name.
pub fn load_network(path: impl AsRef<Path>, device: &Device) -> Result<Graph, TrainError> {
    load_network_with(path, &Registry::new(), device)
}

/// As [`load_network`], with layers of the user's own.
///
/// # Errors
/// As [`load_network`].
pub fn load_network_with(
    path: impl AsRef<Path>,
    registry: &Registry,
    device: &Device,
) -> Result<Graph, TrainError> {
    let path = path.as_ref();
    let file = ModelFile::read(path)?;
    let Some(config) = &file.config else {
        return Err(TrainError::argument(
            "loading a network",
            "path",
            "a model file with the configuration of its network",
            format!("{} without one", path.display()),
        ));
    };
    // No value of the seed's stays.
    let network = Graph::from_json_with(config, registry, device, 0);
    let network = network.map_err(|source| NnError::Model {
        path: path.to_owned(),
        source: Box::new(source),
    })?;
    set_params(network.params(), &file.model, path)?;
    Ok(network)
}

/// [`Trainer::save_weights`].
pub(crate) fn save_weights(params: &Params, path: &Path) -> Result<(), TrainError> {
    match extension(path) {
        SAFETENSORS => Ok(save_params(params, path)?),
        NPZ => Ok(save_npz(params, path)?),
        _ => Err(bad_extension(
            path,
            "a file name that ends in .safetensors or .npz",
        )),
    }
}

/// [`Trainer::load_weights`].
pub(crate) fn load_weights(params: &Params, path: &Path) -> Result<(), TrainError> {
    match extension(path) {
        NPZ => Ok(load_npz(params, path)?),
        _ if is_model_file(params, path) => {
            let file = ModelFile::read(path)?;
            Ok(set_params(params, &file.model, path)?)
        }
        _ => Ok(load_params(params, path)?),
    }
}

/// As [`load_fitting_params`], from the parameters of a model file.
fn load_fitting_model(
    params: &Params,
    layers: &[&[ParamId]],
    path: &Path,
) -> Result<LoadedWeights, TrainError> {
    let mut as_in_file = Params::new();
    for (_, param) in params.iter() {
        let name = format!("{MODEL}{}", param.name());
        as_in_file.add_var(&name, param.value().clone(), param.trainable())?;
    }
    let mut loaded = load_fitting_params(&as_in_file, layers, path)?;
    loaded.unused.retain(|name| name.starts_with(MODEL));
    let to_own = |name: &mut String| {
        if let Some(own) = name.strip_prefix(MODEL) {
            *name = own.to_owned();
        }
    };
    loaded.loaded.iter_mut().for_each(to_own);
    loaded.unused.iter_mut().for_each(to_own);
    for skipped in &mut loaded.skipped {
        to_own(&mut skipped.name);
        if let SkipReason::Different(difference) = &mut skipped.reason {
            to_own(&mut difference.name);
        }
    }
    Ok(loaded)
}

/// Whether a file is a model file, and not one of weights alone that have such names in this network.
/// One that cannot be read is none: whoever reads it next says why.
fn is_model_file(params: &Params, path: &Path) -> bool {
    let Some(header) = safetensors_header(path) else {
        return false;
    };
    let mut has_model = false;
    for name in header.keys().filter(|name| *name != "__metadata__") {
        has_model |= name.starts_with(MODEL);
        if Part::of(name).is_none() || params.by_name(name).is_some() {
            return false;
        }
    }
    has_model
}

/// The header of a safetensors file, whose keys are the names of the tensors.
fn safetensors_header(path: &Path) -> Option<Map<String, Value>> {
    let mut file = File::open(path).ok()?;
    let mut length = [0; 8];
    file.read_exact(&mut length).ok()?;
    let mut header = Vec::new();
    let mut rest = file.take(u64::from_le_bytes(length));
    rest.read_to_end(&mut header).ok()?;
    serde_json::from_slice(&header).ok()
}

/// What a tensor of a model file is part of, with its name there.
enum Part<'n> {
    Model(&'n str),
    Optimizer(&'n str),
    Config,
    Run,
}

impl Part<'_> {
    fn of(name: &str) -> Option<Part<'_>> {
        let model = name.strip_prefix(MODEL).map(Part::Model);
        let optimizer = || name.strip_prefix(OPTIMIZER).map(Part::Optimizer);
        model.or_else(optimizer).or(match name {
            CONFIG => Some(Part::Config),
            RUN => Some(Part::Run),
            _ => None,
        })
    }
}

/// [`Trainer::save`].
pub(crate) fn save_model(
    network: &dyn Network,
    optimizer: &dyn Optimizer,
    path: &Path,
) -> Result<(), TrainError> {
    write_model(network, optimizer, None, path)
}

/// Writes a model file, that of a checkpoint with the state of the run.
pub(crate) fn write_model(
    network: &dyn Network,
    optimizer: &dyn Optimizer,
    run: Option<Vec<u8>>,
    path: &Path,
) -> Result<(), TrainError> {
    if extension(path) != SAFETENSORS {
        return Err(bad_extension(path, "a file name that ends in .safetensors"));
    }
    let mut tensors: Vec<(String, Tensor)> = Vec::new();
    for (_, param) in network.params().iter() {
        let name = format!("{MODEL}{}", param.name());
        tensors.push((name, param.value().as_tensor().clone()));
    }
    for (name, tensor) in optimizer.state()? {
        tensors.push((format!("{OPTIMIZER}{name}"), tensor));
    }
    let config = network.config().map(String::into_bytes);
    for (name, bytes) in [(CONFIG, config), (RUN, run)] {
        if let Some(bytes) = bytes {
            let len = bytes.len();
            let blob = Tensor::from_vec(bytes, len, &Device::Cpu).map_err(TensorError::from)?;
            tensors.push((name.to_owned(), blob));
        }
    }
    let tensors: Vec<(&str, &Tensor)> = tensors
        .iter()
        .map(|(name, tensor)| (name.as_str(), tensor))
        .collect();
    Ok(save_tensors(&tensors, path)?)
}

/// The extension of a file name, empty if it has none.
fn extension(path: &Path) -> &str {
    let extension = path.extension().and_then(OsStr::to_str);
    extension.unwrap_or_default()
}

fn not_a_model(found: impl ToString) -> TrainError {
    TrainError::argument(
        "reading a model file",
        "path",
        "tensors of a model, an optimizer, a configuration or a run; \
         use load_weights for a file of weights alone",
        found,
    )
}

fn bad_extension(path: &Path, expected: &'static str) -> TrainError {
    TrainError::argument("saving", "path", expected, path.display())
}

/// The tensors of a model file.
pub(crate) struct ModelFile<'p> {
    path: &'p Path,
    model: Vec<(String, Tensor)>,
    optimizer: Vec<(String, Tensor)>,
    /// What [`Network::config`] told.
    pub(crate) config: Option<String>,
    /// The state of a run, in a checkpoint.
    pub(crate) run: Option<Vec<u8>>,
}

impl<'p> ModelFile<'p> {
    pub(crate) fn read(path: &'p Path) -> Result<ModelFile<'p>, TrainError> {
        if extension(path) == NPZ {
            return Err(not_a_model(path.display()));
        }
        let mut file = ModelFile {
            path,
            model: Vec::new(),
            optimizer: Vec::new(),
            config: None,
            run: None,
        };
        for (name, tensor) in load_tensors(path, &Device::Cpu)? {
            match Part::of(&name) {
                Some(Part::Model(name)) => file.model.push((name.to_owned(), tensor)),
                Some(Part::Optimizer(name)) => file.optimizer.push((name.to_owned(), tensor)),
                Some(Part::Config) => {
                    file.config = Some(String::from_utf8_lossy(&read::<u8>(&tensor)?).into_owned());
                }
                Some(Part::Run) => file.run = Some(read::<u8>(&tensor)?.to_vec()),
                None => return Err(not_a_model(format!("`{name}` in {}", path.display()))),
            }
        }
        Ok(file)
    }

    /// Whether the parameters are those of the network.
    pub(crate) fn check(&self, params: &Params) -> Result<(), TrainError> {
        Ok(check_params(params, &self.model, self.path)?)
    }

    /// Sets parameters and optimizer, both or none.
    pub(crate) fn apply(
        &self,
        params: &Params,
        optimizer: &mut dyn Optimizer,
    ) -> Result<(), TrainError> {
        self.check(params)?;
        optimizer.load_state(params, &self.optimizer)?;
        Ok(set_params(params, &self.model, self.path)?)
    }
}
