//! Metrics: numbers gathered over many batches.

use crate::error::NnError;
use crate::network::Output;
use crate::target::Target;
use keros_tensor::access::{read, write};
use keros_tensor::{DType, Tensor, Workspace, kernels};
use std::str::FromStr;

/// A weighted mean that is gathered batch by batch, in f64.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WeightedMean {
    total: f64,
    weight: f64,
}

impl WeightedMean {
    /// Adds `weight` times `value`.
    pub fn add(&mut self, value: f64, weight: f64) {
        self.total += value * weight;
        self.weight += weight;
    }

    /// The mean so far; 0 when nothing was added, as in Keras.
    #[must_use]
    pub fn result(&self) -> f64 {
        if self.weight == 0.0 {
            0.0
        } else {
            self.total / self.weight
        }
    }

    /// Forgets everything.
    pub fn reset(&mut self) {
        *self = WeightedMean::default();
    }
}

/// A number that tells how good outputs are, gathered over many batches.
pub trait Metric {
    /// The log key, such as `accuracy`.
    fn name(&self) -> &str;

    /// Adds a batch. `weights` (`[N]` f32) are given to weighted metrics only.
    ///
    /// # Errors
    /// Targets that do not go with the output.
    fn update(
        &mut self,
        workspace: &mut Workspace,
        output: &Output,
        target: &Target,
        weights: Option<&Tensor>,
    ) -> Result<(), NnError>;

    /// The value over all batches since the last reset.
    fn result(&self) -> f64;

    /// Forgets all batches.
    fn reset(&mut self);
}

impl FromStr for Box<dyn Metric> {
    type Err = NnError;

    /// Keras's names: `accuracy` and `acc`.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "accuracy" | "acc" => Ok(Box::new(Accuracy::new())),
            _ => Err(NnError::UnknownName {
                kind: "metric",
                name: name.to_owned(),
                known: &["accuracy", "acc"],
            }),
        }
    }
}

/// The share of samples whose largest output is the target class.
///
/// Labels are compared with the first largest output; one-hot targets count as their first largest
/// entry. Outputs with one value per sample are compared at the threshold 0.5 (strictly greater).
#[derive(Clone, Debug, Default)]
pub struct Accuracy {
    mean: WeightedMean,
}

impl Accuracy {
    /// Nothing seen yet.
    #[must_use]
    pub fn new() -> Accuracy {
        Accuracy::default()
    }
}

impl Metric for Accuracy {
    fn name(&self) -> &str {
        "accuracy"
    }

    fn update(
        &mut self,
        workspace: &mut Workspace,
        output: &Output,
        target: &Target,
        weights: Option<&Tensor>,
    ) -> Result<(), NnError> {
        let logits = &output.logits;
        let hits = match (target, logits.dims()) {
            (Target::Values(values), [_, 1]) => {
                let outputs = output.values(workspace)?;
                above_half(workspace, &outputs, values)?
            }
            (Target::Values(values), _) => {
                let labels = labels_of(workspace, values)?;
                kernels::correct(workspace, logits, &labels)?
            }
            (Target::Labels(labels), _) if weights.is_none() => {
                let hits = kernels::count_correct(logits, labels)? as f64;
                let samples = labels.elem_count().max(1) as f64;
                self.mean.add(hits / samples, labels.elem_count() as f64);
                return Ok(());
            }
            (Target::Labels(labels), _) => kernels::correct(workspace, logits, labels)?,
        };
        let weights = weights.map(read::<f32>).transpose()?;
        for (n, hit) in read::<f32>(&hits)?.iter().enumerate() {
            let weight = weights.as_ref().map_or(1.0, |weights| weights[n]);
            self.mean.add(f64::from(*hit), f64::from(weight));
        }
        Ok(())
    }

    fn result(&self) -> f64 {
        self.mean.result()
    }

    fn reset(&mut self) {
        self.mean.reset();
    }
}

/// 1 where output and target are on the same side of 0.5.
fn above_half(
    workspace: &mut Workspace,
    outputs: &Tensor,
    targets: &Tensor,
) -> Result<Tensor, NnError> {
    if targets.dims() != outputs.dims() {
        let expected = format!("the output's, {:?}", outputs.dims());
        return Err(NnError::shape(
            "accuracy: targets",
            expected,
            targets.dims(),
        ));
    }
    let hits = workspace.take(&[outputs.elem_count()], DType::F32)?;
    let (outputs, targets) = (read::<f32>(outputs)?, read::<f32>(targets)?);
    write(&hits, |hits: &mut [f32]| {
        for (hit, (output, target)) in hits.iter_mut().zip(outputs.iter().zip(targets.iter())) {
            *hit = f32::from(u8::from((*output > 0.5) == (*target > 0.5)));
        }
    })?;
    Ok(hits)
}

/// The first largest entry of each row.
fn labels_of(workspace: &mut Workspace, targets: &Tensor) -> Result<Tensor, NnError> {
    let [samples, classes] = *targets.dims() else {
        let found = targets.dims();
        return Err(NnError::shape(
            "accuracy: targets",
            "[samples, classes]",
            found,
        ));
    };
    let labels = workspace.take(&[samples], DType::U32)?;
    let targets = read::<f32>(targets)?;
    write(&labels, |labels: &mut [u32]| {
        for (label, row) in labels.iter_mut().zip(targets.chunks_exact(classes.max(1))) {
            let mut best = 0;
            for (class, value) in row.iter().enumerate() {
                if *value > row[best] {
                    best = class;
                }
            }
            *label = best as u32;
        }
    })?;
    Ok(labels)
}
