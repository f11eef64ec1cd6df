//! One batch on trial.

use crate::checkpoint::Position;
use crate::error::TrainError;
use crate::options::FitGeneratorOptions;
use crate::plan::{Plan, Validation};
use crate::source::{Source, ValidationData};
use crate::trainer::Trainer;
use keros_callbacks::Logs;
use keros_nn::Network;
use keros_tensor::{Tensor, TensorError, set_params};
use std::path::Path;

impl<N: Network> Trainer<N> {
    /// Trains on the first batch of `source` and evaluates the first of `validation_data`, to see
    /// that everything fits together before a long training; then parameters and optimizer are as
    /// before. No callbacks, nothing shown. A generator has lost its first batch.
    ///
    /// Returns the loss and metrics of both batches, those of the second behind `val_`.
    ///
    /// # Errors
    /// Whatever would fail in the training's first step or validation.
    pub fn dry_run(
        &mut self,
        source: impl Into<Source>,
        validation_data: Option<ValidationData>,
    ) -> Result<Logs, TrainError> {
        self.check_validation_data(validation_data.as_ref())?;
        let options = FitGeneratorOptions {
            limit_batches: Some(1),
            workers: 0,
            ..FitGeneratorOptions::default()
        };
        let mut plan = Plan::new(self.seed, source.into(), &options)?;
        let mut validation = Validation::new(validation_data, &options, Some(0..1))?;
        self.put_weights_back()?;
        self.trackers.give_to_trainer()?;
        let params = self.network.params();
        let values = params
            .iter()
            .map(|(_, param)| {
                let value = param.value().copy().map_err(TensorError::from)?;
                Ok((param.name().to_owned(), value))
            })
            .collect::<Result<Vec<(String, Tensor)>, TensorError>>()?;
        let state = self.optimizer.state()?;
        let tried = self.try_batches(&mut plan, validation.as_mut());
        let params = self.network.params();
        set_params(
            params,
            &values,
            Path::new("the parameters before the trial"),
        )?;
        self.optimizer.load_state(params, &state)?;
        tried
    }

    fn try_batches(
        &mut self,
        plan: &mut Plan,
        validation: Option<&mut Validation>,
    ) -> Result<Logs, TrainError> {
        let none = |data| TrainError::argument("trying a batch", data, "a batch", "none");
        let loaded = plan.start(&Position::default())?.next().transpose()?;
        let loaded = loaded.ok_or_else(|| none("data"))?;
        self.trackers.reset();
        self.train_step(&loaded.batch, None)?;
        let mut logs = self.logs()?;
        if let Some(validation) = validation {
            let loaded = validation.feed.start_once(Some(1))?.next().transpose()?;
            let loaded = loaded.ok_or_else(|| none("validation_data"))?;
            self.trackers.reset();
            self.test_step(&loaded.batch, None)?;
            self.trackers.write("val_", &mut logs)?;
        }
        Ok(logs)
    }
}
