//! Images per second of an `ImageDataGenerator` with everything turned on, compared with reading the
//! same bytes and writing the same floats: the least that a generator of floats can do. With
//! `--against`, compared with the augmentation of Python's libraries.

use std::hint::black_box;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use keros::data::{Array, FlowOptions, ImageDataGenerator, ImageFlow, Sequence};
use keros_bench_record::Results;
use keros_benches::{Contest, Figure, Rates, Sides, Suite, Times, bytes, on_threads, rate, show};

const BATCH: usize = 32;
const RESCALE: f32 = 1.0 / 255.0;
/// Height and width, channels, number of images.
const SIZES: [(usize, usize, usize); 3] = [(28, 1, 2048), (32, 3, 1024), (224, 3, 64)];

fn main() -> Result<ExitCode> {
    Contest::or_suite("augment", against, suite)
}

/// Images per second beside those of other libraries.
fn against(contest: &Contest) -> Result<()> {
    let cases: Vec<_> = SIZES
        .iter()
        .map(|(size, channels, _)| (format!("{size}x{size}x{channels}"), vec![size.to_string()]))
        .collect();
    contest.play(&cases, |case| {
        let (size, channels, images) = SIZES[case];
        let flow = flow(size, channels, images)?;
        let pass = |threads| {
            let flow = &flow;
            let batches = flow.len() / threads;
            rate(threads, batches * BATCH, 0.7, move |thread| {
                for batch in 0..batches {
                    black_box(flow.batch(0, batch * threads + thread)?);
                }
                Ok(())
            })
        };
        Ok(Rates {
            one: pass(1)?,
            two: pass(2)?,
        })
    })
}

fn flow(size: usize, channels: usize, images: usize) -> Result<ImageFlow> {
    let shape = [images, size, size, channels];
    let source = Array::from_vec(&shape, bytes(1, shape.iter().product()))?;
    Ok(generator().flow(source, None, FlowOptions::default())?)
}

fn suite() -> Result<()> {
    let times = Times {
        warm_up_s: 0.5,
        measurement_s: 4.0,
        rounds: 20,
    };
    let Some(mut suite) = Suite::from_args(times) else {
        return Ok(());
    };
    for (size, channels, images) in SIZES {
        for threads in [1, 2] {
            let group = format!("{size}×{size}×{channels}");
            let name = format!("{threads} thread{}", if threads == 1 { "" } else { "s" });
            let work = BATCH * threads;
            let figure = Figure::rate("images/s", 1.0);
            suite.case_with_rate(&group, &name, figure, work as u64, || {
                let pixels = bytes(1, images * size * size * channels);
                let (flow, alone) = (Arc::new(flow(size, channels, images)?), threads == 1);
                let one = Arc::clone(&flow);
                let buffers: Vec<_> = (0..threads)
                    .map(|_| Mutex::new(vec![1.0; BATCH * size * size * channels]))
                    .collect();
                let sides = Sides::of("keros", work as f64, move |n| augment(&flow, threads, n))
                    .against("copy + rescale", work as f64, move |n| {
                        copy(&pixels, &buffers, n)
                    });
                Ok(match alone {
                    true => sides,
                    false => sides.against("keros, 1 thread", BATCH as f64, move |n| {
                        augment(&one, 1, n)
                    }),
                })
            });
        }
    }
    show(&Results::of_suite("augment", suite.finish()))
}

/// Rotation by 15 degrees, shifts and zooms by a tenth, shear by 10 degrees, flip, rescale.
fn generator() -> ImageDataGenerator {
    ImageDataGenerator::new()
        .rotation_range(15.0)
        .width_shift_range(0.1)
        .height_shift_range(0.1)
        .shear_range(10.0)
        .zoom_range(0.1)
        .horizontal_flip(true)
        .rescale(RESCALE)
}

/// `batches` augmented batches on each thread.
fn augment(flow: &ImageFlow, threads: usize, batches: u64) -> Result<Duration> {
    on_threads(threads, |thread| {
        for batch in 0..batches {
            let number = batch as usize * threads + thread;
            let (epoch, index) = (number / flow.len(), number % flow.len());
            black_box(flow.batch(epoch as u64, index)?);
        }
        Ok(())
    })
}

/// `batches` batches on each thread, copied and rescaled into its buffer.
fn copy(pixels: &[u8], buffers: &[Mutex<Vec<f32>>], batches: u64) -> Result<Duration> {
    on_threads(buffers.len(), |thread| {
        let mut out = buffers[thread]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let sources = pixels.chunks_exact(out.len()).cycle().skip(thread);
        for (_, source) in (0..batches).zip(sources) {
            for (out, byte) in out.iter_mut().zip(source) {
                *out = f32::from(*byte) * RESCALE;
            }
            black_box(&mut *out);
        }
        Ok(())
    })
}
