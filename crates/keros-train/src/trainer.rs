//! A network with everything it needs to be trained.

use crate::error::TrainError;
use keros_callbacks::Logs;
use keros_nn::{Loss, Metric, Network, NnError, Optimizer, Resolve, WeightedMean};
use keros_tensor::{Device, Workspace};

/// A network, its optimizer, loss and metrics: what Keras calls a compiled model.
pub struct Trainer<N> {
    pub(crate) network: N,
    pub(crate) optimizer: Box<dyn Optimizer>,
    pub(crate) loss: Box<dyn Loss>,
    pub(crate) trackers: Trackers,
    pub(crate) seed: u64,
    pub(crate) workspace: Workspace,
}

/// The loss and metrics of an epoch or evaluation so far.
pub(crate) struct Trackers {
    pub(crate) loss: WeightedMean,
    pub(crate) metrics: Vec<Box<dyn Metric>>,
}

impl Trackers {
    pub(crate) fn reset(&mut self) {
        self.loss.reset();
        for metric in &mut self.metrics {
            metric.reset();
        }
    }

    /// Sets `loss` and the metrics, each name behind `prefix`.
    pub(crate) fn write(&self, prefix: &str, logs: &mut Logs) {
        logs.set(&format!("{prefix}loss"), self.loss.result());
        for metric in &self.metrics {
            logs.set(&format!("{prefix}{}", metric.name()), metric.result());
        }
    }

    pub(crate) fn names(&self) -> Vec<String> {
        let metrics = self.metrics.iter().map(|metric| metric.name().to_owned());
        std::iter::once("loss".to_owned()).chain(metrics).collect()
    }
}

impl<N: Network> Trainer<N> {
    /// Begins to compile `network`.
    pub fn builder(network: N) -> TrainerBuilder<N> {
        TrainerBuilder {
            network,
            optimizer: None,
            loss: None,
            metrics: Vec::new(),
            seed: 0,
        }
    }

    /// The network.
    pub fn network(&self) -> &N {
        &self.network
    }

    /// The network, to freeze or load parameters between calls.
    pub fn network_mut(&mut self) -> &mut N {
        &mut self.network
    }

    /// The network alone.
    pub fn into_network(self) -> N {
        self.network
    }

    /// The optimizer.
    pub fn optimizer(&self) -> &dyn Optimizer {
        self.optimizer.as_ref()
    }

    /// The optimizer, to set its learning rate between calls.
    pub fn optimizer_mut(&mut self) -> &mut dyn Optimizer {
        self.optimizer.as_mut()
    }
}

/// What is known of a [`Trainer`] so far.
pub struct TrainerBuilder<N> {
    network: N,
    optimizer: Option<Result<Box<dyn Optimizer>, NnError>>,
    loss: Option<Result<Box<dyn Loss>, NnError>>,
    metrics: Vec<Result<Box<dyn Metric>, NnError>>,
    seed: u64,
}

impl<N: Network> TrainerBuilder<N> {
    /// The optimizer: a name such as `"adam"`, or a value. It has no default.
    #[must_use]
    pub fn optimizer(mut self, optimizer: impl Resolve<dyn Optimizer>) -> TrainerBuilder<N> {
        self.optimizer = Some(optimizer.resolve());
        self
    }

    /// The loss: a name such as `"sparse_categorical_crossentropy"`, or a value.
    #[must_use]
    pub fn loss(mut self, loss: impl Resolve<dyn Loss>) -> TrainerBuilder<N> {
        self.loss = Some(loss.resolve());
        self
    }

    /// Adds a metric: a name such as `"accuracy"`, or a value. Metrics ignore sample weights.
    #[must_use]
    pub fn metric(mut self, metric: impl Resolve<dyn Metric>) -> TrainerBuilder<N> {
        self.metrics.push(metric.resolve());
        self
    }

    /// The seed of everything random in training: dropout, and the order of `fit`'s rows. Default 0.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> TrainerBuilder<N> {
        self.seed = seed;
        self
    }

    /// The trainer.
    ///
    /// # Errors
    /// An unknown name; no optimizer or loss; two metrics of one name; a network that has not
    /// exactly one output.
    pub fn compile(self) -> Result<Trainer<N>, TrainError> {
        const DOING: &str = "compiling";
        let missing =
            |argument| TrainError::argument(DOING, argument, "a name or a value", "nothing");
        let optimizer = self.optimizer.ok_or_else(|| missing("optimizer"))??;
        let loss = self.loss.ok_or_else(|| missing("loss"))??;
        let metrics = self.metrics.into_iter().collect::<Result<Vec<_>, _>>()?;
        let outputs = self.network.outputs().len();
        if outputs != 1 {
            return Err(TrainError::argument(
                DOING,
                "network",
                "one output",
                outputs,
            ));
        }
        let trackers = Trackers {
            loss: WeightedMean::default(),
            metrics,
        };
        let mut names = trackers.names();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            let expected = "metrics of different names";
            return Err(TrainError::argument(DOING, "metrics", expected, &twice[0]));
        }
        let device = match self.network.params().iter().next() {
            Some((_, param)) => param.value().device().clone(),
            None => Device::Cpu,
        };
        Ok(Trainer {
            workspace: Workspace::new(&device),
            network: self.network,
            optimizer,
            loss,
            trackers,
            seed: self.seed,
        })
    }
}
