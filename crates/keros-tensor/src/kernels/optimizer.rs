//! Optimizer updates, each parameter in one pass over its memory.
//!
//! Every update takes all parameters at once, which on a GPU are one piece of work, and the numbers
//! of the formula in its documentation; the formulas are Keras's.

use candle_core::Tensor;

use super::optimizer_rules::{
    adadelta, adagrad, adam, adamax, amsgrad, descend, descend_momentum, descend_nesterov, ftrl,
    lion, nadam, rmsprop, rmsprop_centered, rmsprop_centered_momentum, rmsprop_momentum,
};
use super::{CHUNK, expect_dims};
use crate::parallel::{chunks_mut, for_each_part};
use crate::{TensorError, access};

/// A parameter to be updated: all its tensors have one shape.
#[derive(Debug, Clone, Copy)]
pub struct Update<'a> {
    /// The parameter.
    pub param: &'a Tensor,
    /// Its gradient.
    pub grad: &'a Tensor,
    /// What the optimizer keeps of it: the tensors that the update names, in that order.
    pub state: &'a [Tensor],
}

/// The tensors that one update changes, and the one that it reads.
pub(crate) struct Group<'a, const N: usize> {
    pub(crate) changed: [&'a Tensor; N],
    pub(crate) read: Option<&'a Tensor>,
}

impl<'a, const N: usize> Group<'a, N> {
    /// A group whose tensors have one shape.
    pub(super) fn new(
        op: &'static str,
        changed: [&'a Tensor; N],
        read: Option<&'a Tensor>,
    ) -> Result<Self, TensorError> {
        for tensor in changed {
            let like = read.unwrap_or(changed[0]);
            expect_dims(op, "parameter or state", tensor, like.dims())?;
        }
        Ok(Self { changed, read })
    }
}

/// The tensors of all updates, for a rule that keeps `N - 1` of each parameter.
pub(super) fn groups<'a, const N: usize>(
    op: &'static str,
    updates: &[Update<'a>],
) -> Result<Vec<Group<'a, N>>, TensorError> {
    let groups = updates.iter().map(|update| {
        if update.state.len() + 1 != N {
            let found = update.state.len();
            return Err(TensorError::argument(
                op,
                "number of state tensors",
                N - 1,
                found,
            ));
        }
        let mut changed = [update.param; N];
        for (tensor, state) in changed[1..].iter_mut().zip(update.state) {
            *tensor = state;
        }
        Group::new(op, changed, Some(update.grad))
    });
    groups.collect()
}

/// Groups of a tensor each, which changes.
pub(crate) fn single<'a>(tensors: &[&'a Tensor]) -> Vec<Group<'a, 1>> {
    let groups = tensors.iter().map(|&tensor| Group {
        changed: [tensor],
        read: None,
    });
    groups.collect()
}

/// Runs `run` on chunks of the tensors that change and of the one that is read.
pub(super) fn run_each<const N: usize>(
    groups: &[Group<'_, N>],
    run: impl Fn([&mut [f32]; N], &[f32]) + Sync,
) -> Result<(), TensorError> {
    for group in groups {
        let read = group.read.map(access::read::<f32>).transpose()?;
        let read = read.as_deref().unwrap_or_default();
        access::write_all(group.changed, |slices| {
            let parts = slices.map(|slice| chunks_mut(slice, CHUNK));
            for_each_part(parts, |i, parts| {
                run(parts, read.get(i * CHUNK..).unwrap_or_default());
            });
        })?;
    }
    Ok(())
}

/// Applies a rule to groups: on the CPU a function of slices, on a GPU the kernel of this name with
/// these numbers.
macro_rules! apply {
    ($op:expr, $groups:expr, $rule:ident($($number:expr),*), $run:expr) => {{
        let groups = $groups;
        #[cfg(feature = "cuda")]
        if let Some(gpu) = &groups.first().and_then(|group| crate::cuda::gpu(group.changed[0])) {
            use crate::cuda::optimizer::{Rule, update};
            return update(gpu, $op, &groups, Rule::$rule, [$($number),*]);
        }
        // Only the kernels of a GPU say what they do.
        #[cfg(not(feature = "cuda"))]
        let _ = $op;
        run_each(&groups, $run)
    }};
}
pub(super) use apply;

/// One update of Adam (D. Kingma, J. Ba, 2015) in Keras's form.
///
/// `m += (1 - beta1) (g - m)`, `v += (1 - beta2) (g² - v)`, `w -= alpha m / (√v + epsilon)`, where
/// the caller gives `alpha = lr √(1 - beta2^t) / (1 - beta1^t)` for update number `t` from 1.
/// The state is `m` and `v`, which start at 0.
///
/// # Errors
/// See [the module](super).
pub fn adam_update(
    updates: &[Update<'_>],
    alpha: f64,
    beta1: f64,
    beta2: f64,
    epsilon: f64,
) -> Result<(), TensorError> {
    const OP: &str = "Adam update";
    let (alpha, epsilon) = (alpha as f32, epsilon as f32);
    let (rate1, rate2) = ((1.0 - beta1) as f32, (1.0 - beta2) as f32);
    apply!(
        OP,
        groups::<3>(OP, updates)?,
        adam_f32(alpha, rate1, rate2, epsilon),
        |[w, m, v], g| adam(w, g, m, v, alpha, rate1, rate2, epsilon)
    )
}

/// [`adam_update`] with AMSGrad (S. Reddi, S. Kale, S. Kumar, 2018): `v_hat = max(v_hat, v)`, the third
/// tensor of the state, which starts at 0, stands in the place of `v` in the update of `w`.
///
/// # Errors
/// See [the module](super).
pub fn amsgrad_update(
    updates: &[Update<'_>],
    alpha: f64,
    beta1: f64,
    beta2: f64,
    epsilon: f64,
) -> Result<(), TensorError> {
    const OP: &str = "AMSGrad update";
    let (alpha, epsilon) = (alpha as f32, epsilon as f32);
    let (rate1, rate2) = ((1.0 - beta1) as f32, (1.0 - beta2) as f32);
    apply!(
        OP,
        groups::<4>(OP, updates)?,
        amsgrad_f32(alpha, rate1, rate2, epsilon),
        |[w, m, v, v_hat], g| amsgrad(w, g, m, v, v_hat, alpha, rate1, rate2, epsilon)
    )
}

/// One update of stochastic gradient descent in Keras's form, the learning rate inside the momentum.
///
/// Without momentum `w -= lr g`, and no state.
/// With momentum `mu` the state is a velocity, which starts at 0: `velocity = mu velocity - lr g`,
/// then `w += velocity`, or for `nesterov` `w += mu velocity - lr g`.
///
/// # Errors
/// [`TensorError::Argument`] for `nesterov` without momentum; otherwise see [the module](super).
pub fn sgd_update(
    updates: &[Update<'_>],
    momentum: Option<f64>,
    lr: f64,
    nesterov: bool,
) -> Result<(), TensorError> {
    const OP: &str = "SGD update";
    let lr = lr as f32;
    match momentum.map(|mu| mu as f32) {
        None if nesterov => Err(TensorError::argument(
            OP,
            "nesterov",
            "false without momentum",
            nesterov,
        )),
        None => apply!(OP, groups::<1>(OP, updates)?, sgd_f32(lr), |[w], g| {
            descend(w, g, lr);
        }),
        Some(mu) if nesterov => apply!(
            OP,
            groups::<2>(OP, updates)?,
            sgd_nesterov_f32(lr, mu),
            |[w, velocity], g| descend_nesterov(w, g, velocity, mu, lr)
        ),
        Some(mu) => apply!(
            OP,
            groups::<2>(OP, updates)?,
            sgd_momentum_f32(lr, mu),
            |[w, velocity], g| descend_momentum(w, g, velocity, mu, lr)
        ),
    }
}

/// One update of RMSprop (T. Tieleman, G. Hinton, 2012) in Keras's form, epsilon inside the root.
///
/// `v = rho v + (1 - rho) g²` and `step = lr g / √(v + epsilon)`; if it is `centered`,
/// `a = rho a + (1 - rho) g` and `step = lr g / √(v - a² + epsilon)`.
/// `w -= step`, or with momentum `mu` `m = mu m + step` and `w -= m`.
/// The state is `v`, then `a` if it is centered, then `m` if there is momentum; all start at 0.
///
/// # Errors
/// See [the module](super).
pub fn rmsprop_update(
    updates: &[Update<'_>],
    centered: bool,
    momentum: Option<f64>,
    lr: f64,
    rho: f64,
    epsilon: f64,
) -> Result<(), TensorError> {
    const OP: &str = "RMSprop update";
    let (lr, rho, rest, epsilon) = (lr as f32, rho as f32, (1.0 - rho) as f32, epsilon as f32);
    match (centered, momentum.map(|mu| mu as f32)) {
        (false, None) => apply!(
            OP,
            groups::<2>(OP, updates)?,
            rmsprop_f32(lr, rho, rest, epsilon),
            |[w, v], g| rmsprop(w, g, v, lr, rho, rest, epsilon)
        ),
        (false, Some(mu)) => apply!(
            OP,
            groups::<3>(OP, updates)?,
            rmsprop_momentum_f32(lr, rho, rest, epsilon, mu),
            |[w, v, m], g| rmsprop_momentum(w, g, v, m, mu, lr, rho, rest, epsilon)
        ),
        (true, None) => apply!(
            OP,
            groups::<3>(OP, updates)?,
            rmsprop_centered_f32(lr, rho, rest, epsilon),
            |[w, v, a], g| rmsprop_centered(w, g, v, a, lr, rho, rest, epsilon)
        ),
        (true, Some(mu)) => apply!(
            OP,
            groups::<4>(OP, updates)?,
            rmsprop_centered_momentum_f32(lr, rho, rest, epsilon, mu),
            |[w, v, a, m], g| rmsprop_centered_momentum(w, g, v, a, m, mu, lr, rho, rest, epsilon)
        ),
    }
}

/// One update of Adagrad (J. Duchi, E. Hazan, Y. Singer, 2011): `a += g²`,
/// `w -= lr g / √(a + epsilon)`; the state is `a`, which Keras starts at 0.1.
///
/// # Errors
/// See [the module](super).
pub fn adagrad_update(updates: &[Update<'_>], lr: f64, epsilon: f64) -> Result<(), TensorError> {
    const OP: &str = "Adagrad update";
    let (lr, epsilon) = (lr as f32, epsilon as f32);
    apply!(
        OP,
        groups::<2>(OP, updates)?,
        adagrad_f32(lr, epsilon),
        |[w, a], g| adagrad(w, g, a, lr, epsilon)
    )
}

/// One update of Adadelta (M. Zeiler, 2012): `a = rho a + (1 - rho) g²`,
/// `delta = g √(d + epsilon) / √(a + epsilon)`, `d = rho d + (1 - rho) delta²`, `w -= lr delta`; the
/// state is `a` and `d`, which start at 0.
///
/// # Errors
/// See [the module](super).
pub fn adadelta_update(
    updates: &[Update<'_>],
    lr: f64,
    rho: f64,
    epsilon: f64,
) -> Result<(), TensorError> {
    const OP: &str = "Adadelta update";
    let (lr, rho, rest, epsilon) = (lr as f32, rho as f32, (1.0 - rho) as f32, epsilon as f32);
    apply!(
        OP,
        groups::<3>(OP, updates)?,
        adadelta_f32(lr, rho, rest, epsilon),
        |[w, a, d], g| adadelta(w, g, a, d, lr, rho, rest, epsilon)
    )
}

/// One update of Adamax (D. Kingma, J. Ba, 2015): `m += (1 - beta1) (g - m)`,
/// `u = max(beta2 u, |g|)`, `w -= alpha m / (u + epsilon)` with `alpha = lr / (1 - beta1^t)` for
/// update number `t` from 1; the state is `m` and `u`, which start at 0.
///
/// # Errors
/// See [the module](super).
pub fn adamax_update(
    updates: &[Update<'_>],
    alpha: f64,
    beta1: f64,
    beta2: f64,
    epsilon: f64,
) -> Result<(), TensorError> {
    const OP: &str = "Adamax update";
    let (alpha, epsilon) = (alpha as f32, epsilon as f32);
    let (rate1, beta2) = ((1.0 - beta1) as f32, beta2 as f32);
    apply!(
        OP,
        groups::<3>(OP, updates)?,
        adamax_f32(alpha, rate1, beta2, epsilon),
        |[w, m, u], g| adamax(w, g, m, u, alpha, rate1, beta2, epsilon)
    )
}

/// One update of Nadam (T. Dozat, 2016): the moments of [`adam_update`], then
/// `w -= (alpha_m m + alpha_g g) / (√(v correction) + epsilon)`.
///
/// The caller gives `alpha = (alpha_m, alpha_g)`, which hold the learning rate and the momentum
/// schedule, and `correction = 1 / (1 - beta2^t)` for update number `t` from 1.
///
/// # Errors
/// See [the module](super).
pub fn nadam_update(
    updates: &[Update<'_>],
    alpha: (f64, f64),
    correction: f64,
    beta1: f64,
    beta2: f64,
    epsilon: f64,
) -> Result<(), TensorError> {
    const OP: &str = "Nadam update";
    let (alpha_m, alpha_g) = (alpha.0 as f32, alpha.1 as f32);
    let (correction, epsilon) = (correction as f32, epsilon as f32);
    let (rate1, rate2) = ((1.0 - beta1) as f32, (1.0 - beta2) as f32);
    apply!(
        OP,
        groups::<3>(OP, updates)?,
        nadam_f32(alpha_m, alpha_g, correction, rate1, rate2, epsilon),
        |[w, m, v], g| nadam(
            w, g, m, v, alpha_m, alpha_g, correction, rate1, rate2, epsilon
        )
    )
}

/// One update of Lion (X. Chen et al., 2023): `w -= lr sign(beta1 m + (1 - beta1) g)`, then
/// `m = beta2 m + (1 - beta2) g`; the state is `m`, which starts at 0.
///
/// # Errors
/// See [the module](super).
pub fn lion_update(
    updates: &[Update<'_>],
    lr: f64,
    beta1: f64,
    beta2: f64,
) -> Result<(), TensorError> {
    const OP: &str = "Lion update";
    let lr = lr as f32;
    let (beta1, rest1) = (beta1 as f32, (1.0 - beta1) as f32);
    let (beta2, rest2) = (beta2 as f32, (1.0 - beta2) as f32);
    apply!(
        OP,
        groups::<2>(OP, updates)?,
        lion_f32(lr, beta1, rest1, beta2, rest2),
        |[w, m], g| lion(w, g, m, lr, beta1, rest1, beta2, rest2)
    )
}

/// The strengths of the penalties in [`ftrl_update`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FtrlStrengths {
    /// Of `|w|`.
    pub l1: f64,
    /// Of `w²`, Keras's `l2_regularization_strength + beta / (2 lr)`.
    pub l2: f64,
    /// Of `w²` by its gradient.
    pub l2_shrinkage: f64,
}

/// One update of FTRL (H. McMahan et al., 2013) in Keras's form.
///
/// With `p = -power`: `a' = a + g²`, `z += g + 2 l2_shrinkage w - (a'^p - a^p) / lr · w`,
/// `w = (clip(z, ±l1) - z) / (a'^p / lr + 2 l2)`, `a = a'`; the state is `a` and `z`, which starts at
/// 0, and `lr` is positive.
///
/// # Errors
/// See [the module](super).
pub fn ftrl_update(
    updates: &[Update<'_>],
    lr: f64,
    power: f64,
    strengths: FtrlStrengths,
) -> Result<(), TensorError> {
    const OP: &str = "FTRL update";
    let lr = lr as f32;
    let (l1, l2) = (strengths.l1 as f32, 2.0 * strengths.l2 as f32);
    let shrinkage = 2.0 * strengths.l2_shrinkage as f32;
    let groups = groups::<3>(OP, updates)?;
    if power == -0.5 {
        return apply!(
            OP,
            groups,
            ftrl_f32(lr, l1, l2, shrinkage),
            |[w, a, z], g| ftrl(w, g, a, z, lr, l1, l2, shrinkage, f32::sqrt)
        );
    }
    let power = -power as f32;
    apply!(
        OP,
        groups,
        ftrl_power_f32(lr, l1, l2, shrinkage, power),
        |[w, a, z], g| ftrl(w, g, a, z, lr, l1, l2, shrinkage, |x| x.powf(power))
    )
}
