//! Whole trainings by the three methods: every batch's logs, the history, the final weights.

use crate::dirs;
use crate::fixture::{Args, Case, Outcome, folder, numbers, run};
use crate::optimizers;
use crate::test_device::test_device;
use keros::callbacks::{
    Callback, CallbackList, CallbackResult, Context, Decision, EventKind, EventSet, History, Logs,
    Verbose,
};
use keros::data::{Array, ArraySequence, Batch, DataError, DirectoryOptions, Shuffle, Subset};
use keros::nn::{Network, Optimizer, Sequential};
use keros::tensor::Tensor;
use keros::tensor::access::read;
use keros::train::{
    ClassWeight, EvaluateOptions, FitGeneratorOptions, FitOptions, PredictOptions, Source,
    TrainOnBatchOptions, Trainer, ValidationData, ValidationFreq,
};
use serde_json::{Value, json};

#[path = "training_graphs.rs"]
mod graphs;

#[test]
fn training() {
    run("training", &[], |case| match case.id.as_str() {
        "directory_end_to_end" => directory(case),
        "mlp_evaluate_predict" => evaluate_and_predict(case),
        "two_input_dict_generator" => graphs::two_inputs(case),
        "multi_output_loss_weights" => graphs::several_outputs(case),
        _ => match case.args.take("api") {
            Some(Value::String(api)) if api == "fit" => fit(case),
            Some(Value::String(api)) if api == "on_batch" => on_batch(case),
            other => Err(format!("unknown api {other:?}")),
        },
    });
}

/// The network of the case's `input_shape` and `layers`, through its configuration as JSON.
fn network(args: &mut Args) -> Sequential {
    let shape = args.take("input_shape").unwrap();
    let batch: Vec<Value> = std::iter::once(Value::Null)
        .chain(shape.as_array().unwrap().clone())
        .collect();
    let mut layers =
        vec![json!({ "class_name": "InputLayer", "config": { "batch_shape": batch } })];
    for layer in args.take("layers").unwrap().as_array().unwrap() {
        let mut config = layer[1].clone();
        if let Some(l2) = config["kernel_regularizer"].get("l2") {
            config["kernel_regularizer"] = json!({ "class_name": "L2", "config": { "l2": l2 } });
        }
        layers.push(json!({ "class_name": layer[0], "config": config }));
    }
    let json = json!({ "class_name": "Sequential", "config": { "layers": layers } });
    Sequential::from_json(&json.to_string(), test_device(), 0).unwrap()
}

/// Sets all parameters to the case's initial weights.
fn set_weights(network: &impl Network, weights: &Value) {
    let weights = weights.as_object().unwrap();
    let params = network.params();
    assert_eq!(params.len(), weights.len());
    for (name, value) in weights {
        let value = numbers(value);
        let tensor = Tensor::from_vec(value.values, value.shape, test_device()).unwrap();
        params.by_name(name).unwrap().set(&tensor).unwrap();
    }
}

fn check_weights(case: &Case, network: &impl Network) -> Outcome {
    for (name, value) in case.expected["final_weights"].as_object().unwrap() {
        let param = network.params().by_name(name).unwrap();
        let found = read::<f32>(param.value()).unwrap().to_vec();
        case.close(name, &found, &numbers(value))?;
    }
    Ok(())
}

/// The trainer of `optimizer` and `compile`, a map of losses and metrics.
fn compile<N: Network>(
    network: N,
    args: &mut Args,
    mut compile: Args,
) -> Result<Trainer<N>, String> {
    let mut builder = Trainer::builder(network)
        .optimizer(optimizer(args)?)
        .loss(text(compile.take("loss")).as_str());
    for metric in list(compile.take("metrics")) {
        builder = builder.metric(text(Some(metric)).as_str());
    }
    for metric in list(compile.take("weighted_metrics")) {
        builder = builder.weighted_metric(text(Some(metric)).as_str());
    }
    compile.finish()?;
    builder.compile().map_err(|error| error.to_string())
}

fn optimizer(args: &mut Args) -> Result<Box<dyn Optimizer>, String> {
    let value = args.take("optimizer").unwrap();
    let mut rest = Args::of(Some(value[1].clone()));
    optimizers::build(value[0].as_str().unwrap(), &mut rest)
}

fn text(value: Option<Value>) -> String {
    value.unwrap().as_str().unwrap().to_owned()
}

fn list(value: Option<Value>) -> Vec<Value> {
    value.map_or_else(Vec::new, |value| value.as_array().unwrap().clone())
}

fn array(value: &Value) -> Array {
    let numbers = numbers(value);
    Array::from_vec(&numbers.shape, numbers.values).unwrap()
}

fn class_weight(value: Option<Value>) -> Option<ClassWeight> {
    let weights = value?;
    let pairs = weights.as_object().unwrap().iter();
    let pairs = pairs.map(|(class, w)| (class.parse().unwrap(), w.as_f64().unwrap() as f32));
    Some(ClassWeight::new(pairs).unwrap())
}

/// Keeps the logs of every batch.
#[derive(Default)]
struct BatchLogs {
    train: Vec<Logs>,
    test: Vec<Logs>,
}

impl Callback for BatchLogs {
    fn events(&self) -> EventSet {
        EventSet::of(&[EventKind::TrainBatchEnd, EventKind::TestBatchEnd])
    }

    fn on_train_batch_end(&mut self, cx: &mut Context<'_>) -> CallbackResult {
        self.train.push(cx.logs()?.clone());
        Ok(Decision::CONTINUE)
    }

    fn on_test_batch_end(&mut self, cx: &mut Context<'_>) -> CallbackResult {
        self.test.push(cx.logs()?.clone());
        Ok(Decision::CONTINUE)
    }
}

fn check_logs(case: &Case, what: &str, found: &[Logs]) -> Outcome {
    let expected = case.expected[what].as_array().unwrap();
    if found.len() != expected.len() {
        let (expected, found) = (expected.len(), found.len());
        return Err(format!("{what}: expected {expected}, found {found}"));
    }
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        check_values(case, &format!("{what}[{i}]"), found, expected)?;
    }
    Ok(())
}

fn check_values(case: &Case, what: &str, found: &Logs, expected: &Value) -> Outcome {
    let expected = expected.as_object().unwrap();
    if found.len() != expected.len() {
        return Err(format!("{what}: expected {expected:?}, found {found:?}"));
    }
    for (key, value) in expected {
        let number = found.number(key).ok_or(format!("{what}: no {key}"))?;
        case.close_number(&format!("{what}.{key}"), number, value)?;
    }
    Ok(())
}

fn check_history(case: &Case, history: &History) -> Outcome {
    let expected = case.expected["history"].as_object().unwrap();
    let mut keys = history.keys();
    keys.sort_unstable();
    if !keys.iter().eq(expected.keys()) {
        return Err(format!("history: expected {expected:?}, found {keys:?}"));
    }
    for (key, values) in expected {
        let found: Vec<f32> = history.get(key).into_iter().map(|v| v as f32).collect();
        case.close(key, &found, &numbers(values))?;
    }
    if let Some(epochs) = case.expected.get("epochs") {
        let found: Vec<u64> = history.epochs().iter().map(|row| row.epoch).collect();
        if json!(found) != *epochs {
            return Err(format!("epochs: expected {epochs}, found {found:?}"));
        }
    }
    Ok(())
}

/// Images of a folder, a part of each class for validation.
fn directory(case: &mut Case) -> Outcome {
    let network = network(&mut case.args);
    set_weights(&network, &case.inputs["initial_weights"]);
    let settings = Args::of(case.args.take("compile"));
    let mut trainer = compile(network, &mut case.args, settings)?;
    let generator = dirs::generator(Args::of(case.args.take("generator")))?;
    let options = dirs::directory_options(Args::of(case.args.take("flow_from_directory")))?;
    let path = folder().join(text(case.args.take("directory")));
    let mut args = Args::of(case.args.take("fit"));
    assert_eq!(args.flag("shuffle"), Some(false));
    let epochs = args.float("epochs").unwrap() as u64;
    args.finish()?;
    case.args.finish()?;
    let flow = |subset, files: &str| {
        let options = DirectoryOptions {
            subset: Some(subset),
            ..options.clone()
        };
        let flow = generator.flow_from_directory(&path, options).unwrap();
        let found: Vec<_> = flow.filenames().iter().map(|name| name.to_str()).collect();
        assert_eq!(json!(found), case.expected[files]);
        flow
    };
    let training = flow(Subset::Training, "train_files");
    let validation = flow(Subset::Validation, "validation_files");
    let options = FitGeneratorOptions {
        epochs,
        shuffle: false,
        workers: 2,
        verbose: Verbose::Silent,
        validation_data: Some(validation.into()),
        ..FitGeneratorOptions::default()
    };
    let history = trainer.fit_generator(training, options);
    check_history(case, &history.map_err(|error| error.to_string())?)?;
    check_weights(case, trainer.network())
}

fn fit(case: &mut Case) -> Outcome {
    let network = network(&mut case.args);
    set_weights(&network, &case.inputs["initial_weights"]);
    let settings = Args::of(case.args.take("compile"));
    let mut trainer = compile(network, &mut case.args, settings)?;
    let mut args = Args::of(case.args.take("fit"));
    assert_eq!(args.flag("shuffle"), Some(false));

    let data = &case.inputs["data"];
    let (x, y) = (array(&data["x"]), array(&data["y"]));
    let given = |value: &Value| (!value.is_null()).then(|| array(value));
    let validation_data =
        list_of(&case.inputs["validation_data"]).map(|arrays| ValidationData::Arrays {
            x: arrays[0].clone().into(),
            y: arrays[1].clone().into(),
            sample_weight: arrays.get(2).cloned().map(Into::into),
        });
    let mut count = |name: &str| args.take(name).and_then(|value| value.as_u64());
    let (epochs, initial_epoch) = (
        count("epochs").unwrap(),
        count("initial_epoch").unwrap_or(0),
    );
    let (steps_per_epoch, batch_size) = (count("steps_per_epoch"), count("batch_size"));
    let validation_freq =
        count("validation_freq").map_or_else(Default::default, ValidationFreq::Every);
    let validation_batch_size = count("validation_batch_size").map(|rows| rows as usize);
    let split = args.float("validation_split").unwrap_or(0.0);
    let class_weight = class_weight(args.take("class_weight"));
    args.finish()?;

    let how = case.args.take("data_how").unwrap();
    let rows = case
        .args
        .take("batch_size")
        .and_then(|value| value.as_u64());
    let workers = case.args.take("workers").and_then(|value| value.as_u64());
    case.args.finish()?;
    let mut logs = BatchLogs::default();
    let history = if how == "arrays" {
        let options = FitOptions {
            batch_size: batch_size.map(|rows| rows as usize),
            epochs,
            verbose: Verbose::Silent,
            callbacks: CallbackList::new().with(&mut logs),
            validation_split: split,
            validation_data,
            shuffle: Shuffle::No,
            class_weight,
            sample_weight: given(&case.inputs["sample_weight"]).map(Into::into),
            initial_epoch,
            steps_per_epoch,
            validation_batch_size,
            validation_freq,
            ..FitOptions::default()
        };
        trainer.fit(x, y, options)
    } else {
        let rows = rows.unwrap() as usize;
        let mut sequence = ArraySequence::new(x, y).unwrap().shuffle(Shuffle::No);
        if let Some(weights) = data.get("sw") {
            sequence = sequence.sample_weight(array(weights)).unwrap();
        }
        let sequence = sequence.batch_size(rows).unwrap();
        let options = FitGeneratorOptions {
            steps_per_epoch,
            epochs,
            verbose: Verbose::Silent,
            callbacks: CallbackList::new().with(&mut logs),
            validation_data,
            validation_freq,
            class_weight,
            workers: workers.unwrap_or(1) as usize,
            shuffle: false,
            initial_epoch,
            ..FitGeneratorOptions::default()
        };
        let endless = !case.id.contains("exhausted");
        let source = match how.as_str().unwrap() {
            "sequence" => Source::sequence(sequence),
            "generator" => Source::generator(generator(sequence, endless)),
            other => return Err(format!("unknown data {other}")),
        };
        trainer.fit_generator(source, options)
    };
    let history = history.map_err(|error| error.to_string())?;
    check_logs(case, "batch_logs", &logs.train)?;
    check_logs(case, "val_batch_logs", &logs.test)?;
    check_history(case, &history)?;
    check_weights(case, trainer.network())
}

/// The batches of a sequence one after another, once or for ever.
fn generator(
    sequence: ArraySequence,
    endless: bool,
) -> impl Iterator<Item = Result<Batch, DataError>> + Send {
    use keros::data::Sequence as _;
    let passes = if endless { usize::MAX } else { 1 };
    let len = sequence.len();
    (0..passes)
        .flat_map(move |_| 0..len)
        .map(move |i| sequence.batch(0, i))
}

fn list_of(value: &Value) -> Option<Vec<Array>> {
    Some(value.as_array()?.iter().map(array).collect())
}

fn on_batch(case: &mut Case) -> Outcome {
    let network = network(&mut case.args);
    set_weights(&network, &case.inputs["initial_weights"]);
    let settings = Args::of(case.args.take("compile"));
    let mut trainer = compile(network, &mut case.args, settings)?;
    let plan = list(case.args.take("plan"));
    case.args.finish()?;
    let (x, y) = (array(&case.inputs["x"]), array(&case.inputs["y"]));
    let mut returns = list(Some(case.expected["returns"].clone())).into_iter();
    for (i, call) in plan.into_iter().enumerate() {
        let mut call = Args::of(Some(call));
        let rows: (usize, usize) = serde_json::from_value(call.take("rows").unwrap()).unwrap();
        let cut = |array: &Array| array.slice(rows.0..rows.1).unwrap();
        let mut batch = Batch::new(cut(&x), cut(&y));
        if let Some(weights) = call.take("sample_weight") {
            batch = batch.sample_weight(array(&weights));
        }
        let options = TrainOnBatchOptions {
            class_weight: class_weight(call.take("class_weight")),
            ..TrainOnBatchOptions::default()
        };
        let method = call.take("call").unwrap();
        call.finish()?;
        let what = format!("call {i}");
        let logs = match method.as_str().unwrap() {
            "train_on_batch" => trainer.train_on_batch_with(&batch, &options).unwrap(),
            "test_on_batch" => trainer.test_on_batch(&batch).unwrap(),
            "predict_on_batch" => {
                let found = trainer.predict_on_batch(batch.inputs).unwrap();
                let expected = numbers(&returns.next().unwrap());
                case.close(&what, found[0].as_slice::<f32>().unwrap(), &expected)?;
                continue;
            }
            other => return Err(format!("unknown method {other}")),
        };
        let values: Vec<f32> = ["loss", "accuracy"]
            .map(|key| logs.number(key).unwrap() as f32)
            .to_vec();
        case.close(&what, &values, &numbers(&returns.next().unwrap()))?;
    }
    match returns.next() {
        None => check_weights(case, trainer.network()),
        Some(left) => Err(format!("no call returned {left}")),
    }
}

fn evaluate_and_predict(case: &mut Case) -> Outcome {
    let network = network(&mut case.args);
    set_weights(&network, &case.inputs["initial_weights"]);
    let batch_size = case.args.take("batch_size").unwrap().as_u64();
    let batch_size = batch_size.map(|rows| rows as usize);
    let mut trainer = Trainer::builder(network)
        .optimizer("sgd")
        .loss(text(case.args.take("loss")).as_str())
        .metric("accuracy")
        .weighted_metric("sparse_categorical_accuracy")
        .compile()
        .unwrap();
    case.args.finish()?;
    let (x, y) = (array(&case.inputs["x"]), array(&case.inputs["y"]));
    for (what, sample_weight) in [
        ("evaluate", None),
        (
            "evaluate_weighted",
            Some(array(&case.inputs["sample_weight"]).into()),
        ),
    ] {
        let options = EvaluateOptions {
            batch_size,
            verbose: Verbose::Silent,
            sample_weight,
            ..EvaluateOptions::default()
        };
        let logs = trainer.evaluate(x.clone(), y.clone(), options).unwrap();
        check_values(case, what, &logs, &case.expected[what])?;
    }
    let options = PredictOptions {
        batch_size,
        verbose: Verbose::Silent,
        ..PredictOptions::default()
    };
    let found = trainer.predict(x, options).unwrap();
    let expected = numbers(&case.expected["predict"]);
    case.close("predict", found[0].as_slice::<f32>().unwrap(), &expected)
}
