//! Files of a trainer: its weights alone, or with the state of the optimizer.
//!
//! A model file is a safetensors file: the parameters behind `model/`, what the optimizer keeps
//! behind `optimizer/`. A checkpoint is a model file that also holds the state of a run.

use crate::error::TrainError;
use crate::trainer::Trainer;
use keros_nn::{Network, Optimizer};
use keros_tensor::{
    Device, Params, Tensor, check_params, load_params, load_tensors, save_params, save_tensors,
    set_params,
};
use std::path::Path;

const MODEL: &str = "model/";
const OPTIMIZER: &str = "optimizer/";

impl<N: Network> Trainer<N> {
    /// Writes the parameters to a safetensors file, under their names.
    ///
    /// # Errors
    /// A file name that does not end in `.safetensors`, or a file that cannot be written; the file
    /// that was there, if any, is unchanged.
    pub fn save_weights(&self, path: impl AsRef<Path>) -> Result<(), TrainError> {
        save_weights(self.network.params(), path.as_ref())
    }

    /// Reads the parameters from a file that [`save_weights`](Self::save_weights) wrote for a network
    /// of the same parameters.
    ///
    /// # Errors
    /// A file that cannot be read or is of another network, with every difference; the parameters
    /// are then as they were.
    pub fn load_weights(&mut self, path: impl AsRef<Path>) -> Result<(), TrainError> {
        Ok(load_params(self.network.params(), path)?)
    }

    /// Writes the parameters and the state of the optimizer, its learning rate included, to a
    /// safetensors file.
    ///
    /// # Errors
    /// A file name that does not end in `.safetensors`, or a file that cannot be written; the file
    /// that was there, if any, is unchanged.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), TrainError> {
        save_model(
            self.network.params(),
            self.optimizer.as_ref(),
            path.as_ref(),
        )
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

/// [`Trainer::save_weights`].
pub(crate) fn save_weights(params: &Params, path: &Path) -> Result<(), TrainError> {
    check_extension(path)?;
    Ok(save_params(params, path)?)
}

/// [`Trainer::save`].
pub(crate) fn save_model(
    params: &Params,
    optimizer: &dyn Optimizer,
    path: &Path,
) -> Result<(), TrainError> {
    write_model(params, optimizer, &[], path)
}

/// Writes a model file with further tensors.
pub(crate) fn write_model(
    params: &Params,
    optimizer: &dyn Optimizer,
    more: &[(&str, &Tensor)],
    path: &Path,
) -> Result<(), TrainError> {
    check_extension(path)?;
    let state = optimizer.state()?;
    let model = params.iter().map(|(_, param)| {
        (
            format!("{MODEL}{}", param.name()),
            param.value().as_tensor(),
        )
    });
    let optimizer = state
        .iter()
        .map(|(name, tensor)| (format!("{OPTIMIZER}{name}"), tensor));
    let named: Vec<(String, &Tensor)> = model.chain(optimizer).collect();
    let tensors: Vec<(&str, &Tensor)> = named
        .iter()
        .map(|(name, tensor)| (name.as_str(), *tensor))
        .chain(more.iter().copied())
        .collect();
    Ok(save_tensors(&tensors, path)?)
}

fn check_extension(path: &Path) -> Result<(), TrainError> {
    match path.extension() {
        Some(extension) if extension == "safetensors" => Ok(()),
        _ => Err(TrainError::argument(
            "saving",
            "path",
            "a file name that ends in .safetensors",
            path.display(),
        )),
    }
}

/// The tensors of a model file.
pub(crate) struct ModelFile<'p> {
    path: &'p Path,
    model: Vec<(String, Tensor)>,
    optimizer: Vec<(String, Tensor)>,
    /// Those behind neither prefix.
    pub(crate) more: Vec<(String, Tensor)>,
}

impl<'p> ModelFile<'p> {
    pub(crate) fn read(path: &'p Path) -> Result<ModelFile<'p>, TrainError> {
        let mut file = ModelFile {
            path,
            model: Vec::new(),
            optimizer: Vec::new(),
            more: Vec::new(),
        };
        for (name, tensor) in load_tensors(path, &Device::Cpu)? {
            if let Some(name) = name.strip_prefix(MODEL) {
                file.model.push((name.to_owned(), tensor));
            } else if let Some(name) = name.strip_prefix(OPTIMIZER) {
                file.optimizer.push((name.to_owned(), tensor));
            } else {
                file.more.push((name, tensor));
            }
        }
        Ok(file)
    }

    /// Sets parameters and optimizer, both or none.
    pub(crate) fn apply(
        &self,
        params: &Params,
        optimizer: &mut dyn Optimizer,
    ) -> Result<(), TrainError> {
        check_params(params, &self.model, self.path)?;
        optimizer.load_state(params, &self.optimizer)?;
        Ok(set_params(params, &self.model, self.path)?)
    }
}
