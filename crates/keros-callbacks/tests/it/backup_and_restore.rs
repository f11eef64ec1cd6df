//! Which checkpoints are asked for, kept and deleted.

use crate::support::{FakeRun, event};
use keros_callbacks::{
    BackupAndRestore, CallbackList, EventKind, FailurePolicy, LambdaCallback, Mode, SaveFreq,
};
use std::fs;
use std::path::Path;

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn the_newest_stay_with_the_best_and_the_end_deletes_them() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("notes.txt"), "mine").unwrap();
    let mut run = FakeRun::default();
    let mut list = CallbackList::new().with(
        BackupAndRestore::new(folder.path())
            .keep_last(2)
            .unwrap()
            .keep_best("val_loss", Mode::Min),
    );
    run.send(&mut list, EventKind::TrainBegin, 0, 0);
    for (epoch, loss) in [0.5, 0.3, 0.4, 0.6].into_iter().enumerate() {
        run.logs.set("val_loss", loss);
        let asked = run.send(&mut list, EventKind::EpochEnd, epoch as u64, 0);
        assert_eq!(asked.checkpoints.len(), if epoch < 2 { 2 } else { 1 });
    }
    let last = ["checkpoint-3-0.safetensors", "checkpoint-4-0.safetensors"];
    let mut expected = vec!["best.safetensors"];
    expected.extend(last);
    expected.push("notes.txt");
    assert_eq!(names(folder.path()), expected);
    run.send(&mut list, EventKind::TrainEnd, 0, 0);
    assert_eq!(names(folder.path()), ["best.safetensors", "notes.txt"]);
}

#[test]
fn a_best_checkpoint_that_is_not_written_is_not_the_best_so_far() {
    let folder = tempfile::tempdir().unwrap();
    let backup = || BackupAndRestore::new(folder.path()).keep_best("val_loss", Mode::Min);
    let (best, mut run) = (folder.path().join("best.safetensors"), FakeRun::default());
    let mut list = CallbackList::new();
    list.push_with(backup(), FailurePolicy::Log);
    run.send(&mut list, EventKind::TrainBegin, 0, 0);
    run.logs.set("val_loss", 0.5);
    let asked = run.send(&mut list, EventKind::EpochEnd, 0, 0);
    // A program that is killed between the two goes on from the epoch before, and writes it again.
    let next = folder.path().join("checkpoint-1-0.safetensors");
    assert_eq!(asked.checkpoints, [best.clone(), next]);

    run.logs.set("val_loss", 0.25);
    let end = event(EventKind::EpochEnd, 1, 0);
    let asked = list.dispatch(&end, &mut run).unwrap();
    assert_eq!(asked.checkpoints[0], best);
    let full = "the disk is full".into();
    list.checkpoint_failed(EventKind::EpochEnd, &best, full)
        .unwrap();
    let mut resumed = CallbackList::new().with(backup());
    resumed.load_states(list.states().unwrap()).unwrap();
    for list in [&mut list, &mut resumed] {
        for (value, is_better) in [(0.75, false), (0.375, true), (0.4, false)] {
            run.logs.set("val_loss", value);
            let asked = run.send(list, EventKind::EpochEnd, 2, 0);
            assert_eq!(asked.checkpoints.contains(&best), is_better, "{value}");
        }
    }
}

#[test]
fn the_newest_by_number_is_gone_on_from_and_what_a_kill_left_is_cleared() {
    let folder = tempfile::tempdir().unwrap();
    for name in [
        "checkpoint-9-0.safetensors",
        "checkpoint-10-2.safetensors",
        "checkpoint-10-11.safetensors",
        "checkpoint-11-0.safetensors.1234.tmp",
        "other.tmp",
    ] {
        fs::write(folder.path().join(name), b"").unwrap();
    }
    let newest = folder.path().join("checkpoint-10-11.safetensors");
    let backup = BackupAndRestore::new(folder.path()).delete_checkpoint(false);
    assert_eq!(backup.newest().unwrap(), Some(newest.clone()));
    let mut list = CallbackList::new().with(backup);
    let mut run = FakeRun::default();
    let begin = run.send(&mut list, EventKind::TrainBegin, 0, 0);
    assert_eq!(begin.resume, Some(newest));
    assert!(!names(folder.path()).contains(&"checkpoint-11-0.safetensors.1234.tmp".to_owned()));
    run.send(&mut list, EventKind::TrainEnd, 0, 0);
    assert_eq!(names(folder.path()).len(), 4);
}

#[test]
fn a_damaged_checkpoint_is_passed_over_for_the_one_before_and_displaces_none() {
    let folder = tempfile::tempdir().unwrap();
    let file = |place: &str| {
        let name = format!("checkpoint-{place}.safetensors");
        folder.path().join(name)
    };
    for place in ["1-0", "2-0", "3-0"] {
        fs::write(file(place), b"").unwrap();
    }
    let every_five = SaveFreq::Batches(5);
    let backup = BackupAndRestore::new(folder.path()).save_freq(every_five);
    let backup = backup.unwrap().keep_last(2).unwrap();
    let mut list = CallbackList::new()
        .with(LambdaCallback::new())
        .with(Box::new(backup));
    let mut run = FakeRun::default();
    let begin = run.send(&mut list, EventKind::TrainBegin, 0, 0);
    assert_eq!(begin.resume, Some(file("3-0")));
    assert_eq!(list.damaged_checkpoint(&file("3-0")), Some(file("2-0")));
    for batch in 0..10 {
        run.send(&mut list, EventKind::TrainBatchEnd, 2, batch);
    }
    let kept = ["2-10", "2-5", "3-0"].map(|place| format!("checkpoint-{place}.safetensors"));
    assert_eq!(names(folder.path()), kept);
    // Written anew it is one like any other.
    for batch in 0..5 {
        run.send(&mut list, EventKind::TrainBatchEnd, 2, 10 + batch);
    }
    fs::write(file("3-0"), b"").unwrap();
    run.detail = Some(file("3-0").display().to_string());
    run.send(&mut list, EventKind::CheckpointSaved, 3, 0);
    let kept = ["2-15", "3-0"].map(|place| format!("checkpoint-{place}.safetensors"));
    assert_eq!(names(folder.path()), kept);

    // Those of a run that begins again are tried again.
    let begin = run.send(&mut list, EventKind::TrainBegin, 0, 0);
    assert_eq!(begin.resume, Some(file("3-0")));
    assert_eq!(list.damaged_checkpoint(&file("3-0")), Some(file("2-15")));
    assert_eq!(list.damaged_checkpoint(&file("2-15")), None);
    run.send(&mut list, EventKind::TrainEnd, 3, 0);
    assert!(names(folder.path()).is_empty());
}

#[test]
fn after_so_many_batches_the_file_names_the_batch_that_comes_next() {
    let folder = tempfile::tempdir().unwrap();
    let every_two = SaveFreq::Batches(2);
    let backup = BackupAndRestore::new(folder.path().join("new")).save_freq(every_two);
    let mut list = CallbackList::new().with(backup.unwrap());
    let mut run = FakeRun::default();
    assert_eq!(
        run.send(&mut list, EventKind::TrainBegin, 0, 0).resume,
        None
    );
    for batch in 0..5 {
        run.send(&mut list, EventKind::TrainBatchEnd, 7, batch);
    }
    let found = names(&folder.path().join("new"));
    assert_eq!(found, ["checkpoint-7-4.safetensors"]);
}

#[test]
fn arguments_out_of_range_are_refused_by_name() {
    let backup = || BackupAndRestore::new("backup");
    let error = backup().keep_last(0).unwrap_err().to_string();
    assert!(error.contains("keep_last"), "{error}");
    let error = backup().save_freq(SaveFreq::Batches(0)).unwrap_err();
    assert!(error.to_string().contains("save_freq"), "{error}");
    assert_eq!(
        BackupAndRestore::new("no/such/folder").newest().unwrap(),
        None
    );
}
