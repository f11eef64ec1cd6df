//! Optimizers against Keras's formulas, followed in f64.

use crate::test_device::test_device;
use keros_nn::{
    Adam, CosineDecay, CosineDecayRestarts, ExponentialDecay, LearningRate, Lion,
    LossScaleOptimizer, NnError, Optimizer, PiecewiseConstantDecay, PolynomialDecay, Resolve,
    RmsProp, Schedule, Sgd,
};
use keros_tensor::access::{host_copies, read, write};
use keros_tensor::{DType, Params, Tensor};

/// Gradient of step `t` for the parameter's elements.
fn gradient(t: usize) -> [f64; 3] {
    let t = t as f64;
    [0.3 - 0.1 * t, (t * 1.7).sin(), 2e-4]
}

/// Runs `steps` updates of one parameter and returns its values.
fn run(optimizer: &mut dyn Optimizer, steps: usize) -> Vec<f32> {
    let mut params = Params::new();
    let start = Tensor::new(&[1.0_f32, -2.0, 0.5], test_device()).unwrap();
    let id = params.add("w", &start, true).unwrap();
    params.add("frozen", &start, false).unwrap();
    for t in 0..steps {
        write(params[id].grad(), |grad: &mut [f32]| {
            for (slot, g) in grad.iter_mut().zip(gradient(t)) {
                *slot = g as f32;
            }
        })
        .unwrap();
        optimizer.step(&params).unwrap();
    }
    let frozen = params.by_name("frozen").unwrap().value();
    assert_eq!(*read::<f32>(frozen).unwrap(), [1.0, -2.0, 0.5]);
    assert_eq!(optimizer.iterations(), steps as u64);
    read::<f32>(params[id].value()).unwrap().to_vec()
}

fn close(found: &[f32], expected: &[f64]) {
    for (f, e) in found.iter().zip(expected) {
        assert!(
            (f64::from(*f) - e).abs() < 2e-6,
            "{found:?} is not {expected:?}"
        );
    }
}

#[test]
fn adam_follows_keras() {
    let (rate, b1, b2, eps) = (0.05, 0.9, 0.99, 1e-7);
    let mut w = [1.0, -2.0, 0.5];
    let (mut m, mut v) = ([0.0; 3], [0.0_f64; 3]);
    for t in 0..20 {
        let n = t as i32 + 1;
        let alpha = rate * (1.0_f64 - f64::powi(b2, n)).sqrt() / (1.0 - f64::powi(b1, n));
        for (i, g) in gradient(t).into_iter().enumerate() {
            m[i] = b1 * m[i] + (1.0 - b1) * g;
            v[i] = b2 * v[i] + (1.0 - b2) * g * g;
            w[i] -= alpha * m[i] / (v[i].sqrt() + eps);
        }
    }
    let mut adam = Adam::new(rate)
        .unwrap()
        .betas(b1, b2)
        .unwrap()
        .epsilon(eps)
        .unwrap();
    close(&run(&mut adam, 20), &w);
}

#[test]
fn sgd_follows_keras() {
    for (momentum, nesterov) in [(0.0, false), (0.9, false), (0.9, true)] {
        let rate = 0.1;
        let mut w = [1.0, -2.0, 0.5];
        let mut m = [0.0; 3];
        for t in 0..20 {
            for (i, g) in gradient(t).into_iter().enumerate() {
                m[i] = momentum * m[i] - rate * g;
                w[i] += if nesterov {
                    momentum * m[i] - rate * g
                } else {
                    m[i]
                };
            }
        }
        let mut sgd = Sgd::new(rate)
            .unwrap()
            .momentum(momentum, nesterov)
            .unwrap();
        close(&run(&mut sgd, 20), &w);
    }
}

#[test]
fn names_give_keras_defaults_and_bad_arguments_are_refused() {
    let adam: Box<dyn Optimizer> = "adam".resolve().unwrap();
    assert_eq!((adam.name(), adam.learning_rate()), ("adam", 0.001));
    let mut sgd: Box<dyn Optimizer> = "sgd".resolve().unwrap();
    assert_eq!((sgd.name(), sgd.learning_rate()), ("sgd", 0.01));
    sgd.set_learning_rate(0.5).unwrap();
    assert!(sgd.set_learning_rate(f64::INFINITY).is_err());
    assert_eq!(sgd.learning_rate(), 0.5);
    let unknown: Result<Box<dyn Optimizer>, NnError> = "adamant".resolve();
    let error = unknown.err().unwrap().to_string();
    assert_eq!(
        error,
        "unknown optimizer `adamant` (expected one of adadelta, adafactor, adagrad, adam, adamax, \
         adamw, ftrl, lamb, lion, muon, nadam, rmsprop, sgd)"
    );
    assert!(Adam::new(-1.0).is_err() && Sgd::new(f64::NAN).is_err());
    assert!(Adam::default().betas(0.9, 1.0).is_err());
    assert!(Adam::default().epsilon(0.0).is_err());
    assert!(Sgd::default().momentum(1.5, false).is_err());
}

/// The names of all optimizers.
const NAMES: [&str; 13] = [
    "adadelta",
    "adafactor",
    "adagrad",
    "adam",
    "adamax",
    "adamw",
    "ftrl",
    "lamb",
    "lion",
    "muon",
    "nadam",
    "rmsprop",
    "sgd",
];

/// All optimizers, and some with every argument that adds state.
fn optimizers() -> Vec<Box<dyn Optimizer>> {
    let mut all: Vec<Box<dyn Optimizer>> = NAMES.iter().map(|n| n.resolve().unwrap()).collect();
    let sgd = Sgd::default().momentum(0.9, true).unwrap();
    all.push(Box::new(sgd.gradient_accumulation_steps(3).unwrap()));
    let adam = Adam::new(ExponentialDecay::new(0.1, 3, 0.5).unwrap()).unwrap();
    all.push(Box::new(adam.amsgrad(true).use_ema(0.9, Some(4)).unwrap()));
    let rmsprop = RmsProp::default().centered(true).momentum(0.5).unwrap();
    all.push(Box::new(rmsprop.clipnorm(0.5).unwrap()));
    all.push(Box::new(LossScaleOptimizer::new("adam").unwrap()));
    all
}

/// A parameter `dense/kernel` of this many elements, a pattern of seven.
fn pattern(len: usize) -> Params {
    let values: Vec<f32> = (0..len).map(|i| (i % 7) as f32 - 2.5).collect();
    let mut params = Params::new();
    let value = Tensor::new(values, test_device()).unwrap();
    params.add("dense/kernel", &value, true).unwrap();
    params
}

fn step(optimizer: &mut dyn Optimizer, params: &Params, t: usize) {
    for (_, param) in params.iter() {
        write(param.grad(), |grad: &mut [f32]| {
            for (i, g) in grad.iter_mut().enumerate() {
                *g = ((i % 7 + 3 * t) as f32).sin();
            }
        })
        .unwrap();
    }
    optimizer.step(params).unwrap();
}

fn values(params: &Params) -> Vec<f32> {
    let param = params.by_name("dense/kernel").unwrap();
    read::<f32>(param.value()).unwrap().to_vec()
}

#[test]
fn every_element_is_updated_alike_whatever_their_number() {
    for (mut small, mut large) in optimizers().into_iter().zip(optimizers()) {
        // Norms depend on the number: one of these clips by a norm.
        if ["adafactor", "lamb", "rmsprop"].contains(&small.name()) {
            continue;
        }
        let (few, many) = (pattern(7), pattern(40_003));
        for t in 0..6 {
            step(small.as_mut(), &few, t);
            step(large.as_mut(), &many, t);
        }
        let few = values(&few);
        let start = values(&pattern(7));
        assert!(few != start, "{} changed nothing", small.name());
        for (i, value) in values(&many).into_iter().enumerate() {
            assert_eq!(value, few[i % 7], "{} at {i}", small.name());
        }
    }
}

#[test]
fn a_step_stays_on_the_gpu() {
    let mut all = optimizers();
    all.push(Box::new(Adam::default().global_clipnorm(0.5).unwrap()));
    all.push(Box::new(Sgd::default().clipvalue(0.5).unwrap()));
    let mut params = pattern(9);
    let matrix = Tensor::zeros((4, 5), DType::F32, test_device()).unwrap();
    params.add("dense/matrix", &matrix, true).unwrap();
    for mut optimizer in all {
        let before = host_copies();
        for _ in 0..4 {
            optimizer.step(&params).unwrap();
        }
        assert_eq!(host_copies(), before, "{}", optimizer.name());
    }
}

#[test]
fn clipping_scales_each_gradient_or_all_alike() {
    let clipped = |sgd: Sgd| {
        let mut params = Params::new();
        for (name, gradient) in [("a", [3.0_f32, 4.0]), ("b", [0.0, 0.5]), ("c", [12.0, 0.0])] {
            let zeros = Tensor::new(&[0.0_f32; 2], test_device()).unwrap();
            let id = params.add(name, &zeros, true).unwrap();
            write(params[id].grad(), |grad: &mut [f32]| {
                grad.copy_from_slice(&gradient)
            })
            .unwrap();
        }
        let mut sgd = sgd;
        sgd.step(&params).unwrap();
        let steps = params
            .iter()
            .map(|(_, param)| read::<f32>(param.value()).unwrap().to_vec());
        steps.flatten().map(|w| -w).collect::<Vec<f32>>()
    };
    let sgd = || Sgd::new(1.0).unwrap();
    close(
        &clipped(sgd().clipnorm(2.5).unwrap()),
        &[1.5, 2.0, 0.0, 0.5, 2.5, 0.0],
    );
    let norm = (25.0_f64 + 0.25 + 144.0).sqrt();
    let scaled = [3.0, 4.0, 0.0, 0.5, 12.0, 0.0].map(|g| g / norm);
    close(&clipped(sgd().global_clipnorm(1.0).unwrap()), &scaled);
    close(
        &clipped(sgd().clipvalue(3.5).unwrap()),
        &[3.0, 3.5, 0.0, 0.5, 3.5, 0.0],
    );
}

#[test]
fn a_restored_optimizer_goes_on_bit_for_bit() {
    for (mut first, mut second) in optimizers().into_iter().zip(optimizers()) {
        let params = pattern(11);
        for t in 0..5 {
            step(first.as_mut(), &params, t);
        }
        let state = first.state().unwrap();
        let copy = pattern(11);
        let value = params.by_name("dense/kernel").unwrap().value();
        copy.by_name("dense/kernel").unwrap().set(value).unwrap();
        second.load_state(&copy, &state).unwrap();
        assert_eq!(second.iterations(), first.iterations());
        assert_eq!(second.batches(), 5);
        for t in 5..12 {
            step(first.as_mut(), &params, t);
            step(second.as_mut(), &copy, t);
        }
        first.finalize(&params).unwrap();
        second.finalize(&copy).unwrap();
        assert_eq!(values(&params), values(&copy), "{}", first.name());
        // What was read is a copy.
        assert_eq!(state[0].1.to_scalar::<i64>().unwrap(), 5);
    }
}

#[test]
fn state_has_names_and_a_wrong_one_changes_nothing() {
    let params = pattern(3);
    let mut adam = Adam::default();
    step(&mut adam, &params, 0);
    let state = adam.state().unwrap();
    let names: Vec<&str> = state.iter().map(|(name, _)| name.as_str()).collect();
    let expected = [
        "adam/batches",
        "adam/learning_rate",
        "adam/momentum/dense/kernel",
        "adam/velocity/dense/kernel",
    ];
    assert_eq!(names, expected);

    let mut wrong = state.clone();
    wrong[3] = (
        wrong[3].0.clone(),
        Tensor::new(&[1.0_f32], test_device()).unwrap(),
    );
    wrong[2].0 = "adam/momentum/dense_1/kernel".to_owned();
    let mut fresh = Adam::new(0.5).unwrap();
    let error = fresh.load_state(&params, &wrong).unwrap_err();
    assert_eq!(
        error.to_string(),
        "loading the state of an optimizer: `adam/momentum/dense/kernel` is missing; \
         `adam/momentum/dense_1/kernel` is not part of it; \
         `adam/velocity/dense/kernel` differs (expected F32 [3], found F32 [1])"
    );
    assert!(matches!(error, NnError::OptimizerState(_)));
    assert_eq!((fresh.iterations(), fresh.learning_rate()), (0, 0.5));
    for t in 0..state.len() {
        let mut short = state.clone();
        short.remove(t);
        assert!(fresh.load_state(&params, &short).is_err(), "without {t}");
    }
    let twice = [state.clone(), state[..1].to_vec()].concat();
    assert!(fresh.load_state(&params, &twice).is_err());
    let negative = Tensor::new(-1_i64, test_device()).unwrap();
    let mut before = state.clone();
    before[0].1 = negative;
    assert!(fresh.load_state(&params, &before).is_err());
    assert!(Sgd::default().load_state(&params, &state).is_err());
    fresh.load_state(&params, &state).unwrap();
    assert_eq!((fresh.iterations(), fresh.learning_rate()), (1, 0.001));
}

#[test]
fn other_parameters_than_before_are_refused() {
    let mut adam = Adam::default();
    step(&mut adam, &pattern(3), 0);
    let other = pattern(4);
    assert!(adam.step(&other).is_err());
    assert_eq!(values(&other), values(&pattern(4)));
    assert_eq!(adam.iterations(), 1);
}

#[test]
fn weight_decay_leaves_out_what_is_excluded() {
    let sgd = Sgd::new(0.5).unwrap().weight_decay(0.5).unwrap();
    let mut sgd = sgd.exclude_from_weight_decay(["bias"]);
    let mut params = Params::new();
    let start = Tensor::new(&[2.0_f32, -4.0], test_device()).unwrap();
    params.add("dense/kernel", &start, true).unwrap();
    params.add("dense/bias", &start, true).unwrap();
    sgd.step(&params).unwrap();
    assert_eq!(values(&params), [1.5, -3.0]);
    let bias = params.by_name("dense/bias").unwrap();
    assert_eq!(*read::<f32>(bias.value()).unwrap(), [2.0, -4.0]);
}

#[test]
fn accumulated_gradients_count_as_one_update() {
    let mut sgd = Sgd::new(1.0)
        .unwrap()
        .gradient_accumulation_steps(2)
        .unwrap();
    let params = pattern(2);
    let grad = params.by_name("dense/kernel").unwrap().grad();
    for (t, g) in [f32::INFINITY, 1.0, 2.0, 4.0].into_iter().enumerate() {
        write(grad, |grad: &mut [f32]| grad.fill(g)).unwrap();
        sgd.step(&params).unwrap();
        assert_eq!(sgd.iterations(), [0, 1, 1, 2][t]);
        if t == 1 {
            // A sum that is not finite is not kept.
            let value = params.by_name("dense/kernel").unwrap().value();
            write(value, |w: &mut [f32]| w.fill(10.0)).unwrap();
        }
    }
    assert_eq!(values(&params), [7.0, 7.0]);
    assert_eq!(sgd.batches(), 4);
}

#[test]
fn schedules_are_followed_and_cannot_be_set() {
    let schedule = PiecewiseConstantDecay::new([1], [1.0, 0.25]).unwrap();
    let mut sgd = Sgd::new(schedule).unwrap();
    let rates: Vec<f64> = (0..4)
        .map(|t| {
            let rate = sgd.learning_rate();
            step(&mut sgd, &pattern(1), t);
            rate
        })
        .collect();
    assert_eq!(rates, [1.0, 1.0, 0.25, 0.25]);
    let error = sgd.set_learning_rate(0.1).unwrap_err();
    assert_eq!(
        error.to_string(),
        "setting the learning rate of sgd: it follows a schedule"
    );

    struct Bad;
    impl Schedule for Bad {
        fn rate(&self, step: u64) -> f64 {
            if step == 0 { 1.0 } else { f64::NAN }
        }
    }
    let mut sgd = Sgd::new(LearningRate::from(Bad)).unwrap();
    let params = pattern(1);
    step(&mut sgd, &params, 0);
    let before = values(&params);
    assert!(sgd.step(&params).is_err());
    assert_eq!((values(&params), sgd.iterations()), (before, 1));
}

#[test]
fn restarts_fall_on_the_first_batch_of_a_period() {
    for t_mul in [1.0, 1.5, 2.0, 3.0] {
        let schedule = CosineDecayRestarts::new(0.1, 8)
            .unwrap()
            .t_mul(t_mul)
            .unwrap();
        let (mut start, mut length) = (0.0, 8.0);
        while start < 1e6 && length < 1e5 && start < 8.0 * 30.0 {
            if f64::fract(start) == 0.0 {
                assert_eq!(schedule.rate(start as u64), 0.1, "{t_mul} at {start}");
            }
            start += length;
            length *= t_mul;
        }
    }
}

#[test]
fn arguments_out_of_range_are_refused() {
    let sgd = Sgd::default;
    assert!(sgd().clipnorm(0.0).is_err() && sgd().clipvalue(f64::NAN).is_err());
    let error = sgd().clipnorm(1.0).unwrap().clipvalue(1.0).err().unwrap();
    assert!(error.to_string().contains("one of clipnorm"), "{error}");
    assert!(sgd().weight_decay(-0.1).is_err());
    assert!(sgd().use_ema(1.1, None).is_err() && sgd().use_ema(0.9, Some(0)).is_err());
    assert!(sgd().gradient_accumulation_steps(1).is_err());
    assert!(ExponentialDecay::new(0.1, 0, 0.5).is_err());
    assert!(ExponentialDecay::new(-0.1, 1, 0.5).is_err());
    assert!(PolynomialDecay::new(0.1, 1).unwrap().power(-1.0).is_err());
    assert!(PiecewiseConstantDecay::new([1, 2], [0.1, 0.2]).is_err());
    assert!(PiecewiseConstantDecay::new([2, 1], [0.1, 0.2, 0.3]).is_err());
    assert!(
        CosineDecay::new(0.1, 5)
            .unwrap()
            .warmup(f64::NAN, 2)
            .is_err()
    );
    assert!(
        CosineDecayRestarts::new(0.1, 5)
            .unwrap()
            .t_mul(0.5)
            .is_err()
    );
}

#[test]
fn numbers_are_told_set_kept_in_the_state_and_refused() {
    for (mut optimizer, mut other) in optimizers().into_iter().zip(optimizers()) {
        let name = optimizer.name();
        let numbers = optimizer.numbers();
        assert_eq!(
            numbers[0],
            ("learning_rate", optimizer.learning_rate()),
            "{name}"
        );
        let params = pattern(5);
        step(optimizer.as_mut(), &params, 0);
        for (number, value) in &numbers[1..] {
            // Half of it is in the range of each number.
            optimizer.set_number(number, value / 2.0).unwrap();
            for wrong in [f64::NAN, -1.0, f64::INFINITY] {
                assert!(
                    optimizer.set_number(number, wrong).is_err(),
                    "{name} {number} {wrong}"
                );
            }
        }
        for (before, now) in numbers.iter().zip(optimizer.numbers()).skip(1) {
            assert_eq!((before.0, before.1 / 2.0), now, "{name}");
        }
        let error = optimizer
            .set_number("mumentum", 0.5)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(&format!("number of {name}")) && error.contains("`mumentum`"),
            "{error}"
        );

        // Another optimizer goes on with them, and takes them back with a state that has none.
        let plain = other.state().unwrap();
        let state = optimizer.state().unwrap();
        let copy = pattern(5);
        copy.by_name("dense/kernel")
            .unwrap()
            .set(params.by_name("dense/kernel").unwrap().value())
            .unwrap();
        other.load_state(&copy, &state).unwrap();
        assert_eq!(other.numbers(), optimizer.numbers(), "{name}");
        step(optimizer.as_mut(), &params, 1);
        step(other.as_mut(), &copy, 1);
        assert_eq!(values(&params), values(&copy), "{name}");
        other.load_state(&copy, &plain).unwrap();
        assert_eq!(other.numbers()[1..], numbers[1..], "{name}");
    }
}

/// A number is taken back to what it was made with, so that both have one range.
#[test]
fn the_betas_of_lion_may_be_set_to_all_that_they_may_be_made_with() {
    let lion = |beta_1| Lion::default().betas(beta_1, 0.99);
    let params = pattern(2);
    let mut optimizer = lion(1.0).unwrap();
    let plain = optimizer.state().unwrap();
    optimizer.set_number("beta_1", 0.9).unwrap();
    optimizer.load_state(&params, &plain).unwrap();
    assert_eq!(optimizer.numbers()[1], ("beta_1", 1.0));
    optimizer.set_number("beta_1", 1.0).unwrap();
    for wrong in [0.0, 1.1, f64::NAN] {
        let made = lion(wrong).map(drop).unwrap_err().to_string();
        let set = optimizer.set_number("beta_1", wrong).unwrap_err();
        assert_eq!(set.to_string(), made);
    }
}

#[test]
fn a_set_number_counts_from_the_next_update_on() {
    let params = pattern(2);
    let mut sgd = Sgd::new(1.0).unwrap().weight_decay(0.5).unwrap();
    sgd.set_number("weight_decay", 0.0).unwrap();
    step(&mut sgd, &params, 0);
    let plain = pattern(2);
    step(&mut Sgd::new(1.0).unwrap(), &plain, 0);
    assert_eq!(values(&params), values(&plain));
    // Without momentum there is none to set: it would need a state.
    assert!(sgd.set_number("momentum", 0.9).is_err());
}
