//! A network with everything it needs to be trained.

use crate::error::TrainError;
use crate::messages::Messages;
use crate::settle::Pending;
use crate::trackers::{OutputTrackers, Owners, TrackedMetric, Trackers};
use keros_callbacks::Message;
use keros_data::{LoaderStats, StatsHandle};
use keros_nn::{
    DtypePolicy, Loss, LossScaleOptimizer, Metric, Network, NnError, Optimizer, Resolve,
    WeightedMean,
};
use keros_tensor::{Device, Workspace};
use std::rc::Rc;

/// A network, its optimizer, losses and metrics: what Keras calls a compiled model.
pub struct Trainer<N> {
    pub(crate) network: N,
    pub(crate) optimizer: Box<dyn Optimizer>,
    /// One for each output of the network.
    pub(crate) heads: Vec<Head>,
    pub(crate) trackers: Trackers,
    pub(crate) seed: u64,
    pub(crate) workspace: Workspace,
    /// The counters of the last pass over data.
    pub(crate) loader: Option<StatsHandle>,
    /// What the last run said.
    messages: Messages,
    /// Held by each loop of the user's own too, as long as there is one.
    pub(crate) loops: Rc<()>,
}

/// What an output of the network is compared by.
pub(crate) struct Head {
    /// `None` for an output that is not trained.
    pub(crate) loss: Option<Rc<dyn Loss>>,
    /// Its factor in the total loss.
    pub(crate) weight: f64,
}

impl<N: Network> Trainer<N> {
    /// Begins to compile `network`.
    pub fn builder(network: N) -> TrainerBuilder<N> {
        TrainerBuilder {
            network,
            optimizer: None,
            losses: Vec::new(),
            loss_weights: Vec::new(),
            metrics: Vec::new(),
            dtype_policy: None,
            auto_scale_loss: true,
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

    /// Who waited for whom in the last pass over data of `fit`, `fit_generator`, `evaluate` or
    /// `predict` (of a fit, its training data);
    /// [`LoaderStats::verdict`](keros_data::LoaderStats::verdict) says it in words. `None` before
    /// the first.
    pub fn loader_stats(&self) -> Option<LoaderStats> {
        self.loader.as_ref().map(StatsHandle::read)
    }

    /// What the run of `fit`, `fit_generator`, `evaluate`, `predict` or a loop of your own that began
    /// last has said to its user, whatever its `verbose` shows and even if it failed: warnings, such
    /// as that the data ran out, failures of callbacks that did not end it, and what callbacks had to
    /// say. In order; of more than 1000 the last ones.
    ///
    /// ```
    /// # use keros_data::Array;
    /// # use keros_nn::{Sequential, layers::Dense};
    /// # use keros_tensor::Device;
    /// # use keros_train::{PredictOptions, TrainError, Trainer};
    /// # let network = Sequential::builder([1]).layer(Dense::new(1)).build(&Device::Cpu, 1)?;
    /// # let mut trainer = Trainer::builder(network).optimizer("sgd").loss("mse").compile()?;
    /// # let x = Array::from_vec(&[2, 1], vec![0.0_f32, 1.0])?;
    /// let options = PredictOptions { steps: Some(9), ..PredictOptions::default() };
    /// trainer.predict(x, options)?;
    /// let said = trainer.messages();
    /// assert!(said[0].text.contains("because the data ran out"));
    /// # Ok::<(), TrainError>(())
    /// ```
    pub fn messages(&self) -> Vec<Message> {
        self.messages.read()
    }

    /// Begins the messages of a run.
    pub(crate) fn new_messages(&mut self) -> Messages {
        self.messages = Messages::default();
        self.messages.clone()
    }

    /// Puts the parameters back where a loop of the user's own was left with their averages in their place.
    pub(crate) fn put_weights_back(&mut self) -> Result<(), TrainError> {
        if self.optimizer.has_swapped() && Rc::strong_count(&self.loops) == 1 {
            self.optimizer.swap_averages(self.network.params())?;
        }
        Ok(())
    }

    /// The log keys, in the order of the logs: `loss`; the losses of the outputs if there are
    /// several; the metrics.
    pub fn metrics_names(&self) -> Vec<String> {
        self.trackers.names()
    }
}

type Resolved<T> = Result<Box<T>, NnError>;

/// What is known of a [`Trainer`] so far.
///
/// Arguments that name an output are for networks with several; [`loss`](Self::loss) is that of
/// every output without one of its own.
pub struct TrainerBuilder<N> {
    network: N,
    optimizer: Option<Resolved<dyn Optimizer>>,
    /// With the output they are for.
    losses: Vec<(Option<String>, Resolved<dyn Loss>)>,
    loss_weights: Vec<(String, f64)>,
    metrics: Vec<MetricOf>,
    dtype_policy: Option<Resolved<DtypePolicy>>,
    auto_scale_loss: bool,
    seed: u64,
}

struct MetricOf {
    output: Option<String>,
    weighted: bool,
    metric: Resolved<dyn Metric>,
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
        self.losses.push((None, loss.resolve()));
        self
    }

    /// The loss of one output. The total loss is the sum over the outputs; an output without a loss
    /// is not trained and needs no targets.
    #[must_use]
    pub fn loss_for(
        mut self,
        output: impl Into<String>,
        loss: impl Resolve<dyn Loss>,
    ) -> TrainerBuilder<N> {
        self.losses.push((Some(output.into()), loss.resolve()));
        self
    }

    /// The factor of an output's loss in the total loss, a finite number. Default 1. The logs have
    /// the loss of the output without the factor, as Keras 3's.
    #[must_use]
    pub fn loss_weight(mut self, output: impl Into<String>, weight: f64) -> TrainerBuilder<N> {
        self.loss_weights.push((output.into(), weight));
        self
    }

    /// Adds a metric: a name such as `"accuracy"`, or a value. Such metrics ignore weights of
    /// samples and classes.
    #[must_use]
    pub fn metric(self, metric: impl Resolve<dyn Metric>) -> TrainerBuilder<N> {
        self.add_metric(None, false, metric.resolve())
    }

    /// Adds a metric of one output, logged as `output_metric`.
    #[must_use]
    pub fn metric_for(
        self,
        output: impl Into<String>,
        metric: impl Resolve<dyn Metric>,
    ) -> TrainerBuilder<N> {
        self.add_metric(Some(output.into()), false, metric.resolve())
    }

    /// Adds a metric in which weights of samples and classes count: Keras's `weighted_metrics`.
    #[must_use]
    pub fn weighted_metric(self, metric: impl Resolve<dyn Metric>) -> TrainerBuilder<N> {
        self.add_metric(None, true, metric.resolve())
    }

    /// Adds a metric of one output in which weights of samples and classes count.
    #[must_use]
    pub fn weighted_metric_for(
        self,
        output: impl Into<String>,
        metric: impl Resolve<dyn Metric>,
    ) -> TrainerBuilder<N> {
        self.add_metric(Some(output.into()), true, metric.resolve())
    }

    fn add_metric(
        mut self,
        output: Option<String>,
        weighted: bool,
        metric: Resolved<dyn Metric>,
    ) -> TrainerBuilder<N> {
        self.metrics.push(MetricOf {
            output,
            weighted,
            metric,
        });
        self
    }

    /// The types in which the network computes: `"mixed_bfloat16"` or `"mixed_float16"` on a GPU,
    /// `"float32"`, or a value.
    /// Default: those of the network, which are `float32` unless it was told otherwise.
    ///
    /// It is a matter of this training, as the device is: files of weights are the same.
    #[must_use]
    pub fn dtype_policy(mut self, policy: impl Resolve<DtypePolicy>) -> TrainerBuilder<N> {
        self.dtype_policy = Some(policy.resolve());
        self
    }

    /// Whether the optimizer becomes the inner one of a [`LossScaleOptimizer`] if the network computes
    /// in `mixed_float16` and the optimizer does not scale the loss itself. Default: true, as in Keras.
    #[must_use]
    pub fn auto_scale_loss(mut self, auto_scale_loss: bool) -> TrainerBuilder<N> {
        self.auto_scale_loss = auto_scale_loss;
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
    /// An unknown name; no optimizer or loss; an output the network does not have; a metric of an
    /// output without a loss, or of no output where there are several; a loss weight that is not
    /// finite, or of an output without a loss; two metrics of one name; a dtype policy that the network or its device does not have.
    pub fn compile(mut self) -> Result<Trainer<N>, TrainError> {
        let missing =
            |argument| TrainError::argument(DOING, argument, "a name or a value", "nothing");
        let mut optimizer = self.optimizer.ok_or_else(|| missing("optimizer"))??;
        if self.losses.is_empty() {
            return Err(missing("loss"));
        }
        if let Some(policy) = self.dtype_policy {
            self.network.set_dtype_policy(*policy?)?;
        }
        let is_half = self.network.dtype_policy() == DtypePolicy::MixedFloat16;
        if is_half && self.auto_scale_loss && optimizer.loss_scale().is_none() {
            optimizer = Box::new(LossScaleOptimizer::new(optimizer)?);
        }
        let outputs: Vec<&str> = self
            .network
            .outputs()
            .iter()
            .map(|port| port.name.as_str())
            .collect();
        let mut common = None;
        let mut own: Vec<Option<Rc<dyn Loss>>> = vec![None; outputs.len()];
        for (output, loss) in self.losses {
            let loss = Some(Rc::from(loss?));
            match output {
                None => common = loss,
                Some(name) => own[find("loss", &outputs, &name)?] = loss,
            }
        }
        let mut heads: Vec<Head> = own
            .into_iter()
            .map(|loss| Head {
                loss: loss.or_else(|| common.clone()),
                weight: 1.0,
            })
            .collect();
        for (name, weight) in self.loss_weights {
            let head = &mut heads[find("loss_weight", &outputs, &name)?];
            if !weight.is_finite() {
                let expected = format!("a finite number for output `{name}`");
                return Err(TrainError::argument(DOING, "loss_weight", expected, weight));
            }
            if head.loss.is_none() {
                let found = format!("output `{name}` without one");
                let expected = "an output with a loss";
                return Err(TrainError::argument(DOING, "loss_weight", expected, found));
            }
            head.weight = weight;
        }
        let trackers = trackers(&outputs, &heads, self.metrics)?;
        let device = match self.network.params().iter().next() {
            Some((_, param)) => param.value().device().clone(),
            None => Device::Cpu,
        };
        Ok(Trainer {
            workspace: Workspace::new(&device),
            network: self.network,
            optimizer,
            heads,
            trackers,
            seed: self.seed,
            loader: None,
            messages: Messages::default(),
            loops: Rc::new(()),
        })
    }
}

const DOING: &str = "compiling";

/// The index of an output.
fn find(argument: &'static str, outputs: &[&str], name: &str) -> Result<usize, TrainError> {
    outputs
        .iter()
        .position(|output| *output == name)
        .ok_or_else(|| {
            let expected = format!("an output of the network: `{}`", outputs.join("`, `"));
            TrainError::argument(DOING, argument, expected, format!("`{name}`"))
        })
}

fn trackers(
    outputs: &[&str],
    heads: &[Head],
    metrics: Vec<MetricOf>,
) -> Result<Trackers, TrainError> {
    let several = outputs.len() > 1;
    let mut trackers = Trackers {
        loss: WeightedMean::default(),
        outputs: Vec::new(),
        pending: Pending::default(),
        owners: Owners::default(),
    };
    for (name, head) in outputs.iter().zip(heads) {
        let own_loss = several && head.loss.is_some();
        trackers.outputs.push(OutputTrackers {
            loss: own_loss.then(|| (format!("{name}_loss"), WeightedMean::default())),
            metrics: Vec::new(),
        });
    }
    for MetricOf {
        output,
        weighted,
        metric,
    } in metrics
    {
        let metric = metric?;
        let wrong = |expected: &str| {
            let found = format!("metric `{}` without", metric.name());
            TrainError::argument(DOING, "metrics", expected, found)
        };
        let index = match &output {
            Some(name) => find("metrics", outputs, name)?,
            None if several => {
                return Err(wrong(
                    "the name of an output with each metric, because the network has several",
                ));
            }
            None => 0,
        };
        if heads[index].loss.is_none() {
            return Err(wrong("a loss for each output that has metrics"));
        }
        let key = match several {
            true => format!("{}_{}", outputs[index], metric.name()),
            false => metric.name().to_owned(),
        };
        trackers.outputs[index].metrics.push(TrackedMetric {
            key,
            weighted,
            metric,
        });
    }
    let mut names = trackers.names();
    names.sort_unstable();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        let expected = "metrics of different names";
        return Err(TrainError::argument(DOING, "metrics", expected, &twice[0]));
    }
    Ok(trackers)
}
