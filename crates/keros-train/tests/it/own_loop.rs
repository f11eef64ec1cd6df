//! A loop of the user's own sends what `fit` sends, and ends, fails and goes on as `fit` does.

use crate::support::{FEATURES, endless, network, problem, trainer, weights};
use crate::test_device::test_device;
use keros_callbacks::{
    BackupAndRestore, Callback, CallbackList, CallbackResult, Context, Decision, EarlyStopping,
    EventKind, EventSet, History, LambdaCallback, Logs, ModelCheckpoint, ReduceLrOnPlateau,
    Verbose,
};
use keros_data::{Array, ArraySequence, Batch, DataError, Sequence, Shuffle};
use keros_nn::layers::{BatchNormalization, Dense, Lambda};
use keros_nn::{Metric, Network, NnError, Output, Sequential, Target};
use keros_tensor::{Tensor, Workspace};
use keros_train::{
    ClassWeight, EvaluateOptions, FitOptions, LoopEvents, LoopOptions, Source, TestOnBatchOptions,
    TrainError, TrainOnBatchOptions, Trainer,
};
use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The events of the loop of `fit`, its inner ones too, each with its logs and the learning rate.
#[derive(Default)]
struct Trace(Vec<String>);

impl Callback for Trace {
    fn on_event(&mut self, cx: &mut Context<'_>) -> CallbackResult {
        let event = cx.event().clone();
        let inputs = cx.inputs().len();
        let rate = cx.learning_rate();
        let detail = cx.detail().map(str::to_owned);
        let frozen = cx.params().iter().filter(|param| !param.trainable).count();
        let logs = cx.logs()?;
        self.0.push(format!(
            "{event:?} {inputs} {rate:?} {detail:?} {frozen} {logs:?}"
        ));
        Ok(Decision::CONTINUE)
    }
}

const EPOCHS: u64 = 6;
const ROWS: usize = 70;

fn data() -> ArraySequence {
    let (x, y) = problem(ROWS);
    let data = ArraySequence::new(x, y).unwrap().batch_size(16).unwrap();
    data.shuffle(Shuffle::Samples).seed(3)
}

fn options<'a>(callbacks: CallbackList<'a>) -> LoopOptions<'a> {
    LoopOptions {
        epochs: EPOCHS,
        steps_per_epoch: Some(data().len() as u64),
        verbose: Verbose::Silent,
        callbacks,
        validation_data: Some(problem(20).into()),
        validation_batch_size: Some(16),
        class_weight: Some(ClassWeight::new([(1, 2.0)]).unwrap()),
        ..LoopOptions::default()
    }
}

/// The loop that `fit` has.
fn as_fit(
    trainer: &mut Trainer<Sequential>,
    callbacks: CallbackList<'_>,
) -> Result<History, TrainError> {
    let data = data();
    let mut events = trainer.on_train_begin(options(callbacks))?;
    while let Some(epoch) = events.on_epoch_begin(trainer)? {
        while let Some(index) = events.next_batch() {
            let batch = data.batch(epoch, index as usize)?;
            events.train_on_batch(trainer, &batch)?;
        }
        events.validate(trainer)?;
        events.on_epoch_end(trainer)?;
    }
    events.on_train_end(trainer)
}

fn fit(
    trainer: &mut Trainer<Sequential>,
    callbacks: CallbackList<'_>,
) -> Result<History, TrainError> {
    let (x, y) = problem(ROWS);
    let options = FitOptions {
        batch_size: Some(16),
        epochs: EPOCHS,
        verbose: Verbose::Silent,
        callbacks,
        validation_data: Some(problem(20).into()),
        class_weight: Some(ClassWeight::new([(1, 2.0)]).unwrap()),
        ..FitOptions::default()
    };
    trainer.fit(x, y, options)
}

/// What callbacks can decide, in one run: other rates, keys of their own, skipped batches at each of
/// the three moments, an epoch that is cut short, a stop.
fn meddler<'a>() -> LambdaCallback<'a> {
    LambdaCallback::new()
        .on(EventKind::EpochBegin, |cx| {
            Ok(Decision::set_learning_rate(
                0.01 / (cx.event().epoch + 1) as f64,
            ))
        })
        .on(EventKind::TrainBatchBegin, |cx| {
            Ok(match (cx.event().epoch, cx.event().batch) {
                (0, 1) | (3, 4) => Decision::skip_batch(),
                _ => Decision::CONTINUE,
            })
        })
        .on(EventKind::AfterBackward, |cx| {
            Ok(match (cx.event().epoch, cx.event().batch) {
                (1, 2) => Decision::skip_batch(),
                _ => Decision::CONTINUE,
            })
        })
        .on(EventKind::TrainBatchEnd, |cx| {
            cx.set_log("own", cx.event().batch as i64)?;
            Ok(match (cx.event().epoch, cx.event().batch) {
                (2, 1) => Decision::stop_epoch(),
                (4, 3) => Decision::stop("enough"),
                _ => Decision::CONTINUE,
            })
        })
}

#[test]
fn callbacks_logs_and_weights_are_those_of_fit() {
    let run = |train: fn(&mut Trainer<Sequential>, CallbackList<'_>) -> _| {
        let folder = tempfile::tempdir().unwrap();
        let (mut trainer, mut trace) = (trainer(), Trace::default());
        let best = ModelCheckpoint::new(folder.path().join("best.safetensors")).unwrap();
        let callbacks = CallbackList::new()
            .with(meddler())
            .with(ReduceLrOnPlateau::new("val_loss"))
            .with(best.save_best_only(true))
            .with(&mut trace);
        let history: History = Result::unwrap(train(&mut trainer, callbacks));
        let best = std::fs::read(folder.path().join("best.safetensors")).unwrap();
        let rate = trainer.optimizer().learning_rate();
        (trace.0, history, weights(&trainer), best, rate)
    };
    let (own, expected) = (run(as_fit), run(fit));
    assert_eq!(own.0, expected.0);
    assert!(own == expected, "history, weights or files differ");
    assert_eq!(own.1.epochs().len(), 5);
}

#[test]
fn a_step_of_ones_own_between_begin_and_end_sends_keras_events_of_fit() {
    let keras = |trace: Trace| {
        let own = ["AfterBackward", "BeforeStep"];
        let mut lines = trace.0;
        lines.retain(|line| !own.iter().any(|kind| line.contains(kind)));
        lines
    };
    let (mut by_fit, mut expected) = (trainer(), Trace::default());
    fit(&mut by_fit, CallbackList::new().with(&mut expected)).unwrap();

    let (mut trainer, mut trace, data) = (trainer(), Trace::default(), data());
    let list = CallbackList::new().with(&mut trace);
    let mut events = trainer.on_train_begin(options(list)).unwrap();
    let step = TrainOnBatchOptions {
        class_weight: Some(ClassWeight::new([(1, 2.0)]).unwrap()),
        reset_metrics: false,
    };
    while let Some(epoch) = events.on_epoch_begin(&mut trainer).unwrap() {
        while let Some(index) = events.next_batch() {
            let batch = data.batch(epoch, index as usize).unwrap();
            assert!(events.on_train_batch_begin(&mut trainer, &batch).unwrap());
            let logs = trainer.train_on_batch_with(&batch, &step).unwrap();
            let told = events.on_train_batch_end(&mut trainer, &batch, logs);
            told.unwrap();
        }
        events.validate(&mut trainer).unwrap();
        events.on_epoch_end(&mut trainer).unwrap();
    }
    events.on_train_end(&mut trainer).unwrap();
    assert_eq!(keras(trace), keras(expected));
    assert_eq!(weights(&trainer), weights(&by_fit));
}

#[test]
fn stops_are_told_with_their_reason_and_end_batches_and_epochs() {
    let mut trainer = trainer();
    let stopper = LambdaCallback::new().on(EventKind::TrainBatchEnd, |cx| {
        Ok(match cx.event().batch {
            1 => Decision::stop("the second batch is the last"),
            _ => Decision::CONTINUE,
        })
    });
    let list = CallbackList::new().with(stopper);
    let mut events = trainer.on_train_begin(options(list)).unwrap();
    assert_eq!(events.next_batch(), None, "no epoch has begun");
    assert_eq!(events.on_epoch_begin(&mut trainer).unwrap(), Some(0));
    let batch = data().batch(0, 0).unwrap();
    for index in 0..2 {
        assert_eq!(events.next_batch(), Some(index));
        assert_eq!(events.stop_training(), None);
        assert!(events.train_on_batch(&mut trainer, &batch).unwrap());
    }
    assert_eq!(events.next_batch(), None);
    let reason = Some("the second batch is the last");
    assert_eq!(events.stop_training(), reason);
    let error = events.train_on_batch(&mut trainer, &batch).unwrap_err();
    assert!(matches!(error, TrainError::Order { .. }), "{error}");
    events.on_epoch_end(&mut trainer).unwrap();
    assert_eq!(events.on_epoch_begin(&mut trainer).unwrap(), None);
    let history = events.on_train_end(&mut trainer).unwrap();
    assert_eq!(history.epochs().len(), 1);
}

#[test]
fn early_stopping_ends_the_loop_and_brings_the_best_weights_back() {
    let run = |train: fn(&mut Trainer<Sequential>, CallbackList<'_>) -> _| {
        let mut trainer = trainer();
        let stopping = EarlyStopping::new("val_loss")
            .min_delta(10.0)
            .patience(2)
            .restore_best_weights(true);
        let history: History =
            Result::unwrap(train(&mut trainer, CallbackList::new().with(stopping)));
        (history.epochs().len(), weights(&trainer))
    };
    let own = run(as_fit);
    assert_eq!(own.0, 3);
    assert_eq!(own, run(fit));
}

/// Fails after `left` train batches, as a program that is killed; asks for a checkpoint after each.
struct Killer<'p> {
    path: &'p std::path::Path,
    left: u64,
}

impl Callback for Killer<'_> {
    fn events(&self) -> EventSet {
        EventSet::of(&[EventKind::TrainBatchEnd, EventKind::CheckpointSaved])
    }
    fn on_train_batch_end(&mut self, _: &mut Context<'_>) -> CallbackResult {
        Ok(Decision::checkpoint(self.path))
    }
    fn on_checkpoint_saved(&mut self, _: &mut Context<'_>) -> CallbackResult {
        self.left -= 1;
        match self.left {
            0 => Err("killed".into()),
            _ => Ok(Decision::CONTINUE),
        }
    }
}

#[test]
fn a_loop_that_dies_goes_on_from_its_checkpoint_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.safetensors");
    let mut whole = trainer();
    let history = as_fit(&mut whole, CallbackList::new()).unwrap();
    let batches = EPOCHS * data().len() as u64;
    for left in [1, 4, 5, 6, 13, batches] {
        let killer = Killer { path: &path, left };
        let dies = as_fit(&mut trainer(), CallbackList::new().with(killer));
        assert!(dies.unwrap_err().to_string().contains("killed"));
        let resume = LambdaCallback::new()
            .on(EventKind::TrainBegin, |_| Ok(Decision::resume(&path)))
            .on(EventKind::EpochBegin, |cx| match cx.event().batch {
                0 => Ok(Decision::CONTINUE),
                _ => Err("an epoch that goes on has begun before".into()),
            });
        let mut resumed = trainer();
        let again = as_fit(&mut resumed, CallbackList::new().with(resume)).unwrap();
        assert_eq!(again, history, "after {left} batches");
        assert_eq!(weights(&resumed), weights(&whole), "after {left} batches");
    }
}

/// The loop that `fit` has, with a step of its own.
fn by_steps(
    trainer: &mut Trainer<Sequential>,
    callbacks: CallbackList<'_>,
) -> Result<History, TrainError> {
    let step = TrainOnBatchOptions {
        reset_metrics: false,
        ..TrainOnBatchOptions::default()
    };
    let mut events = trainer.on_train_begin(options(callbacks))?;
    while let Some(epoch) = events.on_epoch_begin(trainer)? {
        while let Some(index) = events.next_batch() {
            let batch = data().batch(epoch, index as usize)?;
            events.on_train_batch_begin(trainer, &batch)?;
            let logs = trainer.train_on_batch_with(&batch, &step)?;
            events.on_train_batch_end(trainer, &batch, logs)?;
            // The one outside of a batch has means of its own.
            trainer.test_on_batch(&batch)?;
        }
        events.on_epoch_end(trainer)?;
    }
    events.on_train_end(trainer)
}

#[test]
fn a_loop_with_a_step_of_its_own_goes_on_to_the_bit_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.safetensors");
    let mut whole = trainer();
    let history = by_steps(&mut whole, CallbackList::new()).unwrap();
    for left in [3, 5, 7] {
        let list = CallbackList::new().with(Killer { path: &path, left });
        by_steps(&mut trainer(), list).unwrap_err();
        let resume =
            LambdaCallback::new().on(EventKind::TrainBegin, |_| Ok(Decision::resume(&path)));
        let mut resumed = trainer();
        let again = by_steps(&mut resumed, CallbackList::new().with(resume)).unwrap();
        assert_eq!(again, history, "after {left} batches");
        assert_eq!(weights(&resumed), weights(&whole), "after {left} batches");
    }
}

#[test]
fn backup_and_restore_works_as_in_fit_and_fit_can_take_the_run_over() {
    let folder = tempfile::tempdir().unwrap();
    let backup = || BackupAndRestore::new(folder.path());
    let dies = LambdaCallback::new().on(EventKind::TrainBatchEnd, |cx| match cx.event().epoch {
        2 => Err("killed".into()),
        _ => Ok(Decision::CONTINUE),
    });
    let list = CallbackList::new().with(backup()).with(dies);
    as_fit(&mut trainer(), list).unwrap_err();
    let (mut trainer, mut whole) = (trainer(), crate::support::trainer());
    let resumed = fit(&mut trainer, CallbackList::new().with(backup())).unwrap();
    let history = fit(&mut whole, CallbackList::new()).unwrap();
    assert_eq!(resumed, history);
    assert_eq!(weights(&trainer), weights(&whole));
}

#[test]
fn a_run_goes_from_fit_to_a_loop_and_back_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.safetensors");
    let resume =
        || LambdaCallback::new().on(EventKind::TrainBegin, |_| Ok(Decision::resume(&path)));
    let killer = |left| Killer { path: &path, left };
    let list = CallbackList::new().with(killer(7));
    fit(&mut trainer(), list).unwrap_err();
    // Into the next epoch.
    let list = CallbackList::new().with(resume()).with(killer(6));
    let error = as_fit(&mut trainer(), list).unwrap_err();
    assert!(error.to_string().contains("killed"), "{error}");
    let (mut resumed, mut whole) = (trainer(), trainer());
    let again = fit(&mut resumed, CallbackList::new().with(resume())).unwrap();
    let history = fit(&mut whole, CallbackList::new()).unwrap();
    assert_eq!(again, history);
    assert_eq!(weights(&resumed), weights(&whole));
}

/// A loop that trains its first layers from the fourth epoch on only. The normalization has nothing to learn, but
/// learns the statistics of its batches.
fn thawing(
    has_config: bool,
    callbacks: CallbackList<'_>,
) -> Result<(History, Vec<f32>), TrainError> {
    let normalization = BatchNormalization::new().center(false).scale(false);
    let mut network = Sequential::builder([FEATURES])
        .layer(Dense::new(8).activation("tanh"))
        .layer(normalization);
    if !has_config {
        network = network.layer(Lambda::new(|x| x * 2.0));
    }
    let network = network.layer(Dense::new(3).activation("softmax"));
    let mut trainer = Trainer::builder(network.build(test_device(), 7)?)
        .optimizer("adam")
        .loss("sparse_categorical_crossentropy")
        .compile()?;
    let set_trainable = |trainer: &mut Trainer<Sequential>, trainable| {
        ["dense", "batch_normalization"]
            .into_iter()
            .try_for_each(|layer| trainer.network_mut().set_trainable(layer, trainable))
    };
    set_trainable(&mut trainer, false)?;
    let mut events = trainer.on_train_begin(options(callbacks))?;
    while let Some(epoch) = events.on_epoch_begin(&mut trainer)? {
        if epoch == 3 && events.next_batch() == Some(0) {
            set_trainable(&mut trainer, true)?;
        }
        while let Some(index) = events.next_batch() {
            let batch = data().batch(epoch, index as usize)?;
            events.train_on_batch(&mut trainer, &batch)?;
        }
        events.on_epoch_end(&mut trainer)?;
    }
    Ok((events.on_train_end(&mut trainer)?, weights(&trainer)))
}

#[test]
fn a_loop_that_thaws_layers_goes_on_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.safetensors");
    for has_config in [true, false] {
        let whole = thawing(has_config, CallbackList::new()).unwrap();
        let per_epoch = data().len() as u64;
        for left in [per_epoch, 3 * per_epoch + 2, 5 * per_epoch] {
            let killer = Killer { path: &path, left };
            thawing(has_config, CallbackList::new().with(killer)).unwrap_err();
            let resume = |_: &mut Context<'_>| Ok(Decision::resume(&path));
            let resume = LambdaCallback::new().on(EventKind::TrainBegin, resume);
            let resumed = thawing(has_config, CallbackList::new().with(resume)).unwrap();
            assert_eq!(resumed, whole, "after {left} batches");
        }
    }
}

/// Its one batch depends on how often it came to its end.
#[derive(Default)]
struct Changing(AtomicUsize);

impl Sequence for Changing {
    fn len(&self) -> usize {
        1
    }
    fn batch(&self, _: u64, _: usize) -> Result<Batch, DataError> {
        let row = 9 * self.0.load(Ordering::SeqCst);
        let (x, y) = problem(ROWS);
        Ok(Batch::new(x.slice(row..row + 8)?, y.slice(row..row + 8)?))
    }
    fn on_epoch_end(&self, _: u64) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
    fn changes_on_epoch_end(&self) -> bool {
        true
    }
}

#[test]
fn validation_data_that_change_are_in_a_loop_that_goes_on_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let run = |dies: bool| {
        let killer = LambdaCallback::new().on(EventKind::EpochBegin, move |cx| {
            match dies && cx.event().epoch == 3 {
                true => Err("killed".into()),
                false => Ok(Decision::CONTINUE),
            }
        });
        let backup = BackupAndRestore::new(folder.path());
        let mut trainer = trainer();
        let mut events = trainer.on_train_begin(LoopOptions {
            validation_data: Some(Source::sequence(Changing::default()).into()),
            ..options(CallbackList::new().with(backup).with(killer))
        })?;
        while let Some(epoch) = events.on_epoch_begin(&mut trainer)? {
            events.train_on_batch(&mut trainer, &data().batch(epoch, 0)?)?;
            events.validate(&mut trainer)?;
            events.on_epoch_end(&mut trainer)?;
        }
        events.on_train_end(&mut trainer)
    };
    let whole = run(false).unwrap();
    run(true).unwrap_err();
    assert_eq!(run(false).unwrap(), whole);
}

#[test]
fn events_out_of_order_are_refused_and_change_nothing() {
    let mut trainer = trainer();
    let mut trace = Trace::default();
    let batch = data().batch(0, 0).unwrap();
    let list = CallbackList::new().with(&mut trace);
    let mut events = trainer.on_train_begin(options(list)).unwrap();
    let refused = |result: Result<bool, TrainError>, words: &str| {
        let error = result.unwrap_err().to_string();
        assert!(error.contains(words), "{error} does not say {words}");
    };
    fn no(result: Result<(), TrainError>) -> Result<bool, TrainError> {
        result.map(|()| false)
    }
    let epoch = "expected epoch_begin before it, found no epoch";
    refused(events.train_on_batch(&mut trainer, &batch), epoch);
    refused(events.on_train_batch_begin(&mut trainer, &batch), epoch);
    refused(no(events.validate(&mut trainer)), epoch);
    refused(no(events.on_epoch_end(&mut trainer)), epoch);
    events.on_epoch_begin(&mut trainer).unwrap();
    let again = events.on_epoch_begin(&mut trainer).map(|_| false);
    refused(again, "expected epoch_end before it");
    let end = events.on_train_batch_end(&mut trainer, &batch, Logs::new());
    refused(no(end), "expected train_batch_begin before it");
    // A batch that does not end is passed over.
    events.on_train_batch_begin(&mut trainer, &batch).unwrap();
    events.on_train_batch_begin(&mut trainer, &batch).unwrap();
    events
        .on_train_batch_end(&mut trainer, &batch, Logs::new())
        .unwrap();
    assert_eq!(events.next_batch(), Some(2));
    let empty = Array::from_vec(&[0, 4], Vec::<f32>::new()).unwrap();
    let empty = Batch::inputs_only(empty);
    refused(
        events.train_on_batch(&mut trainer, &empty),
        "must not be empty",
    );
    let mut other = crate::support::trainer();
    refused(
        events.train_on_batch(&mut other, &batch),
        "expected the one that the loop began with",
    );
    events.on_epoch_end(&mut trainer).unwrap();
    events.on_train_end(&mut trainer).unwrap();
    let kinds: Vec<&str> = trace
        .0
        .iter()
        .map(|line| line.split([' ', ',']).nth(3).unwrap())
        .collect();
    assert_eq!(
        kinds,
        [
            "TrainBegin",
            "EpochBegin",
            "TrainBatchBegin",
            "TrainBatchBegin",
            "TrainBatchEnd",
            "EpochEnd",
            "TrainEnd"
        ]
    );
}

#[test]
fn callbacks_see_the_wait_for_data_that_the_loop_tells_of() {
    let mut seen = Vec::new();
    let watcher = LambdaCallback::new().on(EventKind::TrainBatchEnd, |cx| {
        seen.push(cx.data_wait().as_millis());
        Ok(Decision::CONTINUE)
    });
    let mut trainer = trainer();
    let batch = data().batch(0, 0).unwrap();
    let mut events = trainer
        .on_train_begin(LoopOptions {
            epochs: 2,
            steps_per_epoch: Some(2),
            verbose: Verbose::Silent,
            callbacks: CallbackList::new().with(watcher),
            ..LoopOptions::default()
        })
        .unwrap();
    while events.on_epoch_begin(&mut trainer).unwrap().is_some() {
        while events.next_batch().is_some() {
            for wait_ms in [30, 5] {
                events.add_data_wait(std::time::Duration::from_millis(wait_ms));
            }
            events.train_on_batch(&mut trainer, &batch).unwrap();
        }
        events.on_epoch_end(&mut trainer).unwrap();
    }
    events.on_train_end(&mut trainer).unwrap();
    assert_eq!(seen, [35, 70, 35, 70], "each epoch begins at zero");
}

#[test]
fn a_loop_may_leave_batches_out_and_add_logs_of_its_own() {
    let mut trainer = trainer();
    let list = CallbackList::new();
    let mut events = trainer
        .on_train_begin(LoopOptions {
            epochs: 2,
            verbose: Verbose::Silent,
            callbacks: list,
            ..LoopOptions::default()
        })
        .unwrap();
    while let Some(epoch) = events.on_epoch_begin(&mut trainer).unwrap() {
        let logs = events.logs_mut(&mut trainer).unwrap();
        logs.set("distance", epoch as f64 + 0.5);
        events.on_epoch_end(&mut trainer).unwrap();
    }
    let history = events.on_train_end(&mut trainer).unwrap();
    assert_eq!(history.get("distance"), [0.5, 1.5]);
    assert_eq!(history.keys(), ["distance"]);
}

#[test]
fn a_last_batch_that_is_passed_over_leaves_the_logs_of_the_epoch() {
    for is_skipped in [true, false] {
        let skipper = LambdaCallback::new().on(EventKind::TrainBatchBegin, move |cx| {
            Ok(match is_skipped && cx.event().batch == 1 {
                true => Decision::skip_batch(),
                false => Decision::CONTINUE,
            })
        });
        let (mut trainer, batch) = (trainer(), data().batch(0, 0).unwrap());
        let list = CallbackList::new()
            .with(skipper)
            .with(EarlyStopping::new("loss"));
        let mut events = trainer.on_train_begin(options(list)).unwrap();
        events.on_epoch_begin(&mut trainer).unwrap();
        assert!(events.on_train_batch_begin(&mut trainer, &batch).unwrap());
        let logs: Logs = [("loss", 0.25)].into_iter().collect();
        events
            .on_train_batch_end(&mut trainer, &batch, logs.clone())
            .unwrap();
        let begun = events.on_train_batch_begin(&mut trainer, &batch).unwrap();
        assert_eq!(begun, !is_skipped);
        assert_eq!(events.logs(&mut trainer).unwrap(), &logs);
        events.on_epoch_end(&mut trainer).unwrap();
        let history = events.on_train_end(&mut trainer).unwrap();
        assert_eq!(history.get("loss"), [0.25]);
        assert!(trainer.messages().is_empty(), "{:?}", trainer.messages());
    }
}

#[test]
fn a_validation_in_the_middle_of_an_epoch_leaves_its_means_alone() {
    let logs = |validates: bool| {
        let mut trainer = trainer();
        let mut events = trainer
            .on_train_begin(options(CallbackList::new()))
            .unwrap();
        events.on_epoch_begin(&mut trainer).unwrap();
        while let Some(index) = events.next_batch() {
            let batch = data().batch(0, index as usize).unwrap();
            events.train_on_batch(&mut trainer, &batch).unwrap();
            if validates && index == 1 {
                events.validate(&mut trainer).unwrap();
                let logs = events.logs(&mut trainer).unwrap();
                assert!(logs.number("val_loss").is_some());
            }
        }
        events.logs(&mut trainer).unwrap().clone()
    };
    assert_eq!(logs(true), logs(false));
}

#[test]
fn what_the_trainer_does_meanwhile_leaves_the_means_of_an_epoch_alone_and_the_other_way_round() {
    let go_on = TestOnBatchOptions {
        reset_metrics: false,
    };
    let run = |disturbs: bool| {
        let (mut trainer, mut trace) = (trainer(), Trace::default());
        let (x, y) = problem(9);
        let other = Batch::new(x.clone(), y.clone());
        let list = CallbackList::new().with(&mut trace);
        let mut events = trainer.on_train_begin(options(list)).unwrap();
        let mut tested = Vec::new();
        while let Some(epoch) = events.on_epoch_begin(&mut trainer).unwrap() {
            while let Some(index) = events.next_batch() {
                let batch = data().batch(epoch, index as usize).unwrap();
                events.train_on_batch(&mut trainer, &batch).unwrap();
                if disturbs {
                    let (x, y) = (x.clone(), y.clone());
                    let quiet = EvaluateOptions {
                        verbose: Verbose::Silent,
                        ..EvaluateOptions::default()
                    };
                    let whole = trainer.evaluate(x, y, quiet).unwrap();
                    let same = trainer.test_on_batch_with(&other, &go_on).unwrap();
                    assert_eq!(same.number("accuracy"), whole.number("accuracy"));
                    tested.push(trainer.test_on_batch(&other).unwrap());
                }
            }
            events.validate(&mut trainer).unwrap();
            if disturbs {
                let last = tested.last().unwrap();
                let again = trainer.test_on_batch_with(&other, &go_on).unwrap();
                assert_eq!(&again, last, "the mean of the same twice");
            }
            events.on_epoch_end(&mut trainer).unwrap();
        }
        let history = events.on_train_end(&mut trainer).unwrap();
        (history, trace.0, weights(&trainer))
    };
    let (alone, disturbed) = (run(false), run(true));
    assert_eq!(disturbed.1, alone.1);
    assert!(disturbed == alone, "history or weights differ");
}

#[test]
fn two_loops_of_one_trainer_have_means_of_their_own() {
    let mut trainer = trainer();
    let batch = |index| data().batch(0, index).unwrap();
    let begin = |trainer: &mut Trainer<Sequential>| {
        let mut events = trainer
            .on_train_begin(options(CallbackList::new()))
            .unwrap();
        events.on_epoch_begin(trainer).unwrap();
        events
    };
    let (mut one, mut two) = (begin(&mut trainer), begin(&mut trainer));
    one.train_on_batch(&mut trainer, &batch(0)).unwrap();
    let first = one.logs(&mut trainer).unwrap().clone();
    two.train_on_batch(&mut trainer, &batch(1)).unwrap();
    assert_ne!(two.logs(&mut trainer).unwrap(), &first);
    two.train_on_batch(&mut trainer, &batch(2)).unwrap();
    one.validate(&mut trainer).unwrap();
    let logs = one.logs(&mut trainer).unwrap();
    assert_eq!(logs.number("loss"), first.number("loss"));
}

/// Counts how often its result is computed.
struct Counted(Rc<Cell<usize>>);

impl Metric for Counted {
    fn name(&self) -> &str {
        "counted"
    }
    fn update(
        &mut self,
        _: &mut Workspace,
        _: &Output,
        _: &Target,
        _: Option<&Tensor>,
    ) -> Result<(), NnError> {
        Ok(())
    }
    fn result(&self) -> f64 {
        self.0.set(self.0.get() + 1);
        0.5
    }
    fn reset(&mut self) {}
    fn state(&self) -> Vec<f64> {
        vec![0.0]
    }
    fn load_state(&mut self, _: &[f64]) -> Result<(), NnError> {
        Ok(())
    }
}

#[test]
fn the_logs_of_a_batch_that_nobody_reads_are_not_computed() {
    let count = Rc::new(Cell::new(0));
    let mut trainer = Trainer::builder(network(0.0))
        .optimizer("sgd")
        .loss("sparse_categorical_crossentropy")
        .metric(Counted(Rc::clone(&count)))
        .compile()
        .unwrap();
    let mut events = trainer
        .on_train_begin(options(CallbackList::new()))
        .unwrap();
    events.on_epoch_begin(&mut trainer).unwrap();
    let batch = data().batch(0, 0).unwrap();
    let train = |events: &mut LoopEvents<'_>, trainer: &mut Trainer<Sequential>| {
        events.train_on_batch(trainer, &batch).unwrap();
    };
    train(&mut events, &mut trainer);
    train(&mut events, &mut trainer);
    assert_eq!(count.get(), 0);
    for _ in 0..2 {
        let logs = events.logs(&mut trainer).unwrap();
        assert_eq!(logs.number("counted"), Some(0.5));
    }
    assert_eq!(count.get(), 1);
    train(&mut events, &mut trainer);
    events.on_epoch_end(&mut trainer).unwrap();
    assert_eq!(count.get(), 2);
    let history = events.on_train_end(&mut trainer).unwrap();
    assert_eq!(history.get("counted"), [0.5]);
}

#[test]
fn a_generator_validates_as_often_as_the_loop_likes() {
    let mut trainer = trainer();
    let mut events = trainer
        .on_train_begin(LoopOptions {
            validation_data: Some(Source::generator(endless(30, 6)).into()),
            validation_steps: Some(2),
            ..options(CallbackList::new())
        })
        .unwrap();
    events.on_epoch_begin(&mut trainer).unwrap();
    for _ in 0..10 {
        events.validate(&mut trainer).unwrap();
    }
}

#[test]
fn callbacks_see_which_parameters_are_frozen_in_each_epoch() {
    let mut trainer = trainer();
    let mut trace = Trace::default();
    let list = CallbackList::new().with(&mut trace);
    let mut events = trainer.on_train_begin(options(list)).unwrap();
    events.on_epoch_begin(&mut trainer).unwrap();
    events.on_epoch_end(&mut trainer).unwrap();
    trainer.network_mut().set_trainable("dense", false).unwrap();
    events.on_epoch_begin(&mut trainer).unwrap();
    drop(events);
    let frozen = |line: &String| line.contains(" None 2 Logs");
    let frozen: Vec<bool> = trace.0.iter().map(frozen).collect();
    assert_eq!(frozen, [false, false, false, true]);
}

#[test]
fn errors_are_told_once_and_end_the_run() {
    fn begun<'c>(
        trainer: &mut Trainer<Sequential>,
        trace: &'c mut Trace,
        fails: bool,
    ) -> LoopEvents<'c> {
        let failing = LambdaCallback::new().on(EventKind::TrainBatchEnd, move |_| match fails {
            true => Err("disk full".into()),
            false => Ok(Decision::CONTINUE),
        });
        let list = CallbackList::new().with(failing).with(trace);
        let mut events = trainer.on_train_begin(options(list)).unwrap();
        events.on_epoch_begin(trainer).unwrap();
        events
    }
    let batch = data().batch(0, 0).unwrap();
    let told = |trace: Trace, words: &str| {
        let errors = trace.0.iter().filter(|line| line.contains("kind: Error"));
        let errors: Vec<&String> = errors.collect();
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(errors[0].contains(words), "{errors:?}");
    };

    let (mut first, mut trace) = (trainer(), Trace::default());
    let mut events = begun(&mut first, &mut trace, true);
    let error = events.train_on_batch(&mut first, &batch).unwrap_err();
    assert!(error.to_string().contains("disk full"), "{error}");
    let later = events.on_epoch_end(&mut first).unwrap_err().to_string();
    assert!(
        later.contains("a run that has ended by an error"),
        "{later}"
    );
    assert_eq!(events.next_batch(), None);
    events.on_error(&mut first, &error).unwrap();
    assert_eq!(
        error.to_string(),
        "epoch 1, batch 0: callback `LambdaCallback` failed at train_batch_end: disk full"
    );
    told(trace, "disk full");

    let (mut second, mut trace) = (trainer(), Trace::default());
    let events = begun(&mut second, &mut trace, false);
    events.on_error(&mut second, &"no more paper").unwrap();
    told(trace, "no more paper");
}

#[test]
fn arguments_out_of_range_are_refused_before_train_begin() {
    let begin = |options: LoopOptions<'_>, words: &str| {
        let error = trainer().on_train_begin(options).err().unwrap().to_string();
        assert!(error.contains(words), "{error} does not say {words}");
    };
    let never = || LambdaCallback::new().on(EventKind::TrainBegin, |_| panic!("it has begun"));
    let options = || options(CallbackList::new().with(never()));
    begin(
        LoopOptions {
            steps_per_epoch: Some(0),
            ..options()
        },
        "steps_per_epoch",
    );
    begin(
        LoopOptions {
            validation_steps: None,
            validation_data: Some(Source::generator(endless(30, 6)).into()),
            ..options()
        },
        "validation_steps",
    );
    let none = LoopOptions {
        validation_data: None,
        ..self::options(CallbackList::new())
    };
    let mut trainer = trainer();
    let mut events = trainer.on_train_begin(none).unwrap();
    events.on_epoch_begin(&mut trainer).unwrap();
    let error = events.validate(&mut trainer).unwrap_err().to_string();
    assert!(error.contains("validation_data"), "{error}");
    events.on_epoch_end(&mut trainer).unwrap();
}
