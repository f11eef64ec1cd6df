//! How many samples were passed over while a batch was made, because their files are broken: counted
//! on the thread that makes it, for the counters of its loader.

use std::cell::Cell;

thread_local! {
    static SAMPLES: Cell<u64> = const { Cell::new(0) };
}

/// One more was.
pub(crate) fn note() {
    SAMPLES.set(SAMPLES.get() + 1);
}

/// How many were since this was asked last.
pub(crate) fn take() -> u64 {
    SAMPLES.take()
}
