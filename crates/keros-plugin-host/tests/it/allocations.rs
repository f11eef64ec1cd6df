//! An event allocates nothing, neither in the host nor in the SDK, once names have been seen.

use crate::run::FakeRun;
use keros_abi::keros_plugin_module;
use keros_callbacks::{CallbackList, EventKind};
use keros_plugin::{BoxError, Callback, CallbackResult, Context, Decision, NoConfig};
use keros_plugin_host::Plugin;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// Counts, per thread as tests run beside each other.
struct Counting;

// SAFETY: everything is done by the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Reads all there is.
struct Reader;

impl Callback for Reader {
    fn on_event(&mut self, cx: &mut Context<'_>) -> CallbackResult {
        let metrics = cx.info().metrics.len();
        assert_eq!(cx.info().metrics.len(), metrics);
        assert!(cx.data_wait().as_nanos() > 0);
        let rate = cx.learning_rate();
        let logs = cx.logs()?;
        assert!(logs.iter().all(|(_, value)| value.as_number().is_some()));
        Ok(rate.map_or(Decision::CONTINUE, Decision::set_learning_rate))
    }
}

static READER: keros_plugin_module =
    keros_plugin::plugin_module!(|_: NoConfig| Ok::<_, BoxError>(Reader), id: "reader");

#[test]
fn an_event_allocates_nothing() {
    // SAFETY: made by the SDK.
    let plugin = unsafe { Plugin::from_module(&READER) }.unwrap();
    let mut callbacks = CallbackList::new().with(plugin.callback("").unwrap());
    let mut run = FakeRun::new();
    run.set_logs(&[("loss", 0.5), ("accuracy", 0.25)]);
    let mut batch = || {
        let before = ALLOCATIONS.get();
        for kind in [EventKind::TrainBatchBegin, EventKind::TrainBatchEnd] {
            run.again(&mut callbacks, kind).unwrap();
        }
        ALLOCATIONS.get() - before
    };
    assert!(batch() > 0, "the first batch finds no room");
    assert_eq!([batch(), batch(), batch()], [0; 3]);
}
