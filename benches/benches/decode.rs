//! Pictures per second from the bytes of a JPEG of 500×400 to 224×224 RGB, compared with the crates
//! image and fast_image_resize; with `--against`, with Python's libraries, which read the same files.

use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fast_image_resize::images::Image as Plain;
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use keros::image::{Decoder, Interpolation, Resize};
use keros_bench_record::Results;
use keros_benches::{Contest, Figure, Rates, Sides, Suite, Times, floats, on_threads, rate, show};

const SIZE: usize = 224;
const PICTURES: usize = 100;

fn main() -> Result<ExitCode> {
    Contest::or_suite("decode", against, suite)
}

/// Pictures per second, files read included, beside those of other libraries.
fn against(contest: &Contest) -> Result<()> {
    let folder = match &contest.images {
        Some(folder) => folder.clone(),
        None => pictures()?,
    };
    let paths = files(&folder)?;
    let name = format!("{} JPEG files to {SIZE}x{SIZE}x3", paths.len());
    let argument = folder
        .to_str()
        .context("the folder's name is not Unicode")?;
    contest.play(&[(name, vec![argument.to_owned()])], |_| {
        let pass = |threads: usize| {
            let each = paths.len() / threads;
            let paths = &paths;
            rate(threads, each, 1.0, move |thread| {
                for path in &paths[thread * each..(thread + 1) * each] {
                    black_box(with_keros(&fs::read(path)?)?);
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

fn suite() -> Result<()> {
    let times = Times {
        warm_up_s: 0.5,
        measurement_s: 10.0,
        rounds: 20,
    };
    let Some(mut suite) = Suite::from_args(times) else {
        return Ok(());
    };
    let files: Vec<Vec<u8>> = files(&pictures()?)?
        .iter()
        .map(fs::read)
        .collect::<Result<_, _>>()?;
    for threads in [1, 2] {
        let name = format!("{threads} thread{}", if threads == 1 { "" } else { "s" });
        let figure = Figure::rate("images/s", 1.0);
        suite.case_with_rate("500×400", &name, figure, threads as u64, || {
            let side = |threads, read: fn(&[u8]) -> Result<Vec<u8>>| {
                let files = &files;
                move |times| all(threads, times, files, read)
            };
            let sides = Sides::of("keros", threads as f64, side(threads, with_keros)).against(
                "image + fast_image_resize",
                threads as f64,
                side(threads, with_image),
            );
            Ok(match threads {
                1 => sides,
                _ => sides.against("keros, 1 thread", 1.0, side(1, with_keros)),
            })
        });
    }
    show(&Results::of_suite("decode", suite.finish()))
}

/// `times` pictures on each thread.
fn all(
    threads: usize,
    times: u64,
    files: &[Vec<u8>],
    read: fn(&[u8]) -> Result<Vec<u8>>,
) -> Result<Duration> {
    on_threads(threads, |thread| {
        let files = files.iter().cycle().skip(thread).step_by(threads);
        for (_, file) in (0..times).zip(files) {
            black_box(read(file)?);
        }
        Ok(())
    })
}

fn with_keros(bytes: &[u8]) -> Result<Vec<u8>> {
    let image = Decoder::new().decode(bytes)?;
    let resize = Resize::new(SIZE, SIZE).interpolation(Interpolation::Bilinear);
    match resize.apply(image)?.into_pixels() {
        keros::image::Pixels::U8(values) => Ok(values),
        _ => anyhow::bail!("expected bytes"),
    }
}

/// The other maintained way in Rust: the same decoder, and a resizer with weights of 16 bits.
fn with_image(bytes: &[u8]) -> Result<Vec<u8>> {
    let image = image::load_from_memory(bytes)?.into_rgb8();
    let (width, height) = image.dimensions();
    let image = Plain::from_vec_u8(width, height, image.into_raw(), PixelType::U8x3)?;
    let mut resized = Plain::new(SIZE as u32, SIZE as u32, PixelType::U8x3);
    let bilinear = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
    Resizer::new().resize(&image, &mut resized, &bilinear)?;
    Ok(resized.into_vec())
}

/// The JPEG files of a folder, sorted.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "jpg" || e == "jpeg") {
            files.push(path);
        }
    }
    files.sort();
    ensure!(
        files.len() > 1,
        "expected two .jpg files or more in {}",
        folder.display()
    );
    Ok(files)
}

/// A folder with made-up photographs: smooth colours, edges and grain, which take about as many bytes as real ones
/// (some 50,000), in the form cameras write (quality 90, colours at half the resolution).
fn pictures() -> Result<PathBuf> {
    const WIDTH: usize = 500;
    const HEIGHT: usize = 400;
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pictures");
    fs::create_dir_all(&folder)?;
    for picture in 0..PICTURES {
        let path = folder.join(format!("{picture:03}.jpg"));
        if path.exists() {
            continue;
        }
        let mut pixels = vec![128.0; WIDTH * HEIGHT * 3];
        for (octave, amplitude) in [60.0, 40.0, 24.0, 15.0, 9.0, 7.0, 7.0, 9.0]
            .into_iter()
            .enumerate()
        {
            let cells = 3 << octave;
            let noise = floats((picture * 8 + octave) as u64, (cells + 1) * (cells + 1) * 3);
            for (i, value) in pixels.iter_mut().enumerate() {
                let (pixel, channel) = (i / 3, i % 3);
                let at = |position: usize, of: usize| (position * cells) as f32 / of as f32;
                let (y, x) = (at(pixel / WIDTH, HEIGHT), at(pixel % WIDTH, WIDTH));
                let corner = |row: usize, column: usize| {
                    // Colours vary less than brightness.
                    let place = (row * (cells + 1) + column) * 3;
                    noise[place] + 0.3 * noise[place + channel]
                };
                let (row, column) = (y as usize, x as usize);
                let (down, right) = (y.fract(), x.fract());
                let above = corner(row, column) * (1.0 - right) + corner(row, column + 1) * right;
                let below =
                    corner(row + 1, column) * (1.0 - right) + corner(row + 1, column + 1) * right;
                *value += amplitude * (above * (1.0 - down) + below * down);
            }
        }
        let pixels: Vec<u8> = pixels.iter().map(|value| *value as u8).collect();
        let mut file = Vec::new();
        let mut encoder = jpeg_encoder::Encoder::new(&mut file, 90);
        encoder.set_sampling_factor(jpeg_encoder::SamplingFactor::F_2_2);
        encoder.encode(
            &pixels,
            WIDTH as u16,
            HEIGHT as u16,
            jpeg_encoder::ColorType::Rgb,
        )?;
        fs::write(path, file)?;
    }
    Ok(folder)
}
