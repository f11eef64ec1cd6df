//! Lamb, Adafactor and Muon: Keras's numbers, their state, and what is refused.

use crate::test_device::test_device;
use keros_nn::optimizers::{RuleOptimizer, UpdateRule};
use keros_nn::{Adafactor, ExponentialDecay, Lamb, Muon, Optimizer, Resolve};
use keros_tensor::access::{read, write};
use keros_tensor::{Params, Tensor};
use serde_json::{Map, Value};

/// Parameters of Keras 3.15 after updates; README.md beside it tells how they were made.
const RECORDED: &str = include_str!("../keras/optimizers.json");

fn recorded() -> Value {
    serde_json::from_str(RECORDED).unwrap()
}

/// The parameters as they begin.
fn start(shapes: &Value) -> Params {
    let mut params = Params::new();
    for (k, (name, shape)) in shapes.as_object().unwrap().iter().enumerate() {
        let shape: Vec<usize> = serde_json::from_value(shape.clone()).unwrap();
        let value = |i: usize| match name.starts_with("zero") {
            true => 0.0,
            false => (i as f64 * 0.9 + k as f64).cos() as f32,
        };
        let values: Vec<f32> = (0..shape.iter().product()).map(value).collect();
        let tensor = Tensor::from_vec(values, shape, test_device()).unwrap();
        params.add(name, &tensor, true).unwrap();
    }
    params
}

fn step(optimizer: &mut dyn Optimizer, params: &Params, t: usize) {
    for (k, (_, param)) in params.iter().enumerate() {
        write(param.grad(), |grad: &mut [f32]| {
            for (i, g) in grad.iter_mut().enumerate() {
                *g = (i as f64 * 0.7 + 1.3 * t as f64 + k as f64).sin() as f32;
            }
        })
        .unwrap();
    }
    optimizer.step(params).unwrap();
}

fn values(params: &Params) -> Vec<Vec<f32>> {
    let params = params.iter();
    params
        .map(|(_, param)| read::<f32>(param.value()).unwrap().to_vec())
        .collect()
}

/// The arguments that all optimizers have.
fn common<R: UpdateRule + Default>(args: &mut Map<String, Value>) -> RuleOptimizer<R> {
    let mut take = |name| args.remove(name).and_then(|value| value.as_f64());
    let mut optimizer = match take("learning_rate") {
        Some(rate) => RuleOptimizer::new(rate).unwrap(),
        None => RuleOptimizer::default(),
    };
    if let Some(decay) = take("weight_decay") {
        optimizer = optimizer.weight_decay(decay).unwrap();
    }
    if let Some(norm) = take("clipnorm") {
        optimizer = optimizer.clipnorm(norm).unwrap();
    }
    optimizer
}

/// Sets arguments that are one number where they are given.
macro_rules! set {
    ($optimizer:ident, $args:ident: $($name:ident)*) => {
        $(if let Some(value) = $args.remove(stringify!($name)) {
            $optimizer = $optimizer.$name(value.as_f64().unwrap()).unwrap();
        })*
    };
}

fn build(class: &str, args: &Value) -> Box<dyn Optimizer> {
    let args = &mut args.as_object().unwrap().clone();
    let number = |args: &mut Map<String, Value>, name: &str, default: f64| {
        args.remove(name)
            .map_or(default, |value| value.as_f64().unwrap())
    };
    let optimizer: Box<dyn Optimizer> = match class {
        "Lamb" => {
            let mut lamb: Lamb = common(args);
            set!(lamb, args: epsilon);
            let betas = (number(args, "beta_1", 0.9), number(args, "beta_2", 0.999));
            Box::new(lamb.betas(betas.0, betas.1).unwrap())
        }
        "Adafactor" => {
            let mut adafactor: Adafactor = common(args);
            set!(adafactor, args: beta_2_decay epsilon_1 epsilon_2 clip_threshold);
            if let Some(relative) = args.remove("relative_step") {
                adafactor = adafactor.relative_step(relative.as_bool().unwrap());
            }
            Box::new(adafactor)
        }
        _ => {
            let mut muon: Muon = common(args);
            set!(muon, args: epsilon adam_lr_ratio adam_weight_decay);
            let betas = (
                number(args, "adam_beta_1", 0.9),
                number(args, "adam_beta_2", 0.999),
            );
            muon = muon.adam_betas(betas.0, betas.1).unwrap();
            let nesterov = args
                .remove("nesterov")
                .is_none_or(|value| value.as_bool().unwrap());
            muon = muon
                .momentum(number(args, "momentum", 0.95), nesterov)
                .unwrap();
            let [a, b, c] = [("muon_a", 3.4445), ("muon_b", -4.775), ("muon_c", 2.0315)]
                .map(|(name, default)| number(args, name, default));
            muon = muon.coefficients(a, b, c).unwrap();
            muon = muon.ns_steps(number(args, "ns_steps", 5.0) as usize);
            if let Some(rate) = args.remove("rms_rate") {
                muon = muon.rms_rate(rate.as_f64()).unwrap();
            }
            if let Some(layers) = args.remove("exclude_layers") {
                let layers: Vec<String> = serde_json::from_value(layers).unwrap();
                muon = muon.exclude_layers(layers);
            }
            if let Some(exclude) = args.remove("exclude_embeddings") {
                muon = muon.exclude_embeddings(exclude.as_bool().unwrap());
            }
            Box::new(muon)
        }
    };
    assert!(args.is_empty(), "{class}: {args:?}");
    optimizer
}

#[test]
fn parameters_after_updates_are_those_of_keras() {
    let recorded = recorded();
    for case in recorded["cases"].as_array().unwrap() {
        let class = case["class_name"].as_str().unwrap();
        let mut optimizer = build(class, &case["args"]);
        let params = start(&recorded["shapes"]);
        for t in 0..4 {
            step(optimizer.as_mut(), &params, t);
            let expected = match t {
                0 => &case["after"][0],
                3 => &case["after"][1],
                _ => continue,
            };
            for ((_, param), found) in params.iter().zip(values(&params)) {
                let expected = expected[param.name()].as_array().unwrap();
                assert_eq!(found.len(), expected.len());
                for (found, expected) in found.iter().zip(expected) {
                    let expected = expected.as_f64().unwrap();
                    assert!(
                        (f64::from(*found) - expected).abs() < 2e-6 * (1.0 + expected.abs()),
                        "{class} {}: {} after update {t}: {found} is not {expected}",
                        case["args"],
                        param.name()
                    );
                }
            }
        }
    }
}

/// Some with arguments that add state.
fn optimizers() -> Vec<Box<dyn Optimizer>> {
    let lamb = Lamb::new(0.1).unwrap().use_ema(0.9, Some(3)).unwrap();
    let adafactor = Adafactor::new(ExponentialDecay::new(0.1, 3, 0.5).unwrap()).unwrap();
    let muon = Muon::new(0.1).unwrap().exclude_layers(["head"]);
    vec![
        Box::new(lamb),
        Box::new(adafactor.gradient_accumulation_steps(3).unwrap()),
        Box::new(muon.use_ema(0.9, None).unwrap()),
    ]
}

#[test]
fn a_restored_optimizer_goes_on_bit_for_bit() {
    let shapes = &recorded()["shapes"];
    for (mut first, mut second) in optimizers().into_iter().zip(optimizers()) {
        let (params, copy) = (start(shapes), start(shapes));
        for t in 0..5 {
            step(first.as_mut(), &params, t);
        }
        let state = first.state().unwrap();
        for ((_, from), (_, to)) in params.iter().zip(copy.iter()) {
            to.set(from.value()).unwrap();
        }
        second.load_state(&copy, &state).unwrap();
        for t in 5..12 {
            step(first.as_mut(), &params, t);
            step(second.as_mut(), &copy, t);
        }
        assert_eq!(values(&params), values(&copy), "{}", first.name());
        let other = second.state().unwrap();
        let names = |state: &[(String, Tensor)]| -> Vec<String> {
            state.iter().map(|(name, _)| name.clone()).collect()
        };
        assert_eq!(names(&other), names(&state));
        // A state that lacks one tensor is none.
        for t in 0..state.len() {
            let mut short = state.clone();
            short.remove(t);
            assert!(second.load_state(&copy, &short).is_err(), "without {t}");
        }
    }
}

#[test]
fn state_is_of_the_size_that_the_parameter_asks_for() {
    let shapes = &recorded()["shapes"];
    let state = |mut optimizer: Box<dyn Optimizer>| -> Vec<(String, Vec<usize>)> {
        step(optimizer.as_mut(), &start(shapes), 0);
        let state = optimizer.state().unwrap().into_iter().skip(2);
        state
            .map(|(name, tensor)| (name, tensor.dims().to_vec()))
            .collect()
    };
    let expected = |all: &[(&str, &[usize])]| -> Vec<(String, Vec<usize>)> {
        all.iter()
            .map(|(name, shape)| ((*name).to_owned(), shape.to_vec()))
            .collect()
    };
    let of_adafactor = state("adafactor".resolve().unwrap());
    assert_eq!(
        of_adafactor[..7],
        expected(&[
            ("adafactor/rows/dense/kernel", &[3]),
            ("adafactor/columns/dense/kernel", &[4]),
            ("adafactor/velocity/dense/bias", &[4]),
            ("adafactor/rows/conv/kernel", &[2, 2, 3]),
            ("adafactor/columns/conv/kernel", &[2, 2, 4]),
            ("adafactor/rows/embedding/embeddings", &[5]),
            ("adafactor/columns/embedding/embeddings", &[3]),
        ])
    );
    let muon = Muon::default().exclude_layers(["head"]);
    let of_muon = state(Box::new(muon));
    assert_eq!(
        of_muon[..3],
        expected(&[
            ("muon/momentum/dense/kernel", &[3, 4]),
            ("muon/momentum/dense/bias", &[4]),
            ("muon/velocity/dense/bias", &[4]),
        ])
    );
    let by_adam: Vec<&str> = of_muon
        .iter()
        .filter_map(|(name, _)| name.strip_prefix("muon/velocity/"))
        .collect();
    let others = [
        "dense/bias",
        "conv/kernel",
        "embedding/embeddings",
        "head/kernel",
        "zero/bias",
    ];
    assert_eq!(by_adam, others);
}

#[test]
fn arguments_out_of_range_are_refused() {
    let lamb = Lamb::default;
    assert!(lamb().betas(1.0, 0.9).is_err() && lamb().epsilon(0.0).is_err());
    let adafactor = Adafactor::default;
    let error = adafactor().beta_2_decay(0.5).err().unwrap().to_string();
    assert_eq!(
        error,
        "beta_2_decay: value out of range (expected a finite number that is not positive, found 0.5)"
    );
    assert!(adafactor().epsilon_1(0.0).is_err() && adafactor().epsilon_2(-1.0).is_err());
    assert!(adafactor().clip_threshold(f64::NAN).is_err());
    let muon = Muon::default;
    assert!(muon().momentum(1.1, true).is_err() && muon().rms_rate(Some(-1.0)).is_err());
    assert!(muon().coefficients(1.0, f64::NAN, 1.0).is_err());
    assert!(muon().adam_betas(0.9, 1.0).is_err() && muon().epsilon(0.0).is_err());
    assert!(muon().adam_lr_ratio(-1.0).is_err() && muon().adam_weight_decay(-1.0).is_err());
}
