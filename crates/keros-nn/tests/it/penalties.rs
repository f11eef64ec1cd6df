//! Regularizers and constraints, alone and as rules of a network's parameters.

use crate::test_device::test_device;
use keros_nn::{
    Constraint, Initializer, L1, L1L2, L2, Layer, LayerBuilder, MaxNorm, MinMaxNorm, Network,
    NnError, NonNeg, OrthogonalMode, OrthogonalRegularizer, ParamOptions, Pass, Regularizer,
    Resolve, Sequential, UnitNorm,
};
use keros_tensor::Tensor;
use keros_tensor::access::{read, write};
use std::sync::Arc;

fn tensor(values: &[f32], shape: &[usize]) -> Tensor {
    Tensor::from_vec(values.to_vec(), shape, test_device()).unwrap()
}

#[test]
fn gradients_of_penalties_match_differences() {
    let regularizers: [Box<dyn Regularizer>; 5] = [
        Box::new(L1::new(0.3).unwrap()),
        Box::new(L2::new(0.2).unwrap()),
        Box::new(L1L2::new(0.1, 0.4).unwrap()),
        Box::new(OrthogonalRegularizer::new(0.5, OrthogonalMode::Rows).unwrap()),
        Box::new(OrthogonalRegularizer::new(0.5, OrthogonalMode::Columns).unwrap()),
    ];
    let values: Vec<f32> = (0..12).map(|i| (1.7 * i as f32 + 0.4).sin()).collect();
    for (n, regularizer) in regularizers.iter().enumerate() {
        let w = tensor(&values, &[3, 4]);
        let grad = tensor(&[1.0; 12], &[3, 4]);
        regularizer.add_gradient(&w, &grad).unwrap();
        let grad = read::<f32>(&grad).unwrap();
        for i in 0..12 {
            let at = |change: f32| {
                let mut values = values.clone();
                values[i] += change;
                let step = f64::from(values[i]);
                (
                    regularizer.penalty(&tensor(&values, &[3, 4])).unwrap(),
                    step,
                )
            };
            let ((above, right), (below, left)) = (at(1e-3), at(-1e-3));
            let slope = (above - below) / (right - left);
            let found = f64::from(grad[i]) - 1.0;
            assert!((slope - found).abs() < 1e-4, "{n} at {i}: {slope}, {found}");
        }
    }
}

#[test]
fn norms_run_over_the_axes_given() {
    let w = tensor(&[3.0, 0.0, 4.0, 0.0, 0.3, 1.0, 0.4, 2.0], &[2, 2, 2]);
    MaxNorm::new(1.0).unwrap().axes([1]).apply(&w).unwrap();
    let expected = [0.6, 0.0, 0.8, 0.0, 0.3, 0.447_213_6, 0.4, 0.894_427_2];
    for (f, e) in read::<f32>(&w).unwrap().iter().zip(expected) {
        assert!((f - e).abs() < 1e-6, "{f} is not {e}");
    }
    UnitNorm::default().axes([0, 1, 2]).apply(&w).unwrap();
    let norm: f32 = read::<f32>(&w).unwrap().iter().map(|w| w * w).sum();
    assert!((norm - 1.0).abs() < 1e-5);
    let w = tensor(&[-1.0, f32::NAN, 2.0], &[3]);
    NonNeg.apply(&w).unwrap();
    let w = read::<f32>(&w).unwrap();
    assert!(w[0] == 0.0 && w[1].is_nan() && w[2] == 2.0);
}

#[test]
fn wrong_arguments_and_shapes_are_refused() {
    assert!(L1::new(-1.0).is_err() && L2::new(f64::NAN).is_err());
    assert!(L1L2::new(0.0, f64::INFINITY).is_err());
    assert!(MaxNorm::new(-1.0).is_err() && MinMaxNorm::new(2.0, 1.0).is_err());
    assert!(MinMaxNorm::default().rate(1.5).is_err());
    let w = tensor(&[1.0, 2.0], &[2]);
    assert!(OrthogonalRegularizer::default().penalty(&w).is_err());
    assert!(UnitNorm::default().axes([1]).apply(&w).is_err());
    assert!(
        L2::default()
            .add_gradient(&w, &tensor(&[0.0], &[1]))
            .is_err()
    );
    let known: Box<dyn Regularizer> = "l2".resolve().unwrap();
    assert!((known.penalty(&w).unwrap() - 0.05).abs() < 1e-9);
    let unknown: Result<Box<dyn Constraint>, NnError> = "norm".resolve();
    assert_eq!(
        unknown.err().unwrap().to_string(),
        "unknown constraint `norm` (expected one of max_norm, non_neg, unit_norm, min_max_norm)"
    );
}

/// Adds nothing to its input; its parameter is there to be penalized.
struct Idle(ParamOptions);

impl Layer for Idle {
    fn class_name(&self) -> &'static str {
        "Idle"
    }

    fn name(&self) -> Option<&str> {
        None
    }

    fn build(
        &mut self,
        input: &[usize],
        builder: &mut LayerBuilder<'_>,
    ) -> Result<Vec<usize>, NnError> {
        builder.param_with("w", &[2, 2], Initializer::Ones, self.0.clone())?;
        Ok(input.to_vec())
    }

    fn forward(&self, x: &Tensor, _: &mut Pass<'_>) -> Result<Tensor, NnError> {
        Ok(x.clone())
    }

    fn backward(&self, dy: &Tensor, _: &mut Pass<'_>) -> Result<Option<Tensor>, NnError> {
        Ok(Some(dy.clone()))
    }
}

#[test]
fn a_network_keeps_the_rules_of_its_parameters() {
    let options = ParamOptions {
        regularizer: Some(Arc::new(L2::new(0.5).unwrap())),
        constraint: Some(Arc::new(UnitNorm::default())),
        ..ParamOptions::default()
    };
    let builder = Sequential::builder([2]).layer(Idle(options.clone()));
    let mut network = builder.build(test_device(), 0).unwrap();
    let penalty = |network: &Sequential| network.param_rules().penalty(network.params()).unwrap();
    assert_eq!(penalty(&network), 2.0);
    let (params, rules) = (network.params(), network.param_rules());
    let param = params.by_name("idle/w").unwrap();
    write(param.grad(), |grad: &mut [f32]| grad.fill(0.25)).unwrap();
    rules.add_gradients(params).unwrap();
    assert_eq!(*read::<f32>(param.grad()).unwrap(), [1.25; 4]);
    rules.constrain(params).unwrap();
    assert!((penalty(&network) - 1.0).abs() < 1e-5);
    // What is frozen is neither penalized nor moved.
    let id = network.params().id("idle/w").unwrap();
    network
        .params_mut()
        .get_mut(id)
        .unwrap()
        .set_trainable(false);
    assert_eq!(penalty(&network), 0.0);

    let options = ParamOptions {
        constraint: Some(Arc::new(UnitNorm::default().axes([2]))),
        ..options
    };
    let refused = Sequential::builder([2])
        .layer(Idle(options))
        .build(test_device(), 0);
    assert!(refused.is_err());
}
