//! The lines a run leaves behind where there is no terminal.

use crate::support::{FakeRun, event};
use keros_callbacks::{CallbackList, EventKind, Level, Message, ProgbarLogger, Verbose};
use std::io::{self, Write};
use std::sync::{Arc, Mutex};

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn one_line_per_epoch_with_keras_numbers() {
    let shared = Shared::default();
    let mut list = CallbackList::new().with(ProgbarLogger::lines_to(shared.clone()));
    let mut run = FakeRun::default();
    run.info.epochs = 2;
    run.info.steps = Some(3);
    let send = |list: &mut CallbackList<'_>, run: &mut FakeRun, kind, batch| {
        list.dispatch(&event(kind, 0, batch), run).unwrap();
    };
    send(&mut list, &mut run, EventKind::EpochBegin, 0);
    for batch in 0..3 {
        send(&mut list, &mut run, EventKind::TrainBatchEnd, batch);
    }
    list.message(Message {
        level: Level::Warning,
        source: "trainer".into(),
        text: "the data ran out".into(),
    });
    run.logs.set("loss", 0.5);
    run.logs.set("val_loss", 1e-4);
    send(&mut list, &mut run, EventKind::EpochEnd, 0);
    drop(list);
    let text = String::from_utf8(shared.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[..2],
        ["Epoch 1/2", "warning: trainer: the data ran out"]
    );
    let (counts, rest) = lines[2].split_once(" - 0s ").unwrap();
    assert_eq!(counts, "3/3");
    assert!(
        rest.ends_with("us/step - loss: 0.5000 - val_loss: 1.0000e-04 - data wait: 0%"),
        "{rest}"
    );
    assert_eq!(run.logs_read, 1, "lines need the logs once per epoch");
}

#[test]
fn silence_needs_no_callback() {
    assert!(ProgbarLogger::new(Verbose::Silent).is_none());
}

#[test]
fn a_resumed_epoch_is_announced_and_counts_its_own_steps_only() {
    let shared = Shared::default();
    let mut list = CallbackList::new().with(ProgbarLogger::lines_to(shared.clone()));
    let mut run = FakeRun::default();
    run.info.epochs = 2;
    run.info.steps = Some(3);
    run.send(&mut list, EventKind::TrainBegin, 0, 0);
    run.send(&mut list, EventKind::TrainBatchBegin, 1, 2);
    run.send(&mut list, EventKind::TrainBatchEnd, 1, 2);
    run.send(&mut list, EventKind::EpochEnd, 1, 0);
    drop(list);
    let text = String::from_utf8(shared.0.lock().unwrap().clone()).unwrap();
    assert!(text.starts_with("Epoch 2/2\n3/3 - 0s "), "{text}");
}

#[test]
fn a_resumed_epoch_whose_batches_are_skipped_has_a_line_too() {
    let shared = Shared::default();
    let mut list = CallbackList::new().with(ProgbarLogger::lines_to(shared.clone()));
    let mut run = FakeRun::default();
    run.info.steps = Some(3);
    run.send(&mut list, EventKind::TrainBatchBegin, 0, 2);
    run.send(&mut list, EventKind::EpochEnd, 0, 0);
    drop(list);
    let text = String::from_utf8(shared.0.lock().unwrap().clone()).unwrap();
    assert!(text.starts_with("0/3 - 0s 0us/step"), "{text}");
}
