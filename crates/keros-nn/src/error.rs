//! What can go wrong in building, running and training a network.

use keros_tensor::{DType, TensorError};
use std::fmt;
use std::path::PathBuf;

/// Everything that can go wrong in this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NnError {
    /// A layer failed; `source` says what it found.
    #[error("layer `{layer}`: {source}")]
    Layer {
        /// Name of the layer.
        layer: String,
        /// What went wrong in it.
        source: Box<NnError>,
    },
    /// A tensor of the wrong shape.
    #[error("{what}: wrong shape (expected {expected}, found {found:?})")]
    Shape {
        /// What has that shape.
        what: String,
        /// The shape that is needed, in words or numbers.
        expected: String,
        /// The shape that was given.
        found: Vec<usize>,
    },
    /// An argument outside its range.
    #[error("{what}: value out of range (expected {expected}, found {found})")]
    Argument {
        /// The argument.
        what: String,
        /// Its range.
        expected: String,
        /// What was given.
        found: String,
    },
    /// A string that names no loss, metric, optimizer or activation.
    #[error("unknown {kind} `{name}` (expected one of {})", known.join(", "))]
    UnknownName {
        /// What was looked for.
        kind: &'static str,
        /// The string.
        name: String,
        /// The names there are.
        known: &'static [&'static str],
    },
    /// Two layers of one name.
    #[error("building the network: two layers are called `{name}`; give one of them another name")]
    DuplicateLayer {
        /// The name.
        name: String,
    },
    /// A layer was run before it was built.
    #[error("running a layer: it has not been built as part of a network")]
    NotBuilt,
    /// `backward` without a forward pass in training mode before it.
    #[error("backward pass: no forward pass in training mode came before it")]
    NoForward,
    /// A learning rate was set while it follows a schedule.
    #[error("setting the learning rate of {optimizer}: it follows a schedule")]
    Scheduled {
        /// The optimizer.
        optimizer: &'static str,
    },
    /// The state of a metric is that of another one, or no state at all.
    #[error("loading the state of metric `{metric}`: expected {expected}, found {found}")]
    MetricState {
        /// Name of the metric.
        metric: String,
        /// The numbers that are needed.
        expected: String,
        /// What was given.
        found: String,
    },
    /// The moving averages of the parameters were asked for where there are none.
    #[error(
        "exchanging the parameters and their moving averages: {optimizer} keeps none (see use_ema)"
    )]
    NoAverages {
        /// The optimizer.
        optimizer: &'static str,
    },
    /// The state of an optimizer is that of another one, or of other parameters.
    #[error("loading the state of an optimizer: {0}")]
    OptimizerState(Box<StateMismatch>),
    /// A name that no layer of the network has.
    #[error("unknown layer `{name}` (the network has {})", known.join(", "))]
    UnknownLayer {
        /// The name.
        name: String,
        /// The layers there are.
        known: Vec<String>,
    },
    /// A configuration that lacks an argument, or has one that is unknown or of another type.
    #[error("reading the configuration: {what} (expected {expected}, found {found})")]
    Config {
        /// The argument, or what else was read.
        what: String,
        /// What is needed there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A configuration that is not JSON.
    #[error("reading the configuration: {0}")]
    Json(#[source] serde_json::Error),
    /// A file whose network cannot be made here.
    #[error("reading {}: {source}", path.display())]
    Model {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<NnError>,
    },
    /// A layer that has no configuration to be written, or an argument of its that has none.
    #[error("writing the configuration: layer `{layer}` of class {class_name} cannot be written")]
    NoConfig {
        /// Name of the layer.
        layer: String,
        /// Its class.
        class_name: String,
    },
    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

/// How the state that was given to an optimizer differs from the one it needs.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct StateMismatch {
    /// Needed, but not given.
    pub missing: Vec<String>,
    /// Given, but not needed, or given twice.
    pub unexpected: Vec<String>,
    /// Of another shape or type.
    pub different: Vec<StateDifference>,
}

/// One tensor of an optimizer's state whose type or shape is not the one that is needed.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct StateDifference {
    /// Name of the tensor.
    pub name: String,
    /// Type and shape that are needed.
    pub expected: (DType, Vec<usize>),
    /// Type and shape that were given.
    pub found: (DType, Vec<usize>),
}

impl fmt::Display for StateMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let missing = self
            .missing
            .iter()
            .map(|name| format!("`{name}` is missing"));
        let unexpected = self
            .unexpected
            .iter()
            .map(|name| format!("`{name}` is not part of it"));
        let different = self.different.iter().map(|difference| {
            let ((expected, shape), (found, found_shape)) =
                (&difference.expected, &difference.found);
            format!(
                "`{}` differs (expected {expected:?} {shape:?}, found {found:?} {found_shape:?})",
                difference.name
            )
        });
        let all: Vec<String> = missing.chain(unexpected).chain(different).collect();
        f.write_str(&all.join("; "))
    }
}

impl NnError {
    pub(crate) fn shape(
        what: impl Into<String>,
        expected: impl Into<String>,
        found: &[usize],
    ) -> NnError {
        NnError::Shape {
            what: what.into(),
            expected: expected.into(),
            found: found.to_vec(),
        }
    }

    pub(crate) fn argument(
        what: impl Into<String>,
        expected: impl Into<String>,
        found: impl ToString,
    ) -> NnError {
        NnError::Argument {
            what: what.into(),
            expected: expected.into(),
            found: found.to_string(),
        }
    }

    pub(crate) fn metric_state(
        metric: &str,
        expected: impl Into<String>,
        found: impl ToString,
    ) -> NnError {
        NnError::MetricState {
            metric: metric.to_owned(),
            expected: expected.into(),
            found: found.to_string(),
        }
    }

    pub(crate) fn config(
        what: impl Into<String>,
        expected: impl Into<String>,
        found: impl ToString,
    ) -> NnError {
        const LONGEST: usize = 60;
        let mut found = found.to_string();
        if let Some((end, _)) = found.char_indices().nth(LONGEST) {
            found.truncate(end);
            found.push('…');
        }
        NnError::Config {
            what: what.into(),
            expected: expected.into(),
            found,
        }
    }

    /// Says which argument it was, of an error that does not.
    pub(crate) fn in_argument(self, name: &str) -> NnError {
        match self {
            NnError::Config {
                what,
                expected,
                found,
            } => NnError::Config {
                what: format!("{name}: {what}"),
                expected,
                found,
            },
            NnError::UnknownName {
                name: class, known, ..
            } => NnError::config(name, format!("one of {}", known.join(", ")), class),
            error => error,
        }
    }

    pub(crate) fn in_layer(self, layer: &str) -> NnError {
        NnError::Layer {
            layer: layer.to_owned(),
            source: Box::new(self),
        }
    }
}

impl From<candle_core::Error> for NnError {
    fn from(error: candle_core::Error) -> Self {
        NnError::Tensor(error.into())
    }
}
