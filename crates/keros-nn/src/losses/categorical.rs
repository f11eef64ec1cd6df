//! Cross-entropy of a distribution over classes, with labels, with distributions, and with focus on
//! hard rows.

use super::rows::{Form, Predictions, Rows, label_of_each_row, target_tensor};
use super::{Loss, LossOutput};
use crate::activation::Activation;
use crate::error::NnError;
use crate::network::Output;
use crate::setter::setter;
use crate::target::{Target, TargetKind};
use keros_tensor::access::read;
use keros_tensor::kernels::{self, LabelLoss, RowLoss};
use keros_tensor::{Tensor, Workspace};

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
    ///
    /// Metrics know nothing of it: to an accuracy such a label is a miss, unless a sample weight of 0
    /// leaves it out of a weighted one.
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
/// Source: Lin et al. 2018, arXiv:1708.02002. Outputs are read as for [`CategoricalCrossentropy`], and the
/// probabilities that logits stand for are clipped to [1e-7, 1 - 1e-7] too: there is no slope beyond.
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

impl CategoricalCrossentropy {
    fn kernel(&self, logits: bool) -> RowLoss {
        RowLoss::CategoricalCrossentropy {
            logits,
            label_smoothing: self.label_smoothing,
        }
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
    fn kernel(&self, logits: bool) -> RowLoss {
        RowLoss::CategoricalFocalCrossentropy {
            logits,
            label_smoothing: self.label_smoothing,
            alpha: self.alpha,
            gamma: self.gamma,
        }
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
                let kernel = self.kernel(predictions.form == Form::Logits);
                predictions.compare($name, workspace, kernel, target, weights, scale)
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
        let own = Activation::Softmax;
        let predictions =
            Predictions::of_crossentropy(name, workspace, output, own, self.from_logits)?;
        let logits = &output.logits;
        let labels = label_of_each_row(name, target, logits.dims())?;
        Rows::of(name, logits.dims())?.check_weights(name, weights)?;
        if self.is_fast(logits) && predictions.are_logits_of_output() {
            let (per_sample, grad) =
                kernels::softmax_cross_entropy(workspace, logits, labels, weights, scale)?;
            return Ok(LossOutput { per_sample, grad });
        }
        let kernel = LabelLoss::Crossentropy {
            logits: predictions.form == Form::Logits,
            ignored: self.ignore_class,
        };
        predictions.compare_labels(workspace, kernel, labels, weights, scale)
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

/// `(1 - p[label]^q) / q` for integer labels: a cross-entropy that wrong labels disturb less. For `q` near 0 it is the
/// cross-entropy, for `q` near 1 the absolute error.
///
/// Source: Zhang and Sabuncu 2018, arXiv:1805.07836. For a network that ends in a softmax it is computed from the logits;
/// other outputs are taken for probabilities as they are, and have no slope from 0 down.
#[derive(Clone, Copy, Debug)]
pub struct CategoricalGeneralizedCrossEntropy {
    q: f64,
}

impl Default for CategoricalGeneralizedCrossEntropy {
    fn default() -> Self {
        CategoricalGeneralizedCrossEntropy { q: 0.5 }
    }
}

impl CategoricalGeneralizedCrossEntropy {
    /// With `q` 0.5.
    #[must_use]
    pub fn new() -> CategoricalGeneralizedCrossEntropy {
        CategoricalGeneralizedCrossEntropy::default()
    }

    /// How little wrong labels count, between 0 and 1. Default 0.5.
    ///
    /// # Errors
    /// The number is 0, 1 or outside of these.
    pub fn q(mut self, q: f64) -> Result<CategoricalGeneralizedCrossEntropy, NnError> {
        if !(q > 0.0 && q < 1.0) {
            return Err(NnError::argument("q", "a number between 0 and 1", q));
        }
        self.q = q;
        Ok(self)
    }
}

impl Loss for CategoricalGeneralizedCrossEntropy {
    fn name(&self) -> &'static str {
        "categorical_generalized_cross_entropy"
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
        let own = Activation::Softmax;
        let predictions = Predictions::of_crossentropy(name, workspace, output, own, false)?;
        let labels = label_of_each_row(name, target, output.logits.dims())?;
        Rows::of(name, output.logits.dims())?.check_weights(name, weights)?;
        let kernel = LabelLoss::GeneralizedCrossentropy {
            logits: predictions.form == Form::Logits,
            q: self.q,
        };
        predictions.compare_labels(workspace, kernel, labels, weights, scale)
    }

    fn check_target(&self, output: &Output, target: &Target) -> Result<(), NnError> {
        let labels = read::<u32>(label_of_each_row(
            self.name(),
            target,
            output.logits.dims(),
        )?)?;
        let rows = Rows::of(self.name(), output.logits.dims())?;
        let (per_sample, classes) = (rows.per_sample, rows.width);
        Ok(kernels::check_labels(
            self.name(),
            &labels,
            per_sample,
            classes,
            None,
        )?)
    }
}
