//! Named parameters.

use keros_tensor::{Params, TensorError};

use crate::support::{flat, random};

#[test]
fn order_is_that_of_insertion() {
    let mut params = Params::new();
    let names = ["z/kernel", "a/bias", "m"];
    for (i, name) in names.iter().enumerate() {
        let id = params.add(name, &random(1, &[i + 1]), i != 1).unwrap();
        assert_eq!(id.index(), i);
        assert_eq!(params.id(name), Some(id));
        assert_eq!(params[id].name(), *name);
    }
    let found: Vec<_> = params.iter().map(|(_, p)| p.name()).collect();
    assert_eq!(found, names);
    assert_eq!((params.len(), params.is_empty()), (3, false));
    assert_eq!(params.num_elements(false), 6);
    assert_eq!(params.num_elements(true), 4);
    let id = params.id("a/bias").unwrap();
    params.get_mut(id).unwrap().set_trainable(true);
    assert_eq!(params.num_elements(true), 6);
    assert!(params.by_name("b").is_none());
}

#[test]
fn values_are_copied_in_and_gradients_start_at_zero() {
    let mut params = Params::new();
    let source = random(1, &[2, 3]);
    let id = params.add("w", &source.t().unwrap(), true).unwrap();
    let param = params.get(id).unwrap();
    assert_eq!(param.value().dims(), [3, 2]);
    assert!(param.value().is_contiguous());
    assert_eq!(flat(param.grad()), [0.0; 6]);
    let before = flat(&source);
    let clone = param.value().clone();
    param.set(&random(2, &[3, 2])).unwrap();
    assert_eq!(flat(&clone), flat(&random(2, &[3, 2])));
    assert_eq!(flat(&source), before);

    let error = param.set(&random(2, &[2, 3])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "setting parameter: value has the wrong shape (expected [3, 2], the shape of \"w\", found [2, 3])"
    );
    let wrong_type = random(2, &[3, 2])
        .to_dtype(keros_tensor::DType::F64)
        .unwrap();
    assert!(matches!(
        param.set(&wrong_type),
        Err(TensorError::DType { .. })
    ));
}

/// Var::from_tensor shares the storage of a tensor that already is a Var.
#[test]
fn adding_a_parameter_of_another_model_copies_it() {
    let mut first = Params::new();
    let a = first.add("w", &random(1, &[3]), true).unwrap();
    let mut second = Params::new();
    let b = second.add("w", first[a].value(), true).unwrap();
    second[b].set(&random(2, &[3])).unwrap();
    assert_eq!(flat(first[a].value()), flat(&random(1, &[3])));
}

#[test]
fn bad_names_are_errors() {
    let mut params = Params::new();
    params.add("w", &random(1, &[1]), true).unwrap();
    let error = params.add("w", &random(1, &[1]), true).unwrap_err();
    assert_eq!(
        error.to_string(),
        "adding parameter: name \"w\" is taken (expected a new name)"
    );
    for name in ["", "a\nb", "__metadata__"] {
        let error = params.add(name, &random(1, &[1]), true).unwrap_err();
        assert!(matches!(error, TensorError::BadName { .. }), "{name:?}");
    }
    assert_eq!(params.len(), 1);
}
