//! The shared pool from outside; its insides are tested beside it.

use std::sync::atomic::{AtomicUsize, Ordering};

use keros_tensor::parallel::{for_each, threads, with_threads};

#[test]
fn the_shared_pool_serves_several_threads_and_nested_calls() {
    let total = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    for_each(5, |_| {
                        for_each(3, |_| {
                            total.fetch_add(1, Ordering::Relaxed);
                        });
                    });
                }
            });
        }
    });
    assert_eq!(total.into_inner(), 4 * 50 * 5 * 3);
}

#[test]
fn one_thread_runs_everything_on_the_caller() {
    let here = std::thread::current().id();
    with_threads(1, || {
        assert_eq!(threads(), 1);
        for_each(20, |_| assert_eq!(std::thread::current().id(), here));
    });
    assert!(threads() >= 1);
}
