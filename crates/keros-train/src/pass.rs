//! What an evaluation and a prediction outside of `fit` have in common.

use crate::error::TrainError;
use crate::options::GeneratorOptions;
use crate::plan::threads_only;
use crate::run::Callbacks;
use crate::source::{Feed, Source};
use keros_callbacks::{ProgbarLogger, RunInfo};
use keros_data::LoaderOptions;
use keros_tensor::Params;

/// One pass over a source, in order, with its callbacks.
pub(crate) struct LonePass<'c> {
    pub(crate) feed: Feed,
    /// Batches of the pass, if known.
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
    ) -> Result<LonePass<'c>, TrainError> {
        threads_only(options.use_multiprocessing)?;
        let loader = LoaderOptions {
            workers: options.workers,
            max_queue_size: options.max_queue_size,
            shuffle: false,
            ..LoaderOptions::default()
        };
        let feed = Feed::new(source, loader, options.steps)?;
        let steps = options.steps.or(feed.len());
        let info = RunInfo {
            epochs: 1,
            initial_epoch: 0,
            steps,
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
            callbacks: Callbacks::new(list, info, params),
        })
    }
}
