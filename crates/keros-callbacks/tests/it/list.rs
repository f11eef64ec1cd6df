//! Who is called when, what is merged, what happens on failure.

use crate::support::{FakeRun, event};
use keros_callbacks::{
    BoxError, Callback, CallbackError, CallbackList, CallbackResult, CallbackState, Context,
    Decision, EventKind, EventSet, FailurePolicy, LambdaCallback, Level, Message,
};
use std::cell::RefCell;
use std::path::{Path, PathBuf};

#[test]
fn callbacks_run_in_order_and_share_the_logs() {
    let seen = RefCell::new(Vec::new());
    let mut list = CallbackList::new()
        .with(LambdaCallback::new().on(EventKind::EpochEnd, |cx| {
            seen.borrow_mut().push("first");
            cx.set_log("extra", 1.5)?;
            Ok(Decision::CONTINUE)
        }))
        .with(LambdaCallback::new().on(EventKind::EpochEnd, |cx| {
            seen.borrow_mut().push("second");
            assert_eq!(cx.logs()?.number("extra"), Some(1.5));
            Ok(Decision::CONTINUE)
        }));
    let mut run = FakeRun::default();
    list.dispatch(&event(EventKind::EpochEnd, 0, 0), &mut run)
        .unwrap();
    drop(list);
    assert_eq!(*seen.borrow(), ["first", "second"]);
}

#[test]
fn logs_are_computed_only_when_somebody_reads_them() {
    let mut calls = 0;
    let mut list =
        CallbackList::new().with(LambdaCallback::new().on(EventKind::TrainBatchEnd, |_| {
            calls += 1;
            Ok(Decision::CONTINUE)
        }));
    let mut run = FakeRun::default();
    for batch in 0..3 {
        let kind = EventKind::TrainBatchEnd;
        list.dispatch(&event(kind, 0, batch), &mut run).unwrap();
    }
    assert!(!list.wants(EventKind::TrainBatchBegin));
    drop(list);
    assert_eq!((calls, run.logs_read), (3, 0));
}

#[test]
fn every_kind_reaches_its_own_hook() {
    #[derive(Default)]
    struct Names(Vec<&'static str>);
    macro_rules! record {
        ($($hook:ident)*) => {
            impl Callback for Names {
                $(fn $hook(&mut self, _: &mut Context<'_>) -> CallbackResult {
                    self.0.push(stringify!($hook));
                    Ok(Decision::CONTINUE)
                })*
            }
        };
    }
    record! {
        on_train_begin on_train_end on_epoch_begin on_epoch_end on_train_batch_begin
        on_train_batch_end on_test_begin on_test_end on_test_batch_begin on_test_batch_end
        on_predict_begin on_predict_end on_predict_batch_begin on_predict_batch_end
        on_after_backward on_before_step on_checkpoint_saved on_error
    }
    let mut names = Names::default();
    assert_eq!(names.name(), "Names");
    let mut list = CallbackList::new().with(&mut names);
    for kind in EventKind::ALL {
        assert_eq!(EventKind::from_number(kind as u32), Some(kind));
        list.dispatch(&event(kind, 0, 0), &mut FakeRun::default())
            .unwrap();
    }
    drop(list);
    let expected: Vec<String> = EventKind::ALL.iter().map(|k| format!("on_{k}")).collect();
    assert_eq!(names.0, expected);
}

#[test]
fn unknown_event_bits_are_dropped() {
    let set = EventSet::from_bits(u64::MAX);
    assert_eq!(set, EventSet::ALL);
    assert_eq!(EventKind::from_number(18), None);
}

struct Fails(&'static str);

impl Callback for Fails {
    fn name(&self) -> &str {
        self.0
    }
    fn on_train_batch_end(&mut self, _: &mut Context<'_>) -> CallbackResult {
        Err("disk full".into())
    }
}

#[derive(Default)]
struct Listener {
    batches: usize,
    messages: Vec<Message>,
}

impl Callback for Listener {
    fn on_train_batch_end(&mut self, _: &mut Context<'_>) -> CallbackResult {
        self.batches += 1;
        Ok(Decision::CONTINUE)
    }
    fn on_message(&mut self, message: &Message) {
        self.messages.push(message.clone());
    }
}

fn two_batches(policy: FailurePolicy) -> (Result<Decision, CallbackError>, Listener) {
    let mut listener = Listener::default();
    let mut list = CallbackList::new();
    list.push_with(Fails("saver"), policy);
    list.push(&mut listener);
    let mut last = Ok(Decision::CONTINUE);
    for batch in 0..2 {
        let kind = EventKind::TrainBatchEnd;
        last = list.dispatch(&event(kind, 0, batch), &mut FakeRun::default());
        if last.is_err() {
            break;
        }
    }
    drop(list);
    (last, listener)
}

#[test]
fn a_failing_callback_aborts_by_default() {
    let (result, listener) = two_batches(FailurePolicy::default());
    let text = result.unwrap_err().to_string();
    assert_eq!(
        text,
        "callback `saver` failed at train_batch_end: disk full"
    );
    assert_eq!(listener.batches, 0);
}

#[test]
fn a_failing_callback_can_be_disabled_and_it_is_told() {
    let (result, listener) = two_batches(FailurePolicy::Disable);
    assert_eq!(result.unwrap(), Decision::CONTINUE);
    assert_eq!(listener.batches, 2);
    let [message] = &listener.messages[..] else {
        panic!("one message expected, found {:?}", listener.messages);
    };
    assert_eq!(
        (message.level, message.source.as_str()),
        (Level::Error, "saver")
    );
    assert!(message.text.contains("disk full") && message.text.contains("disabled"));
}

#[test]
fn a_failing_callback_can_be_logged_every_time() {
    let (result, listener) = two_batches(FailurePolicy::Log);
    assert!(result.is_ok());
    assert_eq!((listener.batches, listener.messages.len()), (2, 2));
}

/// Fails wherever it is asked for its state, and notes how often it was called.
#[derive(Default)]
struct Stateless(std::cell::Cell<usize>);

impl Callback for Stateless {
    fn name(&self) -> &str {
        "stateless"
    }
    fn on_message(&mut self, _: &Message) {
        *self.0.get_mut() += 1;
    }
    fn save_state(&self) -> Result<Option<Vec<u8>>, BoxError> {
        self.0.set(self.0.get() + 1);
        Err("it is gone".into())
    }
    fn load_state(&mut self, _: &[u8]) -> Result<(), BoxError> {
        *self.0.get_mut() += 1;
        Err("it is torn".into())
    }
}

#[test]
fn a_state_that_fails_falls_under_the_policy() {
    let kept = |name: &str| CallbackState {
        name: name.to_owned(),
        index: 0,
        state: vec![7],
    };
    let told = "telling the state of callback `stateless`: it is gone";
    let loaded = "loading the state of callback `stateless`: it is torn";
    let disabled = "; it is disabled for the rest of the run";
    for (policy, expected) in [
        (FailurePolicy::Abort, vec![]),
        (FailurePolicy::Disable, vec![format!("{told}{disabled}")]),
        (
            FailurePolicy::Log,
            vec![told.to_owned(), loaded.to_owned(), told.to_owned()],
        ),
    ] {
        let (mut stateless, mut listener) = (Stateless::default(), Listener::default());
        let mut list = CallbackList::new();
        list.push_with(&mut stateless, policy);
        list.push(&mut listener);
        let other = vec![kept("stateless"), kept("other")];
        if policy == FailurePolicy::Abort {
            assert_eq!(list.states().unwrap_err().to_string(), told);
            assert_eq!(list.load_states(other).unwrap_err().to_string(), loaded);
        } else {
            assert_eq!(list.states().unwrap(), []);
            // One that is disabled takes its state, but does not see it.
            assert_eq!(list.load_states(other).unwrap(), ["other"]);
            assert_eq!(list.states().unwrap(), []);
        }
        drop(list);
        let texts: Vec<String> = listener.messages.into_iter().map(|m| m.text).collect();
        assert_eq!(texts, expected);
        if policy == FailurePolicy::Disable {
            assert_eq!(stateless.0.get(), 1);
        }
    }
}

#[test]
fn callbacks_of_one_name_keep_their_own_states() {
    struct Counter {
        state: u8,
        fails: bool,
    }
    impl Callback for Counter {
        fn name(&self) -> &str {
            "counter"
        }
        fn on_epoch_end(&mut self, _: &mut Context<'_>) -> CallbackResult {
            match self.fails {
                true => Err("no".into()),
                false => Ok(Decision::CONTINUE),
            }
        }
        fn save_state(&self) -> Result<Option<Vec<u8>>, BoxError> {
            Ok(Some(vec![self.state]))
        }
        fn load_state(&mut self, state: &[u8]) -> Result<(), BoxError> {
            self.state = state[0];
            Ok(())
        }
    }
    let counter = |state, fails| Counter { state, fails };
    let mut list = CallbackList::new();
    list.push_with(counter(1, true), FailurePolicy::Disable);
    list.push(counter(2, false));
    list.push(counter(3, false));
    let mut run = FakeRun::default();
    list.dispatch(&event(EventKind::EpochEnd, 0, 0), &mut run)
        .unwrap();
    // The first is disabled and tells none.
    let states = list.states().unwrap();
    assert_eq!(states.len(), 2);

    let mut again = [counter(0, false), counter(0, false), counter(0, false)];
    let mut list = CallbackList::new();
    for counter in &mut again {
        list.push(counter);
    }
    assert_eq!(list.load_states(states).unwrap(), [""; 0]);
    drop(list);
    assert_eq!(again.map(|counter| counter.state), [0, 2, 3]);
}

#[test]
fn everyone_is_told_of_the_error_that_ends_a_run() {
    struct FailsAgain(&'static str);
    impl Callback for FailsAgain {
        fn name(&self) -> &str {
            self.0
        }
        fn on_error(&mut self, _: &mut Context<'_>) -> CallbackResult {
            Err("disk full".into())
        }
    }
    let (mut told, mut listener) = (0, Listener::default());
    let mut list = CallbackList::new()
        .with(FailsAgain("first"))
        .with(FailsAgain("second"))
        .with(LambdaCallback::new().on(EventKind::Error, |_| {
            told += 1;
            Ok(Decision::CONTINUE)
        }))
        .with(&mut listener);
    let error = event(EventKind::Error, 0, 0);
    let error = list.dispatch(&error, &mut FakeRun::default()).unwrap_err();
    drop(list);
    let failed = |name| format!("callback `{name}` failed at error: disk full");
    assert_eq!(error.to_string(), failed("first"));
    assert_eq!(told, 1);
    let texts: Vec<String> = listener.messages.into_iter().map(|m| m.text).collect();
    assert_eq!(texts, [failed("first"), failed("second")]);
}

#[test]
fn impossible_decisions_are_refused_where_they_cannot_be_done() {
    let cases = [
        (EventKind::EpochEnd, Decision::skip_batch(), false),
        (EventKind::TrainBatchBegin, Decision::skip_batch(), true),
        (EventKind::EpochBegin, Decision::stop_epoch(), false),
        (EventKind::TrainBatchEnd, Decision::stop_epoch(), true),
        (EventKind::TestEnd, Decision::set_learning_rate(0.1), false),
        (
            EventKind::EpochBegin,
            Decision::set_learning_rate(0.0),
            true,
        ),
        (
            EventKind::EpochBegin,
            Decision::set_learning_rate(-0.1),
            false,
        ),
        (
            EventKind::EpochBegin,
            Decision::set_learning_rate(f64::NAN),
            false,
        ),
        (EventKind::PredictEnd, Decision::stop("enough"), true),
    ];
    for (kind, decision, possible) in cases {
        let answer = decision.clone();
        let mut list =
            CallbackList::new().with(LambdaCallback::new().on(kind, move |_| Ok(answer.clone())));
        let result = list.dispatch(&event(kind, 0, 0), &mut FakeRun::default());
        assert_eq!(result.is_ok(), possible, "{kind}: {decision:?}: {result:?}");
    }
}

#[test]
fn a_learning_rate_that_follows_a_schedule_is_refused_to_who_asks_for_it() {
    let mut listener = Listener::default();
    let mut list = CallbackList::new();
    let setter = LambdaCallback::new().on(EventKind::EpochBegin, |_| {
        Ok(Decision::set_learning_rate(0.1))
    });
    list.push_with(setter, FailurePolicy::Log);
    list.push(&mut listener);
    let mut run = FakeRun {
        scheduled: true,
        ..FakeRun::default()
    };
    let decision = run.send(&mut list, EventKind::EpochBegin, 0, 0);
    assert_eq!(decision, Decision::CONTINUE);
    drop(list);
    let text = "callback `LambdaCallback` asked at epoch_begin to set the learning rate to 0.1: expected an optimizer \
                without a schedule of the learning rate";
    assert_eq!(listener.messages[0].text, text);
}

#[test]
fn a_checkpoint_that_cannot_be_written_is_a_failure_of_who_asked_for_it() {
    struct Asks(&'static str);
    impl Callback for Asks {
        fn name(&self) -> &str {
            self.0
        }
        fn on_epoch_end(&mut self, _: &mut Context<'_>) -> CallbackResult {
            Ok(Decision::checkpoint(self.0))
        }
    }
    let mut listener = Listener::default();
    let mut list = CallbackList::new();
    list.push_with(Asks("a"), FailurePolicy::Disable);
    list.push_with(Asks("b"), FailurePolicy::Log);
    list.push(Asks("c"));
    list.push(&mut listener);
    let mut run = FakeRun::default();
    let mut end = |list: &mut CallbackList<'_>| {
        let end = event(EventKind::EpochEnd, 0, 0);
        list.dispatch(&end, &mut run).unwrap().checkpoints
    };
    assert_eq!(end(&mut list).len(), 3);
    let mut failed = |path: &str| {
        list.checkpoint_failed(EventKind::EpochEnd, Path::new(path), "disk full".into())
    };
    failed("b").unwrap();
    failed("a").unwrap();
    let of_c = "callback `c` failed at epoch_end: disk full";
    assert_eq!(failed("c").unwrap_err().to_string(), of_c);
    failed("elsewhere").unwrap();
    assert_eq!(end(&mut list), ["b", "c"].map(PathBuf::from));
    drop(list);
    let said: Vec<(String, String)> = listener
        .messages
        .into_iter()
        .map(|message| (message.source, message.text))
        .collect();
    let failed = |name: &str, outcome: &str| {
        let text = format!("callback `{name}` failed at epoch_end: disk full{outcome}");
        (name.to_owned(), text)
    };
    assert_eq!(
        said,
        [
            failed("b", ""),
            failed("a", "; it is disabled for the rest of the run"),
            (
                "requests".to_owned(),
                "the checkpoint elsewhere that was asked for is not written: disk full".to_owned()
            ),
        ]
    );
}
