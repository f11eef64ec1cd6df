//! What an evaluation and a prediction outside of `fit` have in common.

use crate::error::TrainError;
use crate::options::GeneratorOptions;
use crate::plan::not_zero;
use crate::run::Callbacks;
use crate::source::{Feed, Pull, Source, shorter};
use crate::trainer::Trainer;
use keros_callbacks::{ProgbarLogger, RunInfo};
use keros_nn::Network;

impl<N: Network> Trainer<N> {
    /// One pass over a source, in order, with its callbacks, which are told if it fails. `doing`: what it is, in
    /// errors; `metrics`: the names that callbacks will find in the logs; `pass` is told how many batches are asked
    /// for, if that is known; there may be fewer.
    pub(crate) fn lone_pass<'c, T>(
        &mut self,
        doing: &'static str,
        source: Source,
        options: GeneratorOptions<'c>,
        metrics: Vec<String>,
        pass: impl FnOnce(
            &mut Self,
            &mut Pull<'_>,
            Option<u64>,
            &mut Callbacks<'c>,
        ) -> Result<T, TrainError>,
    ) -> Result<T, TrainError> {
        not_zero(doing, "steps", options.steps)?;
        let mut feed = Feed::new(source, options.loader(), options.steps)?;
        let steps = options.steps.or(feed.len());
        let info = RunInfo {
            epochs: 1,
            initial_epoch: 0,
            steps: shorter(steps, feed.len()),
            metrics,
            validation: false,
        };
        let mut pull = feed.start_once(steps)?;
        self.put_weights_back()?;
        self.trackers.give_to_trainer()?;
        let mut list = options.callbacks;
        if let Some(progress) = ProgbarLogger::new(options.verbose) {
            list.push(progress);
        }
        let messages = self.new_messages();
        let mut callbacks = Callbacks::new(list, info, self.network.params(), messages);
        callbacks.queue = pull.meter();
        self.loader = Some(pull.stats());
        let result = pass(self, &mut pull, steps, &mut callbacks);
        self.tell_of_broken_files(&mut callbacks, 0);
        self.tell_error(&mut callbacks, 0, result)
    }

    /// Warns of samples that the data have left out or replaced because of their files, in this pass and, so many, in
    /// those before.
    pub(crate) fn tell_of_broken_files(&self, callbacks: &mut Callbacks<'_>, before: u64) {
        let broken = before + self.loader_stats().map_or(0, |stats| stats.broken_files);
        if broken > 0 {
            callbacks.warn(format!(
                "samples that were skipped or replaced because their files are broken or missing: \
                 {broken} (broken_files of the flow finds them)"
            ));
        }
    }
}
