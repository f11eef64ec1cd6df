//! Optimizers: how gradients change parameters.

use crate::error::NnError;
use keros_tensor::{Params, Tensor, kernels};
use std::str::FromStr;

/// Changes parameters by their gradients.
pub trait Optimizer {
    /// Keras's name, such as `adam`.
    fn name(&self) -> &'static str;

    /// The learning rate of the next update.
    fn learning_rate(&self) -> f64;

    /// Sets the learning rate, finite and not negative.
    ///
    /// # Errors
    /// A rate out of range.
    fn set_learning_rate(&mut self, learning_rate: f64) -> Result<(), NnError>;

    /// Updates done so far.
    fn iterations(&self) -> u64;

    /// One update of every trainable parameter by its gradient.
    ///
    /// # Errors
    /// When a kernel fails, or the parameters are not those of the updates before.
    fn step(&mut self, params: &Params) -> Result<(), NnError>;
}

impl FromStr for Box<dyn Optimizer> {
    type Err = NnError;

    /// Keras's names, each with Keras's defaults: `adam`, `sgd`.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "adam" => Ok(Box::new(Adam::default())),
            "sgd" => Ok(Box::new(Sgd::default())),
            _ => Err(NnError::UnknownName {
                kind: "optimizer",
                name: name.to_owned(),
                known: &["adam", "sgd"],
            }),
        }
    }
}

fn check_rate(learning_rate: f64) -> Result<f64, NnError> {
    if learning_rate.is_finite() && learning_rate >= 0.0 {
        return Ok(learning_rate);
    }
    let expected = "a finite number that is not negative";
    Err(NnError::argument("learning rate", expected, learning_rate))
}

/// Moments of each parameter, made when it is first updated; `None` for parameters never updated.
#[derive(Default)]
struct Slots<const K: usize>(Vec<Option<[Tensor; K]>>);

impl<const K: usize> Slots<K> {
    /// The moments of the parameter at `index`, zero at first.
    fn get(&mut self, index: usize, like: &Tensor) -> Result<&[Tensor; K], NnError> {
        if self.0.len() <= index {
            self.0.resize_with(index + 1, || None);
        }
        let slot = &mut self.0[index];
        let tensors = match slot.take() {
            Some(tensors) => tensors,
            None => {
                let zeros = (0..K)
                    .map(|_| like.zeros_like())
                    .collect::<Result<Vec<_>, _>>()?;
                zeros
                    .try_into()
                    .map_err(|_| NnError::argument("optimizer state", "K tensors", "other"))?
            }
        };
        Ok(slot.insert(tensors))
    }
}

/// Adam (Kingma and Ba 2015) in Keras's form:
/// `w -= α · m / (√v + ε)` with `α = learning_rate · √(1 - β₂ᵗ) / (1 - β₁ᵗ)`.
pub struct Adam {
    learning_rate: f64,
    beta_1: f64,
    beta_2: f64,
    epsilon: f64,
    iterations: u64,
    moments: Slots<2>,
}

impl Default for Adam {
    /// Learning rate 0.001, β₁ 0.9, β₂ 0.999, ε 1e-7.
    fn default() -> Self {
        Adam {
            learning_rate: 0.001,
            beta_1: 0.9,
            beta_2: 0.999,
            epsilon: 1e-7,
            iterations: 0,
            moments: Slots::default(),
        }
    }
}

impl Adam {
    /// Adam with this learning rate and Keras's other defaults.
    ///
    /// # Errors
    /// A rate that is negative or not finite.
    pub fn new(learning_rate: f64) -> Result<Adam, NnError> {
        Ok(Adam {
            learning_rate: check_rate(learning_rate)?,
            ..Adam::default()
        })
    }

    /// Decay rates of the first and second moment, each in `[0, 1)`.
    ///
    /// # Errors
    /// A rate out of range.
    pub fn betas(mut self, beta_1: f64, beta_2: f64) -> Result<Adam, NnError> {
        for (name, beta) in [("beta_1", beta_1), ("beta_2", beta_2)] {
            if !(0.0..1.0).contains(&beta) {
                return Err(NnError::argument(name, "a number in [0, 1)", beta));
            }
        }
        (self.beta_1, self.beta_2) = (beta_1, beta_2);
        Ok(self)
    }

    /// The ε that is added to √v.
    ///
    /// # Errors
    /// A number that is not positive and finite.
    pub fn epsilon(mut self, epsilon: f64) -> Result<Adam, NnError> {
        if !(epsilon > 0.0 && epsilon.is_finite()) {
            return Err(NnError::argument(
                "epsilon",
                "a positive finite number",
                epsilon,
            ));
        }
        self.epsilon = epsilon;
        Ok(self)
    }
}

impl Optimizer for Adam {
    fn name(&self) -> &'static str {
        "adam"
    }

    fn learning_rate(&self) -> f64 {
        self.learning_rate
    }

    fn set_learning_rate(&mut self, learning_rate: f64) -> Result<(), NnError> {
        self.learning_rate = check_rate(learning_rate)?;
        Ok(())
    }

    fn iterations(&self) -> u64 {
        self.iterations
    }

    fn step(&mut self, params: &Params) -> Result<(), NnError> {
        let t = (self.iterations + 1) as f64;
        let alpha =
            self.learning_rate * (1.0 - self.beta_2.powf(t)).sqrt() / (1.0 - self.beta_1.powf(t));
        for (id, param) in params.iter().filter(|(_, param)| param.trainable()) {
            let value = param.value().as_tensor();
            let [m, v] = self.moments.get(id.index(), value)?;
            kernels::adam_update(
                value,
                param.grad(),
                m,
                v,
                alpha,
                self.beta_1,
                self.beta_2,
                self.epsilon,
            )?;
        }
        self.iterations += 1;
        Ok(())
    }
}

/// Gradient descent with momentum in Keras's form: `m = momentum · m - learning_rate · g`, then
/// `w += m`, or with Nesterov `w += momentum · m - learning_rate · g`.
pub struct Sgd {
    learning_rate: f64,
    momentum: f64,
    nesterov: bool,
    iterations: u64,
    moments: Slots<1>,
}

impl Default for Sgd {
    /// Learning rate 0.01, no momentum.
    fn default() -> Self {
        Sgd {
            learning_rate: 0.01,
            momentum: 0.0,
            nesterov: false,
            iterations: 0,
            moments: Slots::default(),
        }
    }
}

impl Sgd {
    /// Plain gradient descent.
    ///
    /// # Errors
    /// A rate that is negative or not finite.
    pub fn new(learning_rate: f64) -> Result<Sgd, NnError> {
        Ok(Sgd {
            learning_rate: check_rate(learning_rate)?,
            ..Sgd::default()
        })
    }

    /// Momentum in `[0, 1]`, and whether it is Nesterov's.
    ///
    /// # Errors
    /// A momentum out of range.
    pub fn momentum(mut self, momentum: f64, nesterov: bool) -> Result<Sgd, NnError> {
        if !(0.0..=1.0).contains(&momentum) {
            return Err(NnError::argument(
                "momentum",
                "a number in [0, 1]",
                momentum,
            ));
        }
        (self.momentum, self.nesterov) = (momentum, nesterov);
        Ok(self)
    }
}

impl Optimizer for Sgd {
    fn name(&self) -> &'static str {
        "sgd"
    }

    fn learning_rate(&self) -> f64 {
        self.learning_rate
    }

    fn set_learning_rate(&mut self, learning_rate: f64) -> Result<(), NnError> {
        self.learning_rate = check_rate(learning_rate)?;
        Ok(())
    }

    fn iterations(&self) -> u64 {
        self.iterations
    }

    fn step(&mut self, params: &Params) -> Result<(), NnError> {
        for (id, param) in params.iter().filter(|(_, param)| param.trainable()) {
            let value = param.value().as_tensor();
            let momentum = match self.momentum {
                0.0 => None,
                momentum => Some((&self.moments.get(id.index(), value)?[0], momentum)),
            };
            kernels::sgd_update(
                value,
                param.grad(),
                momentum,
                self.learning_rate,
                self.nesterov,
            )?;
        }
        self.iterations += 1;
        Ok(())
    }
}
