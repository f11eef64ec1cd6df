//! Work that is recorded and done later is the same work to the bit, and on a GPU becomes a graph where it comes again.
//! On the CPU a recording does nothing, which these tests then see.

use std::process::Command;

use keros_tensor::kernels::{self, Activation};
use keros_tensor::{
    DType, Recording, Stream, Tensor, Workspace, access, cuda_graph_starts, set_cuda_graphs,
    unrecorded, upload,
};

use crate::test_device::test_device;

/// Memory and values for [`work`](Work::work).
struct Work {
    ws: Workspace,
    x: Tensor,
    w: Tensor,
}

impl Work {
    fn new() -> Work {
        // Its first use switches them as the environment says.
        let device = test_device();
        set_cuda_graphs(true);
        let values = |n: usize| (0..n).map(|i| (i % 17) as f32 / 8.0 - 1.0);
        let tensor = |rows: usize, columns: usize| {
            let values: Vec<f32> = values(rows * columns).collect();
            Tensor::from_vec(values, (rows, columns), device).unwrap()
        };
        Work {
            ws: Workspace::new(device),
            x: tensor(8, 32),
            w: tensor(32, 10),
        }
    }

    /// Kernels and a product by a library: `relu(dropout(sigmoid(x) + seed) · w)`.
    fn work(&mut self, seed: u64) -> Tensor {
        let ws = &mut self.ws;
        let y = kernels::activation(ws, &self.x, Activation::Relu).unwrap();
        let sum = ws.take(y.dims(), DType::F32).unwrap();
        kernels::fill(&sum, seed as f32).unwrap();
        kernels::accumulate(&[(&sum, &y)], 0.5).unwrap();
        let y = kernels::dropout(ws, &sum, 0.5, Stream::new(1, seed)).unwrap();
        ws.give(&sum);
        kernels::dense(ws, &y, &self.w, None, Activation::Relu).unwrap()
    }

    fn recorded(&mut self, seed: u64) -> Vec<f32> {
        self.ws.recycle();
        let recording = Recording::start(&self.ws);
        let y = self.work(seed);
        recording.finish().unwrap();
        values(&y)
    }

    fn direct(&mut self, seed: u64) -> Vec<f32> {
        self.ws.recycle();
        let y = self.work(seed);
        values(&y)
    }
}

fn values(tensor: &Tensor) -> Vec<f32> {
    access::read::<f32>(tensor).unwrap().to_vec()
}

/// Graphs that a GPU starts meanwhile; the CPU starts none.
#[track_caller]
fn starts(expected: u64, work: impl FnOnce()) {
    let before = cuda_graph_starts();
    work();
    let expected = if test_device().is_cpu() { 0 } else { expected };
    assert_eq!(
        cuda_graph_starts() - before,
        expected,
        "graphs that were started"
    );
}

#[test]
fn what_comes_again_becomes_a_graph_whose_parameters_follow() {
    let mut work = Work::new();
    let expected: Vec<_> = (0..5).map(|seed| work.direct(seed)).collect();
    assert_ne!(expected[0], expected[1]);
    starts(4, || {
        for (seed, expected) in expected.iter().enumerate() {
            assert_eq!(&work.recorded(seed as u64), expected, "seed {seed}");
        }
    });
}

#[test]
fn other_shapes_have_graphs_of_their_own() {
    let mut work = Work::new();
    let (large, small) = (work.x.clone(), work.x.narrow(0, 0, 3).unwrap());
    let mut expected = Vec::new();
    for x in [&large, &small] {
        work.x = x.clone();
        expected.push(work.direct(7));
    }
    starts(4, || {
        for _ in 0..3 {
            for (x, expected) in [&large, &small].into_iter().zip(&expected) {
                work.x = x.clone();
                assert_eq!(&work.recorded(7), expected);
            }
        }
    });
}

#[test]
fn parameters_of_a_library_that_change_make_another_graph() {
    let mut work = Work::new();
    let expected = work.direct(3);
    for _ in 0..3 {
        assert_eq!(work.recorded(3), expected);
    }
    // The same values elsewhere.
    work.w = work.w.copy().unwrap();
    starts(2, || {
        for _ in 0..3 {
            assert_eq!(work.recorded(3), expected);
        }
    });
}

#[test]
fn whatever_reads_or_writes_in_between_comes_in_its_turn() {
    let mut work = Work::new();
    let device = test_device();
    for round in 0..4 {
        work.ws.recycle();
        let recording = Recording::start(&work.ws);
        let y = work.work(round);
        let expected = values(&y);
        // The host reads, writes and uploads; candle copies.
        access::write(&y, |y: &mut [f32]| y.fill(2.0)).unwrap();
        let more = upload::<f32, f32>(&mut work.ws, &[80], &[3.0; 80]).unwrap();
        let more = more.reshape(y.dims()).unwrap();
        kernels::accumulate(&[(&more, &y)], 1.0).unwrap();
        let copied = unrecorded(|| more.copy().unwrap()).unwrap();
        kernels::accumulate(&[(&copied, &y)], 1.0).unwrap();
        recording.finish().unwrap();
        assert_eq!(values(&copied), [7.0; 80]);
        assert_eq!(expected, work.direct(round));
    }
    assert!(device.is_cpu() || cuda_graph_starts() > 0);
}

#[test]
fn memory_that_is_given_up_stays_until_the_work_is_done() {
    let mut work = Work::new();
    for round in 0..3_u8 {
        work.ws.recycle();
        let recording = Recording::start(&work.ws);
        let own = Tensor::from_vec(vec![f32::from(round); 256], 256, test_device()).unwrap();
        let y = work.ws.take(&[256], DType::F32).unwrap();
        for _ in 0..5 {
            kernels::copy(&own, &y).unwrap();
        }
        drop(own);
        // The driver may have the memory serve again.
        let other = Tensor::from_vec(vec![f32::NAN; 256], 256, test_device()).unwrap();
        recording.finish().unwrap();
        assert_eq!(values(&y), [f32::from(round); 256]);
        assert!(values(&other)[0].is_nan());
    }
}

#[test]
fn what_is_given_up_is_not_done_and_nothing_is_left_of_it() {
    let mut work = Work::new();
    let expected = work.direct(5);
    let kept = work.x.copy().unwrap();
    for _ in 0..3 {
        let recording = Recording::start(&work.ws);
        kernels::fill(&work.x, 9.0).unwrap();
        drop(recording);
        if test_device().is_cpu() {
            kernels::copy(&kept, &work.x).unwrap();
        }
        assert_eq!(work.recorded(5), expected);
    }
}

#[test]
fn a_recording_in_a_recording_is_part_of_it() {
    let mut work = Work::new();
    let expected = work.direct(5);
    starts(2, || {
        for _ in 0..3 {
            work.ws.recycle();
            let outer = Recording::start(&work.ws);
            let inner = Recording::start(&work.ws);
            let y = work.work(5);
            inner.finish().unwrap();
            outer.finish().unwrap();
            assert_eq!(values(&y), expected);
        }
    });
}

/// Does the same with so many different parameters in turn, twice.
fn in_turn(count: usize) {
    let mut work = Work::new();
    let kept: Vec<Tensor> = (0..count).map(|_| work.w.copy().unwrap()).collect();
    let expected = work.direct(5);
    for round in 0..2 {
        for w in &kept {
            work.w = w.clone();
            assert_eq!(work.recorded(5), expected, "round {round}");
        }
    }
}

#[test]
fn pieces_that_come_in_turn_become_graphs() {
    starts(40, || in_turn(40));
}

#[test]
fn work_that_always_changes_is_forgotten_again() {
    starts(0, || in_turn(300));
}

/// Runs `without_graphs` in a process whose driver makes or starts none: it reads its variables once.
fn with_driver(variable: &str, value: &str) {
    let mut program = Command::new(std::env::current_exe().unwrap());
    program.args(["--exact", "recording::without_graphs", "--ignored"]);
    let done = program.env(variable, value).output().unwrap();
    let text = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
fn what_the_driver_makes_no_graph_of_is_done_as_ever() {
    with_driver("KEROS_EMULATOR_NO_GRAPHS", "1");
}

#[test]
fn a_graph_that_does_not_start_is_done_as_ever() {
    for started in ["0", "1", "2"] {
        with_driver("KEROS_EMULATOR_GRAPH_LAUNCHES", started);
    }
}

#[test]
#[ignore = "runs in a process of its own"]
fn without_graphs() {
    let mut work = Work::new();
    let expected: Vec<_> = (0..5).map(|seed| work.direct(seed)).collect();
    for (seed, expected) in expected.iter().enumerate() {
        assert_eq!(&work.recorded(seed as u64), expected, "seed {seed}");
    }
    // A real driver does not know the variables; the emulated one is loaded before it.
    if std::env::var("LD_PRELOAD").is_ok_and(|libraries| libraries.contains("libcuda")) {
        let most = std::env::var("KEROS_EMULATOR_GRAPH_LAUNCHES");
        let most: u64 = most.map_or(0, |most| most.parse().unwrap());
        assert_eq!(cuda_graph_starts(), most);
    }
}
