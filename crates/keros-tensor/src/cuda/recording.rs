//! What a thread records of its work for a GPU: see [`Recording`](crate::Recording).

use std::cell::{Cell, RefCell};
use std::mem::take;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::Tensor;

use super::Gpu;
use super::command::Commands;
use super::graph::Graphs;
use crate::TensorError;

thread_local! {
    static OPEN: RefCell<Option<Open>> = const { RefCell::new(None) };
    static GRAPH_STARTS: Cell<u64> = const { Cell::new(0) };
}

struct Open {
    gpu: Gpu,
    commands: Commands,
    /// Tensors whose addresses the commands may have: their memory stays theirs until these are started.
    alive: Vec<Tensor>,
    graphs: Arc<Mutex<Graphs>>,
    pauses: usize,
}

pub(crate) fn graph_starts() -> u64 {
    GRAPH_STARTS.get()
}

pub(super) fn count_graph_start() {
    GRAPH_STARTS.set(GRAPH_STARTS.get() + 1);
}

/// Begins to record, if nothing is recorded yet.
pub(crate) fn open(gpu: Gpu, graphs: &Arc<Mutex<Graphs>>) -> bool {
    OPEN.with_borrow_mut(|open| {
        if open.is_some() {
            return false;
        }
        *open = Some(Open {
            gpu,
            commands: Commands::default(),
            alive: Vec::new(),
            graphs: Arc::clone(graphs),
            pauses: 0,
        });
        true
    })
}

/// Starts what was recorded, and ends it.
pub(crate) fn close() -> Result<(), TensorError> {
    let started = flush();
    discard();
    started
}

/// Ends it, without what is still recorded.
pub(crate) fn discard() {
    // The tensors go when nothing is borrowed.
    drop(OPEN.take());
}

/// Starts what was recorded so far: for what reaches the GPU in another way.
pub(crate) fn flush() -> Result<(), TensorError> {
    let recorded = OPEN.with_borrow_mut(|open| {
        let open = open.as_mut().filter(|open| !open.commands.is_empty())?;
        let (commands, alive) = (take(&mut open.commands), take(&mut open.alive));
        Some((open.gpu.clone(), Arc::clone(&open.graphs), commands, alive))
    });
    let Some((gpu, graphs, mut commands, mut alive)) = recorded else {
        return Ok(());
    };
    let mut graphs = graphs.lock().unwrap_or_else(PoisonError::into_inner);
    let started = graphs.start(&gpu, &mut commands);
    drop(graphs);
    // Their memory serves again.
    commands.clear();
    alive.clear();
    OPEN.with_borrow_mut(|open| {
        if let Some(open) = open {
            (open.commands, open.alive) = (commands, alive);
        }
    });
    started
}

/// Whether what this GPU is told is recorded.
pub(crate) fn is_on(gpu: &Gpu) -> bool {
    OPEN.with_borrow(|open| open.as_ref().is_some_and(|open| open.records(gpu)))
}

/// Lets `push` record, where a recording [is on](is_on).
pub(crate) fn record(push: impl FnOnce(&mut Commands)) {
    OPEN.with_borrow_mut(|open| {
        if let Some(open) = open {
            push(&mut open.commands);
        }
    });
}

/// Keeps a tensor whose address somebody has asked for.
pub(crate) fn keep(tensor: &Tensor) {
    OPEN.with_borrow_mut(|open| {
        if let Some(open) = open
            && open.pauses == 0
        {
            open.alive.push(tensor.clone());
        }
    });
}

impl Open {
    fn records(&self, gpu: &Gpu) -> bool {
        self.pauses == 0 && self.gpu.is_same(gpu)
    }
}

/// Nothing is recorded until it is dropped.
pub(crate) struct Pause;

impl Pause {
    pub(crate) fn start() -> Result<Self, TensorError> {
        flush()?;
        pauses(|pauses| pauses + 1);
        Ok(Self)
    }
}

impl Drop for Pause {
    fn drop(&mut self) {
        pauses(|pauses| pauses.saturating_sub(1));
    }
}

fn pauses(change: impl FnOnce(usize) -> usize) {
    OPEN.with_borrow_mut(|open| {
        if let Some(open) = open {
            open.pauses = change(open.pauses);
        }
    });
}
