//! Working memory of one thread, kept from call to call.

use std::cell::Cell;

/// Scratch above this size is not kept.
const KEEP_FLOATS: usize = 16 << 20;
/// Floats in a cache line.
const LINE: usize = 16;

thread_local! {
    static FREE: Cell<Vec<Vec<f32>>> = const { Cell::new(Vec::new()) };
}

/// Runs `f` on `len` floats of unspecified contents that start on a cache line.
pub(crate) fn with_scratch<R>(len: usize, f: impl FnOnce(&mut [f32]) -> R) -> R {
    let mut free = FREE.take();
    let mut buffer = free.pop().unwrap_or_default();
    FREE.set(free);
    if buffer.len() < len + LINE {
        buffer = vec![0.0; len + LINE];
    }
    let start = buffer
        .as_ptr()
        .align_offset(LINE * size_of::<f32>())
        .min(LINE);
    let result = f(&mut buffer[start..start + len]);
    if buffer.len() <= KEEP_FLOATS {
        let mut free = FREE.take();
        free.push(buffer);
        FREE.set(free);
    }
    result
}
