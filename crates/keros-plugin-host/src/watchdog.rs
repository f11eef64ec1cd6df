//! Tells which callback holds up the training.

use keros_callbacks::{BoxError, Callback, CallbackResult, Context, EventKind, EventSet, Message};
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

/// A callback that has not come back from an event.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeldUp {
    /// Name of the callback.
    pub callback: String,
    /// The event it is in.
    pub event: EventKind,
    /// How long it has been in it, at least.
    pub elapsed: Duration,
}

impl fmt::Display for HeldUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let HeldUp {
            callback,
            event,
            elapsed,
        } = self;
        let seconds = elapsed.as_secs_f64();
        write!(
            f,
            "callback `{callback}` has been busy with {event} for {seconds:.1} s"
        )
    }
}

/// A thread that looks whether a callback is longer in an event than it should be.
///
/// It tells of it while the callback is still busy, once it has been for the limit, and again each time
/// that time has doubled. It changes nothing: what runs inside this process cannot be stopped. When
/// the watchdog is dropped the thread ends, and its callbacks go on unwatched.
///
/// An event costs two stores to memory, and no look at the clock.
#[derive(Debug)]
pub struct Watchdog {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    over: Condvar,
}

#[derive(Debug, Default)]
struct State {
    over: bool,
    slots: Vec<Weak<Slot>>,
}

/// One callback.
#[derive(Debug)]
struct Slot {
    name: String,
    /// 0 between events; else a number of the event that no other has, and its kind below.
    busy: AtomicU64,
}

const KIND_BITS: u32 = 6;

/// How often within the limit the thread looks.
const LOOKS: u32 = 8;

/// A callback as a [`Watchdog`] sees it; to others it is the callback itself.
#[derive(Debug)]
pub struct Watched<C> {
    callback: C,
    slot: Arc<Slot>,
    events: u64,
}

impl Watchdog {
    /// Tells `sink`, on a thread of its own, of every callback that is in an event for `limit` or longer.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn new(limit: Duration, sink: impl FnMut(HeldUp) + Send + 'static) -> io::Result<Watchdog> {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        thread::Builder::new()
            .name("keros-watchdog".to_owned())
            .spawn(move || theirs.look(limit, sink))?;
        Ok(Watchdog { shared })
    }

    /// Watches a callback.
    pub fn watch<C: Callback>(&self, callback: C) -> Watched<C> {
        let slot = Arc::new(Slot {
            name: callback.name().to_owned(),
            busy: AtomicU64::new(0),
        });
        let mut state = lock(&self.shared.state);
        state.slots.push(Arc::downgrade(&slot));
        Watched {
            callback,
            slot,
            events: 0,
        }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        lock(&self.shared.state).over = true;
        self.shared.over.notify_all();
    }
}

fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn look(&self, limit: Duration, mut sink: impl FnMut(HeldUp)) {
        /// An event that is not over.
        struct Seen {
            busy: u64,
            since: Instant,
            /// How long it may last until it is told of.
            patience: Duration,
        }
        let mut seen: BTreeMap<usize, Seen> = BTreeMap::new();
        let pause = (limit / LOOKS).max(Duration::from_millis(1));
        let mut state = lock(&self.state);
        while !state.over {
            let waited = self.over.wait_timeout(state, pause);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            let mut late = Vec::new();
            for (index, slot) in state.slots.iter().enumerate() {
                let slot = slot.upgrade();
                let busy = slot
                    .as_ref()
                    .map_or(0, |slot| slot.busy.load(Ordering::Relaxed));
                let (Some(slot), true) = (slot, busy != 0) else {
                    seen.remove(&index);
                    continue;
                };
                let entry = seen.entry(index).or_insert_with(|| Seen {
                    busy,
                    since: Instant::now(),
                    patience: limit,
                });
                if entry.busy != busy {
                    *entry = Seen {
                        busy,
                        since: Instant::now(),
                        patience: limit,
                    };
                }
                let elapsed = entry.since.elapsed();
                let kind = (busy & ((1 << KIND_BITS) - 1)) as u32;
                if elapsed >= entry.patience
                    && let Some(event) = EventKind::from_number(kind)
                {
                    entry.patience = elapsed.saturating_mul(2);
                    late.push(HeldUp {
                        callback: slot.name.clone(),
                        event,
                        elapsed,
                    });
                }
            }
            // The sink may take its time, or watch another callback.
            drop(state);
            late.into_iter().for_each(&mut sink);
            state = lock(&self.state);
        }
    }
}

impl<C: Callback> Callback for Watched<C> {
    fn name(&self) -> &str {
        self.callback.name()
    }

    fn events(&self) -> EventSet {
        self.callback.events()
    }

    fn on_event(&mut self, cx: &mut Context<'_>) -> CallbackResult {
        /// Ends the event, also by a panic.
        struct Over<'a>(&'a AtomicU64);
        impl Drop for Over<'_> {
            fn drop(&mut self) {
                self.0.store(0, Ordering::Relaxed);
            }
        }
        self.events = self.events.wrapping_add(1);
        let busy = self.events.max(1) << KIND_BITS | u64::from(cx.event().kind as u32);
        self.slot.busy.store(busy, Ordering::Relaxed);
        let _over = Over(&self.slot.busy);
        self.callback.on_event(cx)
    }

    fn on_message(&mut self, message: &Message) {
        self.callback.on_message(message);
    }

    fn save_state(&self) -> Result<Option<Vec<u8>>, BoxError> {
        self.callback.save_state()
    }

    fn load_state(&mut self, state: &[u8]) -> Result<(), BoxError> {
        self.callback.load_state(state)
    }
}
