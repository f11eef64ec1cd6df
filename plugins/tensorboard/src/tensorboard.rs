//! The callback: which event writes what.

use crate::config::{Config, UpdateFreq};
use crate::files::Files;
use crate::{picture, summary};
use keros_plugin::{
    BoxError, Callback, CallbackResult, Context, Decision, EventKind, EventSet, Level, Logs,
};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::time::Instant;

/// Writes event files for TensorBoard.
#[derive(Debug)]
pub struct TensorBoard {
    config: Config,
    files: Files,
    /// When the epoch and the batch began, and how many updates had been made.
    epoch_begun: Option<(Instant, u64)>,
    update_begun: Option<Instant>,
    /// How many updates had been made when the last batch ended.
    updates: u64,
    /// The last epoch of which images were written.
    pictured: Option<u64>,
    /// What the user has been told in this training.
    told: BTreeSet<&'static str>,
    /// Kept for its memory.
    values: Vec<f32>,
}

impl TensorBoard {
    /// A callback that opens its files when there is something to write.
    ///
    /// # Errors
    /// When a field of the configuration has no use or no effect.
    pub fn new(config: Config) -> Result<TensorBoard, BoxError> {
        config.check()?;
        Ok(TensorBoard {
            config,
            files: Files::default(),
            epoch_begun: None,
            update_begun: None,
            updates: 0,
            pictured: None,
            told: BTreeSet::new(),
            values: Vec::new(),
        })
    }

    /// Writes the network, and the rest of how the run was set up.
    fn write_facts(&mut self, facts: &str) -> Result<(), BoxError> {
        let mut facts: Map<String, Value> = serde_json::from_str(facts)?;
        let file = self.files.train(&self.config.log_dir)?;
        let network = facts.remove("network").unwrap_or_default();
        if self.config.write_graph && network.is_object() {
            file.add(0, summary::network(network.to_string()))?;
        }
        if self.config.write_facts {
            let text = format!("```json\n{:#}\n```", Value::Object(facts));
            file.add(0, summary::text("facts", text))?;
        }
        file.flush()
    }

    /// Writes a curve's point for each number.
    fn train_scalars(
        &mut self,
        prefix: &str,
        step: u64,
        numbers: &[(String, f64)],
    ) -> Result<(), BoxError> {
        let file = self.files.train(&self.config.log_dir)?;
        for (name, value) in numbers {
            file.add(step, summary::scalar(format!("{prefix}_{name}"), *value))?;
        }
        Ok(())
    }

    fn write_params(&mut self, cx: &mut Context<'_>) -> Result<(), BoxError> {
        let epoch = cx.event().epoch;
        let params = cx.params().to_vec();
        if params.is_empty() {
            let text = "this run does not show its parameters, so nothing of them is written";
            self.tell_once(cx, "params", text);
        }
        for (index, param) in params.iter().enumerate() {
            cx.read_param(index, &mut self.values)?;
            self.write_values(cx, &param.name)?;
            if self.config.write_images
                && let Some(pictures) = picture::weights(&self.values, &param.shape)?
            {
                let file = self.files.train(&self.config.log_dir)?;
                file.add(
                    epoch,
                    summary::images(format!("{}/image", param.name), pictures, ""),
                )?;
            }
            if self.config.write_gradients && param.trainable {
                cx.read_gradient(index, &mut self.values)?;
                self.write_values(cx, &format!("{}/gradient", param.name))?;
            }
        }
        Ok(())
    }

    /// Writes a histogram of what was read last.
    fn write_values(&mut self, cx: &mut Context<'_>, name: &str) -> Result<(), BoxError> {
        if self.values.iter().any(|value| !value.is_finite()) {
            let text =
                format!("`{name}` has values that are not finite; histograms leave them out");
            self.tell_once(cx, "finite", text);
        }
        let value = summary::histogram(format!("{name}/histogram"), &self.values);
        let file = self.files.train(&self.config.log_dir)?;
        file.add(cx.event().epoch, value)
    }

    fn write_samples(&mut self, cx: &mut Context<'_>) -> Result<(), BoxError> {
        let epoch = cx.event().epoch;
        let inputs = cx.inputs();
        let mut found = false;
        for (index, input) in inputs.iter().enumerate() {
            cx.read_input(index, &mut self.values)?;
            let Config {
                data_format,
                images,
                ..
            } = self.config;
            let drawn = picture::samples(&self.values, &input.shape, data_format, images)?;
            let Some((pictures, told)) = drawn else {
                continue;
            };
            found = true;
            let name = if input.name.is_empty() {
                "input"
            } else {
                &input.name
            };
            let value = summary::images(format!("{name}/samples"), pictures, &told);
            self.files.train(&self.config.log_dir)?.add(epoch, value)?;
        }
        if !found {
            let shapes: Vec<&[usize]> = inputs.iter().map(|input| &*input.shape).collect();
            let text = format!(
                "no input of the batch is one of images with 1, 3 or 4 channels (found the shapes \
                 {shapes:?}), so none are written"
            );
            self.tell_once(cx, "inputs", text);
        }
        Ok(())
    }

    fn tell_once(&mut self, cx: &mut Context<'_>, what: &'static str, text: impl Into<String>) {
        if self.told.insert(what) {
            cx.message(Level::Warning, text);
        }
    }
}

impl Callback for TensorBoard {
    fn events(&self) -> EventSet {
        let Config {
            write_steps_per_second,
            update_freq,
            images,
            ..
        } = self.config;
        let mut events = vec![
            EventKind::TrainBegin,
            EventKind::TestEnd,
            EventKind::EpochEnd,
            EventKind::TrainEnd,
            EventKind::Error,
        ];
        if write_steps_per_second {
            events.push(EventKind::EpochBegin);
        }
        let batches = update_freq != UpdateFreq::Epoch;
        if batches {
            events.push(EventKind::TrainBatchEnd);
        }
        if images > 0 || (batches && write_steps_per_second) {
            events.push(EventKind::TrainBatchBegin);
        }
        EventSet::of(&events)
    }

    fn on_train_begin(&mut self, cx: &mut Context<'_>) -> CallbackResult {
        self.files = Files::default();
        (self.epoch_begun, self.update_begun) = (None, None);
        self.updates = cx.event().step;
        self.pictured = None;
        self.told.clear();
        let Config {
            write_facts,
            write_graph,
            ..
        } = self.config;
        // A run that does not tell is no reason to fail.
        if (write_facts || write_graph)
            && let Ok(facts) = cx.facts()
        {
            self.write_facts(&facts)?;
        }
        Ok(Decision::CONTINUE)
    }

    fn on_epoch_begin(&mut self, cx: &mut Context<'_>) -> CallbackResult {
        self.epoch_begun = Some((Instant::now(), cx.event().step));
        Ok(Decision::CONTINUE)
    }

    fn on_train_batch_begin(&mut self, cx: &mut Context<'_>) -> CallbackResult {
        let epoch = cx.event().epoch;
        if self.config.images > 0 && self.pictured != Some(epoch) {
            self.pictured = Some(epoch);
            self.write_samples(cx)?;
        }
        self.update_begun.get_or_insert_with(Instant::now);
        Ok(Decision::CONTINUE)
    }

    fn on_train_batch_end(&mut self, cx: &mut Context<'_>) -> CallbackResult {
        let step = cx.event().step;
        let UpdateFreq::Batches(freq) = self.config.update_freq else {
            return Ok(Decision::CONTINUE);
        };
        if self.updates == step {
            return Ok(Decision::CONTINUE);
        }
        self.updates = step;
        let begun = self.update_begun.take();
        if !step.is_multiple_of(freq.get()) {
            return Ok(Decision::CONTINUE);
        }
        let mut numbers = Vec::new();
        if self.config.write_steps_per_second
            && let Some(begun) = begun
        {
            let seconds = begun.elapsed().as_secs_f64();
            numbers.push(("steps_per_second".to_owned(), 1.0 / seconds));
        }
        numbers.extend(numbers_of(cx.logs()?));
        self.train_scalars("batch", step, &numbers)?;
        Ok(Decision::CONTINUE)
    }

    fn on_test_end(&mut self, cx: &mut Context<'_>) -> CallbackResult {
        let step = cx.event().step;
        let numbers = numbers_of(cx.logs()?);
        let file = self.files.validation(&self.config.log_dir)?;
        for (name, value) in numbers {
            let tag = format!("evaluation_{name}_vs_iterations");
            file.add(step, summary::scalar(tag, value))?;
        }
        file.flush()?;
        Ok(Decision::CONTINUE)
    }

    fn on_epoch_end(&mut self, cx: &mut Context<'_>) -> CallbackResult {
        let event = cx.event();
        let (validation, mut train): (Vec<_>, Vec<_>) = numbers_of(cx.logs()?)
            .into_iter()
            .partition(|(name, _)| name.starts_with("val_"));
        if let Some(rate) = cx.learning_rate()
            && train.iter().all(|(name, _)| name != "learning_rate")
        {
            train.push(("learning_rate".to_owned(), rate));
        }
        if let Some((begun, step)) = self.epoch_begun {
            let updates = event.step.saturating_sub(step) as f64;
            let seconds = begun.elapsed().as_secs_f64();
            train.push(("steps_per_second".to_owned(), updates / seconds));
        }
        self.train_scalars("epoch", event.epoch, &train)?;
        for (name, value) in validation {
            let tag = format!("epoch_{}", name.strip_prefix("val_").unwrap_or(&name));
            let file = self.files.validation(&self.config.log_dir)?;
            file.add(event.epoch, summary::scalar(tag, value))?;
        }
        let freq = self.config.histogram_freq;
        if freq > 0 && event.epoch.is_multiple_of(freq) {
            self.write_params(cx)?;
        }
        self.files.flush()?;
        Ok(Decision::CONTINUE)
    }

    fn on_train_end(&mut self, _: &mut Context<'_>) -> CallbackResult {
        self.files.flush()?;
        self.files = Files::default();
        Ok(Decision::CONTINUE)
    }

    fn on_error(&mut self, _: &mut Context<'_>) -> CallbackResult {
        self.files.flush()?;
        Ok(Decision::CONTINUE)
    }
}

/// The logs that are numbers.
fn numbers_of(logs: &Logs) -> Vec<(String, f64)> {
    logs.iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value.as_number()?)))
        .collect()
}
