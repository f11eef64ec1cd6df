//! Networks with several outputs: losses, their weights, metrics, and what is refused.

use crate::support::problem;
use crate::test_device::test_device;
use keros_callbacks::{
    Callback, CallbackList, CallbackResult, Context, Decision, EventKind, EventSet, Verbose,
};
use keros_data::{Array, ArraySequence, Arrays, Batch};
use keros_nn::layers::Dense;
use keros_nn::{Graph, Network, Sgd};
use keros_tensor::access::read;
use keros_train::{ClassWeight, FitOptions, TrainOnBatchOptions, Trainer, TrainerBuilder};

/// A classifier `class`, and `size`, a number.
fn graph() -> Graph {
    let mut graph = Graph::builder();
    let input = graph.input("features", [4]);
    let hidden = graph.layer(Dense::new(8).activation("relu"), input);
    let class = graph.layer(Dense::new(3).activation("softmax").name("c"), hidden);
    let size = graph.layer(Dense::new(1).name("s"), hidden);
    let outputs = [("class", class), ("size", size)];
    graph.build(&outputs, test_device(), 3).unwrap()
}

fn builder() -> TrainerBuilder<Graph> {
    Trainer::builder(graph()).optimizer(Sgd::new(0.1).unwrap())
}

fn targets(rows: usize) -> (Array, Arrays) {
    let (x, y) = problem(rows);
    let sizes: Vec<f32> = (0..rows).map(|row| (row as f32).sin()).collect();
    let size = Array::from_vec(&[rows, 1], sizes).unwrap();
    (
        x,
        Arrays::from_pairs([("class", y), ("size", size)]).unwrap(),
    )
}

#[test]
fn the_total_loss_is_the_weighted_sum_and_metrics_have_their_outputs_name() {
    let mut trainer = builder()
        .loss_for("class", "sparse_categorical_crossentropy")
        .loss_for("size", "mse")
        .loss_weight("size", 0.25)
        .metric_for("class", "accuracy")
        .weighted_metric_for("size", "mae")
        .compile()
        .unwrap();
    let (x, y) = targets(12);
    let names = [
        "loss",
        "class_loss",
        "size_loss",
        "class_accuracy",
        "size_mae",
    ];
    let names = names.map(str::to_owned).to_vec();
    let mae = "size_mean_absolute_error".to_owned();
    let found = trainer.metrics_names();
    assert_eq!(found[..4], names[..4]);
    assert!(found[4] == names[4] || found[4] == mae, "{found:?}");
    let logs = trainer.train_on_batch(&Batch::new(x, y)).unwrap();
    let value = |key: &str| logs.number(key).unwrap();
    let total = value("class_loss") + 0.25 * value("size_loss");
    assert!((value("loss") - total).abs() < 1e-6);
}

#[test]
fn sample_weights_are_for_all_outputs_or_for_those_they_are_named_after() {
    let trainer = || {
        let trainer = builder()
            .loss_for("class", "sparse_categorical_crossentropy")
            .loss_for("size", "mse");
        trainer.compile().unwrap()
    };
    let (x, y) = targets(12);
    let batch = Batch::new(x, y);
    let losses = |weights: Option<Arrays>| {
        let mut batch = batch.clone();
        batch.sample_weight = weights;
        let logs = trainer().test_on_batch(&batch).unwrap();
        ["class_loss", "size_loss"].map(|key| logs.number(key).unwrap())
    };
    let zeros = || Array::from_vec(&[12], vec![0.0_f32; 12]).unwrap();
    let plain = losses(None);
    assert_eq!(losses(Some(zeros().into())), [0.0, 0.0]);
    let named = Arrays::from_pairs([("size", zeros())]).unwrap();
    assert_eq!(losses(Some(named)), [plain[0], 0.0]);
    let unknown = Arrays::from_pairs([("sise", zeros())]).unwrap();
    let error = trainer().test_on_batch(&batch.clone().sample_weight(unknown));
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("sample weights") && error.contains("`sise`"),
        "{error}"
    );
}

#[test]
fn an_output_without_a_loss_is_not_trained_and_needs_no_targets() {
    let mut trainer = builder().loss_for("size", "mse").compile().unwrap();
    let (x, y) = targets(12);
    let size = Arrays::from_pairs([("size", y.get("size").unwrap().clone())]).unwrap();
    let head = |trainer: &Trainer<Graph>| {
        let params = trainer.network().params();
        read::<f32>(params.by_name("c/kernel").unwrap().value())
            .unwrap()
            .to_vec()
    };
    let before = head(&trainer);
    let batch = Batch::new(x, size);
    let first = trainer.train_on_batch(&batch).unwrap().number("loss");
    for _ in 0..20 {
        trainer.train_on_batch(&batch).unwrap();
    }
    assert!(trainer.test_on_batch(&batch).unwrap().number("loss") < first);
    assert_eq!(head(&trainer), before);
}

#[test]
fn arguments_of_outputs_that_cannot_be_meant_are_refused() {
    let refused = |builder: TrainerBuilder<Graph>, expected: &str| {
        let error = builder.compile().err().unwrap().to_string();
        assert!(error.contains(expected), "{error}");
    };
    refused(builder(), "loss");
    refused(
        builder().loss_for("sise", "mse"),
        "`class`, `size`, found `sise`",
    );
    refused(
        builder().loss("mse").loss_weight("size", f64::NAN),
        "finite",
    );
    refused(
        builder().loss_for("size", "mse").loss_weight("class", 2.0),
        "invalid loss_weight (expected an output with a loss, found output `class` without one)",
    );
    refused(builder().loss("mse").metric("mae"), "the name of an output");
    refused(
        builder()
            .loss_for("size", "mse")
            .metric_for("class", "accuracy"),
        "a loss for each output that has metrics",
    );
    let mut trainer = builder()
        .loss_for("class", "sparse_categorical_crossentropy")
        .loss_for("size", "mse")
        .compile()
        .unwrap();
    let (x, y) = targets(12);
    let options = TrainOnBatchOptions {
        class_weight: Some(ClassWeight::new([(1, 2.0)]).unwrap()),
        ..TrainOnBatchOptions::default()
    };
    let batch = Batch::new(x.clone(), y.clone());
    let error = trainer.train_on_batch_with(&batch, &options).unwrap_err();
    assert!(error.to_string().contains("several outputs"), "{error}");
    let only = Arrays::from_pairs([("size", y.get("size").unwrap().clone())]).unwrap();
    let error = trainer.train_on_batch(&Batch::new(x, only)).unwrap_err();
    assert!(error.to_string().contains("`class`, `size`"), "{error}");
}

/// Skips updates at one of the events inside a step, and looks at gradients and weights there.
struct Inside(EventKind, Vec<String>);

impl Callback for Inside {
    fn events(&self) -> EventSet {
        EventSet::of(&[self.0])
    }

    fn on_event(&mut self, cx: &mut Context<'_>) -> CallbackResult {
        let kernel = cx
            .params()
            .iter()
            .position(|param| param.name == "c/kernel")
            .unwrap();
        let mut values = Vec::new();
        cx.read_gradient(kernel, &mut values)?;
        self.1.push(format!(
            "{} {}",
            cx.event().kind,
            values.iter().any(|g| *g != 0.0)
        ));
        Ok(Decision::skip_batch())
    }
}

#[test]
fn a_step_can_be_looked_into_and_passed_over() {
    for kind in [EventKind::AfterBackward, EventKind::BeforeStep] {
        let mut trainer = builder()
            .loss_for("class", "sparse_categorical_crossentropy")
            .loss_for("size", "mse")
            .compile()
            .unwrap();
        let all = |trainer: &Trainer<Graph>| -> Vec<f32> {
            let params = trainer.network().params().iter();
            params
                .flat_map(|(_, param)| read::<f32>(param.value()).unwrap().to_vec())
                .collect()
        };
        let before = all(&trainer);
        let mut inside = Inside(kind, Vec::new());
        let (x, y) = targets(12);
        let options = FitOptions {
            batch_size: Some(6),
            verbose: Verbose::Silent,
            callbacks: CallbackList::new().with(&mut inside),
            ..FitOptions::default()
        };
        trainer.fit(x, y, options).unwrap();
        assert_eq!(all(&trainer), before);
        assert_eq!(trainer.optimizer().iterations(), 0);
        assert_eq!(inside.1, [format!("{kind} true"), format!("{kind} true")]);
    }
}

#[test]
fn a_dry_run_tells_what_would_happen_and_changes_nothing() {
    let (x, y) = problem(40);
    let mut trainer = crate::support::trainer();
    let sequence = || {
        ArraySequence::new(x.clone(), y.clone())
            .unwrap()
            .batch_size(8)
            .unwrap()
    };
    trainer
        .train_on_batch(&Batch::new(x.clone(), y.clone()))
        .unwrap();
    let before = crate::support::weights(&trainer);
    let logs = trainer
        .dry_run(sequence(), Some((x.clone(), y.clone()).into()))
        .unwrap();
    let keys: Vec<&str> = logs.iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["loss", "accuracy", "val_loss", "val_accuracy"]);
    assert_eq!(crate::support::weights(&trainer), before);
    assert_eq!(trainer.optimizer().iterations(), 1);
    let wide = Array::from_vec(&[40, 5], vec![0.0_f32; 200]).unwrap();
    let wrong = ArraySequence::new(wide, y.clone()).unwrap();
    trainer.dry_run(wrong, None).unwrap_err();
    assert_eq!(crate::support::weights(&trainer), before);
}

#[test]
fn limit_batches_cuts_every_epoch_and_validation() {
    let (x, y) = problem(40);
    let (mut batches, mut tested) = (Vec::new(), Vec::new());
    let watch = keros_callbacks::LambdaCallback::new()
        .on(EventKind::TrainBatchEnd, |cx| {
            batches.push((cx.event().epoch, cx.event().batch));
            Ok(Decision::CONTINUE)
        })
        .on(EventKind::TestBatchEnd, |cx| {
            tested.push((cx.event().epoch, cx.event().batch));
            Ok(Decision::CONTINUE)
        });
    let options = FitOptions {
        batch_size: Some(5),
        epochs: 2,
        limit_batches: Some(2),
        validation_data: Some((x.clone(), y.clone()).into()),
        verbose: Verbose::Silent,
        callbacks: CallbackList::new().with(watch),
        ..FitOptions::default()
    };
    let history = crate::support::trainer().fit(x, y, options).unwrap();
    assert_eq!(history.params().steps, Some(2));
    assert_eq!(batches, [(0, 0), (0, 1), (1, 0), (1, 1)]);
    assert_eq!(tested, batches);
}
