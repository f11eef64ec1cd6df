//! The formulas of the optimizers' updates on slices of one parameter and its state.

use crate::simd::multiversion;

multiversion! {
    pub(super) fn adam(
        param: &mut [f32],
        grad: &[f32],
        m: &mut [f32],
        v: &mut [f32],
        alpha: f32,
        rate1: f32,
        rate2: f32,
        epsilon: f32,
    ) {
        for (((w, &g), m), v) in param.iter_mut().zip(grad).zip(m).zip(v) {
            *m += rate1 * (g - *m);
            *v += rate2 * (g * g - *v);
            *w -= alpha * *m / (v.sqrt() + epsilon);
        }
    }

    pub(super) fn amsgrad(
        param: &mut [f32],
        grad: &[f32],
        m: &mut [f32],
        v: &mut [f32],
        v_hat: &mut [f32],
        alpha: f32,
        rate1: f32,
        rate2: f32,
        epsilon: f32,
    ) {
        for ((((w, &g), m), v), v_hat) in param.iter_mut().zip(grad).zip(m).zip(v).zip(v_hat) {
            *m += rate1 * (g - *m);
            *v += rate2 * (g * g - *v);
            // A NaN is handed on.
            *v_hat = if *v <= *v_hat { *v_hat } else { *v };
            *w -= alpha * *m / (v_hat.sqrt() + epsilon);
        }
    }

    pub(super) fn descend(param: &mut [f32], grad: &[f32], lr: f32) {
        for (w, &g) in param.iter_mut().zip(grad) {
            *w -= lr * g;
        }
    }

    pub(super) fn descend_momentum(param: &mut [f32], grad: &[f32], velocity: &mut [f32], mu: f32, lr: f32) {
        for ((w, &g), u) in param.iter_mut().zip(grad).zip(velocity) {
            *u = mu * *u - lr * g;
            *w += *u;
        }
    }

    pub(super) fn descend_nesterov(param: &mut [f32], grad: &[f32], velocity: &mut [f32], mu: f32, lr: f32) {
        for ((w, &g), u) in param.iter_mut().zip(grad).zip(velocity) {
            *u = mu * *u - lr * g;
            *w += mu * *u - lr * g;
        }
    }

    pub(super) fn rmsprop(
        param: &mut [f32],
        grad: &[f32],
        velocity: &mut [f32],
        lr: f32,
        rho: f32,
        rest: f32,
        epsilon: f32,
    ) {
        for ((w, &g), v) in param.iter_mut().zip(grad).zip(velocity) {
            *v = rho * *v + rest * (g * g);
            *w -= lr * g / (*v + epsilon).sqrt();
        }
    }

    pub(super) fn rmsprop_momentum(
        param: &mut [f32],
        grad: &[f32],
        velocity: &mut [f32],
        momentum: &mut [f32],
        mu: f32,
        lr: f32,
        rho: f32,
        rest: f32,
        epsilon: f32,
    ) {
        for (((w, &g), v), m) in param.iter_mut().zip(grad).zip(velocity).zip(momentum) {
            *v = rho * *v + rest * (g * g);
            *m = mu * *m + lr * g / (*v + epsilon).sqrt();
            *w -= *m;
        }
    }

    pub(super) fn rmsprop_centered(
        param: &mut [f32],
        grad: &[f32],
        velocity: &mut [f32],
        average: &mut [f32],
        lr: f32,
        rho: f32,
        rest: f32,
        epsilon: f32,
    ) {
        for (((w, &g), v), a) in param.iter_mut().zip(grad).zip(velocity).zip(average) {
            *v = rho * *v + rest * (g * g);
            *a = rho * *a + rest * g;
            *w -= lr * g / (*v - *a * *a + epsilon).sqrt();
        }
    }

    pub(super) fn rmsprop_centered_momentum(
        param: &mut [f32],
        grad: &[f32],
        velocity: &mut [f32],
        average: &mut [f32],
        momentum: &mut [f32],
        mu: f32,
        lr: f32,
        rho: f32,
        rest: f32,
        epsilon: f32,
    ) {
        let state = velocity.iter_mut().zip(average).zip(momentum);
        for ((w, &g), ((v, a), m)) in param.iter_mut().zip(grad).zip(state) {
            *v = rho * *v + rest * (g * g);
            *a = rho * *a + rest * g;
            *m = mu * *m + lr * g / (*v - *a * *a + epsilon).sqrt();
            *w -= *m;
        }
    }

    pub(super) fn adagrad(param: &mut [f32], grad: &[f32], accumulator: &mut [f32], lr: f32, epsilon: f32) {
        for ((w, &g), a) in param.iter_mut().zip(grad).zip(accumulator) {
            *a += g * g;
            *w -= lr * g / (*a + epsilon).sqrt();
        }
    }

    pub(super) fn adadelta(
        param: &mut [f32],
        grad: &[f32],
        a: &mut [f32],
        d: &mut [f32],
        lr: f32,
        rho: f32,
        rest: f32,
        epsilon: f32,
    ) {
        for (((w, &g), a), d) in param.iter_mut().zip(grad).zip(a).zip(d) {
            *a = rho * *a + rest * (g * g);
            let delta = g * (*d + epsilon).sqrt() / (*a + epsilon).sqrt();
            *d = rho * *d + rest * (delta * delta);
            *w -= lr * delta;
        }
    }

    pub(super) fn adamax(
        param: &mut [f32],
        grad: &[f32],
        m: &mut [f32],
        u: &mut [f32],
        alpha: f32,
        rate1: f32,
        beta2: f32,
        epsilon: f32,
    ) {
        for (((w, &g), m), u) in param.iter_mut().zip(grad).zip(m).zip(u) {
            *m += rate1 * (g - *m);
            *u = (beta2 * *u).max(g.abs());
            *w -= alpha * *m / (*u + epsilon);
        }
    }

    pub(super) fn nadam(
        param: &mut [f32],
        grad: &[f32],
        m: &mut [f32],
        v: &mut [f32],
        alpha_m: f32,
        alpha_g: f32,
        correction: f32,
        rate1: f32,
        rate2: f32,
        epsilon: f32,
    ) {
        for (((w, &g), m), v) in param.iter_mut().zip(grad).zip(m).zip(v) {
            *m += rate1 * (g - *m);
            *v += rate2 * (g * g - *v);
            *w -= (alpha_m * *m + alpha_g * g) / ((*v * correction).sqrt() + epsilon);
        }
    }

    pub(super) fn lion(
        param: &mut [f32],
        grad: &[f32],
        m: &mut [f32],
        lr: f32,
        beta1: f32,
        rest1: f32,
        beta2: f32,
        rest2: f32,
    ) {
        for ((w, &g), m) in param.iter_mut().zip(grad).zip(m) {
            let direction = beta1 * *m + rest1 * g;
            // Zero stays zero and NaN stays NaN, unlike in `signum`.
            let sign = if direction > 0.0 {
                1.0
            } else if direction < 0.0 {
                -1.0
            } else {
                direction
            };
            *w -= lr * sign;
            *m = beta2 * *m + rest2 * g;
        }
    }

    /// Muon's momentum, and what is made of it, in the place of the gradient.
    pub(super) fn gather(grad: &mut [f32], m: &mut [f32], mu: f32) {
        for (g, m) in grad.iter_mut().zip(m) {
            *m = mu * *m + *g;
            *g = *m;
        }
    }

    pub(super) fn gather_nesterov(grad: &mut [f32], m: &mut [f32], mu: f32) {
        for (g, m) in grad.iter_mut().zip(m) {
            *m = mu * *m + *g;
            *g += mu * *m;
        }
    }

    pub(super) fn ftrl<F: Fn(f32) -> f32>(
        param: &mut [f32],
        grad: &[f32],
        accumulator: &mut [f32],
        linear: &mut [f32],
        lr: f32,
        l1: f32,
        l2: f32,
        shrinkage: f32,
        root: F,
    ) {
        for (((w, &g), a), z) in param.iter_mut().zip(grad).zip(accumulator).zip(linear) {
            let new = *a + g * g;
            let new_root = root(new);
            *z += g + shrinkage * *w - (new_root - root(*a)) / lr * *w;
            *w = (z.clamp(-l1, l1) - *z) / (new_root / lr + l2);
            *a = new;
        }
    }
}
