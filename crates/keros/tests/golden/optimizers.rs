//! Optimizers, schedules, regularizers and constraints.

use crate::fixture::{Args, Case, Numbers, Outcome, numbers, run};
use crate::test_device::test_device;
use keros::nn::optimizers::{AdamRule, RuleOptimizer, UpdateRule};
use keros::nn::{
    Adadelta, Adagrad, Adamax, Constraint, CosineDecay, CosineDecayRestarts, ExponentialDecay,
    Ftrl, InverseTimeDecay, L1, L1L2, L2, Lion, MaxNorm, MinMaxNorm, Nadam, NnError, NonNeg,
    Optimizer, OrthogonalMode, OrthogonalRegularizer, PiecewiseConstantDecay, PolynomialDecay,
    Regularizer, RmsProp, Schedule, Sgd, UnitNorm,
};
use keros::tensor::access::{read, write};
use keros::tensor::{ParamId, Params, Tensor};
use serde_json::Value;

#[test]
fn optimizers() {
    run("optimizers", &[], |case| {
        let id = case.id.clone();
        let (kind, rest) = id.split_once('_').unwrap();
        match kind {
            "schedule" => schedule(case, rest.split('_').next().unwrap()),
            "regularizer" => regularizer(case, rest),
            "constraint" => constraint(case, rest),
            _ => optimizer(case, kind),
        }
    });
}

/// Sets an argument of a builder where the case has one.
macro_rules! set {
    ($builder:ident, $args:ident, $($name:ident)*) => {
        $(if let Some(value) = $args.float(stringify!($name)) {
            $builder = $builder.$name(value).unwrap();
        })*
    };
}

fn optimizer(case: &mut Case, class: &str) -> Outcome {
    let mut optimizer = build(class, &mut case.args)?;
    updates(case, optimizer.as_mut())
}

/// The optimizer of a class with all of these arguments.
pub(crate) fn build(class: &str, args: &mut Args) -> Result<Box<dyn Optimizer>, String> {
    let optimizer = match class {
        "SGD" => {
            let mut sgd: Sgd = common(args);
            if let Some(momentum) = args.float("momentum") {
                let nesterov = args.flag("nesterov").unwrap_or(false);
                sgd = sgd.momentum(momentum, nesterov).unwrap();
            }
            boxed(sgd)
        }
        "RMSprop" => {
            let mut rmsprop: RmsProp = common(args);
            set!(rmsprop, args, rho momentum epsilon);
            if let Some(centered) = args.flag("centered") {
                rmsprop = rmsprop.centered(centered);
            }
            boxed(rmsprop)
        }
        "Adam" => boxed(adam::<false>(args)),
        "AdamW" => boxed(adam::<true>(args)),
        "Adagrad" => {
            let mut adagrad: Adagrad = common(args);
            set!(adagrad, args, initial_accumulator_value epsilon);
            boxed(adagrad)
        }
        "Adadelta" => {
            let mut adadelta: Adadelta = common(args);
            set!(adadelta, args, rho epsilon);
            boxed(adadelta)
        }
        "Adamax" => {
            let mut adamax: Adamax = common(args);
            set!(adamax, args, epsilon);
            if let Some((beta_1, beta_2)) = betas(args, 0.999) {
                adamax = adamax.betas(beta_1, beta_2).unwrap();
            }
            boxed(adamax)
        }
        "Nadam" => {
            let mut nadam: Nadam = common(args);
            set!(nadam, args, epsilon);
            if let Some((beta_1, beta_2)) = betas(args, 0.999) {
                nadam = nadam.betas(beta_1, beta_2).unwrap();
            }
            boxed(nadam)
        }
        "Ftrl" => {
            let mut ftrl: Ftrl = common(args);
            set!(
                ftrl, args,
                learning_rate_power initial_accumulator_value l1_regularization_strength
                l2_regularization_strength l2_shrinkage_regularization_strength beta
            );
            boxed(ftrl)
        }
        "Lion" => {
            let mut lion: Lion = common(args);
            if let Some((beta_1, beta_2)) = betas(args, 0.99) {
                lion = lion.betas(beta_1, beta_2).unwrap();
            }
            boxed(lion)
        }
        _ => return Err(format!("unknown optimizer {class}")),
    };
    args.finish()?;
    Ok(optimizer)
}

fn boxed<R: UpdateRule + 'static>(optimizer: RuleOptimizer<R>) -> Box<dyn Optimizer> {
    Box::new(optimizer)
}

fn adam<const DECAYS: bool>(args: &mut Args) -> RuleOptimizer<AdamRule<DECAYS>> {
    let mut adam: RuleOptimizer<AdamRule<DECAYS>> = common(args);
    set!(adam, args, epsilon);
    if let Some((beta_1, beta_2)) = betas(args, 0.999) {
        adam = adam.betas(beta_1, beta_2).unwrap();
    }
    if let Some(amsgrad) = args.flag("amsgrad") {
        adam = adam.amsgrad(amsgrad);
    }
    adam
}

/// Both decay rates, if the case sets one of them.
fn betas(args: &mut Args, default: f64) -> Option<(f64, f64)> {
    let betas = (args.float("beta_1"), args.float("beta_2"));
    match betas {
        (None, None) => None,
        (beta_1, beta_2) => Some((beta_1.unwrap_or(0.9), beta_2.unwrap_or(default))),
    }
}

/// An optimizer with the arguments that all have in common.
fn common<R: UpdateRule + Default>(args: &mut Args) -> RuleOptimizer<R> {
    let mut optimizer = match args.take("learning_rate") {
        Some(Value::Object(schedule)) => {
            let mut args = Args::of(Some(Value::Object(schedule)));
            assert_eq!(args.take("schedule").unwrap(), "ExponentialDecay");
            let initial = args.float("initial_learning_rate").unwrap();
            let (steps, rate) = (count(&mut args, "decay_steps"), args.float("decay_rate"));
            args.finish().unwrap();
            let schedule = ExponentialDecay::new(initial, steps, rate.unwrap()).unwrap();
            RuleOptimizer::new(schedule).unwrap()
        }
        Some(rate) => RuleOptimizer::new(rate.as_f64().unwrap()).unwrap(),
        None => RuleOptimizer::default(),
    };
    set!(optimizer, args, weight_decay clipnorm clipvalue global_clipnorm);
    if args.flag("use_ema") == Some(true) {
        let momentum = args.float("ema_momentum").unwrap_or(0.99);
        let frequency = args.take("ema_overwrite_frequency");
        let frequency = frequency.and_then(|value| value.as_u64());
        optimizer = optimizer.use_ema(momentum, frequency).unwrap();
    }
    if let Some(steps) = args.take("gradient_accumulation_steps") {
        let steps = steps.as_u64().unwrap();
        optimizer = optimizer.gradient_accumulation_steps(steps).unwrap();
    }
    optimizer
}

/// Applies the recorded gradients and compares the variables after each of them.
fn updates(case: &Case, optimizer: &mut dyn Optimizer) -> Outcome {
    let mut params = Params::new();
    let mut ids = Vec::new();
    for name in ["kernel", "bias"] {
        let start = tensor(&numbers(&case.inputs[&format!("{name}0")]));
        ids.push((name, params.add(name, &start, true).unwrap()));
    }
    let series = |name: &str, of: &Value, what: String| {
        let numbers = numbers(&of[&what]);
        let size = params.by_name(name).unwrap().grad().elem_count();
        let steps = numbers.values.chunks(size).map(<[f32]>::to_vec);
        steps.collect::<Vec<_>>()
    };
    let steps = series("bias", &case.inputs, "grad_bias".to_owned()).len();
    for step in 0..steps {
        for (name, id) in &ids {
            let grads = series(name, &case.inputs, format!("grad_{name}"));
            write(params[*id].grad(), |grad: &mut [f32]| {
                grad.copy_from_slice(&grads[step]);
            })
            .unwrap();
        }
        optimizer.step(&params).unwrap();
        for (name, id) in &ids {
            let expected = series(name, &case.expected, format!("{name}_after_each_step"));
            let what = format!("{name} after step {step}");
            compare(case, &what, &params, *id, &expected[step])?;
        }
    }
    if case.expected.get("kernel_after_finalize").is_some() {
        optimizer.finalize(&params).unwrap();
        for (name, id) in &ids {
            let expected = numbers(&case.expected[&format!("{name}_after_finalize")]);
            compare(case, name, &params, *id, &expected.values)?;
        }
    }
    Ok(())
}

fn compare(case: &Case, what: &str, params: &Params, id: ParamId, expected: &[f32]) -> Outcome {
    let found = read::<f32>(params[id].value()).unwrap();
    let expected = Numbers {
        shape: vec![expected.len()],
        values: expected.to_vec(),
    };
    case.close(what, &found, &expected)
}

fn tensor(numbers: &Numbers) -> Tensor {
    Tensor::from_vec(numbers.values.clone(), numbers.shape.clone(), test_device()).unwrap()
}

fn schedule(case: &mut Case, class: &str) -> Outcome {
    let args = &mut case.args;
    let mut initial = || args.float("initial_learning_rate").unwrap();
    let schedule: Result<Box<dyn Schedule>, NnError> = match class {
        "ExponentialDecay" => {
            let (initial, steps) = (initial(), count(args, "decay_steps"));
            let rate = args.float("decay_rate").unwrap();
            let staircase = args.flag("staircase").unwrap_or(false);
            ExponentialDecay::new(initial, steps, rate)
                .map(|s| Box::new(s.staircase(staircase)) as _)
        }
        "InverseTimeDecay" => {
            let (initial, steps) = (initial(), count(args, "decay_steps"));
            let rate = args.float("decay_rate").unwrap();
            let staircase = args.flag("staircase").unwrap_or(false);
            InverseTimeDecay::new(initial, steps, rate)
                .map(|s| Box::new(s.staircase(staircase)) as _)
        }
        "PolynomialDecay" => {
            let (initial, steps) = (initial(), count(args, "decay_steps"));
            let mut decay = PolynomialDecay::new(initial, steps).unwrap();
            set!(decay, args, end_learning_rate power);
            Ok(Box::new(decay.cycle(args.flag("cycle").unwrap_or(false))))
        }
        "PiecewiseConstantDecay" => {
            let boundaries: Vec<u64> =
                serde_json::from_value(args.take("boundaries").unwrap()).unwrap();
            let values: Vec<f64> = serde_json::from_value(args.take("values").unwrap()).unwrap();
            PiecewiseConstantDecay::new(boundaries, values).map(|s| Box::new(s) as _)
        }
        "CosineDecay" => {
            let (initial, steps) = (initial(), count(args, "decay_steps"));
            let mut decay = CosineDecay::new(initial, steps).unwrap();
            set!(decay, args, alpha);
            if let Some(target) = args.float("warmup_target") {
                decay = decay.warmup(target, count(args, "warmup_steps")).unwrap();
            }
            Ok(Box::new(decay))
        }
        "CosineDecayRestarts" => {
            let (initial, steps) = (initial(), count(args, "first_decay_steps"));
            let mut decay = CosineDecayRestarts::new(initial, steps).unwrap();
            set!(decay, args, t_mul m_mul alpha);
            Ok(Box::new(decay))
        }
        _ => return Err(format!("unknown schedule {class}")),
    };
    args.finish()?;
    let schedule = schedule.unwrap();
    let steps: Vec<u64> = serde_json::from_value(case.inputs["steps"].clone()).unwrap();
    let rates: Vec<f32> = steps.iter().map(|s| schedule.rate(*s) as f32).collect();
    case.close("rates", &rates, &numbers(&case.expected["lr"]))
}

fn count(args: &mut Args, name: &str) -> u64 {
    args.take(name).unwrap().as_u64().unwrap()
}

fn regularizer(case: &mut Case, class: &str) -> Outcome {
    let args = &mut case.args;
    let regularizer: Box<dyn Regularizer> = match class {
        "L1" => Box::new(L1::new(args.float("l1").unwrap()).unwrap()),
        "L2" => Box::new(L2::new(args.float("l2").unwrap()).unwrap()),
        "L1L2" => {
            let (l1, l2) = (args.float("l1").unwrap(), args.float("l2").unwrap());
            Box::new(L1L2::new(l1, l2).unwrap())
        }
        "OrthogonalRegularizer" => {
            let mode = match args.take("mode").unwrap().as_str() {
                Some("rows") => OrthogonalMode::Rows,
                Some("columns") => OrthogonalMode::Columns,
                other => return Err(format!("unknown mode {other:?}")),
            };
            let factor = args.float("factor").unwrap();
            Box::new(OrthogonalRegularizer::new(factor, mode).unwrap())
        }
        _ => return Err(format!("unknown regularizer {class}")),
    };
    args.finish()?;
    let w = tensor(&numbers(&case.inputs["w"]));
    let penalty = regularizer.penalty(&w).unwrap();
    case.close_number("penalty", penalty, &case.expected["penalty"])
}

fn constraint(case: &mut Case, class: &str) -> Outcome {
    let args = &mut case.args;
    let mut axis = || count(args, "axis") as usize;
    let constraint: Box<dyn Constraint> = match class {
        "MaxNorm" => {
            let axis = axis();
            let max_value = args.float("max_value").unwrap();
            Box::new(MaxNorm::new(max_value).unwrap().axes([axis]))
        }
        "NonNeg" => Box::new(NonNeg),
        "UnitNorm" => Box::new(UnitNorm::default().axes([axis()])),
        "MinMaxNorm" => {
            let axis = axis();
            let (min, max) = (
                args.float("min_value").unwrap(),
                args.float("max_value").unwrap(),
            );
            let constraint = MinMaxNorm::new(min, max).unwrap().axes([axis]);
            Box::new(constraint.rate(args.float("rate").unwrap()).unwrap())
        }
        _ => return Err(format!("unknown constraint {class}")),
    };
    args.finish()?;
    let w = tensor(&numbers(&case.inputs["w"]));
    constraint.apply(&w).unwrap();
    let expected = numbers(&case.expected["w_after"]);
    case.close("w", &read::<f32>(&w).unwrap(), &expected)
}
