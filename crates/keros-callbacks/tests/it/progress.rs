//! The lines a run leaves behind, and the one that moves on a terminal.

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
        rest.ends_with("us/step - loss: 0.5000 - val_loss: 1.0000e-04"),
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

#[test]
fn an_epoch_that_is_resumed_after_its_last_batch_is_announced_and_whole() {
    for validates in [false, true] {
        let shared = Shared::default();
        let mut list = CallbackList::new().with(ProgbarLogger::lines_to(shared.clone()));
        let mut run = FakeRun::default();
        run.info.epochs = 2;
        run.info.steps = Some(3);
        run.send(&mut list, EventKind::TrainBegin, 0, 0);
        if validates {
            let mut begin = event(EventKind::TestBegin, 1, 0);
            begin.nested = true;
            list.dispatch(&begin, &mut run).unwrap();
        }
        run.logs.set("loss", 0.5);
        run.send(&mut list, EventKind::EpochEnd, 1, 0);
        drop(list);
        let text = String::from_utf8(shared.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text, "Epoch 2/2\n3/3 - 0s 0us/step - loss: 0.5000\n");
    }
}

#[test]
fn steps_after_a_validation_in_the_middle_of_a_resumed_epoch_are_timed() {
    let shared = Shared::default();
    let mut list = CallbackList::new().with(ProgbarLogger::lines_to(shared.clone()));
    let mut run = FakeRun::default();
    run.info.steps = Some(3);
    let mut begin = event(EventKind::TestBegin, 0, 0);
    begin.nested = true;
    list.dispatch(&begin, &mut run).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(2));
    run.send(&mut list, EventKind::TrainBatchBegin, 0, 2);
    run.send(&mut list, EventKind::TrainBatchEnd, 0, 2);
    run.send(&mut list, EventKind::EpochEnd, 0, 0);
    drop(list);
    let text = String::from_utf8(shared.0.lock().unwrap().clone()).unwrap();
    assert!(text.starts_with("3/3 - 0s "), "{text}");
    assert!(!text.contains(" 0us/step"), "{text}");
}

/// What an epoch of four batches writes to a terminal of that width; only the first batch is painted.
fn on_terminal(width: usize, steps: Option<u64>) -> String {
    let shared = Shared::default();
    let progress = ProgbarLogger::bar_to(shared.clone(), move || width);
    let mut list = CallbackList::new().with(progress);
    let mut run = FakeRun::default();
    run.info.epochs = 12;
    run.info.steps = steps;
    run.send(&mut list, EventKind::EpochBegin, 0, 0);
    for (key, value) in [("loss", 0.5), ("accuracy", 0.75)] {
        run.logs.set(key, value);
    }
    for batch in 0..4 {
        run.send(&mut list, EventKind::TrainBatchEnd, 0, batch);
    }
    list.message(Message {
        level: Level::Info,
        source: "Callback".into(),
        text: "said".into(),
    });
    run.logs.set("val_loss", 0.25);
    run.send(&mut list, EventKind::EpochEnd, 0, 0);
    drop(list);
    String::from_utf8(shared.0.lock().unwrap().clone()).unwrap()
}

const CLEAR: &str = "\r\x1b[2K";

#[test]
fn a_line_that_moves_makes_room_for_what_stays() {
    let text = on_terminal(200, Some(4));
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "Epoch 1/12");
    let parts: Vec<&str> = lines[1].split(CLEAR).collect();
    let bar = format!("1/4 [======={}{}]", ">", ".".repeat(22));
    let moving = format!("{bar} - ETA: 0s - loss: 0.5000 - accuracy: 0.7500");
    assert_eq!(parts, ["", &moving, "Callback: said"]);
    let full = format!("4/4 [{}] - 0s ", "=".repeat(30));
    assert!(lines[2].starts_with(&full), "{}", lines[2]);
    let values = " - loss: 0.5000 - accuracy: 0.7500 - val_loss: 0.2500";
    assert!(lines[2].ends_with(values), "{}", lines[2]);
    assert_eq!(lines.len(), 3);
}

#[test]
fn a_line_that_moves_is_ended_by_an_error() {
    let text = |painted: bool| {
        let shared = Shared::default();
        let progress = ProgbarLogger::bar_to(shared.clone(), || 80);
        let (mut list, mut run) = (CallbackList::new().with(progress), FakeRun::default());
        run.send(&mut list, EventKind::EpochBegin, 0, 0);
        if painted {
            run.send(&mut list, EventKind::TrainBatchEnd, 0, 0);
        }
        run.send(&mut list, EventKind::Error, 0, 0);
        drop(list);
        String::from_utf8(shared.0.lock().unwrap().clone()).unwrap()
    };
    assert_eq!(text(true), format!("{CLEAR}1\n"));
    assert_eq!(text(false), "", "no empty line");
}

#[test]
fn no_line_is_wider_than_the_terminal() {
    let moving = |width: usize, steps| {
        let text = on_terminal(width, steps);
        for line in text.lines().flat_map(|line| line.split(CLEAR)).skip(1) {
            let own = line == "Callback: said" || line.starts_with("Epoch");
            assert!(own || line.len() <= width, "{width}: {line}");
        }
        text.lines()
            .nth(1)
            .unwrap()
            .split(CLEAR)
            .nth(1)
            .unwrap()
            .to_owned()
    };
    let all = "1/4 - ETA: 0s - loss: 0.5000 - accuracy: 0.7500";
    for (width, expected) in [
        (79, all),
        (48, all),
        (47, "1/4 - ETA: 0s - loss: 0.5000"),
        (29, "1/4 - ETA: 0s - loss: 0.5000"),
        (28, "1/4 - loss: 0.5000"),
        (18, "1/4 - ETA: 0s"),
        (13, "1/4"),
        (3, "1/"),
        (1, ""),
        (0, ""),
    ] {
        let found = match width {
            0..15 => {
                let text = on_terminal(width, Some(4));
                let line = text.lines().nth(1).unwrap().to_owned();
                line.split(CLEAR).nth(1).unwrap().to_owned()
            }
            _ => moving(width, Some(4)),
        };
        assert_eq!(found, expected, "{width}");
    }
    assert_eq!(moving(60, None), "1 - loss: 0.5000 - accuracy: 0.7500");
}

#[test]
fn a_line_that_stays_keeps_its_values_and_is_continued() {
    let text = on_terminal(30, Some(4));
    let last: Vec<&str> = text.lines().skip(2).collect();
    let (first, rest) = last.split_first().unwrap();
    assert!(first.starts_with("4/4 - 0s "), "{text}");
    assert!(rest.iter().all(|line| line.starts_with("  ")), "{text}");
    for value in ["loss: 0.5000", "accuracy: 0.7500", "val_loss: 0.2500"] {
        assert!(last.iter().any(|line| line.contains(value)), "{text}");
    }
}

/// A pipe whose reader is gone after so many writes, or a disk that is full.
struct Broken {
    after: usize,
    kind: io::ErrorKind,
    writes: Arc<Mutex<usize>>,
}

impl Write for Broken {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut writes = self.writes.lock().unwrap();
        *writes += 1;
        match *writes > self.after {
            true => Err(self.kind.into()),
            false => Ok(bytes.len()),
        }
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_reader_that_goes_away_does_not_end_the_training() {
    for (kind, survives) in [
        (io::ErrorKind::BrokenPipe, true),
        (io::ErrorKind::StorageFull, false),
    ] {
        let writes = Arc::new(Mutex::new(0));
        let out = Broken {
            after: 1,
            kind,
            writes: Arc::clone(&writes),
        };
        let mut list = CallbackList::new().with(ProgbarLogger::lines_to(out));
        let mut run = FakeRun::default();
        run.info.epochs = 3;
        let mut ended = Vec::new();
        for epoch in 0..3 {
            list.dispatch(&event(EventKind::EpochBegin, epoch, 0), &mut run)
                .unwrap_or_default();
            ended.push(
                list.dispatch(&event(EventKind::EpochEnd, epoch, 0), &mut run)
                    .is_ok(),
            );
        }
        assert_eq!(ended == [true; 3], survives, "{kind}: {ended:?}");
        if survives {
            assert_eq!(
                *writes.lock().unwrap(),
                2,
                "tries after the reader was gone"
            );
        }
    }
}
