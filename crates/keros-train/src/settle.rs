//! From the values of a step to the trackers.
//!
//! What a step computes on a GPU is not there when the step returns. So its values are left in a
//! queue, on their way to the host, and are added to the trackers when somebody wants to know, or
//! when the host is [`MOST_PENDING`] steps ahead. They are added in the order of the steps and by the
//! same code on every device; on the CPU, where the values are there at once, before the step goes
//! on.

use crate::error::TrainError;
use crate::positions::by_row;
use crate::trackers::Trackers;
use keros_nn::{Activation, Output, Penalty, Target};
use keros_tensor::access::read;
use keros_tensor::{Device, Readback, Tensor, Workspace};
use std::collections::VecDeque;

/// Steps whose values may be on their way.
const MOST_PENDING: usize = 4;

/// The values of a step.
pub(crate) struct StepValues {
    /// Epoch and batch, if the step is one of several.
    pub(crate) place: Option<(u64, u64)>,
    pub(crate) rows: f64,
    pub(crate) penalty: Penalty,
    /// One for each output; `None` without a loss.
    pub(crate) outputs: Vec<Option<OutputValues>>,
    /// The sums of the penalties, then for each output the losses and, if it has metrics, the logits.
    pub(crate) readback: Readback,
}

/// The values of an output with a loss, beside those that are on their way.
pub(crate) struct OutputValues {
    /// Turns the weighted sum of the losses into the loss of the batch.
    pub(crate) scale: f64,
    /// The factor of that in the total loss.
    pub(crate) factor: f64,
    /// What the metrics take, if there are any.
    pub(crate) compared: Option<Compared>,
    /// One for each loss.
    pub(crate) weights: Option<Tensor>,
}

/// What metrics compare the logits by.
pub(crate) struct Compared {
    pub(crate) activation: Activation,
    pub(crate) target: Target,
}

/// Steps on their way, the oldest first.
#[derive(Default)]
pub(crate) struct Pending {
    /// Each with the memory of its tensors on the host.
    steps: VecDeque<(StepValues, Workspace)>,
    spare: Vec<Workspace>,
}

impl Pending {
    /// Forgets all steps.
    pub(crate) fn clear(&mut self) {
        let workspaces = self.steps.drain(..).map(|(_, workspace)| workspace);
        self.spare.extend(workspaces);
        self.spare.iter_mut().for_each(Workspace::recycle);
    }
}

impl Trackers {
    /// Memory on the host for the tensors of a step that is to be [pushed](Self::push).
    pub(crate) fn host_workspace(&mut self) -> Workspace {
        let spare = self.pending.spare.pop();
        spare.unwrap_or_else(|| Workspace::new(&Device::Cpu))
    }

    /// Takes the values of a step, whose own tensors are from `workspace`, for later.
    pub(crate) fn push(
        &mut self,
        values: StepValues,
        workspace: Workspace,
    ) -> Result<(), TrainError> {
        self.pending.steps.push_back((values, workspace));
        while let Some((oldest, _)) = self.pending.steps.front() {
            // An error is found again by the wait, which names the batch.
            if self.pending.steps.len() <= MOST_PENDING
                && !oldest.readback.is_ready().unwrap_or(true)
            {
                break;
            }
            self.settle_oldest()?;
        }
        Ok(())
    }

    /// Adds all steps that are on their way.
    ///
    /// # Errors
    /// What a metric or the device has found wrong, with the batch that it belongs to. The steps
    /// after that one are still on their way.
    pub(crate) fn settle(&mut self) -> Result<(), TrainError> {
        while !self.pending.steps.is_empty() {
            self.settle_oldest()?;
        }
        Ok(())
    }

    fn settle_oldest(&mut self) -> Result<(), TrainError> {
        let Some((values, mut workspace)) = self.pending.steps.pop_front() else {
            return Ok(());
        };
        let place = values.place;
        let added = self.add(values, &mut workspace);
        workspace.recycle();
        self.pending.spare.push(workspace);
        added.map_err(|error| match place {
            Some((epoch, batch)) => error.in_batch(epoch, batch),
            None => error,
        })
    }

    /// Adds the values of a step, with a workspace of the device that they are on.
    pub(crate) fn add(
        &mut self,
        values: StepValues,
        workspace: &mut Workspace,
    ) -> Result<(), TrainError> {
        let tensors = values.readback.wait()?;
        let (sums, tensors) = tensors.split_at(values.penalty.sums.len());
        let mut total = values.penalty.known;
        for (penalties, sums) in values.penalty.sums.iter().zip(sums) {
            total += penalties.total(&read::<f64>(sums)?);
        }
        let mut tensors = tensors.iter();
        for (values, trackers) in values.outputs.iter().zip(&mut self.outputs) {
            let (Some(values), Some(losses)) =
                (values, values.as_ref().and_then(|_| tensors.next()))
            else {
                continue;
            };
            let weights = values.weights.as_ref();
            let value = weighted_sum(losses, weights)? * values.scale;
            total += value * values.factor;
            if let Some((_, mean)) = &mut trackers.loss {
                // As in Keras 3, where a short batch counts as much as a whole one here.
                mean.add(value, 1.0);
            }
            let (Some(compared), Some(logits)) = (
                &values.compared,
                values.compared.as_ref().and_then(|_| tensors.next()),
            ) else {
                continue;
            };
            let output = Output {
                logits: logits.clone(),
                activation: compared.activation,
            };
            let by_weight = match weights {
                Some(weights) => by_row(&output, &compared.target, weights.elem_count())?,
                None => None,
            };
            for tracked in &mut trackers.metrics {
                let weights = weights.filter(|_| tracked.weighted);
                let (output, target) = match (weights, &by_weight) {
                    (Some(_), Some((output, target))) => (output, target),
                    _ => (&output, &compared.target),
                };
                tracked.metric.update(workspace, output, target, weights)?;
            }
        }
        self.loss.add(total, values.rows);
        Ok(())
    }
}

fn weighted_sum(losses: &Tensor, weights: Option<&Tensor>) -> Result<f64, TrainError> {
    let losses = read::<f32>(losses)?;
    Ok(match weights {
        None => losses.iter().map(|loss| f64::from(*loss)).sum(),
        Some(weights) => {
            let weights = read::<f32>(weights)?;
            let pairs = losses.iter().zip(weights.iter());
            pairs
                .map(|(loss, weight)| f64::from(*loss) * f64::from(*weight))
                .sum()
        }
    })
}
