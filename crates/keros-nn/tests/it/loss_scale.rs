//! Loss scaling: the scale follows the gradients as Keras's does, and the training does not notice.

use crate::test_device::test_device;
use keros_nn::{Adam, LossScaleOptimizer, NnError, Optimizer, Sgd};
use keros_tensor::access::{read, write};
use keros_tensor::{Params, Tensor};

/// Two parameters, the second of which is not trained.
fn params() -> Params {
    let mut params = Params::new();
    let start = Tensor::new(&[1.0_f32, -2.0, 0.5], test_device()).unwrap();
    params.add("dense/kernel", &start, true).unwrap();
    params.add("dense/bias", &start, false).unwrap();
    params
}

fn set_gradients(params: &Params, gradient: [f32; 3]) {
    for (_, param) in params.iter() {
        write(param.grad(), |grad: &mut [f32]| {
            grad.copy_from_slice(&gradient);
        })
        .unwrap();
    }
}

fn values(params: &Params) -> Vec<f32> {
    let (_, param) = params.iter().next().unwrap();
    read::<f32>(param.value()).unwrap().to_vec()
}

fn gradient(params: &Params) -> Vec<f32> {
    let (_, param) = params.iter().next().unwrap();
    read::<f32>(param.grad()).unwrap().to_vec()
}

fn scaled(optimizer: impl Optimizer + 'static) -> LossScaleOptimizer {
    LossScaleOptimizer::new(optimizer).unwrap()
}

/// Keras 3.15: `LossScaleOptimizer(SGD(0.5, momentum=0.9), initial_scale=8.0, dynamic_growth_steps=2)`, and of each
/// step the scale before it, the first gradient, and what is there after it: the first parameter, `step_counter`,
/// `dynamic_scale` and `iterations`.
const OF_KERAS: [(f64, f32, f32, i64, f64, u64); 9] = [
    (8.0, 4.0, 0.75, 1, 8.0, 1),
    (8.0, 8.0, 0.025, 0, 16.0, 2),
    (16.0, -3.0, -0.533_750_06, 1, 16.0, 3),
    (16.0, f32::INFINITY, -0.533_750_06, 0, 8.0, 3),
    (8.0, 2.0, -1.161_625_1, 1, 8.0, 4),
    (8.0, f32::NAN, -1.161_625_1, 0, 4.0, 4),
    (4.0, 1.0, -1.851_712_7, 1, 4.0, 5),
    (4.0, -6.0, -1.722_791_4, 0, 8.0, 6),
    (8.0, 12.0, -2.356_762_4, 1, 8.0, 7),
];

#[test]
fn the_scale_follows_the_gradients_as_in_keras() {
    let sgd = Sgd::new(0.5).unwrap().momentum(0.9, false).unwrap();
    let mut optimizer = scaled(sgd)
        .initial_scale(8.0)
        .unwrap()
        .dynamic_growth_steps(2)
        .unwrap();
    let params = params();
    for (step, (scale, first, value, counter, next, iterations)) in OF_KERAS.iter().enumerate() {
        assert_eq!(optimizer.loss_scale(), Some(*scale), "{step}");
        set_gradients(&params, [*first, 1.0, -1.0]);
        optimizer.step(&params).unwrap();
        assert!((values(&params)[0] - value).abs() < 1e-6, "{step}");
        let state = optimizer.state().unwrap();
        let own = |name: &str| &state.iter().find(|(known, _)| known == name).unwrap().1;
        let steps = own("loss_scale_optimizer/step_counter");
        assert_eq!(steps.to_scalar::<i64>().unwrap(), *counter, "{step}");
        let dynamic = own("loss_scale_optimizer/dynamic_scale");
        assert_eq!(dynamic.to_scalar::<f64>().unwrap(), *next, "{step}");
        assert_eq!(optimizer.iterations(), *iterations, "{step}");
    }
}

#[test]
fn a_scale_that_is_a_power_of_two_changes_no_bit() {
    let adam = || Adam::new(0.1).unwrap().clipnorm(1.5).unwrap();
    let (mut plain, mut optimizer) = (adam(), scaled(adam()).dynamic_growth_steps(3).unwrap());
    let (of_plain, of_scaled) = (params(), params());
    for t in 0..10 {
        let g = [0, 1, 2].map(|i| ((i + 3 * t) as f32).sin());
        set_gradients(&of_plain, g);
        plain.step(&of_plain).unwrap();
        let scale = optimizer.loss_scale().unwrap() as f32;
        set_gradients(&of_scaled, g.map(|g| g * scale));
        // The step does it if nobody has.
        if t % 2 == 0 {
            optimizer.unscale(&of_scaled).unwrap();
            assert_eq!(gradient(&of_scaled), g);
        }
        optimizer.step(&of_scaled).unwrap();
        assert_eq!(values(&of_plain), values(&of_scaled));
    }
    assert_eq!(optimizer.loss_scale(), Some(32768.0 * 8.0));
    assert_eq!(optimizer.inner_optimizer().iterations(), 10);
}

#[test]
fn a_fixed_factor_is_taken_out_once() {
    let sgd = || Sgd::new(0.5).unwrap().clipvalue(1.0).unwrap();
    let (mut plain, mut scaled) = (sgd(), sgd().loss_scale_factor(1024.0).unwrap());
    assert_eq!(
        (plain.loss_scale(), scaled.loss_scale()),
        (None, Some(1024.0))
    );
    let (of_plain, of_scaled) = (params(), params());
    for t in 0..6 {
        let g = [0, 1, 2].map(|i| 2.0 * ((i + 3 * t) as f32).sin());
        set_gradients(&of_plain, g);
        plain.step(&of_plain).unwrap();
        if t % 3 == 0 {
            set_gradients(&of_scaled, [1.0; 3]);
            scaled.unscale(&of_scaled).unwrap();
            scaled.skip_step(&of_scaled).unwrap();
        }
        set_gradients(&of_scaled, g.map(|g| g * 1024.0));
        if t % 2 == 0 {
            scaled.unscale(&of_scaled).unwrap();
            assert_eq!(gradient(&of_scaled), g);
        }
        scaled.step(&of_scaled).unwrap();
        assert_eq!(values(&of_plain), values(&of_scaled));
    }
    for factor in [0.0, -2.0, f64::NAN, 1e39] {
        assert!(Sgd::default().loss_scale_factor(factor).is_err());
    }
    assert!(LossScaleOptimizer::new(scaled).is_err());
}

#[test]
fn one_gradient_that_is_not_finite_skips_the_step() {
    for bad in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN] {
        let mut optimizer = scaled(Adam::default());
        let params = params();
        set_gradients(&params, [1.0, 2.0, 3.0]);
        optimizer.step(&params).unwrap();
        let before = values(&params);
        let state = optimizer.inner_optimizer().state().unwrap();
        set_gradients(&params, [1.0, 2.0, bad]);
        optimizer.step(&params).unwrap();
        assert_eq!(values(&params), before);
        assert_eq!(optimizer.loss_scale(), Some(16384.0));
        assert_eq!((optimizer.iterations(), optimizer.batches()), (1, 1));
        for ((name, old), (_, new)) in state
            .iter()
            .zip(optimizer.inner_optimizer().state().unwrap())
        {
            let text = |x: &Tensor| x.to_string();
            assert_eq!(text(old), text(&new), "{name}");
        }
    }
    // What is not trained does not count.
    let mut optimizer = scaled(Sgd::default());
    let params = params();
    set_gradients(&params, [f32::NAN; 3]);
    let (_, kernel) = params.iter().next().unwrap();
    write(kernel.grad(), |grad: &mut [f32]| grad.fill(1.0)).unwrap();
    optimizer.step(&params).unwrap();
    assert_eq!(optimizer.iterations(), 1);
}

#[test]
fn a_batch_that_is_passed_over_lowers_a_scale_that_is_too_large() {
    let mut optimizer = scaled(Adam::default()).dynamic_growth_steps(2).unwrap();
    let params = params();
    let before = values(&params);
    let mut pass_over = |gradient: f32, expected: f64| {
        set_gradients(&params, [1.0, gradient, 3.0]);
        optimizer.unscale(&params).unwrap();
        optimizer.skip_step(&params).unwrap();
        assert_eq!(optimizer.loss_scale(), Some(expected));
        assert_eq!((optimizer.iterations(), optimizer.batches()), (0, 0));
    };
    for _ in 0..3 {
        pass_over(2.0, 32768.0);
    }
    pass_over(f32::INFINITY, 16384.0);
    pass_over(f32::NAN, 8192.0);
    assert_eq!(values(&params), before);
    let error = (0..1000).find_map(|_| {
        set_gradients(&params, [f32::NAN; 3]);
        optimizer.skip_step(&params).err()
    });
    assert!(error.unwrap().to_string().starts_with("gradients: "));
}

#[test]
fn gradients_that_are_never_finite_end_in_an_error() {
    let mut optimizer = scaled(Sgd::default());
    let params = params();
    set_gradients(&params, [f32::NAN; 3]);
    let error = (0..1000).find_map(|_| optimizer.step(&params).err());
    assert_eq!(
        error.unwrap().to_string(),
        "gradients: value out of range (expected finite numbers at some loss scale down to \
         1.1754943508222875e-38, found none)"
    );
    // And the scale ends where f32 does.
    let mut optimizer = scaled(Sgd::default()).dynamic_growth_steps(1).unwrap();
    set_gradients(&params, [0.0; 3]);
    for _ in 0..200 {
        optimizer.step(&params).unwrap();
    }
    assert_eq!(optimizer.loss_scale(), Some(f64::from(f32::MAX)));
}

#[test]
fn its_numbers_are_those_of_the_optimizer_and_the_scale() {
    let mut optimizer = scaled(Adam::default().weight_decay(0.1).unwrap());
    assert_eq!(optimizer.name(), "loss_scale_optimizer");
    let names = |optimizer: &LossScaleOptimizer| {
        let numbers = optimizer.numbers().into_iter();
        numbers.map(|(name, _)| name).collect::<Vec<_>>()
    };
    assert_eq!(names(&optimizer).last(), Some(&"dynamic_scale"));
    optimizer.set_number("dynamic_scale", 4.0).unwrap();
    optimizer.set_number("weight_decay", 0.2).unwrap();
    optimizer.set_number("learning_rate", 0.3).unwrap();
    assert_eq!(optimizer.learning_rate(), 0.3);
    let inner = optimizer.inner_optimizer().numbers();
    assert!(inner.contains(&("weight_decay", 0.2)));
    assert_eq!(optimizer.loss_scale(), Some(4.0));
    for (name, value) in [
        ("dynamic_scale", 0.0),
        ("dynamic_scale", f64::INFINITY),
        ("momentum", 0.5),
    ] {
        let error = optimizer.set_number(name, value).unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn bad_arguments_are_refused() {
    let is_out_of_range = |result: Result<LossScaleOptimizer, NnError>| {
        matches!(result, Err(NnError::Argument { .. }))
    };
    for scale in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e-40, 1e39] {
        assert!(is_out_of_range(scaled(Sgd::default()).initial_scale(scale)));
    }
    assert!(is_out_of_range(
        scaled(Sgd::default()).dynamic_growth_steps(0)
    ));
    assert!(is_out_of_range(LossScaleOptimizer::new(scaled(
        Sgd::default()
    ))));
    assert!(matches!(
        LossScaleOptimizer::new("adamant"),
        Err(NnError::UnknownName { .. })
    ));
}

#[test]
fn a_state_without_the_scale_changes_nothing() {
    let params = params();
    let mut optimizer = scaled(Adam::default()).initial_scale(64.0).unwrap();
    set_gradients(&params, [1.0, 2.0, 3.0]);
    optimizer.step(&params).unwrap();
    let state = optimizer.state().unwrap();
    let mut fresh = scaled(Adam::default());
    for left_out in 0..state.len() {
        let mut short = state.clone();
        let (name, _) = short.remove(left_out);
        let error = fresh.load_state(&params, &short).unwrap_err().to_string();
        assert!(error.contains(&format!("`{name}` is missing")), "{error}");
        assert_eq!((fresh.loss_scale(), fresh.iterations()), (Some(32768.0), 0));
    }
    let mut wrong = state.clone();
    for (name, tensor) in &mut wrong {
        if name == "loss_scale_optimizer/dynamic_scale" {
            *tensor = Tensor::new(-1.0_f64, test_device()).unwrap();
        }
    }
    let error = fresh.load_state(&params, &wrong).unwrap_err().to_string();
    assert!(
        error.starts_with("loss_scale_optimizer/dynamic_scale: "),
        "{error}"
    );
    assert!(Adam::default().load_state(&params, &state).is_err());
    fresh.load_state(&params, &state).unwrap();
    assert_eq!((fresh.loss_scale(), fresh.iterations()), (Some(64.0), 1));
}
