//! A callback that goes on from its state does what it would have done without the interruption.

use crate::support::FakeRun;
use keros_callbacks::{
    BackupAndRestore, CallbackList, CallbackState, CsvLogger, Decision, EarlyStopping, EventKind,
    History, LearningRateScheduler, Logs, Mode, ModelCheckpoint, ReduceLrOnPlateau, SaveFreq,
    Weights, state,
};
use proptest::prelude::*;
use serde_bytes::ByteBuf;
use std::fs;
use std::ops::Range;
use std::path::Path;

const BATCHES: u64 = 3;

/// Every built-in callback that remembers something, with the folder it writes to.
fn callbacks<'a>(folder: &Path, history: &'a mut History) -> CallbackList<'a> {
    let file = |name: &str| folder.join(name);
    let every_two = SaveFreq::Batches(2);
    CallbackList::new()
        .with(LearningRateScheduler::new(|_, rate| rate * 0.9))
        .with(
            EarlyStopping::new("val_loss")
                .patience(3)
                .min_delta(0.1)
                .restore_best_weights(true),
        )
        .with(
            ReduceLrOnPlateau::new("val_accuracy")
                .patience(2)
                .cooldown(1),
        )
        .with(
            ModelCheckpoint::new(file("best.safetensors"))
                .unwrap()
                .save_best_only(true),
        )
        .with(
            ModelCheckpoint::new(file("{epoch}-{batch}.npz"))
                .unwrap()
                .save_freq(every_two)
                .unwrap(),
        )
        .with(
            BackupAndRestore::new(file("backup"))
                .save_freq(SaveFreq::Batches(4))
                .unwrap()
                .keep_best("val_loss", Mode::Min),
        )
        .with(CsvLogger::new(file("log.csv")))
        .with(history)
}

/// Plays these epochs, adding the decision of every event; false if the training stops at one.
fn play(
    list: &mut CallbackList<'_>,
    run: &mut FakeRun,
    epochs: &[(f64, f64)],
    range: Range<usize>,
    decisions: &mut Vec<Decision>,
) -> bool {
    for epoch in range {
        let (loss, accuracy) = epochs[epoch];
        let number = epoch as u64;
        run.logs = Logs::new();
        decisions.push(run.send(list, EventKind::EpochBegin, number, 0));
        for batch in 0..BATCHES {
            decisions.push(run.send(list, EventKind::TrainBatchEnd, number, batch));
        }
        run.values = vec![epoch as f32, loss as f32];
        run.logs.set("val_loss", loss);
        run.logs.set("val_accuracy", accuracy);
        let end = run.send(list, EventKind::EpochEnd, number, 0);
        let stops = end.stop.is_some();
        decisions.push(end);
        if stops {
            return false;
        }
    }
    true
}

fn in_tens() -> impl Strategy<Value = f64> {
    prop_oneof![9 => (0_i32..30).prop_map(|tenths| f64::from(tenths) / 10.0), 1 => Just(f64::NAN)]
}

/// The text of decisions without the folder, so that two runs compare.
fn texts(decisions: &[Decision], folder: &Path) -> Vec<String> {
    let folder = folder.display().to_string();
    let text = |decision| format!("{decision:?}").replace(&folder, "");
    decisions.iter().map(text).collect()
}

/// What a run has left behind, as text, so that NaN equals NaN.
fn outcome(run: &FakeRun, history: &History, folder: &Path) -> String {
    let log = fs::read_to_string(folder.join("log.csv")).unwrap();
    let (rate, values, saved) = (run.rate, &run.values, run.saved.len());
    format!("{rate:?} {values:?} {saved} {:?}\n{log}", history.epochs())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_run_that_goes_on_from_its_states_is_the_undisturbed_one(
        epochs in prop::collection::vec((in_tens(), in_tens()), 3..12),
        cut in 2_usize..11,
    ) {
        let cut = cut.min(epochs.len() - 1);
        let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());

        let (mut history, mut run) = (History::new(), FakeRun::default());
        let mut list = callbacks(whole.path(), &mut history);
        run.send(&mut list, EventKind::TrainBegin, 0, 0);
        let mut expected = Vec::new();
        play(&mut list, &mut run, &epochs, 0..epochs.len(), &mut expected);
        run.send(&mut list, EventKind::TrainEnd, 0, 0);
        drop(list);

        // The first life: the states are taken after `cut` epochs, and one more epoch is lost.
        let (mut lost, mut first) = (History::new(), FakeRun::default());
        let mut list = callbacks(parts.path(), &mut lost);
        first.send(&mut list, EventKind::TrainBegin, 0, 0);
        let mut decisions = Vec::new();
        prop_assume!(play(&mut list, &mut first, &epochs, 0..cut, &mut decisions));
        let states = list.states().unwrap();
        let (rate, values, saved) = (first.rate, first.values.clone(), first.saved.clone());
        play(&mut list, &mut first, &epochs, cut..cut + 1, &mut Vec::new());
        drop(list);

        let mut found = History::new();
        let mut second = FakeRun { rate, values, saved, ..FakeRun::default() };
        let mut list = callbacks(parts.path(), &mut found);
        prop_assert!(second.send(&mut list, EventKind::TrainBegin, 0, 0).resume.is_some());
        prop_assert!(list.load_states(states).unwrap().is_empty());
        play(&mut list, &mut second, &epochs, cut..epochs.len(), &mut decisions);
        second.send(&mut list, EventKind::TrainEnd, 0, 0);
        drop(list);

        prop_assert_eq!(texts(&decisions, parts.path()), texts(&expected, whole.path()));
        prop_assert_eq!(
            outcome(&second, &found, parts.path()),
            outcome(&run, &history, whole.path())
        );
    }
}

#[test]
fn best_weights_take_four_bytes_each_in_a_checkpoint() {
    let weights = Weights {
        params: vec![
            (
                "kernel".into(),
                (0..1000).map(|i| (i as f32).sin()).collect(),
            ),
            ("bias".into(), vec![f32::MIN_POSITIVE, -0.0, f32::INFINITY]),
        ],
    };
    let bytes = state::to_bytes(&weights).unwrap();
    assert!(bytes.len() < 4 * 1003 + 40, "{} bytes", bytes.len());
    assert_eq!(state::from_bytes::<Weights>(&bytes).unwrap(), weights);
    // As a checkpoint keeps it.
    let kept = CallbackState {
        name: "EarlyStopping".into(),
        index: 0,
        state: bytes,
    };
    let bytes = state::to_bytes(&kept).unwrap();
    assert!(bytes.len() < 4 * 1003 + 80, "{} bytes", bytes.len());
    assert_eq!(state::from_bytes::<CallbackState>(&bytes).unwrap(), kept);

    let few = Weights {
        params: vec![("bias".into(), vec![0.5, -2.0])],
    };
    let text = serde_json::to_string(&few).unwrap();
    assert_eq!(text, r#"{"params":[["bias",[0.5,-2.0]]]}"#);
    assert_eq!(serde_json::from_str::<Weights>(&text).unwrap(), few);
    let torn = state::to_bytes(&Torn {
        params: vec![("bias".into(), ByteBuf::from([0; 7]))],
    });
    let error = state::from_bytes::<Weights>(&torn.unwrap()).unwrap_err();
    assert!(error.to_string().contains("four bytes"), "{error}");
}

/// Weights whose last value has three bytes.
#[derive(serde::Serialize)]
struct Torn {
    params: Vec<(String, ByteBuf)>,
}

#[test]
fn a_state_of_something_else_is_refused_with_the_name_of_the_callback() {
    let states = vec![CallbackState {
        name: "EarlyStopping".into(),
        index: 0,
        state: vec![0xff],
    }];
    let mut list = CallbackList::new().with(EarlyStopping::new("val_loss"));
    let error = list.load_states(states).unwrap_err();
    assert!(error.to_string().contains("EarlyStopping"), "{error}");
}
