//! A run on disk: everything that its next batch depends on, in one file.
//!
//! A checkpoint is a [model file](crate::save) that also holds the state of the run as CBOR, which
//! keeps every float exactly. What is random needs no state of its own: it is a function of the seed
//! and of how many batches came before.

use crate::error::TrainError;
use crate::save::{ModelFile, write_model};
use crate::trainer::Trainer;
use keros_callbacks::{CallbackState, LogValue, state};
use keros_data::LoadedBatch;
use keros_nn::{Network, NnError};
use keros_tensor::ParamId;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::HashSet;
use std::path::Path;

/// Changes when an older run cannot be continued any more.
const VERSION: u32 = 3;

/// Where a run stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Position {
    /// The epoch it is in or, at batch 0, begins next.
    pub(crate) epoch: u64,
    /// Batches of the epoch that are done.
    pub(crate) batch: u64,
    /// A callback ended the epoch with its last batch.
    pub(crate) cut: bool,
    /// A callback ended the run.
    pub(crate) stop: bool,
    /// Batches of the epoch, if known: a sequence may have another number when its last batch has been
    /// taken.
    pub(crate) steps: Option<u64>,
    /// Epoch and batch of the training data that come next in the pass over it; none where a pass
    /// begins.
    pub(crate) next: Option<(u64, u64)>,
    /// Epochs of the training data that have ended in this run; none if the data do not change then.
    pub(crate) ended: Vec<u64>,
    /// How often the validation data have come to their end in this run.
    pub(crate) ended_to_validate: u64,
    /// Batches taken from the training data in this run.
    pub(crate) taken: u64,
    /// Batches taken from the validation data in this run.
    pub(crate) taken_to_validate: u64,
}

impl Position {
    /// Counts a batch of the training data, which may change when an epoch of them ends.
    pub(crate) fn take(&mut self, loaded: &LoadedBatch, changing: bool) {
        self.taken += 1;
        self.next = Some((loaded.epoch, loaded.step + 1));
        if loaded.ends_epoch() {
            if changing {
                self.ended.push(loaded.epoch);
            }
            self.next = Some((loaded.epoch + 1, 0));
        }
    }
}

/// What has to be the same for a run to go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) optimizer: String,
    pub(crate) seed: u64,
    pub(crate) initial_epoch: u64,
    /// Batches per epoch, if known.
    pub(crate) steps: Option<u64>,
    pub(crate) metrics: Vec<String>,
}

/// What a network does not train, which may change between epochs.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Frozen {
    layers: Vec<String>,
    params: Vec<String>,
}

impl Frozen {
    fn of(network: &impl Network) -> Frozen {
        let layers = network.layers();
        let layers = layers.iter().filter(|layer| !layer.trainable);
        let params = network.params().iter().map(|(_, param)| param);
        let params = params.filter(|param| !param.trainable());
        Frozen {
            layers: layers.map(|layer| layer.name.to_owned()).collect(),
            params: params.map(|param| param.name().to_owned()).collect(),
        }
    }

    /// Freezes these, and nothing else.
    fn apply(&self, network: &mut impl Network) -> Result<(), NnError> {
        let layers: HashSet<&str> = self.layers.iter().map(String::as_str).collect();
        let params: HashSet<&str> = self.params.iter().map(String::as_str).collect();
        let wrong = network.layers().into_iter().filter_map(|layer| {
            let trainable = !layers.contains(layer.name);
            (layer.trainable != trainable).then(|| (layer.name.to_owned(), trainable))
        });
        for (layer, trainable) in wrong.collect::<Vec<(String, bool)>>() {
            network.set_trainable(&layer, trainable)?;
        }
        // A layer may have parameters that are frozen alone.
        let flags = network.params().iter();
        let flags = flags.map(|(id, param)| (id, !params.contains(param.name())));
        for (id, trainable) in flags.collect::<Vec<(ParamId, bool)>>() {
            if let Some(param) = network.params_mut().get_mut(id) {
                param.set_trainable(trainable);
            }
        }
        Ok(())
    }
}

/// The state of a run.
#[derive(Serialize, Deserialize)]
pub(crate) struct RunState {
    version: u32,
    identity: Identity,
    /// The index after its last epoch.
    pub(crate) epochs: u64,
    pub(crate) position: Position,
    pub(crate) frozen: Frozen,
    pub(crate) trackers: Vec<Vec<f64>>,
    /// The logs of the last epoch end.
    pub(crate) logs: Vec<(String, LogValue)>,
    pub(crate) callbacks: Vec<CallbackState>,
}

/// What every version of a run's state has.
#[derive(Deserialize)]
struct AnyVersion {
    version: u32,
}

impl<N: Network> Trainer<N> {
    /// Writes a checkpoint, always of the parameters themselves: averages that stand in their place
    /// are put aside meanwhile.
    pub(crate) fn write_checkpoint(
        &mut self,
        path: &Path,
        identity: &Identity,
        epochs: u64,
        position: Position,
        logs: Vec<(String, LogValue)>,
        callbacks: Vec<CallbackState>,
    ) -> Result<(), TrainError> {
        let run = RunState {
            version: VERSION,
            identity: identity.clone(),
            epochs,
            position,
            frozen: Frozen::of(&self.network),
            trackers: self.trackers.state()?,
            logs,
            callbacks,
        };
        let run = state::to_bytes(&run).map_err(|source| unreadable(path, source))?;
        let (network, optimizer) = (&self.network, self.optimizer.as_mut());
        if !optimizer.has_swapped() {
            return write_model(network, optimizer, Some(run), path);
        }
        optimizer.swap_averages(network.params())?;
        let written = write_model(network, optimizer, Some(run), path);
        optimizer.swap_averages(network.params())?;
        written
    }

    /// Reads a checkpoint of this run.
    pub(crate) fn read_checkpoint<'p>(
        &self,
        path: &'p Path,
        identity: &Identity,
    ) -> Result<(ModelFile<'p>, RunState), NotResumed> {
        let file = ModelFile::read(path).map_err(NotResumed::Damaged)?;
        let Some(run) = &file.run else {
            return Err(unreadable(path, "it holds no run".into()).into());
        };
        let damaged = |source| NotResumed::Damaged(unreadable(path, source));
        let AnyVersion { version } = state::from_bytes(run).map_err(damaged)?;
        if version != VERSION {
            let reason = format!("it is of version {version} (expected version {VERSION})");
            return Err(unreadable(path, reason.into()).into());
        }
        let run: RunState = state::from_bytes(run).map_err(damaged)?;
        let config = self.network.config();
        if let Some(reason) = difference(config.as_deref(), file.config.as_deref()) {
            return Err(unreadable(path, reason.into()).into());
        }
        identity.check(&run.identity)?;
        file.check(self.network.params())?;
        Ok((file, run))
    }

    /// Puts the trainer where a checkpoint was written. After an error network and optimizer are as
    /// they were, and the metrics begin anew.
    pub(crate) fn apply_checkpoint(
        &mut self,
        file: &ModelFile<'_>,
        frozen: &Frozen,
        trackers: &[Vec<f64>],
    ) -> Result<(), TrainError> {
        let before = Frozen::of(&self.network);
        let loaded = self.trackers.load_state(trackers);
        let applied = loaded.and_then(|()| {
            // The optimizer's state is that of the parameters that are trained.
            frozen.apply(&mut self.network)?;
            file.apply(self.network.params(), self.optimizer.as_mut())
        });
        if let Err(error) = applied {
            self.trackers.reset();
            before.apply(&mut self.network)?;
            return Err(error);
        }
        Ok(())
    }
}

/// Why a run does not go on from a checkpoint.
pub(crate) enum NotResumed {
    /// The file cannot be read as a checkpoint; another one may be whole.
    Damaged(TrainError),
    /// Any other reason, such as that it is of another run.
    Refused(TrainError),
}

impl From<TrainError> for NotResumed {
    fn from(error: TrainError) -> NotResumed {
        NotResumed::Refused(error)
    }
}

/// What differs between the configuration of a network and `other`, that of a checkpoint, but for what is
/// trained.
fn difference(this: Option<&str>, other: Option<&str>) -> Option<String> {
    let [this, other] = [this, other].map(|config| config.map(without_trainable));
    if this == other {
        return None;
    }
    let [this, other] = [&this, &other].map(|config| {
        let layers = config.as_ref().and_then(|config| config.pointer(LAYERS));
        layers
            .and_then(Value::as_array)
            .map_or(&[][..], Vec::as_slice)
    });
    let different = (0..this.len().max(other.len())).find(|&i| this.get(i) != other.get(i));
    let layer = different.and_then(|i| this.get(i).or(other.get(i)));
    let name = layer.and_then(|layer| layer.pointer("/config/name")?.as_str());
    let reason = "its network has other layers or arguments than this one".to_owned();
    Some(match name {
        Some(name) => format!("{reason}, the first of them `{name}`"),
        None => reason,
    })
}

/// Where a configuration has its layers.
const LAYERS: &str = "/config/layers";

fn without_trainable(config: &str) -> Value {
    let Ok(mut network) = serde_json::from_str::<Value>(config) else {
        return config.into();
    };
    let layers = network.pointer_mut(LAYERS).and_then(Value::as_array_mut);
    for layer in layers.into_iter().flatten() {
        if let Some(config) = layer.pointer_mut("/config").and_then(Value::as_object_mut) {
            config.remove("trainable");
        }
    }
    network
}

impl Identity {
    /// Whether the run of this identity can go on from a checkpoint of `other`.
    fn check(&self, other: &Identity) -> Result<(), TrainError> {
        let same = |argument, this: String, other: String| match this == other {
            true => Ok(()),
            false => Err(TrainError::argument(
                "resuming a checkpoint of another run",
                argument,
                format!("{other}, as in the checkpoint"),
                this,
            )),
        };
        let steps = |identity: &Identity| match identity.steps {
            Some(steps) => steps.to_string(),
            None => "a number that is not known".to_owned(),
        };
        let metrics = |identity: &Identity| identity.metrics.join(", ");
        same("optimizer", self.optimizer.clone(), other.optimizer.clone())?;
        same("seed", self.seed.to_string(), other.seed.to_string())?;
        same("metrics", metrics(self), metrics(other))?;
        same("number of batches in an epoch", steps(self), steps(other))?;
        let epochs = [self, other].map(|identity| identity.initial_epoch.to_string());
        let [this, other] = epochs;
        same("initial_epoch", this, other)
    }
}

fn unreadable(path: &Path, source: keros_callbacks::BoxError) -> TrainError {
    TrainError::Checkpoint {
        path: path.to_owned(),
        source,
    }
}
