//! What a hook sees and says, through the C ABI.

use crate::host::Host;
use keros_abi::*;
use keros_plugin::{
    BoxError, Callback, CallbackResult, Context, Decision, Level, LogValue, NoConfig, plugin_module,
};
use std::time::Duration;

fn done() -> CallbackResult {
    Ok(Decision::CONTINUE)
}

/// A module whose callback does `$body` at train batch end.
macro_rules! at_batch_end {
    ($cx:ident => $body:expr) => {{
        struct Probe;
        impl Callback for Probe {
            fn on_train_batch_end(&mut self, $cx: &mut Context<'_>) -> CallbackResult {
                $body
            }
        }
        plugin_module!(|_: NoConfig| Ok::<_, BoxError>(Probe))
    }};
}

#[test]
fn the_event_arrives_whole_and_nothing_is_asked_for() {
    let module = at_batch_end!(cx => {
        let event = cx.event();
        assert_eq!((event.epoch, event.batch, event.step, event.samples), (1, 2, 3, 4));
        assert!(event.nested);
        done()
    });
    let host = Host::new();
    let instance = host.create(&module, "").unwrap();
    let (status, decision) = instance.send(KEROS_TRAIN_BATCH_END);
    assert_eq!((status, decision.actions), (KEROS_OK, 0));
    assert_eq!(host.take_calls(), [""; 0]);
}

#[test]
fn hooks_are_called_by_kind_and_unknown_kinds_are_refused() {
    let module = at_batch_end!(cx => {
        cx.message(Level::Warning, "here");
        done()
    });
    let host = Host::new();
    let instance = host.create(&module, "").unwrap();
    for kind in 0..=KEROS_RUN_ERROR {
        assert_eq!(instance.send(kind).0, KEROS_OK);
    }
    assert_eq!(host.take_calls(), ["message 1: here"]);
    assert_eq!(instance.send(18).0, KEROS_E_UNSUPPORTED);
    assert_eq!(
        host.failure().unwrap(),
        "event kind 18 is not one this plugin asked for"
    );
}

#[test]
fn logs_are_fetched_once_and_only_if_read() {
    let module = at_batch_end!(cx => {
        let first: Vec<String> = cx.logs()?.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let again = cx.logs()?.len();
        cx.message(Level::Info, format!("{} ({again})", first.join(" ")));
        done()
    });
    let host = Host::new();
    let instance = host.create(&module, "").unwrap();
    let check = |logs: &[(&'static str, f64)], expected: &str| {
        host.notes().logs = logs.to_vec();
        assert_eq!(instance.send(KEROS_TRAIN_BATCH_END).0, KEROS_OK);
        assert_eq!(
            host.take_calls(),
            ["logs", &format!("message 0: {expected}")]
        );
    };
    check(
        &[("loss", 1.5), ("accuracy", 0.5)],
        "loss=1.5 accuracy=0.5 (2)",
    );
    check(
        &[("loss", 1.25), ("accuracy", 0.75)],
        "loss=1.25 accuracy=0.75 (2)",
    );
    check(&[("loss", 1.0)], "loss=1 (1)");
    check(&[("accuracy", 1.0), ("loss", 0.0)], "accuracy=1 loss=0 (2)");
    check(&[("later kind", f64::NAN), ("loss", 0.0)], "loss=0 (1)");
    check(&[], " (0)");
    instance.send(KEROS_TRAIN_BATCH_BEGIN);
    assert_eq!(host.take_calls(), [""; 0]);
}

#[test]
fn logs_of_every_type_are_set() {
    let module = at_batch_end!(cx => {
        cx.set_log("float", 0.5)?;
        cx.set_log("integer", -3_i64)?;
        cx.set_log("flag", true)?;
        cx.set_log("text", "warm")?;
        done()
    });
    let host = Host::new();
    let instance = host.create(&module, "").unwrap();
    assert_eq!(instance.send(KEROS_TRAIN_BATCH_END).0, KEROS_OK);
    assert_eq!(
        host.take_calls(),
        [
            "set float = f64 0.5",
            "set integer = i64 -3",
            "set flag = bool 1",
            "set text = text warm"
        ]
    );
}

#[test]
fn a_log_that_was_set_is_read() {
    let module = at_batch_end!(cx => {
        assert_eq!(cx.logs()?.len(), 1);
        cx.set_log("mine", 7_i64)?;
        assert_eq!(cx.logs()?.get("mine"), Some(&LogValue::Integer(7)));
        done()
    });
    let host = Host::new();
    host.notes().logs = vec![("loss", 1.0)];
    let instance = host.create(&module, "").unwrap();
    for _ in 0..2 {
        assert_eq!(
            instance.send(KEROS_TRAIN_BATCH_END).0,
            KEROS_OK,
            "{:?}",
            host.failure()
        );
    }
}

#[test]
fn facts_rate_and_wait_are_asked_of_the_host() {
    let module = at_batch_end!(cx => {
        let info = cx.info();
        assert_eq!((info.epochs, info.initial_epoch, info.steps), (5, 1, None));
        assert_eq!(info.metrics, ["loss", "accuracy"]);
        assert!(info.validation);
        assert_eq!(cx.info().epochs, 5);
        assert_eq!(cx.learning_rate(), Some(0.25));
        assert_eq!(cx.data_wait(), Duration::from_millis(1500));
        done()
    });
    let host = Host::new();
    let instance = host.create(&module, "").unwrap();
    for _ in 0..2 {
        let (status, _) = instance.send(KEROS_TRAIN_BATCH_END);
        assert_eq!(status, KEROS_OK, "{:?}", host.failure());
        assert_eq!(host.take_calls(), ["info", "learning_rate", "data_wait"]);
    }
}

#[test]
fn there_is_no_learning_rate_outside_of_training() {
    let module = at_batch_end!(cx => {
        assert_eq!(cx.learning_rate(), None);
        done()
    });
    let host = Host::new();
    host.notes().status = KEROS_E_NOT_FOUND;
    let instance = host.create(&module, "").unwrap();
    assert_eq!(
        instance.send(KEROS_TRAIN_BATCH_END).0,
        KEROS_OK,
        "{:?}",
        host.failure()
    );
}

#[test]
fn decisions_become_actions() {
    let module = at_batch_end!(cx => {
        let _ = cx;
        Ok(Decision {
            stop: Some("enough".to_owned()),
            stop_epoch: true,
            skip_batch: true,
            learning_rate: Some(0.125),
            ..Decision::CONTINUE
        })
    });
    let host = Host::new();
    let instance = host.create(&module, "").unwrap();
    let (status, decision) = instance.send(KEROS_TRAIN_BATCH_END);
    assert_eq!(status, KEROS_OK);
    assert_eq!(
        decision.actions,
        KEROS_STOP | KEROS_STOP_EPOCH | KEROS_SKIP_BATCH | KEROS_SET_LEARNING_RATE
    );
    assert_eq!(decision.learning_rate, 0.125);
    // SAFETY: the reason is valid until the next call.
    assert_eq!(unsafe { decision.reason.text() }, Some("enough"));
}
