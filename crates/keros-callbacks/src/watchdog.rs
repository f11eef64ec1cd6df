//! Tells which callback holds up a training, while it does.

use crate::callback::{Callback, CallbackResult};
use crate::context::{Context, Message};
use crate::error::BoxError;
use crate::event::{EventKind, EventSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// A call of a callback that has not returned yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stall {
    /// Name of the callback.
    pub callback: String,
    /// The event it is called for.
    pub event: EventKind,
    /// How long it has taken so far, at least.
    pub lasted: Duration,
}

impl fmt::Display for Stall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Stall {
            callback,
            event,
            lasted,
        } = self;
        let seconds = lasted.as_secs_f64();
        write!(
            f,
            "callback `{callback}` has held up the training at {event} for {seconds:.1} s"
        )
    }
}

/// Watches callbacks and reports each call that takes longer than a limit, while it still lasts: at
/// the limit, and again whenever the time has doubled. It can only tell; a callback that is to be
/// ended by force has to run in a process of its own.
///
/// A watched event costs a few nanoseconds. The thread of the watchdog ends when it is dropped.
///
/// ```
/// use keros_callbacks::{CallbackList, CsvLogger, Watchdog};
/// use std::time::Duration;
///
/// # fn main() -> Result<(), std::io::Error> {
/// let watchdog = Watchdog::new(Duration::from_secs(10), |stall| {
///     // Whatever the program shows its user.
///     drop(stall.to_string());
/// })?;
/// let callbacks = CallbackList::new().with(watchdog.watch(CsvLogger::new("log.csv")));
/// # drop(callbacks);
/// # Ok(())
/// # }
/// ```
pub struct Watchdog {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    watched: Mutex<Watch>,
    wake: Condvar,
}

#[derive(Default)]
struct Watch {
    over: bool,
    slots: Vec<Weak<Slot>>,
}

/// What a callback tells of itself; written by the training thread alone.
struct Slot {
    callback: String,
    /// Odd while it is inside a call.
    calls: AtomicU64,
    event: AtomicU32,
}

/// A call the thread has seen.
struct Seen {
    call: u64,
    since: Instant,
    next_report: Duration,
}

impl Watchdog {
    /// A watchdog that gives each [`Stall`] to `report`, on a thread of its own. `limit` is taken as
    /// at least a millisecond; a call is reported up to a quarter of it late.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn new(
        limit: Duration,
        report: impl FnMut(&Stall) + Send + 'static,
    ) -> Result<Watchdog, io::Error> {
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        let limit = limit.max(Duration::from_millis(1));
        let thread = thread::Builder::new()
            .name("keros-watchdog".to_owned())
            .spawn(move || of_thread.watch(limit, report))?;
        Ok(Watchdog {
            shared,
            thread: Some(thread),
        })
    }

    /// The same callback, watched.
    pub fn watch<C: Callback>(&self, callback: C) -> Watched<C> {
        let slot = Arc::new(Slot {
            callback: callback.name().to_owned(),
            calls: AtomicU64::new(0),
            event: AtomicU32::new(0),
        });
        self.shared.lock().slots.push(Arc::downgrade(&slot));
        Watched { callback, slot }
    }
}

impl fmt::Debug for Watchdog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watchdog").finish_non_exhaustive()
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.shared.lock().over = true;
        self.shared.wake.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panic of the report is its author's; the training goes on.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Watch> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watch(&self, limit: Duration, mut report: impl FnMut(&Stall)) {
        let tick = (limit / 4).min(Duration::from_secs(1));
        let mut seen: Vec<(Weak<Slot>, Seen)> = Vec::new();
        loop {
            let slots = {
                let watched = self.lock();
                let (mut watched, _) = self
                    .wake
                    .wait_timeout_while(watched, tick, |watched| !watched.over)
                    .unwrap_or_else(PoisonError::into_inner);
                if watched.over {
                    return;
                }
                watched.slots.retain(|slot| slot.strong_count() > 0);
                watched.slots.clone()
            };
            let now = Instant::now();
            seen.retain(|(slot, _)| slot.strong_count() > 0);
            for weak in slots {
                let Some(slot) = weak.upgrade() else {
                    continue;
                };
                let call = slot.calls.load(Ordering::Relaxed);
                let at = seen.iter().position(|(of, _)| of.ptr_eq(&weak));
                match at {
                    _ if call % 2 == 0 => {
                        if let Some(at) = at {
                            seen.swap_remove(at);
                        }
                    }
                    Some(at) if seen[at].1.call == call => {
                        let seen = &mut seen[at].1;
                        let lasted = now - seen.since;
                        if lasted >= seen.next_report {
                            seen.next_report = lasted * 2;
                            if let Some(stall) = slot.stall(call, lasted) {
                                report(&stall);
                            }
                        }
                    }
                    at => {
                        let first = Seen {
                            call,
                            since: now,
                            next_report: limit,
                        };
                        match at {
                            Some(at) => seen[at].1 = first,
                            None => seen.push((weak, first)),
                        }
                    }
                }
            }
        }
    }
}

impl Slot {
    /// The call, if it is still the same one.
    fn stall(&self, call: u64, lasted: Duration) -> Option<Stall> {
        let event = EventKind::from_number(self.event.load(Ordering::Relaxed))?;
        (self.calls.load(Ordering::Relaxed) == call).then(|| Stall {
            callback: self.callback.clone(),
            event,
            lasted,
        })
    }
}

/// A callback watched by a [`Watchdog`].
pub struct Watched<C> {
    callback: C,
    slot: Arc<Slot>,
}

impl<C> Watched<C> {
    /// The callback.
    #[must_use]
    pub fn get(&self) -> &C {
        &self.callback
    }

    /// The callback alone.
    #[must_use]
    pub fn into_inner(self) -> C {
        self.callback
    }
}

impl<C: fmt::Debug> fmt::Debug for Watched<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Watched").field(&self.callback).finish()
    }
}

impl<C: Callback> Callback for Watched<C> {
    fn name(&self) -> &str {
        self.callback.name()
    }

    fn events(&self) -> EventSet {
        self.callback.events()
    }

    #[inline]
    fn on_event(&mut self, cx: &mut Context<'_>) -> CallbackResult {
        let calls = self.slot.calls.load(Ordering::Relaxed);
        let event = cx.event().kind as u32;
        self.slot.event.store(event, Ordering::Relaxed);
        self.slot.calls.store(calls + 1, Ordering::Relaxed);
        let result = self.callback.on_event(cx);
        self.slot.calls.store(calls + 2, Ordering::Relaxed);
        result
    }

    fn on_message(&mut self, message: &Message) {
        self.callback.on_message(message);
    }

    fn on_damaged_checkpoint(&mut self, path: &Path) -> Option<PathBuf> {
        self.callback.on_damaged_checkpoint(path)
    }

    fn save_state(&self) -> Result<Option<Vec<u8>>, BoxError> {
        self.callback.save_state()
    }

    fn load_state(&mut self, bytes: &[u8]) -> Result<(), BoxError> {
        self.callback.load_state(bytes)
    }
}
