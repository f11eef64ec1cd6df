//! Facts that are easy to get wrong.

use crate::callbacks::Played;
use crate::fixture::{Case, Outcome, numbers, run};
use crate::test_device::test_device;
use keros::callbacks::{
    CallbackList, Decision, EarlyStopping, EventKind, LambdaCallback, SwapEmaWeights, Verbose,
};
use keros::data::{Array, Batch, DataError, Sequence};
use keros::nn::layers::{Activation, Dense};
use keros::nn::{Network, Sequential, Sgd};
use keros::tensor::Tensor;
use keros::tensor::access::read;
use keros::train::{
    EvaluateOptions, FitGeneratorOptions, GeneratorOptions, PredictOptions, Source, Trainer,
};
use serde_json::json;
use std::cell::RefCell;
use std::thread;
use std::time::Duration;

#[test]
fn extra() {
    run("extra", &[], |case| match case.id.as_str() {
        "saturated_softmax_crossentropy" => saturated(case),
        "early_stopping_nan_first" => nan_first(case),
        "swap_ema_predict" => swap_ema(case),
        "generator_exhausted" => exhausted(case),
        "ordered_workers" => ordered(case),
        id => Err(format!("unknown case {id}")),
    });
}

fn array(values: &serde_json::Value) -> Array {
    let numbers = numbers(values);
    Array::from_vec(&numbers.shape, numbers.values).unwrap()
}

fn set(network: &Sequential, name: &str, values: &serde_json::Value) {
    let param = network.params().by_name(name).unwrap();
    let shape = param.value().dims().to_vec();
    let tensor = Tensor::from_vec(numbers(values).values, shape, test_device()).unwrap();
    param.set(&tensor).unwrap();
}

fn saturated(case: &mut Case) -> Outcome {
    let network = Sequential::builder([1])
        .layer(
            Dense::new(2)
                .activation("softmax")
                .use_bias(false)
                .name("d"),
        )
        .build(test_device(), 0)
        .unwrap();
    set(&network, "d/kernel", &case.args.take("kernel").unwrap());
    case.args.finish()?;
    let mut trainer = Trainer::builder(network)
        .optimizer("sgd")
        .loss("sparse_categorical_crossentropy")
        .compile()
        .unwrap();
    let options = EvaluateOptions {
        verbose: Verbose::Silent,
        ..EvaluateOptions::default()
    };
    let (x, y) = (array(&case.inputs["x"]), array(&case.inputs["y"]));
    let logs = trainer.evaluate(x, y, options).unwrap();
    case.close_number(
        "loss",
        logs.number("loss").unwrap(),
        &case.expected["keras3"],
    )
}

/// As Keras 2: a value that is no number is never the best one.
fn nan_first(case: &mut Case) -> Outcome {
    let patience = case.args.take("patience").unwrap().as_u64().unwrap();
    case.args.finish()?;
    let mut stopping = EarlyStopping::new("val_loss").patience(patience);
    let mut played = Played::new();
    let mut epochs = 0;
    {
        let mut list = CallbackList::new().with(&mut stopping);
        played.send(&mut list, EventKind::TrainBegin, 0, 0)?;
        for value in case.inputs["val_loss"].as_array().unwrap() {
            played.log("val_loss", value.as_f64().unwrap_or(f64::NAN));
            let stopped = played.send(&mut list, EventKind::EpochEnd, epochs, 0)?;
            epochs += 1;
            if stopped {
                break;
            }
        }
    }
    let found = json!({
        "epochs_run": epochs,
        "stopped_epoch": stopping.stopped_epoch().unwrap_or(0),
        "best": stopping.best(),
    });
    match found == case.expected["tf_keras"] {
        true => Ok(()),
        false => Err(format!(
            "expected {}, found {found}",
            case.expected["tf_keras"]
        )),
    }
}

/// The averages are there during a prediction, and gone after it.
fn swap_ema(case: &mut Case) -> Outcome {
    case.args.finish()?;
    let expected = &case.expected;
    let network = Sequential::builder([1])
        .layer(Dense::new(1).use_bias(false).name("d"))
        .build(test_device(), 0)
        .unwrap();
    set(&network, "d/kernel", &json!([2.0]));
    let optimizer = Sgd::new(0.5).unwrap().use_ema(0.5, None).unwrap();
    let mut trainer = Trainer::builder(network)
        .optimizer(optimizer)
        .loss("mse")
        .compile()
        .unwrap();
    let one = || Array::from_vec(&[1, 1], vec![1.0_f32]).unwrap();
    // Gradients of 0 and -1: the weight goes from 2 to 2.5, its average is 2.25.
    for target in [2.0, 2.5] {
        let y = Array::from_vec(&[1, 1], vec![target]).unwrap();
        trainer.train_on_batch(&Batch::new(one(), y)).unwrap();
    }
    let weight = |trainer: &Trainer<Sequential>| {
        let params = trainer.network().params();
        f64::from(read::<f32>(params.by_name("d/kernel").unwrap().value()).unwrap()[0])
    };
    case.close_number("before", weight(&trainer), &expected["weight_before"])?;
    let options = PredictOptions {
        verbose: Verbose::Silent,
        callbacks: CallbackList::new().with(SwapEmaWeights::new()),
        ..PredictOptions::default()
    };
    let predicted = trainer.predict(one(), options).unwrap();
    let during = f64::from(predicted[0].as_slice::<f32>().unwrap()[0]);
    case.close_number("during", during, &expected["weight_after_in_keras"])?;
    case.close_number(
        "after",
        weight(&trainer),
        &expected["weight_after_if_correct"],
    )
}

/// What is recommended: the short epoch is closed, and the training ends.
fn exhausted(case: &mut Case) -> Outcome {
    let batches = case.args.take("batches").unwrap().as_u64().unwrap() as usize;
    let rows = case.args.take("rows_per_batch").unwrap().as_u64().unwrap() as usize;
    case.args.take("optimizer").unwrap();
    case.args.take("loss").unwrap();
    case.args.finish()?;
    let (x, y) = (array(&case.inputs["x"]), array(&case.inputs["y"]));
    let all: Vec<Batch> = (0..batches)
        .map(|i| i * rows..(i + 1) * rows)
        .map(|range| Batch::new(x.slice(range.clone()).unwrap(), y.slice(range).unwrap()))
        .collect();
    let network = Sequential::builder(&x.shape()[1..])
        .layer(Dense::new(1).name("d"))
        .build(test_device(), 0)
        .unwrap();
    set(&network, "d/kernel", &case.inputs["initial_weights"][0]);
    set(&network, "d/bias", &case.inputs["initial_weights"][1]);
    let mut trainer = Trainer::builder(network)
        .optimizer("sgd")
        .loss("mse")
        .compile()
        .unwrap();
    let trace = RefCell::new(Vec::new());
    let mut recorder = LambdaCallback::new();
    for kind in [
        EventKind::EpochBegin,
        EventKind::TrainBatchEnd,
        EventKind::EpochEnd,
    ] {
        let trace = &trace;
        recorder = recorder.on(kind, move |cx| {
            let event = cx.event();
            trace.borrow_mut().push(match kind {
                EventKind::TrainBatchEnd => json!(["batch_end", event.batch]),
                _ => json!([kind.name(), event.epoch]),
            });
            Ok(Decision::CONTINUE)
        });
    }
    let options = FitGeneratorOptions {
        steps_per_epoch: Some(3),
        epochs: 4,
        verbose: Verbose::Silent,
        callbacks: CallbackList::new().with(recorder),
        ..FitGeneratorOptions::default()
    };
    let source = Source::generator(all.into_iter().map(Ok::<Batch, DataError>));
    let history = trainer.fit_generator(source, options).unwrap();
    // Until the data end, Keras 3 does the same.
    let recorded = &case.expected["keras3_steps_per_epoch_3"];
    let found = json!(trace.borrow().clone());
    let expected: serde_json::Value = recorded["trace"].as_array().unwrap()[..8].to_vec().into();
    if found != expected {
        return Err(format!("trace: expected {expected}, found {found}"));
    }
    for (i, loss) in history.get("loss").into_iter().enumerate() {
        case.close_number("loss", loss, &recorded["history"]["loss"][i])?;
    }
    Ok(())
}

/// Batch `i` holds the number `i` twice and takes `(7 · i) mod 5` hundredths of a second.
struct Slow(usize);

impl Sequence for Slow {
    fn len(&self) -> usize {
        self.0
    }

    fn batch(&self, _: u64, index: usize) -> Result<Batch, DataError> {
        thread::sleep(Duration::from_millis(7 * index as u64 % 5 * 10));
        let values = vec![index as f32; 2];
        Ok(Batch::inputs_only(Array::from_vec(&[2, 1], values)?))
    }
}

fn ordered(case: &mut Case) -> Outcome {
    let mut count = |name: &str| case.args.take(name).unwrap().as_u64().unwrap() as usize;
    let (batches, workers, max_queue_size) =
        (count("batches"), count("workers"), count("max_queue_size"));
    case.args.finish()?;
    let network = Sequential::builder([1])
        .layer(Activation::new("linear"))
        .build(test_device(), 0)
        .unwrap();
    let mut trainer = Trainer::builder(network)
        .optimizer("sgd")
        .loss("mse")
        .compile()
        .unwrap();
    let options = GeneratorOptions {
        workers,
        max_queue_size,
        ..GeneratorOptions::default()
    };
    let found = trainer
        .predict_generator(Source::sequence(Slow(batches)), options)
        .unwrap();
    let expected = numbers(&case.expected["predict"]);
    case.close("predict", found[0].as_slice::<f32>().unwrap(), &expected)
}
