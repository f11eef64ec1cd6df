//! Requests to a run from any thread: to stop, to save.
//!
//! A hook answers with a [`Decision`] on the training thread. A thread of a callback's own, such as
//! one that serves a page with a stop button, has no hook to answer from: it holds [`Requests`], and
//! the run looks at them after each batch, whoever wants its events.

use crate::decision::Decision;
use crate::error::RunError;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What takes the requests behind [`Requests`].
pub trait RequestSink: Send + Sync {
    /// See [`Requests::stop`].
    ///
    /// # Errors
    /// As there.
    fn stop(&self, reason: &str) -> Result<(), RunError>;

    /// See [`Requests::save`].
    ///
    /// # Errors
    /// As there.
    fn save(&self, path: &Path) -> Result<(), RunError>;
}

/// Asks something of a run, from any thread and at any time; [`Context::requests`](crate::Context::requests)
/// gives it. Clones ask the same run.
#[derive(Clone)]
pub struct Requests(Arc<dyn RequestSink>);

impl Requests {
    /// Requests that go to `sink`.
    #[must_use]
    pub fn new(sink: Arc<dyn RequestSink>) -> Requests {
        Requests(sink)
    }

    /// Asks the run to end for this reason, as [`Decision::stop`] at the end of the current batch
    /// would. Of several reasons the first counts. A checkpoint does not keep it: a run that goes on from
    /// one trains on.
    ///
    /// # Errors
    /// [`RunError::Over`] if the run has ended; [`RunError::Refused`].
    pub fn stop(&self, reason: &str) -> Result<(), RunError> {
        self.0.stop(reason)
    }

    /// Asks for a checkpoint of the whole run at the end of the current batch, as
    /// [`Decision::checkpoint`] would. In an evaluation or prediction of its own, where there is
    /// nothing to go on with, the run says so to the user instead; as it does, and goes on, where the file cannot be
    /// written.
    ///
    /// # Errors
    /// [`RunError::Over`] if the run has ended; [`RunError::Refused`].
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), RunError> {
        self.0.save(path.as_ref())
    }

    /// Whether both ask the same run.
    #[must_use]
    pub fn same_run(&self, other: &Requests) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requests").finish_non_exhaustive()
    }
}

/// The trainer's end of [`Requests`]: what was asked for and not yet done. When it is dropped the run
/// is over, and further requests fail.
#[derive(Debug)]
pub struct RequestQueue {
    shared: Arc<Shared>,
    requests: Requests,
}

#[derive(Debug, Default)]
struct Shared {
    /// Whether anything waits.
    pending: AtomicBool,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    over: bool,
    stop: Option<String>,
    checkpoints: Vec<PathBuf>,
}

impl RequestQueue {
    /// A queue in which nothing waits.
    #[must_use]
    pub fn new() -> RequestQueue {
        let shared = Arc::new(Shared::default());
        RequestQueue {
            requests: Requests(Arc::clone(&shared) as Arc<dyn RequestSink>),
            shared,
        }
    }

    /// What callbacks get.
    #[must_use]
    pub fn requests(&self) -> &Requests {
        &self.requests
    }

    /// Takes what waits, as a decision; [`Decision::CONTINUE`] at next to no cost if nothing does.
    pub fn take(&self) -> Decision {
        if !self.shared.pending.load(Ordering::Relaxed) {
            return Decision::CONTINUE;
        }
        let mut waiting = self.shared.lock();
        self.shared.pending.store(false, Ordering::Relaxed);
        Decision {
            stop: waiting.stop.take(),
            checkpoints: std::mem::take(&mut waiting.checkpoints),
            ..Decision::CONTINUE
        }
    }
}

impl Default for RequestQueue {
    fn default() -> Self {
        RequestQueue::new()
    }
}

impl Drop for RequestQueue {
    fn drop(&mut self) {
        self.shared.lock().over = true;
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self, add: impl FnOnce(&mut Waiting)) -> Result<(), RunError> {
        let mut waiting = self.lock();
        if waiting.over {
            return Err(RunError::Over);
        }
        add(&mut waiting);
        self.pending.store(true, Ordering::Relaxed);
        Ok(())
    }
}

impl RequestSink for Shared {
    fn stop(&self, reason: &str) -> Result<(), RunError> {
        self.ask(|waiting| {
            waiting.stop.get_or_insert_with(|| reason.to_owned());
        })
    }

    fn save(&self, path: &Path) -> Result<(), RunError> {
        self.ask(|waiting| waiting.checkpoints.push(path.to_owned()))
    }
}
