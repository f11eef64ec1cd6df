//! The threads of a loader: started, told to stop, joined.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::worker::{self, WorkedOn};
use crate::{CancelToken, DataError};

/// Threads that share a cancellation.
pub(super) struct Threads {
    token: CancelToken,
    handles: Vec<JoinHandle<()>>,
    /// A clone for every thread, dropped at its end.
    running: Option<Sender<()>>,
    ended: Receiver<()>,
    join_timeout: Duration,
}

impl Threads {
    pub(super) fn new(join_timeout: Duration) -> Self {
        let (running, ended) = bounded(0);
        Self {
            token: CancelToken::default(),
            handles: Vec::new(),
            running: Some(running),
            ended,
            join_timeout,
        }
    }

    pub(super) fn spawn(
        &mut self,
        name: String,
        run: impl FnOnce() + Send + 'static,
    ) -> Result<(), DataError> {
        let (token, running) = (self.token.clone(), self.running.clone());
        let handle = thread::Builder::new()
            .name(name)
            .spawn(move || {
                token.enter();
                // What leaves as a panic is found when the thread is joined.
                let result = catch_unwind(AssertUnwindSafe(run));
                drop(running);
                if let Err(payload) = result {
                    std::panic::resume_unwind(payload);
                }
            })
            .map_err(|error| DataError::Worker {
                what: format!("starting a thread failed: {error}").into(),
            })?;
        self.handles.push(handle);
        Ok(())
    }

    pub(super) fn cancel(&self) {
        self.token.cancel();
    }

    /// Waits for the threads, but not longer than the time limit: what runs then is left to itself.
    /// The message of a panic that left a thread, if any did.
    pub(super) fn join(&mut self) -> Option<Box<str>> {
        self.running = None;
        let all = self.ended.recv_timeout(self.join_timeout) != Err(RecvTimeoutError::Timeout);
        let mut message = None;
        for handle in self.handles.drain(..) {
            if (all || handle.is_finished())
                && let Err(payload) = handle.join()
            {
                message = Some(panic_message(payload.as_ref()));
            }
        }
        message
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.cancel();
        // Panics were delivered at their batch, and nobody asks any more.
        let _ = self.join();
    }
}

/// Runs code of the data source, turning a panic into an error.
pub(crate) fn guard<T>(run: impl FnOnce() -> Result<T, DataError>) -> Result<T, DataError> {
    // What the code left half done is not looked at again: a panic ends the stream.
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => result,
        Err(payload) => Err(DataError::Panicked {
            message: panic_message(payload.as_ref()),
            sample: None,
            path: None,
        }),
    }
}

/// As [`guard`], for code that tells which sample it is working on: the error names it.
pub(crate) fn guard_samples<T>(run: impl FnOnce() -> Result<T, DataError>) -> Result<T, DataError> {
    worker::working_on_nothing();
    guard(run).map_err(|error| match error {
        DataError::Panicked { message, .. } => {
            let WorkedOn { sample, file } = worker::worked_on();
            DataError::Panicked {
                message,
                sample,
                path: file,
            }
        }
        other => other,
    })
}

fn panic_message(payload: &(dyn Any + Send)) -> Box<str> {
    if let Some(message) = payload.downcast_ref::<&str>() {
        (*message).into()
    } else if let Some(message) = payload.downcast_ref::<String>() {
        message.as_str().into()
    } else {
        "(the panic carries no message)".into()
    }
}
