//! How code of a data source learns that nobody waits for its batch any more.

use std::cell::RefCell;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Tells code that prepares a batch whether the batch is still wanted.
///
/// A worker thread cannot be interrupted. A source that may block for long (on a network, on a
/// device) asks from time to time, or waits with [`CancelToken::wait`] instead of sleeping, and
/// gives up with any error, which nobody will see.
///
/// ```
/// use std::time::Duration;
/// use keros_data::{Batch, CancelToken, DataError, Sequence};
///
/// # fn poll_camera() -> Result<Option<Batch>, DataError> { Ok(None) }
/// struct Camera;
///
/// impl Sequence for Camera {
///     fn len(&self) -> usize {
///         1000
///     }
///
///     fn batch(&self, _epoch: u64, _index: usize) -> Result<Batch, DataError> {
///         let token = CancelToken::current();
///         loop {
///             if let Some(batch) = poll_camera()? {
///                 return Ok(batch);
///             }
///             if token.wait(Duration::from_millis(10)) {
///                 return Err(DataError::source("cancelled"));
///             }
///         }
///     }
/// }
/// ```
#[derive(Clone, Debug, Default)]
pub struct CancelToken(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    cancelled: Mutex<bool>,
    told: Condvar,
}

thread_local! {
    static CURRENT: RefCell<CancelToken> = RefCell::default();
}

impl CancelToken {
    /// The token of the loader for which this thread prepares batches; one that is never cancelled
    /// on any other thread, and in a worker process, which is ended instead.
    pub fn current() -> Self {
        CURRENT.with_borrow(Clone::clone)
    }

    /// Whether the loader was dropped or its stream is over.
    pub fn is_cancelled(&self) -> bool {
        *self.lock()
    }

    /// Sleeps for `timeout`, or until it is cancelled; whether it is.
    pub fn wait(&self, timeout: Duration) -> bool {
        let told = &self.0.told;
        let waited = told.wait_timeout_while(self.lock(), timeout, |cancelled| !*cancelled);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    pub(crate) fn cancel(&self) {
        *self.lock() = true;
        self.0.told.notify_all();
    }

    /// Makes this the token of the calling thread.
    pub(crate) fn enter(self) {
        CURRENT.set(self);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, bool> {
        self.0
            .cancelled
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
