//! Penalties on parameters that are added to the loss, with Keras 3's formulas and defaults.

use crate::config::argument::Plain;
use crate::config::rules;
use crate::error::NnError;
use crate::schedule::not_negative;
use keros_tensor::access::{read, write};
use keros_tensor::{Tensor, kernels};
use serde_json::{Value, json};
use std::str::FromStr;

/// A penalty on the values of one parameter.
pub trait Regularizer: Send + Sync {
    /// Whether a parameter of this shape can be penalized.
    ///
    /// # Errors
    /// A shape that it is not defined for.
    fn check(&self, shape: &[usize]) -> Result<(), NnError> {
        let _ = shape;
        Ok(())
    }

    /// The penalty of an f32 tensor.
    ///
    /// # Errors
    /// A shape that it is not defined for, or a tensor that cannot be read.
    fn penalty(&self, value: &Tensor) -> Result<f64, NnError>;

    /// Adds the gradient of the penalty at `value` to `grad`, a tensor of the same shape.
    ///
    /// # Errors
    /// As [`penalty`](Self::penalty).
    fn add_gradient(&self, value: &Tensor, grad: &Tensor) -> Result<(), NnError>;

    /// The strengths, if the penalty is no more than `l1 · Σ|w| + l2 · Σw²`: a network then works out the
    /// [`penalty`](Self::penalty) itself, of all its parameters at once. Default: `None`.
    fn l1_l2(&self) -> Option<(f64, f64)> {
        None
    }

    /// Class and arguments as Keras writes them, for `<dyn Regularizer>::from_config`;
    /// `None`, the default, if the regularizer cannot be written.
    fn config(&self) -> Option<Value> {
        None
    }
}

impl FromStr for Box<dyn Regularizer> {
    type Err = NnError;

    /// Keras's names, each with Keras's defaults: `l1`, `l2`, `l1_l2` (which penalizes nothing) and
    /// `orthogonal_regularizer`.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "l1" => Ok(Box::new(L1::default())),
            "l2" => Ok(Box::new(L2::default())),
            "l1_l2" => Ok(Box::new(L1L2::default())),
            "orthogonal_regularizer" => Ok(Box::new(OrthogonalRegularizer::default())),
            _ => Err(NnError::UnknownName {
                kind: "regularizer",
                name: name.to_owned(),
                known: &["l1", "l2", "l1_l2", "orthogonal_regularizer"],
            }),
        }
    }
}

/// `l1 · Σ|w|` (default: 0.01).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct L1 {
    l1: f64,
}

/// `l2 · Σw²`, without a half (default: 0.01).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct L2 {
    l2: f64,
}

/// `l1 · Σ|w| + l2 · Σw²` (default: both 0).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct L1L2 {
    l1: f64,
    l2: f64,
}

impl Default for L1 {
    fn default() -> L1 {
        L1 { l1: 0.01 }
    }
}

impl Default for L2 {
    fn default() -> L2 {
        L2 { l2: 0.01 }
    }
}

impl L1 {
    /// A penalty of this strength.
    ///
    /// # Errors
    /// A number that is negative or not finite.
    pub fn new(l1: f64) -> Result<L1, NnError> {
        let l1 = not_negative("l1", l1)?;
        Ok(L1 { l1 })
    }
}

impl L2 {
    /// A penalty of this strength.
    ///
    /// # Errors
    /// A number that is negative or not finite.
    pub fn new(l2: f64) -> Result<L2, NnError> {
        let l2 = not_negative("l2", l2)?;
        Ok(L2 { l2 })
    }
}

impl L1L2 {
    /// Penalties of these strengths.
    ///
    /// # Errors
    /// A number that is negative or not finite.
    pub fn new(l1: f64, l2: f64) -> Result<L1L2, NnError> {
        Ok(L1L2 {
            l1: not_negative("l1", l1)?,
            l2: not_negative("l2", l2)?,
        })
    }
}

impl L1L2 {
    fn of<'a>(&self, tensor: &'a Tensor) -> kernels::L1L2<'a> {
        kernels::L1L2 {
            tensor,
            l1: self.l1,
            l2: self.l2,
        }
    }
}

impl Regularizer for L1L2 {
    fn penalty(&self, value: &Tensor) -> Result<f64, NnError> {
        Ok(kernels::l1_l2_penalties(&[self.of(value)])?.iter().sum())
    }

    fn add_gradient(&self, value: &Tensor, grad: &Tensor) -> Result<(), NnError> {
        check_grad(value, grad)?;
        Ok(kernels::add_l1_l2_gradient(grad, self.of(value))?)
    }

    fn l1_l2(&self) -> Option<(f64, f64)> {
        Some((self.l1, self.l2))
    }

    fn config(&self) -> Option<Value> {
        rules::regularizer("L1L2", json!({ "l1": self.l1, "l2": self.l2 }))
    }
}

macro_rules! as_l1_l2 {
    ($($name:ident $field:ident: |$this:ident| $l1:expr, $l2:expr;)*) => {$(
        impl Regularizer for $name {
            fn penalty(&self, value: &Tensor) -> Result<f64, NnError> {
                let $this = self;
                L1L2 { l1: $l1, l2: $l2 }.penalty(value)
            }

            fn add_gradient(&self, value: &Tensor, grad: &Tensor) -> Result<(), NnError> {
                let $this = self;
                L1L2 { l1: $l1, l2: $l2 }.add_gradient(value, grad)
            }

            fn l1_l2(&self) -> Option<(f64, f64)> {
                let $this = self;
                Some(($l1, $l2))
            }

            fn config(&self) -> Option<Value> {
                rules::regularizer(stringify!($name), json!({ stringify!($field): self.$field }))
            }
        }
    )*};
}

as_l1_l2! {
    L1 l1: |this| this.l1, 0.0;
    L2 l2: |this| 0.0, this.l2;
}

/// What [`OrthogonalRegularizer`] makes orthogonal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrthogonalMode {
    /// The rows of the matrix.
    Rows,
    /// The columns of the matrix.
    Columns,
}

/// The mean of `|cos|` over the angles between any two rows (or columns) of a matrix, times
/// `factor`.
///
/// Default: 0.01, rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OrthogonalRegularizer {
    factor: f64,
    mode: OrthogonalMode,
}

impl Default for OrthogonalRegularizer {
    fn default() -> OrthogonalRegularizer {
        OrthogonalRegularizer {
            factor: 0.01,
            mode: OrthogonalMode::Rows,
        }
    }
}

impl OrthogonalRegularizer {
    /// A penalty of this strength on these vectors.
    ///
    /// # Errors
    /// A number that is negative or not finite.
    pub fn new(factor: f64, mode: OrthogonalMode) -> Result<OrthogonalRegularizer, NnError> {
        Ok(OrthogonalRegularizer {
            factor: not_negative("factor", factor)?,
            mode,
        })
    }

    /// The vectors at unit length, and their lengths.
    fn unit_vectors(&self, value: &Tensor) -> Result<(Vec<Vec<f64>>, Vec<f64>), NnError> {
        self.check(value.dims())?;
        let (rows, columns) = (value.dims()[0], value.dims()[1]);
        let w = read::<f32>(value)?;
        let (count, length) = match self.mode {
            OrthogonalMode::Rows => (rows, columns),
            OrthogonalMode::Columns => (columns, rows),
        };
        let at = |i: usize, k: usize| match self.mode {
            OrthogonalMode::Rows => f64::from(w[i * columns + k]),
            OrthogonalMode::Columns => f64::from(w[k * columns + i]),
        };
        let mut vectors = Vec::with_capacity(count);
        let mut norms = Vec::with_capacity(count);
        for i in 0..count {
            let square: f64 = (0..length).map(|k| at(i, k) * at(i, k)).sum();
            // A vector of zeros has no direction and stays zero.
            let norm = if square > 0.0 { square.sqrt() } else { 1.0 };
            vectors.push((0..length).map(|k| at(i, k) / norm).collect());
            norms.push(norm);
        }
        Ok((vectors, norms))
    }

    /// The factor of `|cos|` of one pair.
    fn per_pair(&self, vectors: usize) -> f64 {
        let pairs = vectors as f64 * (vectors as f64 - 1.0) / 2.0;
        self.factor / pairs
    }
}

impl Regularizer for OrthogonalRegularizer {
    /// A matrix with at least two vectors.
    fn check(&self, shape: &[usize]) -> Result<(), NnError> {
        let vectors = match (shape, self.mode) {
            ([rows, _], OrthogonalMode::Rows) => *rows,
            ([_, columns], OrthogonalMode::Columns) => *columns,
            _ => 0,
        };
        if vectors < 2 {
            let expected = format!("[rows, columns] with at least 2 {:?}", self.mode);
            return Err(NnError::shape("orthogonal regularizer", expected, shape));
        }
        Ok(())
    }

    fn penalty(&self, value: &Tensor) -> Result<f64, NnError> {
        let (vectors, _) = self.unit_vectors(value)?;
        let mut total = 0.0;
        for (i, a) in vectors.iter().enumerate() {
            total += vectors[..i].iter().map(|b| dot(a, b).abs()).sum::<f64>();
        }
        Ok(self.per_pair(vectors.len()) * total)
    }

    fn add_gradient(&self, value: &Tensor, grad: &Tensor) -> Result<(), NnError> {
        check_grad(value, grad)?;
        let (vectors, norms) = self.unit_vectors(value)?;
        let scale = self.per_pair(vectors.len());
        let columns = value.dims()[1];
        write(grad, |grad: &mut [f32]| {
            for (i, (a, norm)) in vectors.iter().zip(&norms).enumerate() {
                let mut slope = vec![0.0; a.len()];
                for (_, b) in vectors.iter().enumerate().filter(|(j, _)| *j != i) {
                    let cosine = dot(a, b);
                    let sign = if cosine == 0.0 { 0.0 } else { cosine.signum() };
                    for (slope, b) in slope.iter_mut().zip(b) {
                        *slope += scale * sign * b;
                    }
                }
                // Only what turns the vector counts.
                let along = dot(&slope, a);
                for (k, (slope, a)) in slope.iter().zip(a).enumerate() {
                    let at = match self.mode {
                        OrthogonalMode::Rows => i * columns + k,
                        OrthogonalMode::Columns => k * columns + i,
                    };
                    grad[at] += ((slope - along * a) / norm) as f32;
                }
            }
        })?;
        Ok(())
    }

    fn config(&self) -> Option<Value> {
        let config = json!({ "factor": self.factor, "mode": self.mode.to_json() });
        rules::regularizer("OrthogonalRegularizer", config)
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// -1, 0 or 1.
fn check_grad(value: &Tensor, grad: &Tensor) -> Result<(), NnError> {
    if grad.dims() == value.dims() {
        return Ok(());
    }
    let expected = format!("{:?}", value.dims());
    Err(NnError::shape(
        "gradient of a penalty",
        expected,
        grad.dims(),
    ))
}
