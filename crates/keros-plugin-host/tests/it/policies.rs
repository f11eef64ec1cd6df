//! A whole training with a loaded plugin that fails in it: what comes of it is the user's choice.

use crate::build::{MISBEHAVING, c_plugin, misbehaving};
use crate::run::FakeRun;
use keros_callbacks::{Callback, CallbackList, EventSet, FailurePolicy, History, Level, Message};
use std::path::Path;

/// Keeps errors.
#[derive(Default)]
struct Errors(Vec<String>);

impl Callback for Errors {
    fn events(&self) -> EventSet {
        EventSet::NONE
    }
    fn on_message(&mut self, message: &Message) {
        if message.level == Level::Error {
            self.0.push(message.text.clone());
        }
    }
}

/// Trains with the plugin under a policy: how that ended, what was told on the way, and the epochs it had.
fn train(
    library: &Path,
    config: &str,
    policy: FailurePolicy,
) -> (Result<(), String>, Vec<String>, usize) {
    let (mut errors, mut history) = (Errors::default(), History::new());
    let mut callbacks = CallbackList::new();
    callbacks.push_with(keros_plugin_host::load(library, config).unwrap(), policy);
    callbacks.push(&mut errors);
    callbacks.push(&mut history);
    let ended = FakeRun::new().fit_evaluate_predict(&mut callbacks);
    let mut ended = ended.map(|_| ()).map_err(|error| error.to_string());
    if ended.is_ok() {
        // A checkpoint, and another run that goes on from it.
        let states = callbacks.states();
        let loaded = states.and_then(|states| callbacks.load_states(states));
        ended = loaded.map(|_| ()).map_err(|error| error.to_string());
    }
    drop(callbacks);
    (ended, errors.0, history.epochs().len())
}

/// A plugin that fails whatever it is asked, `failures` times in all, first with `first`, then with `later`.
fn check_policies(library: &Path, config: &str, [first, later]: [&str; 2], failures: usize) {
    let (ended, told, epochs) = train(library, config, FailurePolicy::Abort);
    assert_eq!(ended, Err(first.to_owned()));
    assert_eq!((told, epochs), (Vec::new(), 0));

    let (ended, told, epochs) = train(library, config, FailurePolicy::Disable);
    assert_eq!(ended, Ok(()));
    assert_eq!(
        told,
        [format!("{first}; it is disabled for the rest of the run")]
    );
    assert_eq!(epochs, 5);

    let (ended, told, epochs) = train(library, config, FailurePolicy::Log);
    assert_eq!((ended, epochs), (Ok(()), 5));
    assert_eq!(told.len(), failures);
    assert_eq!(told[0], first);
    assert!(told[1].ends_with(later), "{}", told[1]);
}

#[test]
fn a_panic_in_rust() {
    let first = "callback `misbehaving` failed at train_batch_end: plugin `misbehaving`: \
                 KEROS_E_PANIC: panicked: as it was told to";
    let later = "plugin `misbehaving`: gets no more events since it panicked";
    // At 15 batches and a checkpoint.
    check_policies(
        misbehaving(),
        r#"{"panic_in": "event"}"#,
        [first, later],
        16,
    );
}

#[test]
fn failures_in_c() {
    let Some((_folder, library)) = c_plugin(MISBEHAVING, &[]) else {
        return;
    };
    let everything = {
        let (_, told, _) = train(&library, "\"fail\"", FailurePolicy::Log);
        told.len()
    };
    for (how, failure) in [
        ("fail", "KEROS_E_IO: the cable is out"),
        (
            "unknown status",
            "-57 (no status of keros.h), without a reason",
        ),
        (
            "unknown actions",
            "asked for unknown actions (expected bits of 0xf, found 0x100000)",
        ),
    ] {
        let failure = format!("plugin `misbehaving-c`: {failure}");
        let first = format!("callback `misbehaving-c` failed at train_begin: {failure}");
        check_policies(
            &library,
            &format!("\"{how}\""),
            [&first, &failure],
            everything,
        );
    }
}
