//! The watchdog names the callback that holds up a training, while it does.

use crate::run::FakeRun;
use keros_callbacks::{Callback, CallbackList, CallbackResult, Context, Decision, EventKind};
use keros_plugin_host::{HeldUp, Watchdog};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// Comes back from the end of an epoch when it has been told of.
struct Slow(Receiver<HeldUp>, Vec<HeldUp>);

impl Callback for Slow {
    fn on_epoch_end(&mut self, _: &mut Context<'_>) -> CallbackResult {
        for _ in 0..2 {
            self.1.push(self.0.recv_timeout(Duration::from_secs(60))?);
        }
        Ok(Decision::CONTINUE)
    }
}

#[test]
fn the_callback_is_named_while_it_is_busy() {
    let limit = Duration::from_millis(20);
    let (sender, receiver) = channel();
    let watchdog = Watchdog::new(limit, move |late| {
        let _ = sender.send(late);
    })
    .unwrap();
    let mut slow = Slow(receiver, Vec::new());
    {
        let mut callbacks = CallbackList::new().with(watchdog.watch(&mut slow));
        let mut run = FakeRun::new();
        run.ping(&mut callbacks, EventKind::EpochBegin).unwrap();
        run.ping(&mut callbacks, EventKind::EpochEnd).unwrap();
    }
    let [first, second] = &slow.1[..] else {
        panic!("{:?}", slow.1)
    };
    assert_eq!(
        (first.callback.as_str(), first.event),
        ("Slow", EventKind::EpochEnd)
    );
    assert!(first.elapsed >= limit && second.elapsed >= first.elapsed * 2);
    assert!(
        first
            .to_string()
            .starts_with("callback `Slow` has been busy with epoch_end for ")
    );
    // The thread ends, and with it the sink.
    drop(watchdog);
    while slow.0.recv_timeout(Duration::from_secs(60)).is_ok() {}
}
