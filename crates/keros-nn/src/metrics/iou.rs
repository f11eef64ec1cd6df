//! Intersection over union of predicted and true classes.

use super::compare::{class_index, each_label, first_largest, labels_of, ordered};
use super::{Metric, ratio, state};
use crate::error::NnError;
use crate::losses::EPSILON;
use crate::network::Output;
use crate::setter::setter;
use crate::target::Target;
use keros_tensor::{Tensor, Workspace};

/// The mean over classes of `true positives / (true + false positives + false negatives)`, from a
/// confusion matrix; classes that were neither predicted nor true are left out.
///
/// Targets are class indices, one for each row of the output, or with `sparse_y_true(false)` rows
/// whose first largest value is the class; predictions likewise. Weights count as they are, where
/// Keras's default `dtype` of int cuts them to whole numbers.
#[derive(Clone, Debug)]
pub struct IoU {
    num_classes: usize,
    target_class_ids: Vec<usize>,
    ignore_class: Option<usize>,
    sparse_y_true: bool,
    sparse_y_pred: bool,
    /// Predictions are values of class 1 from here on, not class indices.
    threshold: Option<f32>,
    /// `[target, prediction]`
    matrix: Vec<f64>,
}

impl IoU {
    /// Of some of `num_classes` classes, for targets and predictions that are class indices.
    ///
    /// # Errors
    /// A class that is not below `num_classes`.
    pub fn new(
        num_classes: usize,
        target_class_ids: impl IntoIterator<Item = usize>,
    ) -> Result<IoU, NnError> {
        let target_class_ids: Vec<usize> = target_class_ids.into_iter().collect();
        if let Some(class) = target_class_ids.iter().find(|class| **class >= num_classes) {
            let expected = format!("classes below {num_classes}");
            return Err(NnError::argument("target_class_ids", expected, class));
        }
        Ok(IoU {
            target_class_ids,
            ..IoU::of_all(num_classes)
        })
    }

    fn of_all(num_classes: usize) -> IoU {
        IoU {
            num_classes,
            target_class_ids: (0..num_classes).collect(),
            ignore_class: None,
            sparse_y_true: true,
            sparse_y_pred: true,
            threshold: None,
            matrix: vec![0.0; num_classes * num_classes],
        }
    }

    setter! {
        /// Whether targets are class indices. Default true.
        sparse_y_true: bool
    }
    setter! {
        /// Whether predictions are class indices. Default true.
        sparse_y_pred: bool
    }

    /// A class whose targets are not counted. Default: none.
    #[must_use]
    pub fn ignore_class(mut self, class: usize) -> IoU {
        self.ignore_class = Some(class);
        self
    }

    fn gather(
        &mut self,
        name: &str,
        workspace: &mut Workspace,
        output: &Output,
        target: &Target,
        weights: Option<&Tensor>,
    ) -> Result<(), NnError> {
        let values = match self.sparse_y_pred {
            true => {
                let values = output.values(workspace)?;
                // One class index per row, also where the last axis is not 1.
                values.reshape([values.dims(), &[1]].concat())?
            }
            false => ordered(workspace, output)?,
        };
        let classes = self.num_classes;
        let (ignored, sparse) = (self.ignore_class, self.sparse_y_pred);
        let threshold = self.threshold;
        let mut matrix = self.matrix.clone();
        let mut wrong = None;
        let mut add = |label: usize, p: &[f32], weight: f64| {
            if ignored == Some(label) {
                return;
            }
            let predicted = match sparse {
                true if threshold.is_some() => {
                    Some(usize::from(threshold.is_some_and(|least| p[0] >= least)))
                }
                true => class_index(p[0]).filter(|class| *class < classes),
                false => Some(first_largest(p)).filter(|class| *class < classes),
            };
            match predicted {
                Some(predicted) if label < classes => matrix[label * classes + predicted] += weight,
                Some(_) => wrong = Some(label.to_string()),
                None if sparse => wrong = Some(p[0].to_string()),
                None => wrong = Some(first_largest(p).to_string()),
            }
        };
        let labels = match self.sparse_y_true {
            true => target.clone(),
            false => labels_of(name, target)?,
        };
        each_label(name, &values, &labels, weights, &mut add)?;
        if let Some(class) = wrong {
            let expected = format!("classes below {classes}");
            return Err(NnError::argument(format!("{name}: class"), expected, class));
        }
        self.matrix = matrix;
        Ok(())
    }

    fn value(&self) -> f64 {
        let n = self.num_classes;
        let (mut sum, mut valid) = (0.0, 0.0);
        for class in &self.target_class_ids {
            let right = self.matrix[class * n + class];
            let of_target: f64 = self.matrix[class * n..][..n].iter().sum();
            let of_prediction: f64 = self.matrix[*class..].iter().step_by(n).sum();
            let union = of_target + of_prediction - right;
            if union > 1e-9 {
                valid += 1.0;
            }
            sum += right / (union + EPSILON);
        }
        ratio(sum, valid)
    }
}

macro_rules! iou {
    ($metric:ident $(($field:tt))?: $name:literal) => {
        impl Metric for $metric {
            fn name(&self) -> &str {
                $name
            }

            fn update(
                &mut self,
                workspace: &mut Workspace,
                output: &Output,
                target: &Target,
                weights: Option<&Tensor>,
            ) -> Result<(), NnError> {
                self$(.$field)?.gather($name, workspace, output, target, weights)
            }

            fn result(&self) -> f64 {
                self$(.$field)?.value()
            }

            fn reset(&mut self) {
                self$(.$field)?.matrix.fill(0.0);
            }

            fn state(&self) -> Vec<f64> {
                self$(.$field)?.matrix.clone()
            }

            fn load_state(&mut self, state: &[f64]) -> Result<(), NnError> {
                let matrix = &mut self$(.$field)?.matrix;
                let rows = state::weights::<1>($name, state, Some(matrix.len()))?;
                *matrix = rows.into_flattened();
                Ok(())
            }
        }
    };
}

iou!(IoU: "io_u");
iou!(BinaryIoU(0): "binary_io_u");
iou!(MeanIoU(0): "mean_io_u");
iou!(OneHotIoU(0): "one_hot_io_u");
iou!(OneHotMeanIoU(0): "one_hot_mean_io_u");

macro_rules! with_classes {
    ($metric:ident) => {
        /// Whether predictions are class indices; rows whose first largest value is the class if
        /// not.
        #[must_use]
        pub fn sparse_y_pred(self, sparse_y_pred: bool) -> Self {
            $metric(self.0.sparse_y_pred(sparse_y_pred))
        }

        /// A class whose targets are not counted. Default: none.
        #[must_use]
        pub fn ignore_class(self, class: usize) -> Self {
            $metric(self.0.ignore_class(class))
        }
    };
}

/// [`IoU`] of class 0, class 1 or both, for targets 0 and 1 and predictions that are class 1 from a
/// threshold on. Values are counted one by one.
#[derive(Clone, Debug)]
pub struct BinaryIoU(IoU);

impl Default for BinaryIoU {
    fn default() -> Self {
        BinaryIoU(IoU {
            threshold: Some(0.5),
            ..IoU::of_all(2)
        })
    }
}

impl BinaryIoU {
    /// Of both classes, with the threshold 0.5.
    #[must_use]
    pub fn new() -> BinaryIoU {
        BinaryIoU::default()
    }

    /// The classes whose mean is the result. Default: 0 and 1.
    ///
    /// # Errors
    /// A class that is neither 0 nor 1.
    pub fn target_class_ids(
        self,
        target_class_ids: impl IntoIterator<Item = usize>,
    ) -> Result<BinaryIoU, NnError> {
        let threshold = self.0.threshold;
        let iou = IoU::new(2, target_class_ids)?;
        Ok(BinaryIoU(IoU { threshold, ..iou }))
    }

    /// Predictions of at least this are class 1; any finite number, since predictions may be logits.
    ///
    /// # Errors
    /// It is not finite.
    pub fn threshold(mut self, threshold: f64) -> Result<BinaryIoU, NnError> {
        if !threshold.is_finite() {
            return Err(NnError::argument("threshold", "a finite number", threshold));
        }
        self.0.threshold = Some(threshold as f32);
        Ok(self)
    }
}

/// [`IoU`] of all classes.
#[derive(Clone, Debug)]
pub struct MeanIoU(IoU);

impl MeanIoU {
    /// For targets and predictions that are indices of `num_classes` classes.
    #[must_use]
    pub fn new(num_classes: usize) -> MeanIoU {
        MeanIoU(IoU::of_all(num_classes))
    }

    /// Whether targets are class indices. Default true.
    #[must_use]
    pub fn sparse_y_true(self, sparse_y_true: bool) -> MeanIoU {
        MeanIoU(self.0.sparse_y_true(sparse_y_true))
    }

    with_classes! { MeanIoU }
}

/// [`IoU`] for targets and predictions that are one-hot rows and rows of scores.
#[derive(Clone, Debug)]
pub struct OneHotIoU(IoU);

impl OneHotIoU {
    /// Of some of `num_classes` classes.
    ///
    /// # Errors
    /// A class that is not below `num_classes`.
    pub fn new(
        num_classes: usize,
        target_class_ids: impl IntoIterator<Item = usize>,
    ) -> Result<OneHotIoU, NnError> {
        let iou = IoU::new(num_classes, target_class_ids)?;
        Ok(OneHotIoU(iou.sparse_y_true(false).sparse_y_pred(false)))
    }

    with_classes! { OneHotIoU }
}

/// [`OneHotIoU`] of all classes.
#[derive(Clone, Debug)]
pub struct OneHotMeanIoU(IoU);

impl OneHotMeanIoU {
    /// Of `num_classes` classes.
    #[must_use]
    pub fn new(num_classes: usize) -> OneHotMeanIoU {
        let iou = IoU::of_all(num_classes);
        OneHotMeanIoU(iou.sparse_y_true(false).sparse_y_pred(false))
    }

    with_classes! { OneHotMeanIoU }
}
