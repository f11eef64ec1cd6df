//! What is saved, and when.

use crate::support::{FakeRun, event};
use keros_callbacks::{CallbackList, EventKind, FailurePolicy, Logs, ModelCheckpoint, SaveFreq};

#[test]
fn an_epoch_without_the_monitored_value_is_no_improvement() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("{epoch}-{val_loss:.1f}.safetensors");
    let saver = ModelCheckpoint::new(path).unwrap().save_best_only(true);
    let (mut list, mut run) = (CallbackList::new().with(saver), FakeRun::default());
    run.send(&mut list, EventKind::TrainBegin, 0, 0);
    let values = [None, Some(0.5), None, Some(0.75), None, Some(0.25)];
    for (epoch, value) in values.into_iter().enumerate() {
        run.logs = Logs::new();
        if let Some(value) = value {
            run.logs.set("val_loss", value);
        }
        run.send(&mut list, EventKind::EpochEnd, epoch as u64, 0);
    }
    let saved = ["2-0.5.safetensors", "6-0.2.safetensors"];
    assert_eq!(run.saved, saved.map(|name| folder.path().join(name)));
}

#[test]
fn a_run_that_goes_on_may_save_more_often() {
    let folder = tempfile::tempdir().unwrap();
    let saver = |every| {
        let saver = ModelCheckpoint::new(folder.path().join("{batch}.npz")).unwrap();
        CallbackList::new().with(saver.save_freq(SaveFreq::Batches(every)).unwrap())
    };
    let (mut before, mut run) = (saver(10), FakeRun::default());
    for batch in 0..5 {
        run.send(&mut before, EventKind::TrainBatchEnd, 0, batch);
    }
    let mut after = saver(2);
    after.load_states(before.states().unwrap()).unwrap();
    for batch in 5..9 {
        run.send(&mut after, EventKind::TrainBatchEnd, 0, batch);
    }
    let saved = ["6.npz", "8.npz"];
    assert_eq!(run.saved, saved.map(|name| folder.path().join(name)));
}

#[test]
fn a_best_epoch_that_could_not_be_saved_is_not_the_best_so_far() {
    let folder = tempfile::tempdir().unwrap();
    let mut saver = ModelCheckpoint::new(folder.path().join("{epoch}.safetensors"))
        .unwrap()
        .save_best_only(true);
    let (mut list, mut run) = (CallbackList::new(), FakeRun::default());
    list.push_with(&mut saver, FailurePolicy::Log);
    run.send(&mut list, EventKind::TrainBegin, 0, 0);
    for (epoch, value, full) in [(0, 0.75, false), (1, 0.25, true), (2, 0.5, false)] {
        run.full = full;
        run.logs.set("val_loss", value);
        run.send(&mut list, EventKind::EpochEnd, epoch, 0);
    }
    drop(list);
    let saved = ["1.safetensors", "3.safetensors"];
    assert_eq!(run.saved, saved.map(|name| folder.path().join(name)));
    assert_eq!(saver.best(), Some(0.5));
}

#[test]
fn a_file_of_numpy_for_more_than_weights_is_refused_at_train_begin() {
    let saver = |name| ModelCheckpoint::new(name).unwrap().save_weights_only(false);
    let begin = |name| {
        let begin = event(EventKind::TrainBegin, 0, 0);
        let mut list = CallbackList::new().with(saver(name));
        list.dispatch(&begin, &mut FakeRun::default())
    };
    let error = begin("w.npz").unwrap_err().to_string();
    let text =
        "invalid save_weights_only (expected true for a file name that ends in .npz, found false)";
    assert!(error.ends_with(text), "{error}");
    begin("w.safetensors").unwrap();
}

#[test]
fn a_batch_in_the_file_name_of_an_epoch_is_refused_at_train_begin() {
    let saver = || ModelCheckpoint::new("{epoch}-{batch:03d}.safetensors").unwrap();
    let begin = |saver| {
        let begin = event(EventKind::TrainBegin, 0, 0);
        CallbackList::new()
            .with(saver)
            .dispatch(&begin, &mut FakeRun::default())
    };
    let error = begin(saver()).unwrap_err().to_string();
    let text = "invalid filepath (expected no {batch} in a file name of the end of an epoch, found \
                {epoch}-{batch:03d}.safetensors)";
    assert!(error.ends_with(text), "{error}");
    begin(saver().save_freq(SaveFreq::Batches(10)).unwrap()).unwrap();
}

#[test]
fn which_values_are_better_is_known_without_a_train_begin() {
    let folder = tempfile::tempdir().unwrap();
    let saver = |monitor: &str| {
        let saver = ModelCheckpoint::new(folder.path().join("{epoch}.safetensors")).unwrap();
        CallbackList::new().with(saver.save_best_only(true).monitor(monitor))
    };
    let (mut list, mut run) = (saver("val_accuracy"), FakeRun::default());
    for (epoch, value) in [(0, 0.5), (1, 0.75), (2, 0.25)] {
        run.logs.set("val_accuracy", value);
        run.send(&mut list, EventKind::EpochEnd, epoch, 0);
    }
    let saved = ["1.safetensors", "2.safetensors"];
    assert_eq!(run.saved, saved.map(|name| folder.path().join(name)));
    let end = event(EventKind::EpochEnd, 0, 0);
    let error = saver("distance").dispatch(&end, &mut run).unwrap_err();
    let text =
        "invalid mode (expected min or max, because the name of the monitored log does not tell";
    assert!(error.to_string().contains(text), "{error}");
}
