//! Muon.

use super::{RuleOptimizer, Slot, UpdateRule, betas, decay_or_one, decay_rate, numbers, positive};
use crate::error::NnError;
use crate::schedule::not_negative;
use keros_tensor::kernels::{self, Update};
use keros_tensor::{Param, Workspace};

/// Muon (K. Jordan et al., 2024; J. Liu et al., 2025) in Keras's form: the momentum of a matrix is made orthogonal, so
/// that an update changes all directions alike.
///
/// For a matrix `m = μ m + g`, and `x` is `g + μ m` (with `nesterov`, else `m`) divided by its norm; then `ns_steps`
/// times `x = a x + (b A + c A²) x` with `A = x xᵀ`, and
/// `w -= learning_rate · √max(rows, columns) · rms_rate · x`.
///
/// Parameters that have not two axes, those with `embedding` in their name and those of [excluded
/// layers](Muon::exclude_layers) are updated as by [`AdamW`](super::AdamW), with a weight decay of their own.
///
/// Defaults: learning rate 0.001, μ 0.95, `nesterov`, 5 steps, `(a, b, c)` (3.4445, -4.775, 2.0315), `rms_rate` 0.2,
/// weight decay 0.004, `adam_weight_decay` 0.004, `adam_lr_ratio` 1, β₁ 0.9, β₂ 0.999, ε 1e-7. The output layer of a
/// network is better excluded.
pub type Muon = RuleOptimizer<MuonRule>;

/// The update of [`Muon`].
#[derive(Clone, Debug)]
pub struct MuonRule {
    exclude_layers: Vec<String>,
    exclude_embeddings: bool,
    coefficients: [f64; 3],
    momentum: f64,
    nesterov: bool,
    ns_steps: usize,
    rms_rate: Option<f64>,
    adam_beta_1: f64,
    adam_beta_2: f64,
    epsilon: f64,
    adam_lr_ratio: f64,
    adam_weight_decay: f64,
}

impl Default for MuonRule {
    fn default() -> Self {
        MuonRule {
            exclude_layers: Vec::new(),
            exclude_embeddings: true,
            coefficients: [3.4445, -4.775, 2.0315],
            momentum: 0.95,
            nesterov: true,
            ns_steps: 5,
            rms_rate: Some(0.2),
            adam_beta_1: 0.9,
            adam_beta_2: 0.999,
            epsilon: 1e-7,
            adam_lr_ratio: 1.0,
            adam_weight_decay: 0.004,
        }
    }
}

impl Muon {
    /// Parameters whose name (`layer/parameter`) contains one of `texts` are updated as by AdamW. Unlike in Keras a text
    /// is no regular expression.
    #[must_use]
    pub fn exclude_layers<T: Into<String>>(self, texts: impl IntoIterator<Item = T>) -> Muon {
        let texts = texts.into_iter().map(Into::into).collect();
        self.change(|rule| rule.exclude_layers = texts)
    }

    /// Whether parameters with `embedding` in their name are updated as by AdamW; true unless set.
    #[must_use]
    pub fn exclude_embeddings(self, exclude_embeddings: bool) -> Muon {
        self.change(|rule| rule.exclude_embeddings = exclude_embeddings)
    }

    /// `a`, `b` and `c` of the iteration, Keras's `muon_a`, `muon_b` and `muon_c`.
    ///
    /// # Errors
    /// A number that is not finite.
    pub fn coefficients(self, a: f64, b: f64, c: f64) -> Result<Muon, NnError> {
        for (what, number) in [("muon_a", a), ("muon_b", b), ("muon_c", c)] {
            if !number.is_finite() {
                return Err(NnError::argument(what, "a finite number", number));
            }
        }
        Ok(self.change(|rule| rule.coefficients = [a, b, c]))
    }

    /// How much of the momentum stays, in `[0, 1]`, and whether that of the step after is taken.
    ///
    /// # Errors
    /// A momentum out of range.
    pub fn momentum(self, momentum: f64, nesterov: bool) -> Result<Muon, NnError> {
        let momentum = decay_or_one("momentum", momentum)?;
        Ok(self.change(|rule| (rule.momentum, rule.nesterov) = (momentum, nesterov)))
    }

    /// How many iterations make the momentum orthogonal.
    #[must_use]
    pub fn ns_steps(self, ns_steps: usize) -> Muon {
        self.change(|rule| rule.ns_steps = ns_steps)
    }

    /// The root mean square of an update of learning rate 1; with `None` that of a large matrix is smaller than that of
    /// a small one.
    ///
    /// # Errors
    /// A number that is negative or not finite.
    pub fn rms_rate(self, rms_rate: Option<f64>) -> Result<Muon, NnError> {
        let rms_rate = rms_rate
            .map(|rate| not_negative("rms_rate", rate))
            .transpose()?;
        Ok(self.change(|rule| rule.rms_rate = rms_rate))
    }

    /// Decay rates of Adam's first and second moment, each in `[0, 1)`; Keras's `adam_beta_1` and `adam_beta_2`.
    ///
    /// # Errors
    /// A rate out of range.
    pub fn adam_betas(self, beta_1: f64, beta_2: f64) -> Result<Muon, NnError> {
        let betas = betas(beta_1, beta_2)?;
        Ok(self.change(|rule| (rule.adam_beta_1, rule.adam_beta_2) = betas))
    }

    /// Adam's ε.
    ///
    /// # Errors
    /// A number that is not positive and finite.
    pub fn epsilon(self, epsilon: f64) -> Result<Muon, NnError> {
        let epsilon = positive("epsilon", epsilon)?;
        Ok(self.change(|rule| rule.epsilon = epsilon))
    }

    /// What the learning rate is multiplied with where it is that of Adam.
    ///
    /// # Errors
    /// A number that is negative or not finite.
    pub fn adam_lr_ratio(self, ratio: f64) -> Result<Muon, NnError> {
        let ratio = not_negative("adam_lr_ratio", ratio)?;
        Ok(self.change(|rule| rule.adam_lr_ratio = ratio))
    }

    /// The weight decay of what is updated as by AdamW; [`weight_decay`](Muon::weight_decay) is that of the others.
    ///
    /// # Errors
    /// A number that is negative or not finite.
    pub fn adam_weight_decay(self, decay: f64) -> Result<Muon, NnError> {
        let decay = not_negative("adam_weight_decay", decay)?;
        Ok(self.change(|rule| rule.adam_weight_decay = decay))
    }
}

impl MuonRule {
    fn uses_adam(&self, param: &Param) -> bool {
        let name = param.name();
        param.value().dims().len() != 2
            || self.exclude_embeddings && name.to_lowercase().contains("embedding")
            || self.exclude_layers.iter().any(|text| name.contains(text))
    }
}

/// The numbers of one update of [`Muon`].
#[derive(Clone, Copy, Debug)]
pub struct MuonStep {
    muon: kernels::Muon,
    /// Adam's.
    alpha: f64,
}

impl UpdateRule for MuonRule {
    const NAME: &'static str = "muon";
    const WEIGHT_DECAY: Option<f64> = Some(0.004);
    type Step = MuonStep;

    numbers!(
        "momentum" => momentum: decay_or_one,
        "adam_beta_1" => adam_beta_1: decay_rate,
        "adam_beta_2" => adam_beta_2: decay_rate,
        "epsilon" => epsilon: positive,
        "adam_lr_ratio" => adam_lr_ratio: not_negative,
        "adam_weight_decay" => adam_weight_decay: not_negative,
    );

    fn slots_of(&self, param: &Param) -> Vec<Slot> {
        let names = ["momentum", "velocity"].into_iter();
        let names = names.take(if self.uses_adam(param) { 2 } else { 1 });
        let slots = names.map(|name| Slot {
            name,
            shape: param.value().dims().to_vec(),
            start: 0.0,
        });
        slots.collect()
    }

    fn decay_of(&self, param: &Param, decay: Option<f64>) -> Option<f64> {
        match self.uses_adam(param) {
            true => Some(self.adam_weight_decay),
            false => decay,
        }
    }

    fn prepare(&self, learning_rate: f64, update: u64) -> MuonStep {
        let t = update as f64;
        let correction = |beta: f64| 1.0 - beta.powf(t);
        let (b1, b2) = (correction(self.adam_beta_1), correction(self.adam_beta_2));
        MuonStep {
            muon: kernels::Muon {
                lr: learning_rate,
                momentum: self.momentum,
                nesterov: self.nesterov,
                coefficients: self.coefficients,
                steps: self.ns_steps,
                rms_rate: self.rms_rate,
            },
            alpha: learning_rate * self.adam_lr_ratio * b2.sqrt() / b1,
        }
    }

    fn update(
        &self,
        ws: &mut Workspace,
        step: &MuonStep,
        updates: &[Update<'_>],
    ) -> Result<(), NnError> {
        // What has a velocity is Adam's, as in Keras.
        let (by_adam, by_muon): (Vec<Update<'_>>, Vec<Update<'_>>) = updates
            .iter()
            .copied()
            .partition(|update| update.state.len() == 2);
        let (b1, b2) = (self.adam_beta_1, self.adam_beta_2);
        kernels::adam_update(&by_adam, step.alpha, b1, b2, self.epsilon)?;
        Ok(kernels::muon_update(ws, &by_muon, step.muon)?)
    }
}
