//! What callbacks see of a run and do to it beyond logs and decisions.

use crate::support::{endless, problem, trainer, weights};
use crate::test_device::test_device;
use keros_callbacks::{
    Callback, CallbackList, CallbackResult, Context, Decision, EventKind, EventSet, RunError,
    Verbose,
};
use keros_tensor::device_name;
use keros_train::{EvaluateOptions, FitGeneratorOptions, FitOptions, Source};
use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::thread;

fn options<'a>(callbacks: CallbackList<'a>, epochs: u64) -> FitOptions<'a> {
    FitOptions {
        epochs,
        callbacks,
        verbose: Verbose::Silent,
        ..FitOptions::default()
    }
}

/// Runs a closure at events of one kind.
struct At<F>(EventKind, F);

impl<F: FnMut(&mut Context<'_>) -> CallbackResult> Callback for At<F> {
    fn events(&self) -> EventSet {
        EventSet::of(&[self.0])
    }

    fn on_event(&mut self, cx: &mut Context<'_>) -> CallbackResult {
        (self.1)(cx)
    }
}

#[test]
fn the_inputs_of_a_batch_are_those_of_the_source() {
    let (x, y) = problem(20);
    let seen = RefCell::new(Vec::new());
    let batch = At(EventKind::TrainBatchEnd, |cx: &mut Context<'_>| {
        let inputs = cx.inputs();
        assert_eq!(inputs.len(), 1);
        assert_eq!(inputs[0].shape, [cx.event().samples as usize, 4]);
        let mut values = Vec::new();
        cx.read_input(0, &mut values)?;
        seen.borrow_mut().extend(values);
        let error = cx.read_input(1, &mut Vec::new()).unwrap_err().to_string();
        assert_eq!(error, "input 1: expected an index below 1");
        Ok(Decision::CONTINUE)
    });
    let epoch = At(EventKind::EpochEnd, |cx: &mut Context<'_>| {
        assert!(cx.inputs().is_empty() && cx.read_input(0, &mut Vec::new()).is_err());
        Ok(Decision::CONTINUE)
    });
    let fit = FitOptions {
        batch_size: Some(8),
        shuffle: keros_data::Shuffle::No,
        ..options(CallbackList::new().with(batch).with(epoch), 1)
    };
    trainer().fit(x.clone(), y, fit).unwrap();
    assert_eq!(*seen.borrow(), x.as_slice::<f32>().unwrap());
}

#[test]
fn numbers_of_the_optimizer_are_read_and_set() {
    let (x, y) = problem(16);
    let callback = At(EventKind::TrainBatchEnd, |cx: &mut Context<'_>| {
        let names: Vec<String> = cx
            .optimizer_numbers()
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        assert_eq!(names, ["learning_rate", "beta_1", "beta_2", "epsilon"]);
        cx.set_optimizer_number("beta_1", 0.5)?;
        let error = cx
            .set_optimizer_number("beta_1", 1.0)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("beta_1") && error.contains("[0, 1)"),
            "{error}"
        );
        let error = cx
            .set_optimizer_number("momentum", 1.0)
            .unwrap_err()
            .to_string();
        assert!(error.contains("one of learning_rate, beta_1"), "{error}");
        Ok(Decision::CONTINUE)
    });
    let mut trainer = trainer();
    trainer
        .fit(x, y, options(CallbackList::new().with(callback), 1))
        .unwrap();
    assert!(trainer.optimizer().numbers().contains(&("beta_1", 0.5)));
}

#[test]
fn the_facts_are_json_in_a_fixed_order() {
    let (x, y) = problem(16);
    let callback = At(EventKind::TrainBegin, |cx: &mut Context<'_>| {
        let facts: serde_json::Value = serde_json::from_str(&cx.facts()?)?;
        let object = facts.as_object().expect("an object");
        let keys: Vec<&str> = object.keys().map(String::as_str).collect();
        assert_eq!(
            keys,
            [
                "version",
                "device",
                "seed",
                "epochs",
                "initial_epoch",
                "steps",
                "validation",
                "metrics",
                "optimizer",
                "inputs",
                "outputs",
                "parameters",
                "trainable_parameters",
                "network",
            ]
        );
        assert_eq!(facts["device"], device_name(test_device()).as_str());
        assert_eq!(facts["seed"], 3);
        assert_eq!(facts["epochs"], 2);
        assert_eq!(facts["steps"], 1);
        assert_eq!(facts["metrics"], serde_json::json!(["loss", "accuracy"]));
        assert_eq!(facts["optimizer"]["name"], "adam");
        assert_eq!(facts["optimizer"]["beta_2"], 0.999);
        assert_eq!(
            facts["outputs"][0]["loss"],
            "sparse_categorical_crossentropy"
        );
        assert_eq!(facts["parameters"], 4 * 16 + 16 + 16 * 3 + 3);
        assert_eq!(facts["network"]["class_name"], "Sequential");
        Ok(Decision::CONTINUE)
    });
    trainer()
        .fit(x, y, options(CallbackList::new().with(callback), 2))
        .unwrap();
}

#[test]
fn the_history_has_the_keys_that_callbacks_add() {
    let (x, y) = problem(16);
    let adds = At(EventKind::EpochEnd, |cx: &mut Context<'_>| {
        let epoch = cx.event().epoch;
        let history = cx.history()?;
        assert_eq!(history.len() as u64, epoch);
        if let Some(last) = history.last() {
            assert_eq!(last.logs.number("mine"), Some(epoch as f64 - 1.0));
        }
        cx.set_log("mine", epoch as f64)?;
        Ok(Decision::CONTINUE)
    });
    let history = trainer()
        .fit(x, y, options(CallbackList::new().with(adds), 3))
        .unwrap();
    assert_eq!(history.get("mine"), [0.0, 1.0, 2.0]);
}

#[test]
fn weights_are_loaded_inside_a_run() {
    let (x, y) = problem(16);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("start.safetensors");
    let other = trainer();
    other.save_weights(&path).unwrap();
    let start = weights(&other);
    let callback = At(EventKind::EpochEnd, |cx: &mut Context<'_>| {
        cx.load_weights(&path)?;
        assert!(
            cx.load_weights(folder.path().join("none.safetensors"))
                .is_err()
        );
        Ok(Decision::CONTINUE)
    });
    let mut trainer = trainer();
    trainer
        .fit(x, y, options(CallbackList::new().with(callback), 1))
        .unwrap();
    assert_eq!(weights(&trainer), start);
}

#[test]
fn a_queue_is_told_where_there_is_one() {
    let asked = Cell::new(0);
    let fit = |workers| {
        let queue = At(EventKind::TrainBatchEnd, |cx: &mut Context<'_>| {
            asked.set(asked.get() + 1);
            match cx.queue() {
                None => assert_eq!(workers, 0),
                Some(queue) => {
                    assert_eq!((workers, queue.capacity), (1, 3));
                    assert!(queue.ready <= 3, "{queue:?}");
                    assert_eq!(queue.delivered, cx.event().batch + 1);
                }
            }
            Ok(Decision::CONTINUE)
        });
        let options = FitGeneratorOptions {
            steps_per_epoch: Some(5),
            workers,
            max_queue_size: 3,
            verbose: Verbose::Silent,
            callbacks: CallbackList::new().with(queue),
            ..FitGeneratorOptions::default()
        };
        trainer()
            .fit_generator(Source::generator(endless(32, 8)), options)
            .unwrap();
    };
    fit(0);
    fit(1);
    assert_eq!(asked.get(), 10);
}

#[test]
fn another_thread_stops_a_run_that_no_callback_listens_to() {
    let asked = RefCell::new(None);
    // Told of the beginning alone.
    let begin = At(EventKind::TrainBegin, |cx: &mut Context<'_>| {
        let requests = cx.requests()?.clone();
        let stopper = requests.clone();
        thread::spawn(move || stopper.stop("the button"))
            .join()
            .unwrap()?;
        *asked.borrow_mut() = Some(requests);
        Ok(Decision::CONTINUE)
    });
    let options = FitGeneratorOptions {
        steps_per_epoch: Some(100_000_000),
        verbose: Verbose::Silent,
        callbacks: CallbackList::new().with(begin),
        ..FitGeneratorOptions::default()
    };
    let history = trainer()
        .fit_generator(Source::generator(endless(32, 8)), options)
        .unwrap();
    assert_eq!(history.epochs().len(), 1);
    let requests = asked.into_inner().unwrap();
    assert!(matches!(requests.stop("again"), Err(RunError::Over)));
}

#[test]
fn another_thread_has_a_checkpoint_written_from_which_the_run_goes_on() {
    let (x, y) = problem(64);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("asked.safetensors");
    let saved = RefCell::new(Vec::new());
    let ask = At(EventKind::TrainBatchBegin, |cx: &mut Context<'_>| {
        if (cx.event().epoch, cx.event().batch) == (1, 0) {
            cx.requests()?.save(&path)?;
        }
        Ok(Decision::CONTINUE)
    });
    let told = At(EventKind::CheckpointSaved, |cx: &mut Context<'_>| {
        let event = cx.event();
        let detail = PathBuf::from(cx.detail().unwrap_or_default());
        saved.borrow_mut().push((event.epoch, event.batch, detail));
        Ok(Decision::CONTINUE)
    });
    let mut whole = trainer();
    let list = CallbackList::new().with(ask).with(told);
    let history = whole.fit(x.clone(), y.clone(), options(list, 3)).unwrap();
    assert_eq!(*saved.borrow(), [(1, 0, path.clone())]);

    let mut resumed = trainer();
    let resume = At(EventKind::TrainBegin, |_: &mut Context<'_>| {
        Ok(Decision::resume(&path))
    });
    let rest = resumed
        .fit(x, y, options(CallbackList::new().with(resume), 3))
        .unwrap();
    assert_eq!(rest, history);
    assert_eq!(weights(&resumed), weights(&whole));
}

#[test]
fn an_evaluation_is_stopped_and_says_that_it_saves_nothing() {
    let (x, y) = problem(64);
    let messages = RefCell::new(Vec::new());
    struct Listener<'a>(&'a RefCell<Vec<String>>);
    impl Callback for Listener<'_> {
        fn on_test_batch_begin(&mut self, cx: &mut Context<'_>) -> CallbackResult {
            cx.requests()?.save("never.safetensors")?;
            cx.requests()?.stop("enough")?;
            Ok(Decision::CONTINUE)
        }
        fn on_message(&mut self, message: &keros_callbacks::Message) {
            self.0.borrow_mut().push(message.text.clone());
        }
    }
    let batches = Cell::new(0);
    let count = At(EventKind::TestBatchEnd, |_: &mut Context<'_>| {
        batches.set(batches.get() + 1);
        Ok(Decision::CONTINUE)
    });
    let evaluate = EvaluateOptions {
        callbacks: CallbackList::new().with(Listener(&messages)).with(count),
        verbose: Verbose::Silent,
        ..EvaluateOptions::default()
    };
    trainer().evaluate(x, y, evaluate).unwrap();
    assert_eq!(batches.get(), 1);
    assert_eq!(
        *messages.borrow(),
        ["the checkpoint never.safetensors is not written: there is no training to go on with"]
    );
}
