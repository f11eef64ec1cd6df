//! What an evaluation and a prediction outside of `fit` have in common.

use crate::error::TrainError;
use crate::messages::Messages;
use crate::options::GeneratorOptions;
use crate::run::Callbacks;
use crate::source::{Feed, Source, shorter};
use keros_callbacks::{ProgbarLogger, RunInfo};
use keros_data::LoaderOptions;
use keros_tensor::Params;

/// One pass over a source, in order, with its callbacks.
pub(crate) struct LonePass<'c> {
    pub(crate) feed: Feed,
    /// Batches that are asked for, if known; there may be fewer.
    pub(crate) steps: Option<u64>,
    pub(crate) callbacks: Callbacks<'c>,
}

impl<'c> LonePass<'c> {
    /// `metrics`: the names that callbacks will find in the logs.
    pub(crate) fn new(
        source: Source,
        options: GeneratorOptions<'c>,
        metrics: Vec<String>,
        params: &Params,
        messages: Messages,
    ) -> Result<LonePass<'c>, TrainError> {
        let loader = LoaderOptions {
            workers: options.workers,
            use_multiprocessing: options.use_multiprocessing,
            max_queue_size: options.max_queue_size,
            max_queue_bytes: options.max_queue_bytes,
            worker_timeout: options.worker_timeout,
            ..LoaderOptions::default()
        };
        let feed = Feed::new(source, loader, options.steps)?;
        let steps = options.steps.or(feed.len());
        let info = RunInfo {
            epochs: 1,
            initial_epoch: 0,
            steps: shorter(steps, feed.len()),
            metrics,
            validation: false,
        };
        let mut list = options.callbacks;
        if let Some(progress) = ProgbarLogger::new(options.verbose) {
            list.push(progress);
        }
        Ok(LonePass {
            feed,
            steps,
            callbacks: Callbacks::new(list, info, params, messages),
        })
    }
}
