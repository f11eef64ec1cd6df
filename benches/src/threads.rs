//! Work on several threads, timed without their start.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

/// Runs `work` on so many threads, each told its number, and gives the time from the first that began to the
/// last that ended.
///
/// Each thread takes its own times: a thread beside them that has to be woken to start a clock would be late
/// where every processor is busy.
///
/// # Errors
/// The first error of `work`; a panic in it.
pub fn on_threads(threads: usize, work: impl Fn(usize) -> Result<()> + Sync) -> Result<Duration> {
    if threads == 1 {
        let start = Instant::now();
        work(0)?;
        return Ok(start.elapsed());
    }
    let barrier = Barrier::new(threads);
    let run = |thread| {
        barrier.wait();
        let begin = Instant::now();
        work(thread).map(|()| (begin, Instant::now()))
    };
    thread::scope(|scope| {
        let handles: Vec<_> = (0..threads)
            .map(|thread| {
                let run = &run;
                scope.spawn(move || run(thread))
            })
            .collect();
        let mut times = Vec::with_capacity(threads);
        for handle in handles {
            times.push(handle.join().ok().context("a thread panicked")??);
        }
        let begin = times.iter().map(|(begin, _)| *begin).min();
        let end = times.iter().map(|(_, end)| *end).max();
        Ok(end
            .zip(begin)
            .map(|(end, begin)| end - begin)
            .unwrap_or_default())
    })
}
