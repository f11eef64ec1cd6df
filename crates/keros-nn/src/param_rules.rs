//! What layers ask for their parameters: penalties, constraints, and whether they are trained.

use crate::constraint::Constraint;
use crate::error::NnError;
use crate::penalty::Penalty;
use crate::regularizer::Regularizer;
use keros_tensor::kernels::{self, L1L2};
use keros_tensor::{Param, ParamId, Params, Workspace};
use std::sync::Arc;

/// What a layer may ask for a parameter that it adds.
#[derive(Clone)]
pub struct ParamOptions {
    /// A penalty that is added to the loss. Default: none.
    pub regularizer: Option<Arc<dyn Regularizer>>,
    /// What holds after each update. Default: nothing.
    pub constraint: Option<Arc<dyn Constraint>>,
    /// Whether an optimizer may change the parameter. Default: true.
    pub trainable: bool,
}

impl Default for ParamOptions {
    fn default() -> ParamOptions {
        ParamOptions {
            regularizer: None,
            constraint: None,
            trainable: true,
        }
    }
}

/// The regularizers and constraints of a network's parameters; those of parameters that are not
/// trainable rest, as in Keras.
#[derive(Default)]
pub struct ParamRules {
    regularizers: Vec<(ParamId, Arc<dyn Regularizer>)>,
    constraints: Vec<(ParamId, Arc<dyn Constraint>)>,
    /// Those that no optimizer ever changes.
    fixed: Vec<ParamId>,
}

/// The rules of a network that has none.
pub(crate) static NO_RULES: ParamRules = ParamRules {
    regularizers: Vec::new(),
    constraints: Vec::new(),
    fixed: Vec::new(),
};

impl ParamRules {
    /// Whether a parameter of this shape can have what `options` ask.
    ///
    /// # Errors
    /// A shape that the regularizer or constraint is not defined for.
    pub(crate) fn check(options: &ParamOptions, shape: &[usize]) -> Result<(), NnError> {
        if let Some(regularizer) = &options.regularizer {
            regularizer.check(shape)?;
        }
        if let Some(constraint) = &options.constraint {
            constraint.check(shape)?;
        }
        Ok(())
    }

    pub(crate) fn add(&mut self, id: ParamId, options: ParamOptions) {
        self.regularizers
            .extend(options.regularizer.map(|regularizer| (id, regularizer)));
        self.constraints
            .extend(options.constraint.map(|constraint| (id, constraint)));
        if !options.trainable {
            self.fixed.push(id);
        }
    }

    /// Whether the parameter was made as one that is not trained, such as a moving mean.
    #[must_use]
    pub fn is_fixed(&self, id: ParamId) -> bool {
        self.fixed.contains(&id)
    }

    /// The sum of all penalties, a part of the loss.
    ///
    /// # Errors
    /// When a regularizer fails.
    pub fn penalty(&self, params: &Params) -> Result<f64, NnError> {
        let penalized: Vec<_> = self.penalized(params).collect();
        let mut common = kernels::l1_l2_penalties(&common(&penalized))?.into_iter();
        let mut total = 0.0;
        for (regularizer, param) in &penalized {
            total += match regularizer.l1_l2().and_then(|_| common.next()) {
                Some(penalty) => penalty,
                None => regularizer.penalty(param.value())?,
            };
        }
        Ok(total)
    }

    /// [`penalty`](Self::penalty) without waiting for a GPU, unless regularizers of the user's own
    /// compute on the host.
    ///
    /// # Errors
    /// When a regularizer fails.
    pub fn start_penalty(
        &self,
        workspace: &mut Workspace,
        params: &Params,
    ) -> Result<Penalty, NnError> {
        if workspace.device().is_cpu() {
            return Ok(Penalty {
                known: self.penalty(params)?,
                sums: Vec::new(),
            });
        }
        let penalized: Vec<_> = self.penalized(params).collect();
        let sums = kernels::l1_l2_sums(workspace, &common(&penalized))?;
        let mut known = 0.0;
        for (regularizer, param) in &penalized {
            if regularizer.l1_l2().is_none() {
                known += regularizer.penalty(param.value())?;
            }
        }
        Ok(Penalty { known, sums })
    }

    /// The regularizers at work, each with its parameter, in the order in which they were added.
    fn penalized<'a>(
        &'a self,
        params: &'a Params,
    ) -> impl Iterator<Item = (&'a dyn Regularizer, &'a Param)> {
        let regularizers = self.regularizers.iter();
        regularizers
            .filter_map(|(id, regularizer)| Some((regularizer.as_ref(), trained(params, *id)?)))
    }

    /// Adds the gradients of all penalties to those of the parameters.
    ///
    /// # Errors
    /// When a regularizer fails.
    pub fn add_gradients(&self, params: &Params) -> Result<(), NnError> {
        for (regularizer, param) in self.penalized(params) {
            regularizer.add_gradient(param.value(), param.grad())?;
        }
        Ok(())
    }

    /// Makes all constraints hold, as after an update.
    ///
    /// # Errors
    /// When a constraint fails.
    pub fn constrain(&self, params: &Params) -> Result<(), NnError> {
        for (id, constraint) in &self.constraints {
            if let Some(param) = trained(params, *id) {
                constraint.apply(param.value())?;
            }
        }
        Ok(())
    }
}

/// Those penalties that are of Keras's own kind.
fn common<'a>(penalized: &[(&dyn Regularizer, &'a Param)]) -> Vec<L1L2<'a>> {
    let common = penalized.iter().filter_map(|(regularizer, param)| {
        let (l1, l2) = regularizer.l1_l2()?;
        let tensor = param.value().as_tensor();
        Some(L1L2 { tensor, l1, l2 })
    });
    common.collect()
}

fn trained(params: &Params, id: ParamId) -> Option<&Param> {
    params.get(id).filter(|param| param.trainable())
}
