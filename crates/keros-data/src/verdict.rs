//! Which side waits for the other, in words.

use std::fmt;
use std::num::NonZero;
use std::thread;

use crate::LoaderStats;

/// From this share of the time on a wait is worth a word.
const MATTERS: f64 = 0.05;

/// What the counters of a [`Loader`](crate::Loader) say; displays as a sentence without a full stop.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Verdict {
    /// Too little was delivered to tell.
    Unknown,
    /// Batches are made on the thread that consumes them, which takes this share of its time.
    NoWorkers {
        /// In `[0, 1]`.
        making_frac: f64,
    },
    /// The model waits for data.
    ModelWaits {
        /// Share of the time it waits, in `[0, 1]`.
        waiting_frac: f64,
        /// Workers that are busy, on average.
        busy: f64,
        /// Workers there are.
        workers: usize,
        /// Cores of this machine.
        cores: usize,
    },
    /// The data wait for the model.
    DataWait {
        /// Share of the time the model waits, in `[0, 1]`.
        waiting_frac: f64,
        /// Workers that are busy, on average.
        busy: f64,
        /// Workers there are.
        workers: usize,
    },
}

impl Verdict {
    pub(crate) fn of(stats: &LoaderStats) -> Self {
        let elapsed = stats.elapsed.as_secs_f64();
        if stats.batches < 2 || elapsed <= 0.0 {
            return Self::Unknown;
        }
        let waiting_frac = (stats.consumer_wait.as_secs_f64() / elapsed).min(1.0);
        let workers = stats.workers;
        if workers == 0 {
            return Self::NoWorkers {
                making_frac: waiting_frac,
            };
        }
        // Workers begin before the first request.
        let busy = (stats.producer_busy.as_secs_f64() / elapsed).min(workers as f64);
        match waiting_frac > MATTERS {
            true => Self::ModelWaits {
                waiting_frac,
                busy,
                workers,
                cores: thread::available_parallelism().map_or(1, NonZero::get),
            },
            false => Self::DataWait {
                waiting_frac,
                busy,
                workers,
            },
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Unknown => f.write_str("too few batches to tell who waits for whom"),
            Self::NoWorkers { making_frac } => {
                let percent = 100.0 * making_frac;
                write!(f, "making the batches takes {percent:.0} % of the time")?;
                match making_frac > MATTERS {
                    true => f.write_str(": one worker or more would do that beside the model"),
                    false => Ok(()),
                }
            }
            Self::ModelWaits {
                waiting_frac,
                busy,
                workers,
                cores,
            } => {
                let percent = 100.0 * waiting_frac;
                write!(f, "the model waits for data {percent:.0} % of the time: ")?;
                if busy < 0.7 * workers as f64 {
                    // Neither side is busy: the queue is too short for batches that take unequally
                    // long.
                    write!(
                        f,
                        "only {busy:.1} of {workers} workers are busy, raise max_queue_size or \
                         max_queue_bytes"
                    )
                } else if workers < cores {
                    write!(
                        f,
                        "raise workers, of which there are {workers} on {cores} cores, or make a \
                         batch cheaper (smaller images, less augmentation)"
                    )
                } else {
                    write!(
                        f,
                        "all {workers} workers are busy on {cores} cores, make a batch cheaper \
                         (smaller images, less augmentation), or raise workers if they wait for a \
                         disk or a network"
                    )
                }
            }
            Self::DataWait {
                waiting_frac,
                busy,
                workers,
            } => {
                let percent = 100.0 * waiting_frac;
                let enough = busy.ceil().max(1.0) as usize;
                write!(
                    f,
                    "the data wait for the model, which waits {percent:.0} % of the time"
                )?;
                match enough < workers {
                    true => write!(
                        f,
                        ": {enough} of {workers} workers would do, {busy:.1} are busy"
                    ),
                    false => Ok(()),
                }
            }
        }
    }
}
