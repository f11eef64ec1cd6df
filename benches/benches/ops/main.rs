//! Every kernel by itself, forward and backward: its rate beside what the machine can do, and candle's
//! for the same where candle has the operation.
//!
//! Kernels that calculate are shown in GFLOP/s beside a large product of matrices on all cores; the
//! others move data, and are shown in GB/s beside a copy of as many bytes on all cores. What counts
//! is what has to be read and written, each value once. Criterion prints the times.
//!
//! Backward passes do what a network needs: a first layer gives no input gradient. candle's computes
//! all gradients in any case, which is a part of what is compared.

mod conv;
mod dense;
mod elementwise;
mod normalization;
mod optimizer;
mod pool;

use anyhow::Result;
use candle_core::{Device, Tensor};
use keros::tensor::parallel::{chunks_mut, for_each_part};
use keros_bench_record::Results;
use keros_benches::{Figure, Sides, Suite, Times, floats, show, timed};

/// Images of a batch, unless they are large.
const BATCH: usize = 128;
/// Rows and columns of the matrices whose product gives the machine's rate.
const GEMM: usize = 1024;
/// Elements that a thread copies at a time.
const COPY: usize = 64 * 1024;

/// One iteration of a side.
type Step = Box<dyn FnMut() -> Result<()>>;

/// What a kernel is measured by.
#[derive(Clone, Copy)]
enum Work {
    /// Multiplications and additions.
    Flops(f64),
    /// Floats read and written.
    Floats(usize),
}

struct Ops(Suite);

/// Our side of a case, and candle's if it has the operation.
struct Case {
    keros: Step,
    candle: Option<Step>,
}

impl Ops {
    /// Measures `group/name`; only if the command line wants it are its sides made.
    fn case(&mut self, group: &str, name: &str, work: Work, case: impl FnOnce() -> Result<Case>) {
        let (amount, figure) = match work {
            Work::Flops(flops) => (flops, Figure::rate("GFLOP/s", 1e-9)),
            Work::Floats(floats) => (floats as f64, Figure::rate("GB/s", 4e-9)),
        };
        self.0.case(group, name, figure, || {
            let Case { keros, candle } = case()?;
            let sides = Sides::of("keros", amount, each(keros));
            let sides = match work {
                Work::Flops(_) => {
                    let flops = (2 * GEMM * GEMM * GEMM) as f64;
                    sides.against("large product", flops, each(gemm()?))
                }
                Work::Floats(floats) => sides.against("copy", amount, each(copy(floats))),
            };
            Ok(match candle {
                Some(candle) => sides.against("candle", amount, each(candle)),
                None => sides,
            })
        });
    }
}

fn each(mut step: Step) -> impl FnMut(u64) -> Result<std::time::Duration> {
    move |iterations| timed(iterations, &mut step)
}

/// candle's matrix product, which is the crate gemm on all cores.
fn gemm() -> Result<Step> {
    let a = tensor(101, &[GEMM, GEMM])?;
    let b = tensor(102, &[GEMM, GEMM])?;
    Ok(Box::new(move || {
        a.matmul(&b)?;
        Ok(())
    }))
}

/// A copy that reads and writes so many floats together.
fn copy(floats_moved: usize) -> Step {
    let from = floats(103, floats_moved / 2);
    let mut to = from.clone();
    Box::new(move || {
        for_each_part(chunks_mut(&mut to, COPY), |i, to| {
            to.copy_from_slice(&from[i * COPY..][..to.len()]);
        });
        Ok(())
    })
}

fn main() -> Result<()> {
    let times = Times {
        warm_up_s: 0.5,
        measurement_s: 3.0,
        rounds: 20,
    };
    let Some(suite) = Suite::from_args(times) else {
        return Ok(());
    };
    let mut ops = Ops(suite);
    conv::cases(&mut ops);
    dense::cases(&mut ops);
    pool::cases(&mut ops);
    normalization::cases(&mut ops);
    elementwise::cases(&mut ops);
    optimizer::cases(&mut ops);
    show(&Results::of_suite("ops", ops.0.finish()))
}

fn tensor(seed: u64, shape: &[usize]) -> Result<Tensor> {
    let values = floats(seed, shape.iter().product());
    Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
}

/// Images as candle takes them: channels first.
fn channels_first(images: &Tensor) -> Result<Tensor> {
    Ok(images.permute([0, 3, 1, 2])?.contiguous()?)
}
