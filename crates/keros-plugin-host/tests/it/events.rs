//! What a plugin answers and does in an event, right and wrong.

use crate::build::odd;
use crate::run::FakeRun;
use keros_callbacks::{
    Callback, CallbackError, CallbackList, Decision, EventKind, FailurePolicy, Level, Message,
};
use keros_plugin_host::LoadedCallback;
use std::panic::{AssertUnwindSafe, catch_unwind};

fn load(mode: &str) -> Option<LoadedCallback> {
    let config = format!("\"{mode}\"");
    Some(keros_plugin_host::load(odd()?, &config).unwrap())
}

/// One event of `odd.c` in this mode.
fn answer(mode: &str, kind: EventKind) -> Option<Result<Decision, CallbackError>> {
    let mut callbacks = CallbackList::new().with(load(mode)?);
    Some(FakeRun::new().ping(&mut callbacks, kind))
}

fn check_failure(mode: &str, expected: &str) {
    if let Some(result) = answer(mode, EventKind::TrainBatchEnd) {
        let error = result.expect_err(mode);
        let prefix = "callback `odd` failed at train_batch_end: plugin `odd`: ";
        assert_eq!(error.to_string(), format!("{prefix}{expected}"), "{mode}");
    }
}

fn check_decision(mode: &str, expected: Decision) {
    if let Some(result) = answer(mode, EventKind::TrainBatchEnd) {
        assert_eq!(result.expect(mode), expected, "{mode}");
    }
}

#[test]
fn statuses_are_told_by_name() {
    check_failure(
        "unknown status",
        "-57 (no status of keros.h), without a reason",
    );
    check_failure(
        "positive status",
        "3 (no status of keros.h), without a reason",
    );
    check_failure("no reason", "KEROS_E_IO, without a reason");
    check_failure("told twice", "KEROS_E_IO: the cable is out");
    check_failure("bad fail text", "KEROS_E_OTHER: no\u{fffd}");
}

#[test]
fn a_reason_belongs_to_its_call() {
    let Some(callback) = load("told and forgiven") else {
        return;
    };
    let mut callbacks = CallbackList::new().with(callback);
    let mut run = FakeRun::new();
    let kind = EventKind::TrainBatchEnd;
    assert!(
        run.send(&mut callbacks, kind, [0, 0, 0], &[], false)
            .is_ok()
    );
    let error = run
        .send(&mut callbacks, kind, [0, 1, 0], &[], false)
        .unwrap_err();
    assert!(
        error.to_string().ends_with("KEROS_E_IO: never mind"),
        "{error}"
    );
}

#[test]
fn decisions_that_are_wrong() {
    check_failure(
        "unknown actions",
        "asked for unknown actions (expected bits of 0xf, found 0x80100000)",
    );
    let reason =
        "asked to stop with a wrong reason (expected UTF-8 text of at most 1048576 bytes, found";
    check_failure("bad reason", &format!("{reason} bytes that are not UTF-8)"));
    check_failure(
        "null reason",
        &format!("{reason} a null pointer with a length of 3)"),
    );
    check_failure(
        "long reason",
        &format!("{reason} 18446744073709551615 bytes)"),
    );
    if let Some(result) = answer("nan rate", EventKind::TrainBatchEnd) {
        let error = result.unwrap_err().to_string();
        assert!(
            error
                .starts_with("callback `odd` asked at train_batch_end to set the learning rate to"),
            "{error}"
        );
        assert!(
            error.ends_with("expected a finite number that is not negative"),
            "{error}"
        );
    }
}

#[test]
fn decisions_that_are_odd_but_right() {
    check_decision("", Decision::CONTINUE);
    check_decision("empty reason", Decision::stop(""));
    check_decision("no bit", Decision::CONTINUE);
    check_decision("later decision", Decision::stop_epoch());
}

#[test]
fn misuses_are_answered() {
    check_decision("misuse", Decision::CONTINUE);
    check_decision("thread check", Decision::CONTINUE);
}

#[test]
fn a_kept_run_is_stale_and_harmless() {
    let Some(mut callback) = load("kept run") else {
        return;
    };
    let mut run = FakeRun::new();
    run.ping(
        &mut CallbackList::new().with(&mut callback),
        EventKind::EpochEnd,
    )
    .unwrap();
    let stale = callback
        .extension("test.stale/1")
        .expect("the run was kept");
    // SAFETY: `odd.c` says that it is a status.
    let status = unsafe { stale.cast::<i32>().read() };
    assert_eq!(status, keros_abi::KEROS_E_STATE);
    assert_eq!(run.computations, 0);
}

/// Collects messages.
#[derive(Default)]
struct Ears(Vec<Message>);

impl Callback for Ears {
    fn events(&self) -> keros_callbacks::EventSet {
        keros_callbacks::EventSet::NONE
    }
    fn on_message(&mut self, message: &Message) {
        self.0.push(message.clone());
    }
}

#[test]
fn another_thread_may_speak_but_not_touch_the_run() {
    let Some(callback) = load("thread") else {
        return;
    };
    let mut ears = Ears::default();
    let mut callbacks = CallbackList::new().with(callback).with(&mut ears);
    FakeRun::new()
        .ping(&mut callbacks, EventKind::EpochEnd)
        .unwrap();
    drop(callbacks);
    let heard: Vec<_> = ears
        .0
        .iter()
        .map(|m| (m.level, m.source.as_str(), m.text.as_str()))
        .collect();
    assert_eq!(
        heard,
        [
            (Level::Info, "odd", "created"),
            (Level::Warning, "odd", "from a thread")
        ]
    );
}

#[test]
fn a_flood_of_messages_is_bounded() {
    let Some(callback) = load("flood") else {
        return;
    };
    let mut ears = Ears::default();
    let mut callbacks = CallbackList::new().with(callback).with(&mut ears);
    FakeRun::new()
        .ping(&mut callbacks, EventKind::EpochEnd)
        .unwrap();
    FakeRun::new()
        .ping(&mut callbacks, EventKind::EpochEnd)
        .unwrap();
    drop(callbacks);
    assert_eq!(ears.0.len(), 2 * 1024);
}

#[test]
fn after_a_panic_the_plugin_is_not_called() {
    let Some(callback) = load("panic") else {
        return;
    };
    let mut ears = Ears::default();
    let mut callbacks = CallbackList::new();
    callbacks.push_with(callback, FailurePolicy::Log);
    callbacks.push(&mut ears);
    let mut run = FakeRun::new();
    for _ in 0..2 {
        run.ping(&mut callbacks, EventKind::EpochEnd).unwrap();
    }
    drop(callbacks);
    let errors: Vec<_> = ears
        .0
        .iter()
        .filter(|m| m.level == Level::Error)
        .map(|m| &m.text)
        .collect();
    assert_eq!(
        errors,
        [
            "callback `odd` failed at epoch_end: plugin `odd`: KEROS_E_PANIC: panicked: in C",
            "callback `odd` failed at epoch_end: plugin `odd`: gets no more events since it panicked",
        ]
    );
}

#[test]
fn a_failure_of_the_training_is_told_with_its_cause() {
    let Some(callback) = load("logs") else {
        return;
    };
    let mut callbacks = CallbackList::new().with(callback);
    let mut run = FakeRun::new();
    run.broken = Some("the device is gone");
    let error = run.ping(&mut callbacks, EventKind::EpochEnd).unwrap_err();
    assert_eq!(
        error.to_string(),
        "callback `odd` failed at epoch_end: plugin `odd`: KEROS_E_OTHER, without a reason \
         (the training had failed before: the device is gone)"
    );
}

#[test]
fn a_panic_of_the_training_passes_around_the_plugin() {
    let Some(callback) = load("logs") else {
        return;
    };
    let mut callbacks = CallbackList::new().with(callback);
    let mut run = FakeRun::new();
    run.panics = true;
    let panic = catch_unwind(AssertUnwindSafe(|| {
        run.ping(&mut callbacks, EventKind::EpochEnd)
    }));
    let payload = panic.expect_err("the panic goes on");
    assert_eq!(payload.downcast_ref(), Some(&"the training itself panics"));
}

#[test]
fn a_plugin_that_reads_no_logs_costs_none() {
    let Some(callback) = load("") else { return };
    let mut run = FakeRun::new();
    run.fit_evaluate_predict(&mut CallbackList::new().with(callback))
        .unwrap();
    assert_eq!(run.computations, 0);
    assert_eq!(run.last_logs().len(), 0);
}
