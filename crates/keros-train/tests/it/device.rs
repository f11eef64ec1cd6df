//! What holds on a GPU as on the CPU, where the values of a step are read when somebody wants to know.

use crate::support::{FEATURES, network, problem, trainer};
use crate::test_device::test_device;
use keros_callbacks::{
    CallbackList, Decision, EventKind, FailurePolicy, LambdaCallback, Logs, TerminateOnNan, Verbose,
};
use keros_data::{Array, Arrays, Batch};
use keros_nn::layers::{Add, Dense, Dropout, Embedding, Flatten};
use keros_nn::{
    Graph, L1L2, L2, Layer, LayerBuilder, Metric, Network, NnError, Output, Pass, Sequential,
    SparseCategoricalCrossentropy, Target,
};
use keros_tensor::access::{host_copies, read};
use keros_tensor::{
    DType, Device, Tensor, Workspace, cuda_graph_starts, cuda_graphs, kernels, set_cuda_graphs,
};
use keros_train::{EvaluateOptions, FitOptions, PredictOptions, TrainError, Trainer};
use std::process::Command;
use std::sync::Mutex;

fn silent(callbacks: CallbackList<'_>) -> FitOptions<'_> {
    FitOptions {
        batch_size: Some(8),
        verbose: Verbose::Silent,
        callbacks,
        ..FitOptions::default()
    }
}

fn numbers(logs: &Logs) -> Vec<(String, f64)> {
    let keys = logs.iter().map(|(key, _)| key);
    keys.map(|key| (key.to_owned(), logs.number(key).unwrap()))
        .collect()
}

#[test]
fn logs_do_not_depend_on_how_often_they_are_read() {
    let (x, y) = problem(90);
    let before = host_copies();
    let mut seldom = trainer();
    let history = seldom
        .fit(x.clone(), y.clone(), silent(CallbackList::new()))
        .unwrap();
    let copies = host_copies() - before;
    let mut each = Vec::new();
    let reading = LambdaCallback::new().on(EventKind::TrainBatchEnd, |cx| {
        each.push(cx.logs()?.number("loss"));
        Ok(Decision::CONTINUE)
    });
    let mut often = trainer();
    let read = often
        .fit(x, y, silent(CallbackList::new().with(reading)))
        .unwrap();
    // The logs are made of what has travelled beside the work.
    assert_eq!(host_copies() - before, 2 * copies);
    let last = |history: &keros_callbacks::History| numbers(&history.epochs()[0].logs);
    assert_eq!(last(&history), last(&read));
    assert_eq!(each.len(), 12);
    assert_eq!(each[11], Some(last(&read)[0].1));
}

/// A network with penalties, weights of samples, and metrics.
fn penalized(device: &Device) -> Trainer<Sequential> {
    let network = Sequential::builder([FEATURES])
        .layer(
            Dense::new(8)
                .activation("relu")
                .kernel_regularizer(L2::new(0.1).unwrap())
                .activity_regularizer(L1L2::new(0.01, 0.02).unwrap()),
        )
        .layer(Dense::new(3).activation("softmax"))
        .build(device, 5)
        .unwrap();
    Trainer::builder(network)
        .optimizer("sgd")
        .loss("sparse_categorical_crossentropy")
        .metric("accuracy")
        .weighted_metric("sparse_categorical_crossentropy")
        .compile()
        .unwrap()
}

#[test]
fn a_training_stays_on_the_gpu() {
    let (x, y) = problem(50);
    let mut trainer = penalized(test_device());
    let before = host_copies();
    trainer.fit(x, y, silent(CallbackList::new())).unwrap();
    assert_eq!(host_copies(), before, "copies to the host and back");
}

#[test]
fn the_numbers_are_those_of_the_cpu() {
    let (x, y) = problem(50);
    let weights = Array::from_vec(&[50], (0..50).map(|n| n as f32 / 25.0).collect()).unwrap();
    let run = |device: &Device| {
        let mut trainer = penalized(device);
        let options = FitOptions {
            epochs: 2,
            sample_weight: Some(weights.clone().into()),
            ..silent(CallbackList::new())
        };
        let history = trainer.fit(x.clone(), y.clone(), options).unwrap();
        let mut all: Vec<_> = history.epochs().iter().map(|e| numbers(&e.logs)).collect();
        let options = EvaluateOptions {
            verbose: Verbose::Silent,
            batch_size: Some(7),
            ..EvaluateOptions::default()
        };
        all.push(numbers(
            &trainer.evaluate(x.clone(), y.clone(), options).unwrap(),
        ));
        let options = PredictOptions {
            verbose: Verbose::Silent,
            batch_size: Some(3),
            ..PredictOptions::default()
        };
        let predicted = trainer.predict(x.clone(), options).unwrap().remove(0);
        assert_eq!(predicted.shape(), [50, 3]);
        (all, predicted)
    };
    let ((logs, predicted), (expected_logs, expected)) = (run(test_device()), run(&Device::Cpu));
    for (logs, expected) in logs.iter().zip(&expected_logs) {
        for ((key, found), (expected_key, expected)) in logs.iter().zip(expected) {
            assert_eq!(key, expected_key);
            assert!(
                (found - expected).abs() < 1e-4,
                "{key}: {found}, {expected}"
            );
        }
    }
    let pairs = predicted.as_slice::<f32>().unwrap().iter();
    for (found, expected) in pairs.zip(expected.as_slice::<f32>().unwrap()) {
        assert!((found - expected).abs() < 1e-4, "{found}, {expected}");
    }
}

/// A metric that cannot take its third batch.
#[derive(Default)]
struct Picky(u32);

impl Metric for Picky {
    fn name(&self) -> &str {
        "picky"
    }
    fn update(
        &mut self,
        _: &mut Workspace,
        output: &Output,
        target: &Target,
        _: Option<&Tensor>,
    ) -> Result<(), NnError> {
        let Target::Labels(labels) = target else {
            return Err(NnError::NotBuilt);
        };
        assert_eq!(labels.dims(), &output.logits.dims()[..1]);
        assert!(
            output.logits.device().is_cpu(),
            "metrics are computed on the host"
        );
        self.0 += 1;
        match self.0 {
            3 => Err(NnError::NotBuilt),
            _ => Ok(()),
        }
    }
    fn result(&self) -> f64 {
        f64::from(self.0)
    }
    fn reset(&mut self) {
        self.0 = 0;
    }
    fn state(&self) -> Vec<f64> {
        Vec::new()
    }
    fn load_state(&mut self, _: &[f64]) -> Result<(), NnError> {
        Ok(())
    }
}

fn picky() -> Trainer<Sequential> {
    Trainer::builder(network(0.0))
        .optimizer("sgd")
        .loss("sparse_categorical_crossentropy")
        .metric(Box::new(Picky::default()) as Box<dyn Metric>)
        .compile()
        .unwrap()
}

#[test]
fn an_error_that_is_found_later_names_its_batch() {
    let (x, y) = problem(8 * 6);
    let in_third = |error: TrainError| {
        let found = matches!(
            error,
            TrainError::Batch {
                epoch: 0,
                batch: 2,
                ..
            }
        );
        assert!(found, "{error}");
    };
    let fit = |callbacks| picky().fit(x.clone(), y.clone(), silent(callbacks));
    in_third(fit(CallbackList::new()).unwrap_err());
    // Also when a callback meets it whose failures are only told.
    let mut list = CallbackList::new();
    let reading = LambdaCallback::new().on(EventKind::TrainBatchEnd, |cx| {
        cx.logs()?;
        Ok(Decision::CONTINUE)
    });
    list.push_with(reading, FailurePolicy::Log);
    in_third(fit(list).unwrap_err());

    // The trainer can be used again.
    let mut trainer = picky();
    trainer
        .fit(x.clone(), y.clone(), silent(CallbackList::new()))
        .unwrap_err();
    let batch = Batch::new(x.slice(0..8).unwrap(), y.slice(0..8).unwrap());
    let logs = trainer.train_on_batch(&batch).unwrap();
    assert_eq!(logs.number("picky"), Some(1.0));
}

#[test]
fn labels_that_name_no_class_are_refused_before_anything_is_trained() {
    let x = problem(3).0;
    let with = |labels: Vec<i64>| Batch::new(x.clone(), Array::from_vec(&[3], labels).unwrap());
    let mut fast = trainer();
    let error = fast.train_on_batch(&with(vec![0, 7, 1])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "softmax cross-entropy: label of sample 1 is out of range (expected 0..3, found 7)"
    );
    let error = fast.train_on_batch(&with(vec![0, 1, -1])).unwrap_err();
    assert!(error.to_string().contains("the label of row 2"), "{error}");
    assert_eq!(fast.optimizer().iterations(), 0);

    let mut ignoring = Trainer::builder(network(0.0))
        .optimizer("sgd")
        .loss(SparseCategoricalCrossentropy::new().ignore_class(9))
        .compile()
        .unwrap();
    ignoring.train_on_batch(&with(vec![0, 9, 1])).unwrap();
    let error = ignoring.train_on_batch(&with(vec![0, 9, 3])).unwrap_err();
    let expected = "sparse_categorical_crossentropy: label of sample 2 is out of range";
    assert!(error.to_string().starts_with(expected), "{error}");
}

#[test]
fn indices_out_of_a_table_are_refused_before_anything_is_trained() {
    let mut graph = Graph::builder();
    let words = graph.input("words", [2]);
    let numbers = graph.input("numbers", [6]);
    let x = graph.layer(Embedding::new(5, 3).name("table"), words);
    let x = graph.layer(Flatten::new(), x);
    let x = graph.merge(Add::new(), &[x, numbers]);
    let class = graph.layer(Dense::new(3).activation("softmax"), x);
    let network = graph.build(&[("class", class)], test_device(), 3).unwrap();
    let mut trainer = Trainer::builder(network)
        .optimizer("sgd")
        .loss("sparse_categorical_crossentropy")
        .compile()
        .unwrap();
    let inputs = |words: Array| {
        let numbers = Array::from_vec(&[3, 6], vec![7.5_f32; 18]).unwrap();
        Arrays::from_pairs([("numbers", numbers), ("words", words)]).unwrap()
    };
    let classes = Array::from_vec(&[3], vec![0_u8, 1, 2]).unwrap();
    let batch = |words: Array| Batch::new(inputs(words), classes.clone());
    let wrong = || Array::from_vec(&[3, 2], vec![0_i64, 4, 1, 5, 2, 3]).unwrap();
    let expected = "layer `table`: embedding: bad index (expected a whole number in 0..5, found 5 in row 1, position 1)";
    let error = trainer.train_on_batch(&batch(wrong())).unwrap_err();
    assert_eq!(error.to_string(), expected);
    let error = trainer.test_on_batch(&batch(wrong())).unwrap_err();
    assert_eq!(error.to_string(), expected);
    let error = trainer.predict_on_batch(inputs(wrong())).unwrap_err();
    assert_eq!(error.to_string(), expected);
    assert_eq!(trainer.optimizer().iterations(), 0);

    let before = host_copies();
    let right = Array::from_vec(&[3, 2], vec![0_u8, 4, 1, 1, 2, 3]).unwrap();
    let logs = trainer.train_on_batch(&batch(right)).unwrap();
    assert!(logs.number("loss").unwrap().is_finite());
    assert!(test_device().is_cpu() || host_copies() == before);
}

#[test]
fn a_loss_that_is_no_number_ends_the_training_at_its_batch() {
    let (x, y) = problem(8 * 6);
    let mut values = x.as_slice::<f32>().unwrap().to_vec();
    values[8 * 2 * FEATURES] = f32::NAN;
    let x = Array::from_vec(x.shape(), values).unwrap();
    let mut batches = 0;
    let counting = LambdaCallback::new().on(EventKind::TrainBatchEnd, |_| {
        batches += 1;
        Ok(Decision::CONTINUE)
    });
    let options = FitOptions {
        shuffle: keros_data::Shuffle::No,
        ..silent(
            CallbackList::new()
                .with(TerminateOnNan::new())
                .with(counting),
        )
    };
    trainer().fit(x, y, options).unwrap();
    assert_eq!(batches, 3);
}

#[test]
fn a_batch_that_does_not_fit_is_an_error_that_one_can_go_on_from() {
    if !std::env::var("KEROS_TEST_DEVICE").is_ok_and(|name| name.starts_with("cuda")) {
        return;
    }
    // A driver reads its variables once, so this has a process of its own.
    let mut program = Command::new(std::env::current_exe().unwrap());
    program.args(["--exact", "device::with_little_memory", "--ignored"]);
    let done = program
        .env("KEROS_EMULATOR_BYTES", "1000000")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
#[ignore = "runs in a process of its own"]
fn with_little_memory() {
    let mut trainer = trainer();
    let batch = |rows: usize| {
        let (x, y) = problem(rows);
        Batch::new(x, y)
    };
    let Err(error) = trainer.train_on_batch(&batch(20_000)) else {
        // A real GPU, which has enough for this network.
        return;
    };
    let text = error.to_string();
    let TrainError::OutOfMemory { rows, fits, .. } = error else {
        panic!("{text}");
    };
    assert_eq!(rows, 20_000);
    assert!(fits > 0 && fits < rows, "{text}");
    let expected = "a batch of 20000 samples does not fit into the memory of the GPU: ";
    assert!(
        text.starts_with(expected) && text.contains("at most about"),
        "{text}"
    );

    let logs = trainer.train_on_batch(&batch(500)).unwrap();
    assert!(logs.number("loss").unwrap().is_finite());
    let in_run = trainer.fit(
        problem(20_000).0,
        problem(20_000).1,
        FitOptions {
            batch_size: Some(20_000),
            ..silent(CallbackList::new())
        },
    );
    assert!(matches!(in_run, Err(TrainError::Batch { .. })));
    let on_cpu = penalized(&Device::Cpu).train_on_batch(&batch(20_000));
    assert!(on_cpu.unwrap().number("loss").unwrap().is_finite());
}

#[test]
fn mixed_precision_learns_as_float32_does() {
    let (x, y) = problem(96);
    let run = |policy: &str| {
        let mut trainer = Trainer::builder(network(0.25))
            .optimizer("adam")
            .loss("sparse_categorical_crossentropy")
            .metric("accuracy")
            .dtype_policy(policy)
            .compile()?;
        let options = FitOptions {
            epochs: 15,
            ..silent(CallbackList::new())
        };
        let history = trainer.fit(x.clone(), y.clone(), options)?;
        Ok::<_, TrainError>(history.get("loss"))
    };
    let error = run("float16").unwrap_err().to_string();
    assert!(
        error.contains("float32, mixed_bfloat16, mixed_float16"),
        "{error}"
    );
    for policy in ["mixed_bfloat16", "mixed_float16"] {
        if test_device().is_cpu() {
            let error = run(policy).unwrap_err().to_string();
            assert!(error.contains("`float32` on the CPU"), "{error}");
            continue;
        }
        let (plain, mixed) = (run("float32").unwrap(), run(policy).unwrap());
        assert_ne!(plain, mixed);
        let (first, last) = (mixed[0], mixed[14]);
        assert!(last < 0.9 * first, "{policy}: {first} to {last}");
        assert!(
            (last - plain[14]).abs() < 0.03 * first,
            "{policy}: {last} and {}",
            plain[14]
        );
    }
}

/// A layer that is not known to be recordable, so that passes fall into pieces around it.
struct Doubled;

impl Layer for Doubled {
    fn class_name(&self) -> &'static str {
        "Doubled"
    }

    fn name(&self) -> Option<&str> {
        None
    }

    fn build(&mut self, input: &[usize], _: &mut LayerBuilder<'_>) -> Result<Vec<usize>, NnError> {
        Ok(input.to_vec())
    }

    fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor, NnError> {
        self.doubled(x, pass)
    }

    fn backward(&self, dy: &Tensor, pass: &mut Pass<'_>) -> Result<Option<Tensor>, NnError> {
        self.doubled(dy, pass).map(Some)
    }
}

impl Doubled {
    /// By candle's own copy, which no recording sees.
    fn doubled(&self, x: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor, NnError> {
        let (copy, y) = (x.copy()?, pass.workspace.take(x.dims(), DType::F32)?);
        kernels::fill(&y, 0.0)?;
        kernels::accumulate(&[(&y, &copy)], 2.0)?;
        Ok(y)
    }
}

/// The switch is one for all threads.
static SWITCH: Mutex<()> = Mutex::new(());

#[test]
fn graphs_change_no_value() {
    let _mine = SWITCH.lock().unwrap();
    let (x, y) = problem(90);
    let run = |on: bool| {
        let before = cuda_graphs();
        set_cuda_graphs(on);
        let network = Sequential::builder([FEATURES])
            .layer(Dense::new(16).activation("relu"))
            .layer(Dropout::new(0.25))
            .layer(Dense::new(16).activation("relu"))
            .layer(Dropout::new(0.25))
            .layer(Doubled)
            .layer(Dense::new(16).activation("tanh"))
            .layer(Dropout::new(0.25))
            .layer(Dense::new(3).activation("softmax"))
            .build(test_device(), 5)
            .unwrap();
        let mut trainer = Trainer::builder(network)
            .optimizer("adam")
            .loss("sparse_categorical_crossentropy")
            .metric("accuracy")
            .compile()
            .unwrap();
        let options = FitOptions {
            epochs: 3,
            ..silent(CallbackList::new())
        };
        let started = cuda_graph_starts();
        let history = trainer.fit(x.clone(), y.clone(), options).unwrap();
        let started = cuda_graph_starts() - started;
        let predicted = trainer
            .predict(x.clone(), PredictOptions::default())
            .unwrap();
        set_cuda_graphs(before);
        let params = trainer.network().params().iter();
        let values: Vec<Vec<f32>> = params
            .map(|(_, param)| read::<f32>(param.value()).unwrap().to_vec())
            .collect();
        (history.get("loss"), values, predicted, started)
    };
    let (loss, values, predicted, started) = run(false);
    assert_eq!(started, 0);
    let (of_graphs, with_graphs, by_graphs, started) = run(true);
    assert_eq!(loss, of_graphs);
    assert_eq!(values, with_graphs);
    assert_eq!(predicted, by_graphs);
    // Two pieces of each pass, of 36 batches, but for those that have not come before.
    match test_device().is_cpu() {
        true => assert_eq!(started, 0),
        false => assert!((100..144).contains(&started), "{started} graphs"),
    }
}

/// Threads share the stream of the GPU, and one starts a graph between the kernels of another.
#[test]
fn trainings_beside_each_other_are_those_alone() {
    let run = || {
        let (x, y) = problem(40);
        let mut trainer = Trainer::builder(network(0.25))
            .optimizer("adam")
            .loss("sparse_categorical_crossentropy")
            .seed(3)
            .compile()
            .unwrap();
        let options = FitOptions {
            epochs: 4,
            ..silent(CallbackList::new())
        };
        trainer.fit(x, y, options).unwrap().get("loss")
    };
    let _mine = SWITCH.lock().unwrap();
    // Its first use switches them as the environment says.
    test_device();
    let before = cuda_graphs();
    set_cuda_graphs(true);
    let alone = run();
    let together: Vec<Vec<f64>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..3).map(|_| scope.spawn(run)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    set_cuda_graphs(before);
    assert_eq!(together, vec![alone; 3]);
}
