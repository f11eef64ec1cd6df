//! A run that ends anywhere and is resumed is the run that was never interrupted, to the last bit.

use crate::support::{FEATURES, endless, problem, trainer, weights};
use crate::test_device::test_device;
use keros_callbacks::{
    BackupAndRestore, Callback, CallbackList, CallbackResult, Context, Decision, EarlyStopping,
    EventKind, EventSet, FailurePolicy, History, LambdaCallback, ModelCheckpoint, Verbose, state,
};
use keros_data::{ArraySequence, Batch, DataError, Sequence, Shuffle};
use keros_nn::layers::{Dense, Dropout};
use keros_nn::{Adam, Network, Sequential};
use keros_tensor::access::read;
use keros_tensor::{Device, Tensor, load_tensors, save_tensors};
use keros_train::{
    FitGeneratorOptions, FitOptions, LoopOptions, Source, TestOnBatchOptions, TrainError, Trainer,
    ValidationFreq, load_network,
};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Asks for a checkpoint after `at` train batches and epochs of this run, then fails as a killed
/// process would; or resumes. Counts the events it has seen, and keeps the count in the checkpoint.
struct Interrupter {
    path: PathBuf,
    at: Option<u64>,
    resumes: bool,
    seen: u64,
}

impl Interrupter {
    fn new(path: &Path, at: Option<u64>, resumes: bool) -> Interrupter {
        Interrupter {
            path: path.to_owned(),
            at,
            resumes,
            seen: 0,
        }
    }

    fn count(&mut self) -> CallbackResult {
        self.seen += 1;
        Ok(match self.at == Some(self.seen) {
            true => Decision::checkpoint(&self.path),
            false => Decision::CONTINUE,
        })
    }
}

impl Callback for Interrupter {
    fn events(&self) -> EventSet {
        use EventKind::{CheckpointSaved, EpochEnd, TrainBatchEnd, TrainBegin};
        EventSet::of(&[TrainBegin, TrainBatchEnd, EpochEnd, CheckpointSaved])
    }

    fn on_train_begin(&mut self, _: &mut Context<'_>) -> CallbackResult {
        Ok(match self.resumes {
            true => Decision::resume(&self.path),
            false => Decision::CONTINUE,
        })
    }

    fn on_train_batch_end(&mut self, _: &mut Context<'_>) -> CallbackResult {
        self.count()
    }

    fn on_epoch_end(&mut self, cx: &mut Context<'_>) -> CallbackResult {
        cx.set_log("seen", self.seen as i64)?;
        self.count()
    }

    fn on_checkpoint_saved(&mut self, cx: &mut Context<'_>) -> CallbackResult {
        Err(format!("killed after {}", cx.detail().unwrap_or_default()).into())
    }

    fn save_state(&self) -> Result<Option<Vec<u8>>, keros_callbacks::BoxError> {
        state::to_bytes(&self.seen).map(Some)
    }

    fn load_state(&mut self, bytes: &[u8]) -> Result<(), keros_callbacks::BoxError> {
        self.seen = state::from_bytes(bytes)?;
        Ok(())
    }
}

/// One way to train for three epochs.
type Fit = fn(&mut Trainer<Sequential>, Interrupter) -> Result<History, TrainError>;

const EPOCHS: u64 = 3;

fn arrays(
    trainer: &mut Trainer<Sequential>,
    callback: impl Callback,
) -> Result<History, TrainError> {
    arrays_with(trainer, CallbackList::new().with(callback))
}

fn arrays_with(
    trainer: &mut Trainer<Sequential>,
    callbacks: CallbackList<'_>,
) -> Result<History, TrainError> {
    let (x, y) = problem(40);
    let options = FitOptions {
        batch_size: Some(12),
        epochs: EPOCHS,
        validation_split: 0.2,
        verbose: Verbose::Silent,
        callbacks,
        ..FitOptions::default()
    };
    trainer.fit(x, y, options)
}

fn cut_arrays(
    trainer: &mut Trainer<Sequential>,
    callback: Interrupter,
) -> Result<History, TrainError> {
    let (x, y) = problem(40);
    let options = FitOptions {
        batch_size: Some(12),
        epochs: EPOCHS,
        steps_per_epoch: Some(3),
        verbose: Verbose::Silent,
        callbacks: CallbackList::new().with(callback),
        ..FitOptions::default()
    };
    trainer.fit(x, y, options)
}

fn sequence(
    trainer: &mut Trainer<Sequential>,
    callback: Interrupter,
) -> Result<History, TrainError> {
    let (x, y) = problem(40);
    let sequence = ArraySequence::new(x, y)?
        .batch_size(11)?
        .shuffle(Shuffle::Samples)
        .seed(5);
    let options = FitGeneratorOptions {
        epochs: EPOCHS,
        verbose: Verbose::Silent,
        workers: 2,
        callbacks: CallbackList::new().with(callback),
        ..FitGeneratorOptions::default()
    };
    trainer.fit_generator(sequence, options)
}

fn generators(
    trainer: &mut Trainer<Sequential>,
    callback: Interrupter,
) -> Result<History, TrainError> {
    let options = FitGeneratorOptions {
        steps_per_epoch: Some(3),
        epochs: EPOCHS,
        validation_data: Some(Source::generator(endless(30, 6)).into()),
        validation_steps: Some(2),
        verbose: Verbose::Silent,
        callbacks: CallbackList::new().with(callback),
        ..FitGeneratorOptions::default()
    };
    trainer.fit_generator(Source::generator(endless(40, 8)), options)
}

/// A sequence whose length and batches depend on the epochs that it has heard to end.
#[derive(Default)]
struct Changing {
    ended: Mutex<Vec<u64>>,
}

impl Sequence for Changing {
    fn len(&self) -> usize {
        3 + self.ended.lock().unwrap().len() % 2
    }

    fn batch(&self, epoch: u64, index: usize) -> Result<Batch, DataError> {
        let ended = self.ended.lock().unwrap();
        let heard = ended.iter().fold(0, |sum, epoch| 3 * sum + epoch + 1);
        let row = (7 * heard + 3 * epoch + 5 * index as u64) as usize % 40;
        let (x, y) = problem(48);
        Ok(Batch::new(x.slice(row..row + 8)?, y.slice(row..row + 8)?))
    }

    fn on_epoch_end(&self, epoch: u64) {
        self.ended.lock().unwrap().push(epoch);
    }

    fn changes_on_epoch_end(&self) -> bool {
        true
    }
}

fn changing<'a>(callback: Interrupter) -> FitGeneratorOptions<'a> {
    FitGeneratorOptions {
        epochs: EPOCHS + 1,
        validation_data: Some(Source::sequence(Changing::default()).into()),
        verbose: Verbose::Silent,
        callbacks: CallbackList::new().with(callback),
        ..FitGeneratorOptions::default()
    }
}

fn changing_epochs(
    trainer: &mut Trainer<Sequential>,
    callback: Interrupter,
) -> Result<History, TrainError> {
    trainer.fit_generator(Source::sequence(Changing::default()), changing(callback))
}

fn changing_in_short_epochs(
    trainer: &mut Trainer<Sequential>,
    callback: Interrupter,
) -> Result<History, TrainError> {
    let options = FitGeneratorOptions {
        steps_per_epoch: Some(2),
        ..changing(callback)
    };
    trainer.fit_generator(Source::sequence(Changing::default()), options)
}

fn changing_in_long_epochs(
    trainer: &mut Trainer<Sequential>,
    callback: Interrupter,
) -> Result<History, TrainError> {
    let options = FitGeneratorOptions {
        steps_per_epoch: Some(8),
        validation_freq: ValidationFreq::Every(2),
        ..changing(callback)
    };
    trainer.fit_generator(Source::sequence(Changing::default()), options)
}

fn changing_in_epochs_cut_short(
    trainer: &mut Trainer<Sequential>,
    callback: Interrupter,
) -> Result<History, TrainError> {
    let cutter = LambdaCallback::new().on(EventKind::TrainBatchEnd, |cx| {
        Ok(match (cx.event().epoch, cx.event().batch) {
            (1, 1) => Decision::stop_epoch(),
            _ => Decision::CONTINUE,
        })
    });
    let mut options = changing(callback);
    options.callbacks.push(cutter);
    trainer.fit_generator(Source::sequence(Changing::default()), options)
}

fn changing_in_limited_epochs(
    trainer: &mut Trainer<Sequential>,
    callback: Interrupter,
) -> Result<History, TrainError> {
    let options = FitGeneratorOptions {
        limit_batches: Some(3),
        ..changing(callback)
    };
    trainer.fit_generator(Source::sequence(Changing::default()), options)
}

#[test]
fn a_resumed_run_is_the_run_that_was_never_interrupted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.safetensors");
    let ways: [(&str, Fit); 9] = [
        ("arrays", arrays),
        ("steps_per_epoch", cut_arrays),
        ("sequence", sequence),
        ("generators", generators),
        ("changing", changing_epochs),
        ("changing, short", changing_in_short_epochs),
        ("changing, long", changing_in_long_epochs),
        ("changing, cut", changing_in_epochs_cut_short),
        ("changing, limited", changing_in_limited_epochs),
    ];
    for (name, fit) in ways {
        let mut whole = trainer();
        let history = fit(&mut whole, Interrupter::new(&path, None, false)).unwrap();
        let events = history.last("seen").unwrap() as u64 + 1;
        for at in 1..=events {
            let mut dies = trainer();
            let error = fit(&mut dies, Interrupter::new(&path, Some(at), false)).unwrap_err();
            assert!(error.to_string().contains("killed"), "{error}");
            // A new process: other weights, until the checkpoint is read.
            let mut resumed = trainer();
            let again = fit(&mut resumed, Interrupter::new(&path, None, true)).unwrap();
            assert_eq!(again, history, "{name} at {at}");
            assert_eq!(weights(&resumed), weights(&whole), "{name} at {at}");
            assert_eq!(
                resumed.optimizer().iterations(),
                whole.optimizer().iterations()
            );
        }
    }
}

#[test]
fn callbacks_are_told_how_many_batches_each_epoch_has() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.safetensors");
    let mut steps = Vec::new();
    let watcher = LambdaCallback::new().on(EventKind::TrainBatchEnd, |cx| {
        steps.push((cx.event().epoch, cx.info().steps));
        Ok(Decision::CONTINUE)
    });
    let mut options = changing(Interrupter::new(&path, None, false));
    options.callbacks.push(watcher);
    let changing = Source::sequence(Changing::default());
    trainer().fit_generator(changing, options).unwrap();
    steps.dedup();
    assert_eq!(
        steps,
        [(0, Some(3)), (1, Some(4)), (2, Some(3)), (3, Some(4))]
    );
}

/// As far as these tests know the state of a run.
#[derive(serde::Deserialize)]
struct RunState {
    position: Position,
}

#[derive(serde::Deserialize)]
struct Position {
    epoch: u64,
    ended: Vec<u64>,
}

#[test]
fn epochs_that_have_ended_are_kept_for_data_that_change_then() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.safetensors");
    let ended = |fit: Fit, at| {
        fit(&mut trainer(), Interrupter::new(&path, Some(at), false)).unwrap_err();
        let tensors = load_tensors(&path, &Device::Cpu).unwrap();
        let (_, run) = tensors.iter().find(|(name, _)| name == "run").unwrap();
        let run: RunState = state::from_bytes(&read::<u8>(run).unwrap()).unwrap();
        assert_eq!(run.position.epoch, 2);
        run.position.ended
    };
    assert_eq!(ended(changing_epochs, 9), [0, 1]);
    assert!(ended(sequence, 10).is_empty());
}

/// Cannot go on from its state.
struct Forgetful;

impl Callback for Forgetful {
    fn save_state(&self) -> Result<Option<Vec<u8>>, keros_callbacks::BoxError> {
        Ok(Some(Vec::new()))
    }
    fn load_state(&mut self, _: &[u8]) -> Result<(), keros_callbacks::BoxError> {
        Err("it has forgotten all".into())
    }
}

#[test]
fn a_resume_that_a_callback_refuses_leaves_the_weights() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.safetensors");
    let run = |trainer: &mut Trainer<Sequential>, callback: Interrupter| {
        let (x, y) = problem(40);
        let options = FitOptions {
            verbose: Verbose::Silent,
            callbacks: CallbackList::new().with(callback).with(Forgetful),
            ..FitOptions::default()
        };
        trainer.fit(x, y, options).unwrap_err().to_string()
    };
    run(&mut trainer(), Interrupter::new(&path, Some(1), false));
    let mut resumed = trainer();
    let before = weights(&resumed);
    let error = run(&mut resumed, Interrupter::new(&path, None, true));
    assert!(error.contains("it has forgotten all"), "{error}");
    assert_eq!(weights(&resumed), before);
    assert_eq!(resumed.optimizer().iterations(), 0);
}

#[test]
fn a_resume_that_the_optimizer_refuses_leaves_the_weights_and_no_metrics() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.safetensors");
    arrays(&mut trainer(), Interrupter::new(&path, Some(2), false)).unwrap_err();
    let mut other = Trainer::builder(crate::support::network(0.25))
        .loss("sparse_categorical_crossentropy")
        .metric("accuracy")
        .optimizer(Adam::new(0.001).unwrap().amsgrad(true))
        .seed(3)
        .compile()
        .unwrap();
    other.network_mut().set_trainable("dense", false).unwrap();
    let before = (weights(&other), frozen(&other));
    arrays(&mut other, Interrupter::new(&path, None, true)).unwrap_err();
    assert_eq!((weights(&other), frozen(&other)), before);
    let (x, y) = problem(8);
    let batch = Batch::new(x, y);
    let on = TestOnBatchOptions {
        reset_metrics: false,
    };
    let running = other.test_on_batch_with(&batch, &on).unwrap();
    assert_eq!(running, other.test_on_batch(&batch).unwrap());
}

/// Fails in its first batch, and whenever it is asked for its state.
struct Broken;

impl Callback for Broken {
    fn on_train_batch_end(&mut self, _: &mut Context<'_>) -> CallbackResult {
        Err("it is broken".into())
    }
    fn save_state(&self) -> Result<Option<Vec<u8>>, keros_callbacks::BoxError> {
        Err("its state is broken".into())
    }
}

#[test]
fn a_callback_that_may_fail_keeps_no_checkpoint_from_being_written() {
    for policy in [FailurePolicy::Disable, FailurePolicy::Log] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.safetensors");
        let mut trainer = trainer();
        let mut callbacks = CallbackList::new();
        callbacks.push_with(Broken, policy);
        callbacks.push(
            LambdaCallback::new().on(EventKind::EpochEnd, |_| Ok(Decision::checkpoint(&path))),
        );
        let (x, y) = problem(40);
        let options = FitOptions {
            verbose: Verbose::Silent,
            callbacks,
            ..FitOptions::default()
        };
        trainer.fit(x, y, options).unwrap();
        assert!(path.exists());
    }
}

#[test]
fn the_best_weights_in_a_checkpoint_take_the_room_of_the_weights() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.safetensors");
    let size = |restore| {
        let network = Sequential::builder([FEATURES])
            .layer(Dense::new(500))
            .layer(Dense::new(3).activation("softmax"))
            .build(test_device(), 7)
            .unwrap();
        let mut trainer = Trainer::builder(network)
            .optimizer("sgd")
            .loss("sparse_categorical_crossentropy")
            .compile()
            .unwrap();
        let (x, y) = problem(8);
        let stopping = EarlyStopping::new("loss").restore_best_weights(restore);
        let saver =
            LambdaCallback::new().on(EventKind::EpochEnd, |_| Ok(Decision::checkpoint(&path)));
        let options = FitOptions {
            verbose: Verbose::Silent,
            callbacks: CallbackList::new().with(stopping).with(saver),
            ..FitOptions::default()
        };
        trainer.fit(x, y, options).unwrap();
        fs::metadata(&path).unwrap().len()
    };
    let values = 500 * (FEATURES as u64 + 1) + 3 * 501;
    let best = size(true) - size(false);
    assert!(
        (4 * values..4 * values + 200).contains(&best),
        "{best} bytes for {values}"
    );
}

#[test]
fn a_run_that_is_stopped_when_it_resumes_trains_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.safetensors");
    let resume = || {
        let both = |_: &mut Context<'_>| {
            let mut decision = Decision::resume(&path);
            decision.merge(Decision::stop("not today"));
            Ok(decision)
        };
        CallbackList::new().with(LambdaCallback::new().on(EventKind::TrainBegin, both))
    };
    // In the middle of the second epoch, and at its end.
    for (at, updates) in [(6, 5), (8, 6)] {
        let (x, y) = problem(40);
        arrays(&mut trainer(), Interrupter::new(&path, Some(at), false)).unwrap_err();
        let mut resumed = trainer();
        let options = FitOptions {
            batch_size: Some(12),
            epochs: EPOCHS,
            validation_split: 0.2,
            verbose: Verbose::Silent,
            callbacks: resume(),
            ..FitOptions::default()
        };
        let history = resumed.fit(x, y, options).unwrap();
        assert_eq!(history.epochs().len(), 2, "at {at}");
        assert_eq!(resumed.optimizer().iterations(), updates, "at {at}");

        let mut own = trainer();
        let options = LoopOptions {
            epochs: EPOCHS,
            steps_per_epoch: Some(3),
            verbose: Verbose::Silent,
            callbacks: resume(),
            ..LoopOptions::default()
        };
        let mut events = own.on_train_begin(options).unwrap();
        assert_eq!(events.stop_training(), Some("not today"));
        if events.on_epoch_begin(&mut own).unwrap().is_some() {
            assert_eq!((at, events.next_batch()), (6, None));
            events.on_epoch_end(&mut own).unwrap();
        }
        assert_eq!(events.on_epoch_begin(&mut own).unwrap(), None);
    }
}

#[test]
fn a_run_that_a_callback_ended_says_so_and_goes_on_with_more_epochs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.safetensors");
    let options = |epochs, callbacks| FitOptions {
        epochs,
        verbose: Verbose::Silent,
        callbacks,
        ..FitOptions::default()
    };
    let (x, y) = problem(40);
    let ender = LambdaCallback::new().on(EventKind::EpochEnd, |_| {
        let mut decision = Decision::stop("enough");
        decision.merge(Decision::checkpoint(&path));
        Ok(decision)
    });
    let list = CallbackList::new().with(ender);
    let mut ended = trainer();
    ended
        .fit(x.clone(), y.clone(), options(EPOCHS, list))
        .unwrap();

    let expected = format!(
        "a callback ended the run of the checkpoint {}, so that it trains no more; \
         with more epochs than 3 it goes on",
        path.display()
    );
    let resume = || {
        let resume = |_: &mut Context<'_>| Ok(Decision::resume(&path));
        CallbackList::new().with(LambdaCallback::new().on(EventKind::TrainBegin, resume))
    };
    for (epochs, trained) in [(EPOCHS, 1), (EPOCHS + 1, EPOCHS + 1), (1, 1)] {
        let told: &[&str] = match epochs {
            EPOCHS => &[&expected],
            _ => &[],
        };
        let mut resumed = trainer();
        let (x, y) = (x.clone(), y.clone());
        let history = resumed.fit(x, y, options(epochs, resume())).unwrap();
        assert_eq!(history.epochs().len() as u64, trained, "{epochs} epochs");
        assert_eq!(texts(&resumed), told, "{epochs} epochs");

        let mut own = trainer();
        let options = LoopOptions {
            epochs,
            steps_per_epoch: Some(2),
            verbose: Verbose::Silent,
            callbacks: resume(),
            ..LoopOptions::default()
        };
        let mut events = own.on_train_begin(options).unwrap();
        let goes_on = events.on_epoch_begin(&mut own).unwrap();
        assert_eq!(goes_on, (trained > 1).then_some(1), "{epochs} epochs");
        drop(events);
        assert_eq!(texts(&own), told, "{epochs} epochs");
    }
}

fn texts(trainer: &Trainer<Sequential>) -> Vec<String> {
    let messages = trainer.messages().into_iter();
    messages.map(|message| message.text).collect()
}

#[test]
fn what_another_thread_ends_is_the_program_and_not_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.safetensors");
    // In the middle of the second epoch.
    struct Button<'p>(&'p Path);
    impl Callback for Button<'_> {
        fn on_train_batch_begin(&mut self, cx: &mut Context<'_>) -> CallbackResult {
            if (cx.event().epoch, cx.event().batch) == (1, 1) {
                cx.requests()?.save(self.0)?;
                cx.requests()?.stop("the time is up")?;
            }
            Ok(Decision::CONTINUE)
        }
    }
    let run = |callbacks| {
        let mut trainer = trainer();
        let history = arrays_with(&mut trainer, callbacks).unwrap();
        (history, weights(&trainer), texts(&trainer))
    };
    let (history, _, _) = run(CallbackList::new().with(Button(&path)));
    assert_eq!(history.epochs().len(), 2);
    let resume = |_: &mut Context<'_>| Ok(Decision::resume(&path));
    let resume = LambdaCallback::new().on(EventKind::TrainBegin, resume);
    let resumed = run(CallbackList::new().with(resume));
    assert_eq!(resumed, run(CallbackList::new()));
}

#[test]
fn a_checkpoint_of_another_version_is_refused_whatever_it_holds() {
    #[derive(serde::Serialize)]
    struct Older {
        version: u32,
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.safetensors");
    let run = state::to_bytes(&Older { version: 2 }).unwrap();
    let length = run.len();
    let run = Tensor::from_vec(run, length, &Device::Cpu).unwrap();
    save_tensors(&[("run", &run)], &path).unwrap();
    let error = arrays(&mut trainer(), Interrupter::new(&path, None, true)).unwrap_err();
    let text = error.to_string();
    assert!(
        text.ends_with("it is of version 2 (expected version 3)"),
        "{text}"
    );
}

/// Names of the layers and of the parameters that are not trained.
fn frozen(trainer: &Trainer<Sequential>) -> [Vec<String>; 2] {
    let network = trainer.network();
    let layers = network.layers().into_iter();
    let layers = layers.filter(|layer| !layer.trainable);
    let params = network.params().iter().map(|(_, param)| param);
    let params = params.filter(|param| !param.trainable());
    [
        layers.map(|layer| layer.name.to_owned()).collect(),
        params.map(|param| param.name().to_owned()).collect(),
    ]
}

#[test]
fn what_is_frozen_is_in_the_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.safetensors");
    let mut dies = trainer();
    dies.network_mut().set_trainable("dense", false).unwrap();
    let params = dies.network_mut().params_mut();
    let bias = params.id("dense_1/bias").unwrap();
    params.get_mut(bias).unwrap().set_trainable(false);
    arrays(&mut dies, Interrupter::new(&path, Some(2), false)).unwrap_err();

    let mut resumed = trainer();
    resumed
        .network_mut()
        .set_trainable("dropout", false)
        .unwrap();
    let mut seen = Vec::new();
    let watcher = LambdaCallback::new().on(EventKind::TrainBatchBegin, |cx| {
        seen = cx.params().iter().map(|param| param.trainable).collect();
        Ok(Decision::CONTINUE)
    });
    let resume = Interrupter::new(&path, None, true);
    arrays_with(&mut resumed, CallbackList::new().with(resume).with(watcher)).unwrap();
    assert_eq!(frozen(&resumed), frozen(&dies));
    assert_eq!(seen, [false, false, true, false]);
}

#[test]
fn a_checkpoint_of_another_run_or_a_torn_one_is_refused_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.safetensors");
    arrays(&mut trainer(), Interrupter::new(&path, Some(2), false)).unwrap_err();

    let resume = |trainer: &mut Trainer<Sequential>, fit: Fit| {
        let before = weights(trainer);
        let error = fit(trainer, Interrupter::new(&path, None, true)).unwrap_err();
        assert_eq!(weights(trainer), before);
        assert_eq!(trainer.optimizer().iterations(), 0);
        error.to_string()
    };
    let error = resume(&mut trainer(), sequence);
    assert!(
        error.contains("number of batches in an epoch (expected 3, as in the checkpoint, found 4)"),
        "{error}"
    );
    let build = || {
        Trainer::builder(crate::support::network(0.25))
            .loss("sparse_categorical_crossentropy")
            .metric("accuracy")
    };
    let mut other = build().optimizer("sgd").seed(3).compile().unwrap();
    let error = resume(&mut other, arrays);
    assert!(
        error.contains("optimizer (expected adam, as in the checkpoint, found sgd)"),
        "{error}"
    );
    let network = Sequential::builder([FEATURES])
        .layer(Dense::new(16).activation("tanh"))
        .layer(Dropout::new(0.25))
        .layer(Dense::new(3).activation("softmax"))
        .build(test_device(), 7)
        .unwrap();
    let mut other = Trainer::builder(network)
        .loss("sparse_categorical_crossentropy")
        .metric("accuracy")
        .optimizer("adam")
        .seed(3)
        .compile()
        .unwrap();
    let error = resume(&mut other, arrays);
    let text = "its network has other layers or arguments than this one, the first of them `dense`";
    assert!(error.ends_with(text), "{error}");
    let mut other = build().optimizer("adam").seed(4).compile().unwrap();
    let error = resume(&mut other, arrays);
    assert!(error.contains("seed (expected 3"), "{error}");

    let whole = fs::read(&path).unwrap();
    for length in [0, 7, 100, whole.len() / 2, whole.len() - 1] {
        fs::write(&path, &whole[..length]).unwrap();
        let error = resume(&mut trainer(), arrays);
        assert!(error.contains("run.safetensors"), "{error}");
    }
    trainer().save(&path).unwrap();
    let error = resume(&mut trainer(), arrays);
    assert!(error.contains("it holds no run"), "{error}");
}

#[test]
fn a_damaged_checkpoint_is_passed_over_for_the_one_before_with_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let file = |epoch: u64| {
        let name = format!("checkpoint-{epoch}-0.safetensors");
        folder.path().join(name)
    };
    let fit = |trainer: &mut Trainer<Sequential>, dies: bool| {
        let killer = LambdaCallback::new().on(EventKind::EpochBegin, move |cx| {
            match dies && cx.event().epoch == 2 {
                true => Err("killed".into()),
                false => Ok(Decision::CONTINUE),
            }
        });
        let backup = BackupAndRestore::new(folder.path()).keep_last(2).unwrap();
        arrays_with(trainer, CallbackList::new().with(killer).with(backup))
    };
    let mut whole = trainer();
    let history = fit(&mut whole, false).unwrap();
    let cut = |path: &Path| {
        let bytes = fs::read(path).unwrap();
        fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
    };

    fit(&mut trainer(), true).unwrap_err();
    cut(&file(2));
    let mut resumed = trainer();
    assert_eq!(fit(&mut resumed, false).unwrap(), history);
    assert_eq!(weights(&resumed), weights(&whole));
    let [text] = &texts(&resumed)[..] else {
        panic!("{:?}", texts(&resumed));
    };
    let begin = format!(
        "a damaged checkpoint is passed over for {}: reading {}: not a usable safetensors file (",
        file(1).display(),
        file(2).display()
    );
    assert!(text.starts_with(&begin), "{text}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);

    // None is left.
    fit(&mut trainer(), true).unwrap_err();
    for epoch in [1, 2] {
        cut(&file(epoch));
    }
    let mut resumed = trainer();
    let error = fit(&mut resumed, false).unwrap_err().to_string();
    let begin = format!("reading {}: not a usable", file(2).display());
    assert!(error.starts_with(&begin), "{error}");
    assert_eq!(resumed.optimizer().iterations(), 0);

    // One of another run is refused, whatever lies beside it.
    for epoch in [1, 2] {
        fs::remove_file(file(epoch)).unwrap();
    }
    fit(&mut trainer(), true).unwrap_err();
    trainer().save(file(2)).unwrap();
    let error = fit(&mut trainer(), false).unwrap_err().to_string();
    assert!(error.ends_with("it holds no run"), "{error}");
}

#[test]
fn a_model_file_brings_weights_and_optimizer_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let (x, y) = problem(40);
    let train = |trainer: &mut Trainer<Sequential>| {
        let batch = keros_data::Batch::new(x.clone(), y.clone());
        trainer.train_on_batch(&batch).unwrap();
    };
    let mut first = trainer();
    first.save(&path).unwrap();
    let mut fresh = trainer();
    fresh.load(&path).unwrap();
    assert_eq!(weights(&fresh), weights(&first));

    train(&mut first);
    first.optimizer_mut().set_learning_rate(0.01).unwrap();
    first.save(&path).unwrap();
    let mut second = trainer();
    second.load(&path).unwrap();
    assert_eq!(second.optimizer().learning_rate(), 0.01);
    train(&mut first);
    train(&mut second);
    assert_eq!(weights(&second), weights(&first));

    for name in ["weights.safetensors", "weights.npz"] {
        let weights_file = folder.path().join(name);
        first.save_weights(&weights_file).unwrap();
        let mut third = trainer();
        third.load_weights(&weights_file).unwrap();
        assert_eq!(weights(&third), weights(&first));
    }
    let zip = std::fs::read(folder.path().join("weights.npz")).unwrap();
    assert!(zip.starts_with(b"PK"));
    for name in ["model.bin", "model.npz", "model"] {
        let error = first.save(folder.path().join(name)).unwrap_err();
        assert!(error.to_string().contains(".safetensors"), "{error}");
    }
    let error = first.save_weights(folder.path().join("w.bin")).unwrap_err();
    assert!(
        error.to_string().contains(".safetensors or .npz"),
        "{error}"
    );
}

#[test]
fn model_checkpoint_writes_weights_for_numpy() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = trainer();
    let path = folder.path().join("w{epoch}.npz");
    let checkpoint = ModelCheckpoint::new(path).unwrap();
    arrays(&mut first, checkpoint).unwrap();
    let mut second = trainer();
    let last = folder.path().join(format!("w{EPOCHS}.npz"));
    second.load_weights(last).unwrap();
    assert_eq!(weights(&second), weights(&first));
}

#[test]
fn a_model_file_or_checkpoint_has_the_network_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let (x, y) = problem(40);
    let mut first = trainer();
    let batch = keros_data::Batch::new(x.clone(), y);
    first.train_on_batch(&batch).unwrap();
    first.save(&path).unwrap();
    let loaded = load_network(&path, test_device()).unwrap();
    let mut second = Trainer::builder(loaded)
        .optimizer("adam")
        .loss("sparse_categorical_crossentropy")
        .compile()
        .unwrap();
    second.load(&path).unwrap();
    assert_eq!(second.optimizer().iterations(), 1);
    let expected = first.predict_on_batch(x.clone()).unwrap();
    assert_eq!(second.predict_on_batch(x).unwrap(), expected);

    arrays(&mut trainer(), Interrupter::new(&path, Some(2), false)).unwrap_err();
    load_network(&path, test_device()).unwrap();

    let other = folder.path().join("weights.safetensors");
    first.save_weights(&other).unwrap();
    let error = load_network(&other, test_device())
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("weights.safetensors"), "{error}");
}

#[test]
fn weights_that_fit_are_loaded_and_the_rest_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    let first = trainer();
    first.save_weights(&path).unwrap();
    let network = Sequential::builder([FEATURES])
        .layer(Dense::new(16).activation("relu"))
        .layer(Dense::new(2).activation("softmax"))
        .layer(Dense::new(2))
        .build(test_device(), 99)
        .unwrap();
    let builder = Trainer::builder(network).optimizer("adam");
    let mut other = builder.loss("mse").compile().unwrap();
    let loaded = other.load_weights_skip_mismatch(&path).unwrap();
    assert_eq!(loaded.loaded, ["dense/kernel", "dense/bias"]);
    assert_eq!(loaded.unused, ["dense_1/kernel", "dense_1/bias"]);
    let skipped: Vec<String> = loaded.skipped.iter().map(ToString::to_string).collect();
    assert_eq!(
        skipped,
        [
            "dense_1/kernel (expected F32 [16, 2], found F32 [16, 3])",
            "dense_1/bias (expected F32 [2], found F32 [3])",
            "dense_2/kernel (not in the file)",
            "dense_2/bias (not in the file)",
        ]
    );
    let expected = weights(&first);
    let count = (FEATURES + 1) * 16;
    assert_eq!(weights(&other)[..count], expected[..count]);

    std::fs::write(&path, "no weights").unwrap();
    let before = weights(&other);
    let error = other.load_weights_skip_mismatch(&path).unwrap_err();
    assert!(error.to_string().contains("weights.safetensors"), "{error}");
    assert_eq!(weights(&other), before);
}

#[test]
fn weights_are_loaded_from_a_file_of_the_whole_model_too() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = trainer();
    let checkpoint = ModelCheckpoint::new(folder.path().join("{epoch}.safetensors")).unwrap();
    arrays(&mut first, checkpoint).unwrap();
    let path = folder.path().join(format!("{EPOCHS}.safetensors"));
    let mut second = trainer();
    second.load_weights(&path).unwrap();
    assert_eq!(weights(&second), weights(&first));
    assert_eq!(second.optimizer().iterations(), 0);

    let mut third = trainer();
    let loaded = third.load_weights_skip_mismatch(&path).unwrap();
    assert_eq!(weights(&third), weights(&first));
    assert_eq!(
        loaded.to_string(),
        "loaded: dense/kernel, dense/bias, dense_1/kernel, dense_1/bias"
    );

    let network = |outputs| {
        Sequential::builder([FEATURES])
            .layer(Dense::new(16).activation("relu"))
            .layer(Dense::new(outputs).activation("softmax"))
            .build(test_device(), 99)
            .unwrap()
    };
    let compile = |network| {
        let builder = Trainer::builder(network).optimizer("adam");
        builder.loss("mse").compile().unwrap()
    };
    let mut other = compile(network(2));
    let error = other.load_weights(&path).unwrap_err().to_string();
    let differences = "; \"dense_1/kernel\" differs (expected F32 [16, 2], found f32 [16, 3]); \
                       \"dense_1/bias\" differs (expected F32 [2], found f32 [3])";
    assert!(error.ends_with(differences), "{error}");
    assert_eq!(error.matches("; ").count(), 2, "{error}");
    let loaded = other.load_weights_skip_mismatch(&path).unwrap();
    assert_eq!(loaded.loaded, ["dense/kernel", "dense/bias"]);
    assert_eq!(loaded.unused, ["dense_1/kernel", "dense_1/bias"]);
    let skipped: Vec<String> = loaded.skipped.iter().map(ToString::to_string).collect();
    assert_eq!(
        skipped,
        [
            "dense_1/kernel (expected F32 [16, 2], found F32 [16, 3])",
            "dense_1/bias (expected F32 [2], found F32 [3])",
        ]
    );
}

#[test]
fn a_layer_called_model_has_its_weights_from_either_file() {
    let folder = tempfile::tempdir().unwrap();
    let build = |seed| {
        let network = Sequential::builder([FEATURES])
            .layer(Dense::new(2).name("model"))
            .build(test_device(), seed)
            .unwrap();
        let builder = Trainer::builder(network).optimizer("sgd");
        builder.loss("mse").compile().unwrap()
    };
    let first = build(1);
    let [whole, alone] = ["whole", "alone"].map(|name| {
        let file = folder.path().join(name);
        file.with_extension("safetensors")
    });
    first.save(&whole).unwrap();
    first.save_weights(&alone).unwrap();
    for path in [whole, alone] {
        let mut second = build(2);
        second.load_weights(&path).unwrap();
        assert_eq!(weights(&second), weights(&first));
        let mut third = build(2);
        let loaded = third.load_weights_skip_mismatch(&path).unwrap();
        assert_eq!(loaded.to_string(), "loaded: model/kernel, model/bias");
        assert_eq!(weights(&third), weights(&first));
    }
}

#[test]
fn a_file_of_which_nothing_fits_or_of_another_kind_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let network = Sequential::builder([FEATURES])
        .layer(Dense::new(5))
        .build(test_device(), 99)
        .unwrap();
    let builder = Trainer::builder(network).optimizer("adam");
    let mut other = builder.loss("mse").compile().unwrap();
    let before = weights(&other);
    let first = trainer();
    let whole = folder.path().join("whole.safetensors");
    first.save(&whole).unwrap();
    let files = ["weights.safetensors", "weights.npz"].map(|name| folder.path().join(name));
    for file in &files {
        first.save_weights(file).unwrap();
        let error = other.load(file).unwrap_err().to_string();
        let hint = "use load_weights for a file of weights alone";
        assert!(error.contains(hint), "{error}");
    }
    for file in [&whole, &files[0]] {
        let error = other.load_weights_skip_mismatch(file).unwrap_err();
        let begin = format!(
            "loading the weights that fit: invalid path (expected a file with the parameters of at \
             least one layer, found {} with none: \
             skipped: dense/kernel (expected F32 [4, 5], found F32 [4, 16])",
            file.display()
        );
        let text = error.to_string();
        assert!(text.starts_with(&begin), "{text}");
    }
    assert_eq!(weights(&other), before);
}
