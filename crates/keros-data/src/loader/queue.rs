//! The queue between the workers and the consumer: places in the order of delivery, filled in any
//! order.
//!
//! The consumer hands out jobs; each takes the next place. A worker takes the oldest job and
//! settles its place later. The consumer takes what is in the front place as soon as it is settled.
//!
//! * At most as many batches exist as the consumer has handed out jobs.
//! * Finished batches that wait hold at most `max_bytes` together; a worker whose batch has no room
//!   waits with it. The front place always has room, so that nobody waits for a batch that waits
//!   for room.
//! * A place whose worker is gone is lost, which the consumer is told, as it is when no worker is
//!   left for a job: it never waits for nobody.
//!
//! `model.rs` checks this over the orders in which threads can run.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};

#[cfg(not(test))]
use std::sync::{Condvar, Mutex, MutexGuard};

#[cfg(test)]
use shuttle::sync::{Condvar, Mutex, MutexGuard};

use crate::stats::Counters;

#[cfg(test)]
mod model;

/// Jobs `J` whose results `T` are delivered in the order of the jobs.
pub(super) struct Queue<J, T> {
    state: Mutex<State<J, T>>,
    /// A job was handed out, or the queue closed.
    work: Condvar,
    /// The front place was settled.
    front: Condvar,
    /// Bytes were freed, or another place is in front, or the queue closed.
    room: Condvar,
    max_bytes: usize,
    counters: Arc<Counters>,
}

struct State<J, T> {
    jobs: VecDeque<(u64, J)>,
    /// In order of delivery.
    places: VecDeque<Place<T>>,
    /// Number of the front place.
    first: u64,
    /// In settled places.
    bytes: usize,
    workers: usize,
    closed: bool,
}

enum Place<T> {
    Open,
    Settled(T, usize),
    Lost,
}

/// The worker that had the job is gone.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Lost;

impl<J, T> Queue<J, T> {
    /// An empty queue without workers.
    pub(super) fn new(max_bytes: usize, counters: Arc<Counters>) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                jobs: VecDeque::new(),
                places: VecDeque::new(),
                first: 0,
                bytes: 0,
                workers: 0,
                closed: false,
            }),
            work: Condvar::new(),
            front: Condvar::new(),
            room: Condvar::new(),
            max_bytes,
            counters,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State<J, T>> {
        // Nothing panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more worker, which counts from now on.
    pub(super) fn worker(self: &Arc<Self>) -> Worker<J, T> {
        self.lock().workers += 1;
        Worker(Arc::clone(self))
    }

    /// Consumer: a job for whoever is free, at the last place.
    pub(super) fn hand_out(&self, job: J) {
        let mut state = self.lock();
        let number = state.first + state.places.len() as u64;
        state.places.push_back(Place::Open);
        state.jobs.push_back((number, job));
        drop(state);
        self.work.notify_one();
    }

    /// Consumer: waits for the front place, which has to exist, and takes it away.
    pub(super) fn take(&self) -> Result<T, Lost> {
        let mut state = self.lock();
        loop {
            match state.places.front() {
                Some(Place::Open) if state.workers > 0 => {
                    state = self
                        .front
                        .wait(state)
                        .unwrap_or_else(PoisonError::into_inner);
                }
                None | Some(Place::Open | Place::Lost) => return Err(Lost),
                Some(Place::Settled(..)) => break,
            }
        }
        let place = state.places.pop_front();
        state.first += 1;
        let Some(Place::Settled(result, bytes)) = place else {
            return Err(Lost);
        };
        state.bytes -= bytes;
        self.counters.dequeued();
        drop(state);
        self.room.notify_all();
        Ok(result)
    }

    /// Consumer: discards everything; workers are told at their next call.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.bytes = 0;
        let jobs = std::mem::take(&mut state.jobs);
        let places = std::mem::take(&mut state.places);
        self.counters.emptied();
        drop(state);
        self.work.notify_all();
        self.room.notify_all();
        // Dropped without the lock: what they hold is not ours.
        drop((jobs, places));
    }
}

impl<J, T> State<J, T> {
    /// The place of this number, unless it was taken away or discarded.
    fn place(&mut self, number: u64) -> Option<&mut Place<T>> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.places.get_mut(index)
    }
}

/// Takes jobs. Dropping it tells the consumer that it takes no more.
pub(super) struct Worker<J, T>(Arc<Queue<J, T>>);

impl<J, T> Worker<J, T> {
    /// Waits for a job; `None` when the queue is closed.
    pub(super) fn take(&self) -> Option<Ticket<J, T>> {
        let mut state = self.0.lock();
        loop {
            if state.closed {
                return None;
            }
            if let Some(job) = state.jobs.pop_front() {
                return Some(self.ticket(job));
            }
            state = self
                .0
                .work
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A job if there is one.
    pub(super) fn try_take(&self) -> Option<Ticket<J, T>> {
        let job = self.0.lock().jobs.pop_front()?;
        Some(self.ticket(job))
    }

    fn ticket(&self, (number, job): (u64, J)) -> Ticket<J, T> {
        Ticket {
            queue: Arc::clone(&self.0),
            number,
            job,
            settled: false,
        }
    }
}

impl<J, T> Drop for Worker<J, T> {
    fn drop(&mut self) {
        self.0.lock().workers -= 1;
        self.0.front.notify_all();
    }
}

/// A job and its place. Dropping it unsettled loses the place.
pub(super) struct Ticket<J, T> {
    queue: Arc<Queue<J, T>>,
    number: u64,
    pub(super) job: J,
    settled: bool,
}

impl<J, T> Ticket<J, T> {
    /// Fills the place, as soon as there is room for so many bytes. Forgotten if the queue is
    /// closed.
    pub(super) fn settle(mut self, result: T, bytes: usize) {
        let queue = Arc::clone(&self.queue);
        let mut state = queue.lock();
        // Also when the queue is closed: then no place is left to lose.
        self.settled = true;
        while !state.closed
            && state.first != self.number
            && state.bytes.saturating_add(bytes) > queue.max_bytes
        {
            state = queue
                .room
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let Some(place) = state.place(self.number) else {
            // Unlocked before the result is dropped.
            drop(state);
            return;
        };
        *place = Place::Settled(result, bytes);
        state.bytes += bytes;
        queue.counters.enqueued(state.bytes);
        let is_front = state.first == self.number;
        drop(state);
        if is_front {
            queue.front.notify_all();
        }
    }
}

impl<J, T> Drop for Ticket<J, T> {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        let mut state = self.queue.lock();
        if let Some(place) = state.place(self.number) {
            *place = Place::Lost;
        }
        drop(state);
        self.queue.front.notify_all();
    }
}
