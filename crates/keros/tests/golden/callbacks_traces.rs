//! The order of events, their logs and the errors of real trainings.

use super::count;
use crate::fixture::{Case, Outcome, numbers};
use crate::test_device::test_device;
use keros::callbacks::{
    Callback, CallbackList, CallbackResult, Context, Decision, EarlyStopping, EventKind, EventSet,
    History, LambdaCallback, LearningRateScheduler, ModelCheckpoint, ReduceLrOnPlateau,
    TerminateOnNan, Verbose,
};
use keros::data::{Array, ArraySequence, Batch, DataError, Shuffle};
use keros::nn::layers::Dense;
use keros::nn::{Sequential, Sgd};
use keros::train::{
    ClassWeight, EvaluateOptions, FitGeneratorOptions, FitOptions, PredictOptions, Source,
    TrainOnBatchOptions, Trainer, ValidationFreq,
};
use serde_json::{Value, json};
use std::sync::Mutex;

/// Rows where a case names no number.
const ROWS: usize = 12;

fn rows(rows: usize) -> (Array, Array) {
    let x = (0..rows * 2).map(|i| (i as f32 * 0.7).sin()).collect();
    let y = (0..rows).map(|i| (i % 3) as i64).collect();
    (
        Array::from_vec(&[rows, 2], x).unwrap(),
        Array::from_vec(&[rows], y).unwrap(),
    )
}

fn trainer(rate: f64) -> Trainer<Sequential> {
    let network = Sequential::builder([2])
        .layer(Dense::new(3).activation("softmax"))
        .build(test_device(), 1)
        .unwrap();
    Trainer::builder(network)
        .optimizer(Sgd::new(rate).unwrap())
        .loss("sparse_categorical_crossentropy")
        .metric("accuracy")
        .compile()
        .unwrap()
}

/// Writes down `[hook, index, keys of logs]`, and asks to stop at one event.
#[derive(Default)]
struct Trace {
    lines: Vec<Value>,
    stop_at: Option<(EventKind, u64)>,
    info: Value,
}

impl Callback for Trace {
    fn events(&self) -> EventSet {
        EventSet::KERAS
    }

    fn on_event(&mut self, cx: &mut Context<'_>) -> CallbackResult {
        let event = cx.event();
        let name = event.kind.name();
        let index = match name {
            _ if name.contains("epoch") => json!(event.epoch),
            _ if name.contains("batch") => json!(event.batch),
            _ => Value::Null,
        };
        let mut keys: Vec<&str> = cx.logs()?.iter().map(|(key, _)| key).collect();
        keys.sort_unstable();
        self.lines.push(json!([format!("on_{name}"), index, keys]));
        self.info = json!({ "verbose": 0, "epochs": cx.info().epochs, "steps": cx.info().steps });
        let at = index.as_u64().unwrap_or(0);
        Ok(match self.stop_at == Some((event.kind, at)) {
            true => Decision::stop("asked"),
            false => Decision::CONTINUE,
        })
    }
}

pub(super) fn check(case: &mut Case) -> Outcome {
    match case.id.as_str() {
        "trace_evaluate" => evaluate(case),
        "trace_predict" => predict(case),
        "callback_order" => order(case),
        "sequence_hooks" => sequence_hooks(case),
        "terminate_on_nan" => terminate_on_nan(case),
        "errors" => errors(case),
        id if id.starts_with("trace_generator_") => generator(case),
        id if id.starts_with("trace_") => fit(case),
        id => Err(format!("unknown case {id}")),
    }
}

fn same(what: &str, found: &Value, expected: &Value) -> Outcome {
    match found == expected {
        true => Ok(()),
        false => Err(format!("{what}: expected {expected}, found {found}")),
    }
}

/// The recorded trace without what is not wanted: Keras begins a batch that then does not come, and
/// gives predictions as logs, which are tensors here.
fn recorded(trace: &Value) -> Value {
    let lines = trace.as_array().unwrap();
    let hook = |i: usize| lines.get(i).map(|line| line[0].as_str().unwrap());
    (0..lines.len())
        .filter(|i| {
            hook(*i) != Some("on_train_batch_begin") || hook(i + 1) == Some("on_train_batch_end")
        })
        .map(|i| match &lines[i][2] {
            keys if *keys == json!(["outputs"]) => json!([lines[i][0], lines[i][1], []]),
            _ => lines[i].clone(),
        })
        .collect()
}

fn compare(case: &Case, trace: &Trace, history: Option<&History>) -> Outcome {
    let expected = &case.expected;
    let lines = recorded(&expected["trace_keras3"]);
    same("trace", &json!(trace.lines), &lines)?;
    if let Some(params) = expected.get("params") {
        same("params", &trace.info, params)?;
    }
    let Some(history) = history else {
        return Ok(());
    };
    let epochs: Vec<u64> = history.epochs().iter().map(|row| row.epoch).collect();
    same("epochs", &json!(epochs), &expected["history_epoch"])?;
    if let Some(lengths) = expected.get("history_lengths") {
        let found: serde_json::Map<String, Value> = history
            .keys()
            .into_iter()
            .map(|key| (key.to_owned(), history.get(key).len().into()))
            .collect();
        same("lengths", &found.into(), lengths)?;
    }
    Ok(())
}

fn fit(case: &mut Case) -> Outcome {
    let args = &mut case.args;
    let samples = count(args, "samples").map_or(ROWS, |rows| rows as usize);
    let batch_size = count(args, "batch_size").unwrap_or(6) as usize;
    let epochs = count(args, "epochs").unwrap();
    let initial_epoch = count(args, "initial_epoch").unwrap_or(0);
    let freq = args.take("validation_freq");
    let validation_freq = freq.map_or_else(ValidationFreq::default, |epochs| {
        ValidationFreq::After(serde_json::from_value(epochs).unwrap())
    });
    count(args, "validation_samples");
    args.take("metrics");
    args.finish()?;
    let stop_at = match case.id.as_str() {
        "trace_stop_in_batch_end" => Some((EventKind::TrainBatchEnd, 1)),
        "trace_stop_in_batch_begin" => Some((EventKind::TrainBatchBegin, 1)),
        "trace_stop_in_epoch_end" => Some((EventKind::EpochEnd, 1)),
        "trace_stop_in_train_begin" => Some((EventKind::TrainBegin, 0)),
        _ => None,
    };
    let validates = case.expected["history_keys"]
        .as_array()
        .unwrap()
        .contains(&json!("val_loss"));
    let mut trace = Trace {
        stop_at,
        ..Trace::default()
    };
    let (x, y) = rows(samples);
    let options = FitOptions {
        batch_size: Some(batch_size),
        epochs,
        initial_epoch,
        validation_freq,
        validation_data: validates.then(|| rows(5).into()),
        verbose: Verbose::Silent,
        callbacks: CallbackList::new().with(&mut trace),
        ..FitOptions::default()
    };
    let history = trainer(0.1).fit(x, y, options).unwrap();
    compare(case, &trace, Some(&history))
}

fn evaluate(case: &mut Case) -> Outcome {
    let batch_size = count(&mut case.args, "batch_size").unwrap() as usize;
    case.args.finish()?;
    let mut trace = Trace::default();
    let (x, y) = rows(ROWS);
    let options = EvaluateOptions {
        batch_size: Some(batch_size),
        verbose: Verbose::Silent,
        callbacks: CallbackList::new().with(&mut trace),
        ..EvaluateOptions::default()
    };
    trainer(0.1).evaluate(x, y, options).unwrap();
    compare(case, &trace, None)
}

fn predict(case: &mut Case) -> Outcome {
    let batch_size = count(&mut case.args, "batch_size").unwrap() as usize;
    case.args.finish()?;
    let mut trace = Trace::default();
    let options = PredictOptions {
        batch_size: Some(batch_size),
        verbose: Verbose::Silent,
        callbacks: CallbackList::new().with(&mut trace),
        ..PredictOptions::default()
    };
    trainer(0.1).predict(rows(ROWS).0, options).unwrap();
    compare(case, &trace, None)
}

/// Batches of four rows one after another.
fn batches(number: usize) -> impl Iterator<Item = Result<Batch, DataError>> + Send {
    let (x, y) = rows(ROWS);
    (0..number).map(move |i| {
        let range = i % 3 * 4..i % 3 * 4 + 4;
        Ok(Batch::new(x.slice(range.clone())?, y.slice(range)?))
    })
}

fn generator(case: &mut Case) -> Outcome {
    let steps_per_epoch = count(&mut case.args, "steps_per_epoch");
    let epochs = count(&mut case.args, "epochs").unwrap();
    case.args.finish()?;
    let number = match case.id.as_str() {
        "trace_generator_steps" => usize::MAX,
        _ => 3,
    };
    let mut trace = Trace::default();
    let options = FitGeneratorOptions {
        steps_per_epoch,
        epochs,
        verbose: Verbose::Silent,
        callbacks: CallbackList::new().with(&mut trace),
        ..FitGeneratorOptions::default()
    };
    let source = Source::generator(batches(number));
    let history = trainer(0.1).fit_generator(source, options).unwrap();
    compare(case, &trace, Some(&history))
}

fn order(case: &mut Case) -> Outcome {
    case.args.finish()?;
    let order = Mutex::new(Vec::new());
    let named = |name: &'static str| {
        let order = &order;
        let mut callback = LambdaCallback::new();
        for kind in [
            EventKind::TrainBegin,
            EventKind::EpochEnd,
            EventKind::TrainEnd,
        ] {
            callback = callback.on(kind, move |cx| {
                order.lock().unwrap().push(format!("{name}.{kind}"));
                if kind == EventKind::EpochEnd {
                    cx.set_log(&format!("added_by_{name}"), 1.0)?;
                }
                Ok(Decision::CONTINUE)
            });
        }
        callback
    };
    let (x, y) = rows(ROWS);
    let options = FitOptions {
        verbose: Verbose::Silent,
        callbacks: CallbackList::new()
            .with(named("first"))
            .with(named("second")),
        ..FitOptions::default()
    };
    let history = trainer(0.1).fit(x, y, options).unwrap();
    let mut keys = history.keys();
    keys.sort_unstable();
    same("keys", &json!(keys), &case.expected["history_keys"])?;
    let found = json!(*order.lock().unwrap());
    same("order", &found, &case.expected["order"])
}

/// Counts the calls of a sequence.
#[derive(Default)]
struct Counted {
    items: Mutex<Vec<usize>>,
    epochs: Mutex<Vec<u64>>,
}

impl keros::data::Sequence for &'static Counted {
    fn len(&self) -> usize {
        3
    }

    fn batch(&self, _: u64, index: usize) -> Result<Batch, DataError> {
        self.items.lock().unwrap().push(index);
        batches(1).next().unwrap()
    }

    fn on_epoch_end(&self, epoch: u64) {
        self.epochs.lock().unwrap().push(epoch);
    }
}

/// Keras reads items to learn their shapes and calls a hook too often; here each is called once.
fn sequence_hooks(case: &mut Case) -> Outcome {
    case.args.finish()?;
    let counted: &'static Counted = Box::leak(Box::default());
    let options = FitGeneratorOptions {
        epochs: 2,
        verbose: Verbose::Silent,
        shuffle: false,
        ..FitGeneratorOptions::default()
    };
    trainer(0.1)
        .fit_generator(Source::sequence(counted), options)
        .unwrap();
    let items = json!(*counted.items.lock().unwrap());
    same("items", &items, &json!([0, 1, 2, 0, 1, 2]))?;
    let epochs = json!(*counted.epochs.lock().unwrap());
    same("epoch ends", &epochs, &json!([0, 1]))
}

fn terminate_on_nan(case: &mut Case) -> Outcome {
    let batch_size = count(&mut case.args, "batch_size").unwrap() as usize;
    let number = count(&mut case.args, "rows").unwrap() as usize;
    case.args.finish()?;
    let (x, y) = rows(number);
    let mut values = x.into_vec::<f32>().unwrap();
    values[2 * 2] = f32::NAN;
    let x = Array::from_vec(&[number, 2], values).unwrap();
    let network = Sequential::builder([2])
        .layer(Dense::new(3).activation("softmax"))
        .build(test_device(), 1)
        .unwrap();
    let mut trainer = Trainer::builder(network)
        .optimizer("sgd")
        .loss("sparse_categorical_crossentropy")
        .compile()
        .unwrap();
    let mut trace = Trace::default();
    let options = FitOptions {
        batch_size: Some(batch_size),
        epochs: 3,
        shuffle: Shuffle::No,
        verbose: Verbose::Silent,
        callbacks: CallbackList::new()
            .with(TerminateOnNan::new())
            .with(&mut trace),
        ..FitOptions::default()
    };
    let history = trainer.fit(x, y, options).unwrap();
    same("trace", &json!(trace.lines), &case.expected["trace"])?;
    let epochs: Vec<u64> = history.epochs().iter().map(|row| row.epoch).collect();
    same("epochs", &json!(epochs), &case.expected["history_epoch"])
}

pub(super) fn lr_scheduler(case: &mut Case) -> Outcome {
    let args = &mut case.args;
    let schedule = args.take("schedule").unwrap();
    let schedule: fn(u64, f64) -> f64 = match schedule.as_str().unwrap() {
        "(epoch, lr) -> lr*0.5" => |_, rate| rate * 0.5,
        "(epoch) -> 0.1 if epoch<2 else 0.01" => |epoch, _| if epoch < 2 { 0.1 } else { 0.01 },
        other => return Err(format!("unknown schedule {other}")),
    };
    let mut trainer = trainer(args.float("initial_lr").unwrap());
    let (x, y) = rows(ROWS);
    let options = FitOptions {
        epochs: count(args, "epochs").unwrap(),
        initial_epoch: count(args, "initial_epoch").unwrap(),
        verbose: Verbose::Silent,
        callbacks: CallbackList::new().with(LearningRateScheduler::new(schedule)),
        ..FitOptions::default()
    };
    args.finish()?;
    let history = trainer.fit(x, y, options).unwrap();
    let mut keys = history.keys();
    keys.sort_unstable();
    same("keys", &json!(keys), &case.expected["history_keys"])?;
    let rates = history.get("learning_rate");
    let rates: Vec<f32> = rates.into_iter().map(|rate| rate as f32).collect();
    let expected = numbers(&case.expected["history_learning_rate"]);
    case.close("learning_rate", &rates, &expected)
}

/// What Keras refuses is refused here, if it can be written at all.
fn errors(case: &mut Case) -> Outcome {
    case.args.finish()?;
    for row in case.expected["table"].as_array().unwrap() {
        let call = row["call"].as_str().unwrap();
        let fails = !row["error"].is_null();
        let expected = match call {
            // Classes and samples can be weighted both, also of a generator.
            "generator with class_weight"
            | "Sequence yielding weights plus class_weight"
            | "arrays with sample_weight and class_weight"
            | "train_on_batch with both weights" => false,
            // A share is below 1, and a batch has rows.
            "validation_split=1.5" | "batch_size=0" => true,
            _ => fails,
        };
        match is_refused(call) {
            None => {}
            Some(refused) if refused == expected => {}
            Some(refused) => {
                return Err(format!("{call}: refused: {refused}, expected: {expected}"));
            }
        }
    }
    Ok(())
}

/// Whether a call fails; `None` for one that the types make impossible.
fn is_refused(call: &str) -> Option<bool> {
    let (x, y) = rows(ROWS);
    let fit = |x: Array, y: Array, options: FitOptions<'_>| {
        let options = FitOptions {
            verbose: Verbose::Silent,
            ..options
        };
        Some(trainer(0.1).fit(x, y, options).is_err())
    };
    let generate = |options: FitGeneratorOptions<'_>, number| {
        let options = FitGeneratorOptions {
            verbose: Verbose::Silent,
            ..options
        };
        let source = Source::generator(batches(number));
        Some(trainer(0.1).fit_generator(source, options).is_err())
    };
    let split = |validation_split| FitOptions {
        validation_split,
        ..FitOptions::default()
    };
    let classes = || Some(ClassWeight::new([(0, 1.0)]).unwrap());
    let weights = Array::from_vec(&[ROWS], vec![1.0_f32; ROWS]).unwrap();
    let with = |callback: CallbackList<'static>| FitOptions {
        callbacks: callback,
        ..FitOptions::default()
    };
    let wide = || Array::from_vec(&[ROWS, 3], vec![0.0_f32; ROWS * 3]).unwrap();
    match call {
        "len(x) != len(y)" => fit(x, y.slice(0..10).unwrap(), FitOptions::default()),
        "generator with class_weight" => generate(
            FitGeneratorOptions {
                class_weight: classes(),
                ..FitGeneratorOptions::default()
            },
            3,
        ),
        "Sequence yielding weights plus class_weight" => {
            let sequence = ArraySequence::new(x, y).unwrap();
            let sequence = sequence.sample_weight(weights).unwrap();
            let options = FitGeneratorOptions {
                class_weight: classes(),
                verbose: Verbose::Silent,
                ..FitGeneratorOptions::default()
            };
            Some(trainer(0.1).fit_generator(sequence, options).is_err())
        }
        "arrays with sample_weight and class_weight" => fit(
            x,
            y,
            FitOptions {
                sample_weight: Some(weights.into()),
                class_weight: classes(),
                ..FitOptions::default()
            },
        ),
        "train_on_batch with both weights" => {
            let batch = Batch::new(x, y).sample_weight(weights);
            let options = TrainOnBatchOptions {
                class_weight: classes(),
                ..TrainOnBatchOptions::default()
            };
            Some(trainer(0.1).train_on_batch_with(&batch, &options).is_err())
        }
        "validation_split=1.0" => fit(x, y, split(1.0)),
        "validation_split=1.5" => fit(x, y, split(1.5)),
        "validation_split=0.01 (12 samples)" => fit(x, y, split(0.01)),
        "validation_split=0.99 (12 samples)" => fit(x, y, split(0.99)),
        "epochs=0" => fit(
            x,
            y,
            FitOptions {
                epochs: 0,
                ..FitOptions::default()
            },
        ),
        "empty generator" => generate(FitGeneratorOptions::default(), 0),
        "wrong input width" => fit(wide(), y, FitOptions::default()),
        "EarlyStopping with unknown monitor and mode auto" => fit(
            x,
            y,
            with(CallbackList::new().with(EarlyStopping::new("val_foo"))),
        ),
        "EarlyStopping val_loss without validation" => fit(
            x,
            y,
            with(CallbackList::new().with(EarlyStopping::new("val_loss"))),
        ),
        "ReduceLROnPlateau factor=1" => {
            Some(ReduceLrOnPlateau::new("val_loss").factor(1.0).is_err())
        }
        "ModelCheckpoint wrong extension" => Some(ModelCheckpoint::new("a.bin").is_err()),
        "predict with wrong width" => {
            let options = PredictOptions {
                verbose: Verbose::Silent,
                ..PredictOptions::default()
            };
            Some(trainer(0.1).predict(wide(), options).is_err())
        }
        "batch_size=0" => fit(
            x,
            y,
            FitOptions {
                batch_size: Some(0),
                ..FitOptions::default()
            },
        ),
        "loss None" => {
            let network = Sequential::builder([2])
                .layer(Dense::new(3))
                .build(test_device(), 1)
                .unwrap();
            Some(
                Trainer::builder(network)
                    .optimizer("sgd")
                    .compile()
                    .is_err(),
            )
        }
        // Only a trainer has `fit`, a batch brings its own targets and weights, and arguments that a
        // method lacks do not compile.
        "fit before compile"
        | "generator with y"
        | "generator with sample_weight"
        | "generator with validation_split"
        | "Sequence with y"
        | "validation_data of 4 items"
        | "validation_freq='a'"
        | "max_queue_size to Keras 3 fit"
        | "use fit_generator in Keras 3" => None,
        // An unknown call fails whatever is expected of it.
        unknown => panic!("unknown call {unknown}"),
    }
}
