//! The loss and metrics of an epoch or evaluation so far.

use crate::error::TrainError;
use crate::settle::Pending;
use keros_callbacks::Logs;
use keros_nn::{Metric, WeightedMean};
use std::cell::RefCell;
use std::rc::{Rc, Weak};

/// A running value of each number that is logged.
pub(crate) struct Trackers {
    /// The total loss.
    pub(crate) loss: WeightedMean,
    pub(crate) outputs: Vec<OutputTrackers>,
    /// Steps whose values are not in the numbers yet.
    pub(crate) pending: Pending,
    pub(crate) owners: Owners,
}

/// The numbers of one owner while those of another are in the trackers. A trainer has its own, and each loop of the
/// user's has, so that neither disturbs the other. Clones are of the same owner.
#[derive(Clone, Default)]
pub(crate) struct Means(Rc<RefCell<Kept>>);

#[derive(Default)]
struct Kept {
    /// Empty for those that begin anew.
    state: Vec<Vec<f64>>,
    pending: Pending,
}

/// Whose numbers there are.
#[derive(Default)]
pub(crate) struct Owners {
    /// The one whose are in the trackers.
    current: Means,
    /// The trainer itself.
    trainer: Means,
    /// A loop whose batch has begun: a step that the trainer makes for it adds to its means.
    step_of: Weak<RefCell<Kept>>,
}

/// The numbers of one output.
pub(crate) struct OutputTrackers {
    /// Its own loss under its log key, if the network has several outputs: the mean over the batches.
    pub(crate) loss: Option<(String, WeightedMean)>,
    pub(crate) metrics: Vec<TrackedMetric>,
}

pub(crate) struct TrackedMetric {
    /// The log key.
    pub(crate) key: String,
    /// Whether sample weights count.
    pub(crate) weighted: bool,
    pub(crate) metric: Box<dyn Metric>,
}

impl Trackers {
    /// Brings the numbers of this owner back and puts away those of the one before, at no wait for the device.
    pub(crate) fn give_to(&mut self, owner: &Means) -> Result<(), TrainError> {
        if Rc::ptr_eq(&self.owners.current.0, &owner.0) {
            return Ok(());
        }
        let before = std::mem::replace(&mut self.owners.current, owner.clone());
        *before.0.borrow_mut() = Kept {
            state: self.numbers(),
            pending: std::mem::take(&mut self.pending),
        };
        let Kept { state, pending } = owner.0.take();
        self.reset();
        if !state.is_empty() {
            self.load_state(&state)?;
        }
        self.pending = pending;
        Ok(())
    }

    /// [`give_to`](Self::give_to) the trainer, for what its user calls.
    pub(crate) fn give_to_trainer(&mut self) -> Result<(), TrainError> {
        let trainer = self.owners.trainer.clone();
        self.give_to(&trainer)
    }

    /// The same for a step that goes on with the means so far: inside of a batch of a loop they are the loop's.
    pub(crate) fn give_to_step(&mut self) -> Result<(), TrainError> {
        match self.owners.step_of.upgrade() {
            Some(of_loop) => self.give_to(&Means(of_loop)),
            None => self.give_to_trainer(),
        }
    }

    /// Tells of the batch of a loop that has begun, or that none has.
    pub(crate) fn begin_step(&mut self, of_loop: Option<&Means>) {
        self.owners.step_of = of_loop.map_or_else(Weak::new, |means| Rc::downgrade(&means.0));
    }

    pub(crate) fn reset(&mut self) {
        self.pending.clear();
        self.loss.reset();
        for output in &mut self.outputs {
            if let Some((_, loss)) = &mut output.loss {
                loss.reset();
            }
            for metric in &mut output.metrics {
                metric.metric.reset();
            }
        }
    }

    /// Sets `loss`, the losses of several outputs and the metrics, each name behind `prefix`.
    ///
    /// # Errors
    /// Those of [`settle`](Self::settle).
    pub(crate) fn write(&mut self, prefix: &str, logs: &mut Logs) -> Result<(), TrainError> {
        self.settle()?;
        let mut set = |key: &str, value| match prefix {
            "" => logs.set(key, value),
            _ => logs.set(&format!("{prefix}{key}"), value),
        };
        set("loss", self.loss.result());
        for (key, loss) in self
            .outputs
            .iter()
            .filter_map(|output| output.loss.as_ref())
        {
            set(key, loss.result());
        }
        for metric in self.metrics() {
            set(&metric.key, metric.metric.result());
        }
        Ok(())
    }

    /// The log keys.
    pub(crate) fn names(&self) -> Vec<String> {
        let losses = self
            .outputs
            .iter()
            .filter_map(|output| output.loss.as_ref());
        std::iter::once("loss")
            .chain(losses.map(|(key, _)| key.as_str()))
            .chain(self.metrics().map(|metric| metric.key.as_str()))
            .map(str::to_owned)
            .collect()
    }

    /// Everything gathered so far, a list of numbers for each log key.
    ///
    /// # Errors
    /// Those of [`settle`](Self::settle).
    pub(crate) fn state(&mut self) -> Result<Vec<Vec<f64>>, TrainError> {
        self.settle()?;
        Ok(self.numbers())
    }

    /// The same without the steps on their way.
    fn numbers(&self) -> Vec<Vec<f64>> {
        let losses = self
            .outputs
            .iter()
            .filter_map(|output| output.loss.as_ref());
        std::iter::once(self.loss.state())
            .chain(losses.map(|(_, loss)| loss.state()))
            .chain(self.metrics().map(|metric| metric.metric.state()))
            .collect()
    }

    /// Goes on from a [`state`](Self::state) of trackers with the same names.
    pub(crate) fn load_state(&mut self, state: &[Vec<f64>]) -> Result<(), TrainError> {
        let expected = self.names().len();
        if state.len() != expected {
            let expected = format!("{expected} lists of numbers");
            let found = state.len();
            return Err(TrainError::argument("resuming", "metrics", expected, found));
        }
        self.pending.clear();
        let mut states = state.iter();
        let mut next = || states.next().map_or(&[][..], Vec::as_slice);
        self.loss.load_state("loss", next())?;
        for output in &mut self.outputs {
            if let Some((key, loss)) = &mut output.loss {
                loss.load_state(key, next())?;
            }
        }
        for output in &mut self.outputs {
            for metric in &mut output.metrics {
                metric.metric.load_state(next())?;
            }
        }
        Ok(())
    }

    fn metrics(&self) -> impl Iterator<Item = &TrackedMetric> {
        self.outputs.iter().flat_map(|output| &output.metrics)
    }
}
