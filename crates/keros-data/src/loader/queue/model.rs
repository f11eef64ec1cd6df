//! A model check of the queue's protocol: shuttle runs the real code under schedules of its own, in
//! which every lock and every wait may go either way, and fails when all threads wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use shuttle::thread;

use super::{Lost, Queue};
use crate::stats::Counters;

const SCHEDULES: usize = 20_000;

fn queue(max_bytes: usize) -> Arc<Queue<u64, u64>> {
    Queue::new(max_bytes, Arc::new(Counters::default()))
}

/// Hands out `jobs` jobs, at most `ahead` at a time, and takes the first `taken` results.
fn consume(queue: &Queue<u64, u64>, jobs: u64, ahead: u64, taken: u64) -> Vec<Result<u64, Lost>> {
    let mut handed_out = 0;
    let mut results = Vec::new();
    for position in 0..taken {
        while handed_out < jobs.min(position + ahead) {
            queue.hand_out(handed_out);
            handed_out += 1;
        }
        results.push(queue.take());
    }
    results
}

#[test]
fn results_arrive_in_order_and_everybody_ends() {
    for workers in 1..=3 {
        for (max_bytes, taken) in [(usize::MAX, 5), (2, 5), (0, 5), (2, 2)] {
            let check = move || {
                let queue = queue(max_bytes);
                let threads: Vec<_> = (0..workers)
                    .map(|_| {
                        let worker = queue.worker();
                        thread::spawn(move || {
                            while let Some(ticket) = worker.take() {
                                let job = ticket.job;
                                ticket.settle(job * 10, 1 + job as usize % 3);
                            }
                        })
                    })
                    .collect();
                let results = consume(&queue, 5, 3, taken);
                let expected: Vec<_> = (0..taken).map(|job| Ok(job * 10)).collect();
                assert_eq!(results, expected);
                queue.close();
                for thread in threads {
                    thread.join().unwrap();
                }
            };
            shuttle::check_random(check, SCHEDULES / 10);
        }
    }
}

#[test]
fn a_worker_that_keeps_a_second_job_does_not_block_the_first() {
    let check = || {
        let queue = queue(1);
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let worker = queue.worker();
                thread::spawn(move || {
                    let mut next = None;
                    while let Some(ticket) = next.take().or_else(|| worker.take()) {
                        next = worker.try_take();
                        let job = ticket.job;
                        ticket.settle(job, 1);
                    }
                })
            })
            .collect();
        let expected: Vec<_> = (0..6).map(Ok).collect();
        assert_eq!(consume(&queue, 6, 4, 6), expected);
        queue.close();
        for thread in threads {
            thread.join().unwrap();
        }
    };
    shuttle::check_random(check, SCHEDULES);
}

#[test]
fn a_worker_that_dies_is_told_in_the_place_of_its_job() {
    let check = || {
        let queue = queue(usize::MAX);
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let worker = queue.worker();
                thread::spawn(move || {
                    while let Some(ticket) = worker.take() {
                        if ticket.job == 2 {
                            // Leaves with its job, as in a panic.
                            return;
                        }
                        let job = ticket.job;
                        ticket.settle(job, 1);
                    }
                })
            })
            .collect();
        let results = consume(&queue, 4, 3, 3);
        assert_eq!(results, [Ok(0), Ok(1), Err(Lost)]);
        queue.close();
        for thread in threads {
            thread.join().unwrap();
        }
    };
    shuttle::check_random(check, SCHEDULES);
}

#[test]
fn the_last_worker_that_leaves_wakes_the_consumer() {
    let check = || {
        let queue = queue(usize::MAX);
        let worker = queue.worker();
        let thread = thread::spawn(move || drop(worker));
        queue.hand_out(0);
        assert_eq!(queue.take(), Err(Lost));
        queue.close();
        thread.join().unwrap();
    };
    shuttle::check_random(check, SCHEDULES);
}

#[test]
fn what_is_discarded_is_dropped_once() {
    struct Counted(Arc<AtomicUsize>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, SeqCst);
        }
    }
    let check = || {
        let drops = Arc::new(AtomicUsize::new(0));
        let queue = Queue::new(1, Arc::new(Counters::default()));
        let worker = queue.worker();
        let counter = Arc::clone(&drops);
        let thread = thread::spawn(move || {
            let mut made = 0;
            while let Some(ticket) = worker.take() {
                ticket.settle(Counted(Arc::clone(&counter)), 1);
                made += 1;
            }
            made
        });
        (0..3).for_each(|job| queue.hand_out(job));
        let first = queue.take();
        queue.close();
        let made: usize = thread.join().unwrap();
        drop(first);
        assert_eq!(drops.load(SeqCst), made);
    };
    shuttle::check_random(check, SCHEDULES);
}
