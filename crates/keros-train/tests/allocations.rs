//! A run of any length holds the same memory: nothing that is allocated grows with its steps.
#![allow(unsafe_code, reason = "an allocator is unsafe by its nature")]
#![allow(clippy::unwrap_used, reason = "a test")]

use keros_callbacks::{CallbackList, Decision, EventKind, LambdaCallback, Verbose};
use keros_data::{Array, Batch, DataError};
use keros_nn::Sequential;
use keros_nn::layers::Dense;
use keros_tensor::Device;
use keros_train::{FitGeneratorOptions, Source, Trainer};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicIsize, Ordering};

/// Counts the bytes that are allocated and not freed.
struct Counting;

/// By all threads.
static LIVE: AtomicIsize = AtomicIsize::new(0);

thread_local! {
    /// By this one.
    static OWN: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    LIVE.fetch_add(bytes, Ordering::Relaxed);
    OWN.set(OWN.get() + bytes);
}

// SAFETY: hands everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_run_of_any_length_holds_the_same_memory() {
    const STEPS: u64 = 5_000;
    let network = Sequential::builder([4])
        .layer(Dense::new(3).activation("softmax"))
        .build(&Device::Cpu, 1)
        .unwrap();
    let mut trainer = Trainer::builder(network)
        .optimizer("adam")
        .loss("sparse_categorical_crossentropy")
        .metric("accuracy")
        .compile()
        .unwrap();
    let x = Array::from_vec(&[8, 4], vec![0.5_f32; 32]).unwrap();
    let y = Array::from_vec(&[8], vec![1_i64; 8]).unwrap();
    let batch = Batch::new(x, y);
    let endless = std::iter::repeat_with(move || Ok::<Batch, DataError>(batch.clone()));

    let mut live = Vec::with_capacity(STEPS as usize);
    let watch = LambdaCallback::new().on(EventKind::TrainBatchEnd, |cx| {
        cx.logs()?;
        live.push((OWN.get(), LIVE.load(Ordering::Relaxed)));
        Ok(Decision::CONTINUE)
    });
    let options = FitGeneratorOptions {
        steps_per_epoch: Some(STEPS),
        workers: 0,
        verbose: Verbose::Silent,
        callbacks: CallbackList::new().with(watch),
        ..FitGeneratorOptions::default()
    };
    trainer
        .fit_generator(Source::generator(endless), options)
        .unwrap();
    let (begin, end) = (live[100], live[STEPS as usize - 1]);
    assert_eq!(begin.0, end.0, "held by the training thread");
    // A byte for each step would be thousands; another thread may hold a few when it begins late.
    let grown = end.1 - begin.1;
    assert!(grown < 1024, "{grown} bytes more after {STEPS} steps");
}
