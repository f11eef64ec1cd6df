//! Requests from other threads: none is lost, none arrives twice, none waits after the end.

use keros_callbacks::{Decision, RequestQueue, RunError};
use std::path::PathBuf;
use std::thread;

#[test]
fn what_is_asked_is_taken_once() {
    let queue = RequestQueue::new();
    let requests = queue.requests().clone();
    assert_eq!(queue.take(), Decision::CONTINUE);
    requests.stop("enough").expect("the run lives");
    requests.stop("too late").expect("the run lives");
    requests.save("a.safetensors").expect("the run lives");
    let taken = queue.take();
    assert_eq!(taken.stop.as_deref(), Some("enough"));
    assert_eq!(taken.checkpoints, [PathBuf::from("a.safetensors")]);
    assert_eq!(queue.take(), Decision::CONTINUE);
}

#[test]
fn no_request_of_any_thread_is_lost() {
    const EACH: usize = 500;
    let queue = RequestQueue::new();
    let mut taken = Vec::new();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..3)
            .map(|thread| {
                let requests = queue.requests().clone();
                scope.spawn(move || {
                    for i in 0..EACH {
                        requests
                            .save(format!("{thread}-{i}"))
                            .expect("the run lives");
                    }
                })
            })
            .collect();
        while !threads.iter().all(thread::ScopedJoinHandle::is_finished) {
            taken.extend(queue.take().checkpoints);
        }
    });
    taken.extend(queue.take().checkpoints);
    assert_eq!(taken.len(), 3 * EACH);
    for thread in 0..3 {
        let own = format!("{thread}-");
        let of_thread = taken
            .iter()
            .filter_map(|path| path.to_str()?.strip_prefix(&own));
        let expected: Vec<String> = (0..EACH).map(|i| i.to_string()).collect();
        assert_eq!(of_thread.collect::<Vec<_>>(), expected, "thread {thread}");
    }
}

#[test]
fn a_run_that_is_over_refuses() {
    let queue = RequestQueue::new();
    let requests = queue.requests().clone();
    assert!(requests.same_run(queue.requests()));
    drop(queue);
    assert!(matches!(requests.stop("why"), Err(RunError::Over)));
    assert!(matches!(requests.save("a"), Err(RunError::Over)));
    assert!(!requests.same_run(RequestQueue::new().requests()));
}
