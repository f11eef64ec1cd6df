//! One persistent fork-join pool for the hot path.
//!
//! A step runs some tens of kernels of a few hundred microseconds each, so starting one has to cost
//! about a microsecond.
//! The helper threads spin shortly after each call, since the next one is usually near, and then
//! sleep: other threads (data workers) share the cores.
//!
//! The pool decides only *who* runs a task, never what a task is: kernels cut their work into pieces
//! whose size does not depend on the number of threads, and results do not depend on it either.

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::simd;

/// How long a thread without work watches for some before it sleeps.
const SPIN: Duration = Duration::from_micros(30);

/// Runs `task(0)`, …, `task(tasks - 1)` on the pool and returns when all are done.
///
/// Tasks start in order, each on whichever thread is free; the calling thread takes part.
/// While the pool is busy (a call from inside a task, or from several threads at once) the tasks
/// run on the calling thread alone.
///
/// # Panics
/// With the panic of a task, after the others have ended; tasks that had not started are skipped.
pub fn for_each(tasks: usize, task: impl Fn(usize) + Sync) {
    match simd::forced() {
        None => pool().for_each(tasks, &task),
        // The helpers do not know of it.
        forced => pool().for_each(tasks, &|index| simd::with_forced(forced, || task(index))),
    }
}

/// Number of threads that [`for_each`] uses, the calling one included.
///
/// It is read once, from the environment variable `KEROS_NUM_THREADS` (an integer from 1) or, where
/// that is not set to one, from the number of processors available to the process.
pub fn threads() -> usize {
    pool().helpers.min(HELPER_LIMIT.get()) + 1
}

/// Runs `f` with at most `threads` threads in each [`for_each`] that it calls on this thread.
///
/// Kernels give the same bits with any number.
pub fn with_threads<R>(threads: usize, f: impl FnOnce() -> R) -> R {
    struct Restore(usize);
    impl Drop for Restore {
        fn drop(&mut self) {
            HELPER_LIMIT.set(self.0);
        }
    }
    let _restore = Restore(HELPER_LIMIT.replace(threads.max(1) - 1));
    f()
}

thread_local! {
    static HELPER_LIMIT: Cell<usize> = const { Cell::new(usize::MAX) };
}

fn pool() -> &'static Pool {
    static POOL: OnceLock<Pool> = OnceLock::new();
    POOL.get_or_init(|| {
        let threads = std::env::var("KEROS_NUM_THREADS")
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .filter(|&threads| threads >= 1)
            .or_else(|| std::thread::available_parallelism().ok().map(usize::from))
            .unwrap_or(1);
        Pool::new(threads)
    })
}

/// Set in [`Shared::state`] while helpers may join the call; the bits below count those inside.
const OPEN: usize = 1 << (usize::BITS - 1);
/// Set while the caller sleeps until the last helper has left.
const CALLER_SLEEPS: usize = OPEN >> 1;

/// What a helper needs to know about the call in progress.
#[derive(Clone, Copy)]
struct Call {
    /// The task, its lifetime erased: alive until the call has been closed and all helpers left.
    task: *const (dyn Fn(usize) + Sync),
    tasks: usize,
    max_helpers: usize,
}

struct Shared {
    /// One caller at a time.
    busy: AtomicBool,
    /// Number of calls so far.
    generation: AtomicU64,
    state: AtomicUsize,
    /// Written only by the caller that holds `busy`, while `state` is 0.
    call: UnsafeCell<Call>,
    next_task: AtomicUsize,
    joined: AtomicUsize,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    /// Helpers asleep, or about to be.
    sleepers: AtomicUsize,
    stop: AtomicBool,
    sleep: Mutex<()>,
    work: Condvar,
    left: Condvar,
}

// SAFETY: `call` is the one member that is not `Sync`. It is written by the single caller that holds
// `busy` while no helper is inside (`state == 0`), and read by helpers only after they joined a
// state in which `OPEN` is set, which that caller stored with release ordering after the write.
unsafe impl Sync for Shared {}
// SAFETY: the task pointer is `Sync` data that outlives every use, see `Pool::for_each`.
unsafe impl Send for Shared {}

struct Pool {
    shared: Arc<Shared>,
    helpers: usize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pool {
    fn new(threads: usize) -> Self {
        let shared = Arc::new(Shared {
            busy: AtomicBool::new(false),
            generation: AtomicU64::new(0),
            state: AtomicUsize::new(0),
            call: UnsafeCell::new(Call {
                task: &|_| {},
                tasks: 0,
                max_helpers: 0,
            }),
            next_task: AtomicUsize::new(0),
            joined: AtomicUsize::new(0),
            panic: Mutex::new(None),
            sleepers: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            sleep: Mutex::new(()),
            work: Condvar::new(),
            left: Condvar::new(),
        });
        // A thread that cannot be started is a thread less, not an error.
        let helpers = (1..threads)
            .take_while(|i| {
                let shared = Arc::clone(&shared);
                std::thread::Builder::new()
                    .name(format!("keros-{i}"))
                    .spawn(move || shared.help())
                    .is_ok()
            })
            .count();
        Self { shared, helpers }
    }

    fn for_each(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        let shared = &*self.shared;
        let max_helpers = self
            .helpers
            .min(HELPER_LIMIT.get())
            .min(tasks.saturating_sub(1));
        if max_helpers == 0 || shared.busy.swap(true, Ordering::Acquire) {
            (0..tasks).for_each(task);
            return;
        }
        // SAFETY: only the lifetime changes. The pointer is used by helpers between joining and
        // leaving; below, `state` is closed and every helper has left before this function returns,
        // and nothing in between unwinds.
        let task: *const (dyn Fn(usize) + Sync) = unsafe {
            std::mem::transmute::<
                *const (dyn Fn(usize) + Sync + '_),
                *const (dyn Fn(usize) + Sync + 'static),
            >(task)
        };
        // SAFETY: `busy` is held and no helper is inside, since the caller before closed `state`.
        unsafe {
            *shared.call.get() = Call {
                task,
                tasks,
                max_helpers,
            };
        }
        shared.next_task.store(0, Ordering::Relaxed);
        shared.joined.store(0, Ordering::Relaxed);
        shared.state.store(OPEN, Ordering::Release);
        shared.generation.fetch_add(1, Ordering::Release);
        // Pairs with the fence of a helper that goes to sleep: one of the two sees the other.
        fence(Ordering::SeqCst);
        let sleepers = shared.sleepers.load(Ordering::Relaxed);
        if sleepers > 0 {
            drop(lock(&shared.sleep));
            for _ in 0..max_helpers.min(sleepers) {
                shared.work.notify_one();
            }
        }
        shared.run_tasks();
        shared.wait_for_helpers();
        let panic = lock(&shared.panic).take();
        shared.busy.store(false, Ordering::Release);
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        drop(lock(&self.shared.sleep));
        self.shared.work.notify_all();
    }
}

impl Shared {
    /// Runs tasks until none is left. The thread is the caller or a helper inside the call.
    fn run_tasks(&self) {
        // SAFETY: the call does not change while its caller is in it or a helper is inside.
        let call = unsafe { *self.call.get() };
        let run = || {
            loop {
                let index = self.next_task.fetch_add(1, Ordering::Relaxed);
                if index >= call.tasks {
                    return;
                }
                // SAFETY: the task is alive until all have left.
                unsafe { (*call.task)(index) };
            }
        };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(run)) {
            self.next_task.store(call.tasks, Ordering::Relaxed);
            lock(&self.panic).get_or_insert(panic);
        }
    }

    /// Closes the call and returns when no helper is inside.
    fn wait_for_helpers(&self) {
        self.state.fetch_and(!OPEN, Ordering::AcqRel);
        let start = Instant::now();
        while start.elapsed() < SPIN {
            for _ in 0..32 {
                if self.state.load(Ordering::Acquire) == 0 {
                    return;
                }
                std::hint::spin_loop();
            }
        }
        let mut guard = lock(&self.sleep);
        self.state.fetch_or(CALLER_SLEEPS, Ordering::AcqRel);
        while self.state.load(Ordering::Acquire) != CALLER_SLEEPS {
            guard = self
                .left
                .wait(guard)
                .unwrap_or_else(PoisonError::into_inner);
        }
        self.state.store(0, Ordering::Relaxed);
    }

    /// The life of a helper thread.
    fn help(&self) {
        let mut seen = 0;
        while let Some(generation) = self.next_call(seen) {
            seen = generation;
            if self.join() {
                // SAFETY: inside the call.
                let max_helpers = unsafe { (*self.call.get()).max_helpers };
                if self.joined.fetch_add(1, Ordering::Relaxed) < max_helpers {
                    self.run_tasks();
                }
                if self.state.fetch_sub(1, Ordering::AcqRel) == CALLER_SLEEPS + 1 {
                    drop(lock(&self.sleep));
                    self.left.notify_one();
                }
            }
        }
    }

    /// Enters the call in progress, if there is one.
    fn join(&self) -> bool {
        self.state
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| {
                (state & OPEN != 0).then_some(state + 1)
            })
            .is_ok()
    }

    /// Waits for a call after number `seen`; `None` when the pool is gone.
    fn next_call(&self, seen: u64) -> Option<u64> {
        let news = || {
            let generation = self.generation.load(Ordering::Acquire);
            (generation != seen || self.stop.load(Ordering::Acquire)).then_some(generation)
        };
        let start = Instant::now();
        let mut generation = news();
        while generation.is_none() && start.elapsed() < SPIN {
            for _ in 0..32 {
                std::hint::spin_loop();
            }
            generation = news();
        }
        if generation.is_none() {
            let mut guard = lock(&self.sleep);
            self.sleepers.fetch_add(1, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            generation = news();
            while generation.is_none() {
                guard = self
                    .work
                    .wait(guard)
                    .unwrap_or_else(PoisonError::into_inner);
                generation = news();
            }
            self.sleepers.fetch_sub(1, Ordering::Relaxed);
        }
        generation.filter(|_| !self.stop.load(Ordering::Acquire))
    }
}

/// Data that falls into parts, one per task of [`for_each_part`].
///
/// Implemented for [`ChunksMut`], for `Option<ChunksMut>`, for arrays of these and for tuples of up
/// to four of them.
///
/// # Safety
/// For one `self`, the results of `part(i)` and `part(j)` share no memory if `i != j`.
pub unsafe trait Parts: Sync {
    /// One part.
    type Part;

    /// Number of parts; `None` if any number will do.
    fn parts(&self) -> Option<usize>;

    /// Part number `index`.
    ///
    /// # Safety
    /// `index` is below [`parts`](Self::parts) and no other result for it is alive.
    unsafe fn part(&self, index: usize) -> Self::Part;
}

/// Runs `task(i, part i)` for every part, in parallel: the safe way to write to slices from tasks.
///
/// Of a tuple, the shortest member tells the number of parts.
///
/// ```
/// use keros_tensor::parallel::{chunks_mut, for_each_part};
///
/// let mut squares = vec![0; 10];
/// for_each_part(chunks_mut(&mut squares, 4), |i, part| {
///     for (k, value) in part.iter_mut().enumerate() {
///         *value = (4 * i + k) * (4 * i + k);
///     }
/// });
/// assert_eq!(squares[9], 81);
/// ```
pub fn for_each_part<P: Parts>(parts: P, task: impl Fn(usize, P::Part) + Sync) {
    for_each(parts.parts().unwrap_or(0), |index| {
        // SAFETY: `for_each` runs every index below the number of parts at most once.
        task(index, unsafe { parts.part(index) });
    });
}

/// A slice cut into chunks of equal length, the last one possibly shorter. See [`chunks_mut`].
pub struct ChunksMut<'a, T> {
    data: *mut T,
    len: usize,
    chunk: usize,
    slice: PhantomData<&'a mut [T]>,
}

/// Cuts `slice` into chunks of `chunk` elements (at least 1), the last one possibly shorter.
pub fn chunks_mut<T: Send>(slice: &mut [T], chunk: usize) -> ChunksMut<'_, T> {
    ChunksMut {
        data: slice.as_mut_ptr(),
        len: slice.len(),
        chunk: chunk.max(1),
        slice: PhantomData,
    }
}

// SAFETY: shared references only give out disjoint chunks, each to one thread, and `T: Send`.
unsafe impl<T: Send> Sync for ChunksMut<'_, T> {}

// SAFETY: chunks with different indices do not overlap.
unsafe impl<'a, T: Send> Parts for ChunksMut<'a, T> {
    type Part = &'a mut [T];

    fn parts(&self) -> Option<usize> {
        Some(self.len.div_ceil(self.chunk))
    }

    unsafe fn part(&self, index: usize) -> &'a mut [T] {
        let start = index * self.chunk;
        let len = self.chunk.min(self.len - start);
        // SAFETY: `start..start + len` is inside the slice, which is borrowed for 'a, and the caller
        // holds no other result for this index.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(start), len) }
    }
}

// SAFETY: the parts are those of the member.
unsafe impl<P: Parts> Parts for Option<P> {
    type Part = Option<P::Part>;

    fn parts(&self) -> Option<usize> {
        self.as_ref().and_then(Parts::parts)
    }

    unsafe fn part(&self, index: usize) -> Self::Part {
        // SAFETY: as promised by the caller.
        self.as_ref().map(|parts| unsafe { parts.part(index) })
    }
}

// SAFETY: the parts of each member are disjoint, and members borrow different slices.
unsafe impl<P: Parts, const N: usize> Parts for [P; N] {
    type Part = [P::Part; N];

    fn parts(&self) -> Option<usize> {
        self.iter().filter_map(Parts::parts).min()
    }

    unsafe fn part(&self, index: usize) -> Self::Part {
        // SAFETY: as promised by the caller; every member has at least as many parts.
        std::array::from_fn(|i| unsafe { self[i].part(index) })
    }
}

macro_rules! parts_of_tuples {
    ($(($($name:ident $index:tt),+))*) => {$(
        // SAFETY: the parts of each member are disjoint, and members borrow different slices.
        unsafe impl<$($name: Parts),+> Parts for ($($name,)+) {
            type Part = ($($name::Part,)+);

            fn parts(&self) -> Option<usize> {
                [$(self.$index.parts()),+].into_iter().flatten().min()
            }

            unsafe fn part(&self, index: usize) -> Self::Part {
                // SAFETY: as promised by the caller; every member has at least as many parts.
                unsafe { ($(self.$index.part(index),)+) }
            }
        }
    )*};
}

parts_of_tuples! {
    (A 0, B 1)
    (A 0, B 1, C 2)
    (A 0, B 1, C 2, D 3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn check_every_task_runs_once(pool: &Pool, tasks: usize) {
        let runs: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
        pool.for_each(tasks, &|i| {
            runs[i].fetch_add(1, Ordering::Relaxed);
        });
        assert!(runs.iter().all(|r| r.load(Ordering::Relaxed) == 1));
    }

    #[test]
    fn every_task_runs_once() {
        for threads in [1, 2, 5] {
            let pool = Pool::new(threads);
            for round in 0..300 {
                check_every_task_runs_once(&pool, round % 17);
            }
        }
    }

    #[test]
    fn helpers_wake_from_sleep() {
        let pool = Pool::new(3);
        for _ in 0..20 {
            std::thread::sleep(Duration::from_millis(1));
            check_every_task_runs_once(&pool, 8);
        }
    }

    #[test]
    fn several_threads_take_part() {
        let pool = Pool::new(4);
        let seen = Mutex::new(HashSet::new());
        pool.for_each(8, &|_| {
            lock(&seen).insert(std::thread::current().id());
            std::thread::sleep(Duration::from_millis(5));
        });
        assert_eq!(lock(&seen).len(), 4);
        lock(&seen).clear();
        with_threads(2, || {
            pool.for_each(8, &|_| {
                lock(&seen).insert(std::thread::current().id());
                std::thread::sleep(Duration::from_millis(2));
            });
        });
        assert_eq!(lock(&seen).len(), 2);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_lives_on() {
        let pool = Pool::new(3);
        for bad in [0, 7, 63] {
            let result = catch_unwind(AssertUnwindSafe(|| {
                pool.for_each(64, &|i| {
                    std::thread::sleep(Duration::from_micros(10));
                    assert!(i != bad, "task {bad}");
                });
            }));
            let message = result.unwrap_err();
            assert_eq!(
                *message.downcast::<String>().unwrap(),
                format!("task {bad}")
            );
            check_every_task_runs_once(&pool, 64);
        }
    }

    #[test]
    fn nested_and_concurrent_calls_finish() {
        let pool = Pool::new(3);
        let total = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        pool.for_each(4, &|_| {
                            pool.for_each(3, &|_| {
                                total.fetch_add(1, Ordering::Relaxed);
                            });
                        });
                    }
                });
            }
        });
        assert_eq!(total.into_inner(), 4 * 100 * 4 * 3);
    }

    #[test]
    fn parts_cover_slices_of_different_types() {
        let mut a = vec![0u32; 10];
        let mut b = vec![0f32; 5];
        for_each_part(
            (
                chunks_mut(&mut a, 4),
                chunks_mut(&mut b, 2),
                None::<ChunksMut<'_, u8>>,
            ),
            |i, (a, b, none)| {
                assert!(none.is_none());
                a.fill(i as u32 + 1);
                b.fill(i as f32 + 1.0);
            },
        );
        assert_eq!(a, [1, 1, 1, 1, 2, 2, 2, 2, 3, 3]);
        assert_eq!(b, [1.0, 1.0, 2.0, 2.0, 3.0]);
    }
}
