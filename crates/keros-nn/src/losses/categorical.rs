//! Cross-entropy of a distribution over classes, with labels, with distributions, and with focus on
//! hard rows.

use super::rows::{Form, Predictions, Rows, each_row, target_tensor};
use super::{EPSILON, Loss, LossOutput};
use crate::activation::Activation;
use crate::error::NnError;
use crate::network::Output;
use crate::setter::setter;
use crate::target::{Target, TargetKind};
use keros_tensor::access::read;
use keros_tensor::{Tensor, Workspace, kernels};

/// `-log p[label]` for integer labels.
///
/// For a network that ends in a softmax it is computed from the logits. Other outputs are clipped to
/// [1e-7, 1 - 1e-7] and divided by their sum, or taken for logits with `from_logits`.
#[derive(Clone, Copy, Debug, Default)]
pub struct SparseCategoricalCrossentropy {
    from_logits: bool,
    ignore_class: Option<u32>,
}

impl SparseCategoricalCrossentropy {
    /// For probabilities, with all classes.
    #[must_use]
    pub fn new() -> SparseCategoricalCrossentropy {
        SparseCategoricalCrossentropy::default()
    }

    setter! {
        /// Whether the outputs are logits. Default false.
        from_logits: bool
    }

    /// A label whose rows count as nothing: their loss and gradient are 0, and the mean over the
    /// batch is over the other rows. It need not name a class. Default: none.
    #[must_use]
    pub fn ignore_class(mut self, class: u32) -> SparseCategoricalCrossentropy {
        self.ignore_class = Some(class);
        self
    }
}

/// `-Σ y · log p` over the last axis, for targets of the output's shape, such as one-hot rows.
///
/// For a network that ends in a softmax it is computed from the logits. Other outputs are divided by
/// their sum and clipped to [1e-7, 1 - 1e-7], or taken for logits with `from_logits`.
#[derive(Clone, Copy, Debug, Default)]
pub struct CategoricalCrossentropy {
    from_logits: bool,
    label_smoothing: f64,
}

impl CategoricalCrossentropy {
    /// For probabilities, without smoothing.
    #[must_use]
    pub fn new() -> CategoricalCrossentropy {
        CategoricalCrossentropy::default()
    }

    setter! {
        /// Whether the outputs are logits. Default false.
        from_logits: bool
    }
    setter! {
        /// `s` in `y · (1 - s) + s / C`, which is used for `y`; from 0 to 1. Default 0.
        label_smoothing: 0.0..=1.0
    }
}

/// `-Σ alpha · (1 - p)^gamma · y · log p` over the last axis, for targets of the output's shape.
///
/// Source: Lin et al. 2018, arXiv:1708.02002. Outputs are read as for [`CategoricalCrossentropy`].
#[derive(Clone, Copy, Debug)]
pub struct CategoricalFocalCrossentropy {
    alpha: f64,
    gamma: f64,
    from_logits: bool,
    label_smoothing: f64,
}

impl Default for CategoricalFocalCrossentropy {
    fn default() -> Self {
        CategoricalFocalCrossentropy {
            alpha: 0.25,
            gamma: 2.0,
            from_logits: false,
            label_smoothing: 0.0,
        }
    }
}

impl CategoricalFocalCrossentropy {
    /// With `alpha` 0.25 and `gamma` 2.
    #[must_use]
    pub fn new() -> CategoricalFocalCrossentropy {
        CategoricalFocalCrossentropy::default()
    }

    setter! {
        /// Factor of the loss, at least 0. Default 0.25.
        alpha: 0.0..=f64::MAX
    }
    setter! {
        /// How strongly easy rows are faded out, at least 0. Default 2.
        gamma: 0.0..=f64::MAX
    }
    setter! {
        /// Whether the outputs are logits. Default false.
        from_logits: bool
    }
    setter! {
        /// `s` in `y · (1 - s) + s / C`, which is used for `y`; from 0 to 1. Default 0.
        label_smoothing: 0.0..=1.0
    }
}

/// To [1e-7, 1 - 1e-7], the latter as f32 rounds it.
fn clip(p: f64) -> f64 {
    p.clamp(EPSILON, f64::from(1.0 - 1e-7_f32))
}

/// `base^gamma` and its derivative by the base, for a base of at least 0; at 0 an infinite slope
/// counts as 0, because the cross-entropy beside it is 0.
fn power(base: f64, gamma: f64) -> (f64, f64) {
    let base = base.max(0.0);
    let slope = match base == 0.0 && gamma < 1.0 {
        true => 0.0,
        false => gamma * base.powf(gamma - 1.0),
    };
    (base.powf(gamma), slope)
}

/// `log Σ exp(x)`
fn log_sum_exp(row: &[f32]) -> f64 {
    let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let max = f64::from(max);
    let sum: f64 = row.iter().map(|x| (f64::from(*x) - max).exp()).sum();
    max + sum.ln()
}

/// The loss of a row that is a sum over classes: `term(y, log p)` returns the part of a class and its
/// derivative by `log p`.
fn sum_over_classes(
    form: Form,
    y: impl Fn(usize) -> f64,
    p: &[f32],
    grad: &mut [f32],
    term: impl Fn(f64, f64) -> (f64, f64),
) -> f64 {
    let mut loss = 0.0;
    match form {
        Form::Logits => {
            let total = log_sum_exp(p);
            let mut slopes = 0.0;
            for (class, z) in p.iter().enumerate() {
                let (part, slope) = term(y(class), f64::from(*z) - total);
                loss += part;
                slopes += slope;
            }
            for (class, (grad, z)) in grad.iter_mut().zip(p).enumerate() {
                let log = f64::from(*z) - total;
                *grad = (term(y(class), log).1 - log.exp() * slopes) as f32;
            }
        }
        Form::Probabilities => {
            let total: f64 = p.iter().map(|p| f64::from(*p)).sum();
            let at = |class: usize, p: f32| {
                let share = f64::from(p) / total;
                let clipped = clip(share);
                let (part, slope) = term(y(class), clipped.ln());
                let slope = if share == clipped { slope / share } else { 0.0 };
                (part, slope, share)
            };
            let mut common = 0.0;
            for (class, p) in p.iter().enumerate() {
                let (part, slope, share) = at(class, *p);
                loss += part;
                common += slope * share;
            }
            for (class, (grad, p)) in grad.iter_mut().zip(p).enumerate() {
                *grad = ((at(class, *p).1 - common) / total) as f32;
            }
        }
    }
    loss
}

impl CategoricalCrossentropy {
    fn term(&self, y: f64, log: f64) -> (f64, f64) {
        // A class without weight is not asked for its logarithm, which may be infinite.
        if y == 0.0 { (0.0, 0.0) } else { (-y * log, -y) }
    }

    /// The kernel that computes loss and gradient in one pass over all threads.
    fn fast(
        &self,
        workspace: &mut Workspace,
        logits: &Tensor,
        targets: &Tensor,
        weights: Option<&Tensor>,
        scale: f32,
    ) -> Result<Option<LossOutput>, NnError> {
        let dims = logits.dims();
        let classes = match dims {
            [_, .., classes] if targets.dims() == dims => *classes,
            _ => return Ok(None),
        };
        let targets = match self.label_smoothing == 0.0 {
            true => targets.clone(),
            false => {
                let keep = (1.0 - self.label_smoothing) as f32;
                let share = (self.label_smoothing / classes as f64) as f32;
                kernels::affine(workspace, targets, &[keep], &[share])?
            }
        };
        let (per_sample, grad) =
            kernels::categorical_cross_entropy(workspace, logits, &targets, weights, scale)?;
        Ok(Some(LossOutput { per_sample, grad }))
    }
}

impl CategoricalFocalCrossentropy {
    fn term(&self, y: f64, log: f64) -> (f64, f64) {
        if y == 0.0 {
            return (0.0, 0.0);
        }
        let p = log.exp();
        let (focus, slope) = power(1.0 - p, self.gamma);
        let factor = self.alpha * y;
        (-factor * focus * log, factor * (slope * p * log - focus))
    }

    fn fast(
        &self,
        _: &mut Workspace,
        _: &Tensor,
        _: &Tensor,
        _: Option<&Tensor>,
        _: f32,
    ) -> Result<Option<LossOutput>, NnError> {
        Ok(None)
    }
}

macro_rules! categorical {
    ($($loss:ident: $name:literal;)*) => {$(
        impl Loss for $loss {
            fn name(&self) -> &'static str {
                $name
            }

            fn target_kind(&self) -> TargetKind {
                TargetKind::Values
            }

            fn compute(
                &self,
                workspace: &mut Workspace,
                output: &Output,
                target: &Target,
                weights: Option<&Tensor>,
                scale: f32,
            ) -> Result<LossOutput, NnError> {
                let targets = target_tensor($name, target, output.logits.dims())?;
                let own = Activation::Softmax;
                let predictions =
                    Predictions::of_crossentropy($name, workspace, output, own, self.from_logits)?;
                if predictions.are_logits_of_output() {
                    let logits = &output.logits;
                    if let Some(loss) = self.fast(workspace, logits, targets, weights, scale)? {
                        return Ok(loss);
                    }
                }
                let targets = read::<f32>(targets)?;
                let (form, smoothing) = (predictions.form, self.label_smoothing);
                each_row($name, workspace, &predictions, weights, scale, |r, p, grad| {
                    let y = &targets[r * p.len()..][..p.len()];
                    let share = smoothing / p.len() as f64;
                    let y = |class: usize| f64::from(y[class]) * (1.0 - smoothing) + share;
                    sum_over_classes(form, y, p, grad, |y, log| self.term(y, log))
                })
            }
        }
    )*};
}

categorical! {
    CategoricalCrossentropy: "categorical_crossentropy";
    CategoricalFocalCrossentropy: "categorical_focal_crossentropy";
}

impl SparseCategoricalCrossentropy {
    /// Whether the kernel for rows of logits computes the loss of an output.
    fn is_fast(&self, logits: &Tensor) -> bool {
        self.ignore_class.is_none() && logits.dims().len() >= 2
    }

    fn row(&self, form: Form, label: u32, p: &[f32], grad: &mut [f32]) -> f64 {
        if self.ignore_class == Some(label) {
            grad.fill(0.0);
            return 0.0;
        }
        let label = label as usize;
        match form {
            Form::Logits => {
                let total = log_sum_exp(p);
                for (class, (grad, z)) in grad.iter_mut().zip(p).enumerate() {
                    let truth = f64::from(u8::from(class == label));
                    *grad = ((f64::from(*z) - total).exp() - truth) as f32;
                }
                total - f64::from(p[label])
            }
            Form::Probabilities => {
                let total: f64 = p.iter().map(|p| clip(f64::from(*p))).sum();
                for (class, (grad, p)) in grad.iter_mut().zip(p).enumerate() {
                    let (p, clipped) = (f64::from(*p), clip(f64::from(*p)));
                    let truth = if class == label { 1.0 / clipped } else { 0.0 };
                    *grad = if p == clipped {
                        (1.0 / total - truth) as f32
                    } else {
                        0.0
                    };
                }
                total.ln() - clip(f64::from(p[label])).ln()
            }
        }
    }
}

impl Loss for SparseCategoricalCrossentropy {
    fn name(&self) -> &'static str {
        "sparse_categorical_crossentropy"
    }

    fn target_kind(&self) -> TargetKind {
        TargetKind::Labels
    }

    fn compute(
        &self,
        workspace: &mut Workspace,
        output: &Output,
        target: &Target,
        weights: Option<&Tensor>,
        scale: f32,
    ) -> Result<LossOutput, NnError> {
        let name = self.name();
        let Target::Labels(labels) = target else {
            return Err(NnError::argument(name, "labels", "values"));
        };
        let own = Activation::Softmax;
        let predictions =
            Predictions::of_crossentropy(name, workspace, output, own, self.from_logits)?;
        let logits = &output.logits;
        if self.is_fast(logits) && predictions.are_logits_of_output() {
            let (per_sample, grad) =
                kernels::softmax_cross_entropy(workspace, logits, labels, weights, scale)?;
            return Ok(LossOutput { per_sample, grad });
        }
        let rows = Rows::of(name, logits.dims())?;
        let found = labels.dims();
        if labels.elem_count() != rows.count() || found.first() != Some(&rows.samples) {
            let expected = format!("a label for each of {} rows", rows.count());
            return Err(NnError::shape(format!("{name}: labels"), expected, found));
        }
        let labels = read::<u32>(labels)?;
        kernels::check_labels(
            name,
            &labels,
            rows.per_sample,
            rows.width,
            self.ignore_class,
        )?;
        let form = predictions.form;
        each_row(
            name,
            workspace,
            &predictions,
            weights,
            scale,
            |r, p, grad| self.row(form, labels[r], p, grad),
        )
    }

    fn check_target(&self, output: &Output, target: &Target) -> Result<(), NnError> {
        let (Target::Labels(labels), [samples, .., classes]) = (target, output.logits.dims())
        else {
            // A wrong form or shape, which `compute` sees.
            return Ok(());
        };
        let logits = self.from_logits || output.activation == Activation::Softmax;
        // The kernel's name for itself.
        let op = match self.is_fast(&output.logits) && logits {
            true => "softmax cross-entropy",
            false => self.name(),
        };
        let per_sample = labels.elem_count() / samples.max(&1);
        let labels = read::<u32>(labels)?;
        Ok(kernels::check_labels(
            op,
            &labels,
            per_sample,
            *classes,
            self.ignore_class,
        )?)
    }

    fn mask(&self, target: &Target) -> Result<Option<Vec<bool>>, NnError> {
        let (Some(ignored), Target::Labels(labels)) = (self.ignore_class, target) else {
            return Ok(None);
        };
        let labels = read::<u32>(labels)?;
        Ok(Some(labels.iter().map(|label| *label != ignored).collect()))
    }
}
