//! A callback that holds up the training is named while it does; others are not.

use crate::support::FakeRun;
use keros_callbacks::{
    BoxError, Callback, CallbackResult, Context, Decision, Event, EventKind, Stall, Watchdog,
};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// Waits at batch ends until it is let go, as often as said.
struct Waits {
    let_go: Receiver<Stall>,
    times: usize,
    stalls: Vec<Stall>,
}

impl Callback for Waits {
    fn name(&self) -> &str {
        "waits"
    }

    fn on_train_batch_end(&mut self, _: &mut Context<'_>) -> CallbackResult {
        for _ in 0..self.times {
            let stall = self.let_go.recv_timeout(Duration::from_secs(60))?;
            self.stalls.push(stall);
        }
        Ok(Decision::stop("let go"))
    }

    fn save_state(&self) -> Result<Option<Vec<u8>>, BoxError> {
        Ok(Some(vec![7]))
    }
}

fn send(callback: &mut dyn Callback, kind: EventKind) -> CallbackResult {
    let event = Event {
        kind,
        epoch: 0,
        batch: 0,
        step: 0,
        samples: 0,
        nested: false,
    };
    let (mut run, mut messages) = (FakeRun::default(), Vec::new());
    callback.on_event(&mut Context::new(&event, &mut run, "test", &mut messages))
}

#[test]
fn a_callback_that_does_not_return_is_named_and_named_again() {
    let limit = Duration::from_millis(20);
    let (report, let_go) = channel();
    let watchdog = Watchdog::new(limit, move |stall| {
        let _ = report.send(stall.clone());
    })
    .unwrap();
    let mut watched = watchdog.watch(Waits {
        let_go,
        times: 2,
        stalls: Vec::new(),
    });
    assert_eq!(watched.name(), "waits");
    assert_eq!(watched.save_state().unwrap(), Some(vec![7]));
    assert_eq!(
        send(&mut watched, EventKind::EpochBegin).unwrap(),
        Decision::CONTINUE
    );
    let decision = send(&mut watched, EventKind::TrainBatchEnd).unwrap();
    assert_eq!(decision, Decision::stop("let go"));
    // A second call is a new one.
    send(&mut watched, EventKind::TrainBatchEnd).unwrap();

    let Waits { stalls, .. } = watched.into_inner();
    assert_eq!(stalls.len(), 4);
    for stall in &stalls {
        assert_eq!(
            (stall.callback.as_str(), stall.event),
            ("waits", EventKind::TrainBatchEnd)
        );
        assert!(stall.lasted >= limit, "{stall:?}");
    }
    for pair in stalls.chunks_exact(2) {
        assert!(pair[1].lasted >= 2 * pair[0].lasted, "{pair:?}");
    }
    let text = stalls[0].to_string();
    assert!(
        text.starts_with("callback `waits` has held up the training at train_batch_end for "),
        "{text}"
    );
}

#[test]
fn one_that_returns_is_not_and_the_watchdog_ends_at_once() {
    let watchdog =
        Watchdog::new(Duration::from_secs(3600), |_| panic!("nothing is reported")).unwrap();
    let (report, let_go) = channel();
    drop(report);
    let mut watched = watchdog.watch(Waits {
        let_go,
        times: 0,
        stalls: Vec::new(),
    });
    for _ in 0..1000 {
        send(&mut watched, EventKind::TrainBatchEnd).unwrap();
    }
    drop(watchdog);
    // It goes on being a callback without a watchdog.
    send(&mut watched, EventKind::TrainBatchEnd).unwrap();
}
