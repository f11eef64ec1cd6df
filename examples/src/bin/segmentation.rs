//! Which garment each pixel belongs to: a U-Net, pictures and masks that are augmented alike, a label and a weight for
//! each pixel.

#![allow(clippy::print_stdout, reason = "a program talks to its user")]

use anyhow::{Context, Result, ensure};
use clap::Parser;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder};
use keros::nn::metrics::MeanIoU;
use keros::prelude::*;
use keros_examples::fashion::{CLASSES, RESCALE};
use keros_examples::files::{make_folder, write_whole};
use keros_examples::images_arg::ImagesArg;
use keros_examples::report::{ended, fail};
use keros_examples::table::table;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// Trains a U-Net to tell for each pixel of a picture which garment it belongs to.
#[derive(Parser)]
struct Args {
    /// Passes over the training pictures.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    epochs: u64,
    /// Pictures per update.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..))]
    batch_size: u16,
    /// Channels at full size; each of three halvings doubles them.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1024))]
    channels: u16,
    /// Where to train: cpu, cuda or cuda:N.
    #[arg(long, default_value = "cpu", value_parser = parse_device)]
    device: Device,
    /// Folder for the model, the history and a picture of masks.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    images: ImagesArg,
}

/// Pixels of a garment, of which a picture has two beside and two below each other.
const GARMENT: usize = 28;
const SIDE: usize = 2 * GARMENT;
/// No garment at all comes first.
const LABELS: usize = 1 + CLASSES.len();
/// Darker pixels are background.
const LEAST: u8 = 32;
/// More than half of all pixels are background, which is easily learned.
const BACKGROUND_WEIGHT: f32 = 0.25;

fn main() -> ExitCode {
    let args = Args::parse();
    let scenes = args.images.load().and_then(|data| {
        let training = Scenes::new(&data.train_x, &data.train_y)?;
        Ok((training, Scenes::new(&data.test_x, &data.test_y)?))
    });
    match scenes {
        Err(error) => fail(&error, 2),
        Ok((training, test)) => ended(run(&args, &training, &test)),
    }
}

/// Pictures of four garments, and for each pixel the label.
struct Scenes {
    /// `[N, 56, 56, 1]` u8
    pictures: Array,
    /// The same shape: 0 for the background, otherwise the class plus one.
    masks: Array,
}

impl Scenes {
    fn new(images: &Array, classes: &Array) -> Result<Scenes> {
        let count = images.len() / 4;
        ensure!(
            count > 0,
            "making pictures of four garments: there are too few (expected at least 4, found {})",
            images.len()
        );
        let pixels = images.as_slice::<u8>().context("images are bytes")?;
        let classes = classes.as_slice::<u8>().context("labels are bytes")?;
        let mut pictures = vec![0; count * SIDE * SIDE];
        let mut masks = pictures.clone();
        let garments = pixels.chunks_exact(GARMENT * GARMENT).zip(classes);
        for (i, (garment, class)) in garments.take(4 * count).enumerate() {
            let (scene, top, left) = (i / 4, i % 4 / 2 * GARMENT, i % 2 * GARMENT);
            for (y, row) in garment.chunks_exact(GARMENT).enumerate() {
                let to = (scene * SIDE + top + y) * SIDE + left;
                pictures[to..to + GARMENT].copy_from_slice(row);
                for (label, pixel) in masks[to..].iter_mut().zip(row) {
                    *label = if *pixel < LEAST { 0 } else { class + 1 };
                }
            }
        }
        let shape = [count, SIDE, SIDE, 1];
        Ok(Scenes {
            pictures: Array::from_vec(&shape, pictures)?,
            masks: Array::from_vec(&shape, masks)?,
        })
    }

    /// Batches of pictures with their masks, for training turned and shifted alike and with weights.
    fn batches(&self, args: &Args, train: bool) -> Result<Arc<dyn Sequence>> {
        let geometry = match train {
            true => ImageDataGenerator::new()
                .rotation_range(10.0)
                .width_shift_range(0.1)
                .height_shift_range(0.1)
                .horizontal_flip(true),
            false => ImageDataGenerator::new(),
        };
        // The same seed draws the same order and the same transformations.
        let options = FlowOptions {
            batch_size: args.batch_size.into(),
            seed: args.images.seed,
            shuffle: train,
            ..FlowOptions::default()
        };
        let pictures = geometry.clone().rescale(RESCALE);
        let pictures = pictures.flow(self.pictures.clone(), None, options.clone())?;
        // Labels must not be blended: the nearest pixel is taken.
        let masks = geometry.interpolation_order(0);
        let masks = masks.flow(self.masks.clone(), None, options)?;
        let batches = pictures.zip(masks)?;
        Ok(match train {
            true => Arc::new(batches.map(weighed)),
            false => Arc::new(batches),
        })
    }
}

/// The batch with a weight for each pixel.
fn weighed(batch: Batch) -> Result<Batch, DataError> {
    let Some(masks) = &batch.targets else {
        return Ok(batch);
    };
    let labels = masks.first().as_slice::<f32>().unwrap_or_default();
    let weight = |label: &f32| {
        if *label == 0.0 {
            BACKGROUND_WEIGHT
        } else {
            1.0
        }
    };
    let weights = labels.iter().map(weight).collect();
    let weights = Array::from_vec(masks.first().shape(), weights)?;
    Ok(batch.sample_weight(weights))
}

/// Down to an eighth of the size and up again, where each size is given what it was on the way down.
fn network(channels: usize, device: &Device, seed: u64) -> Result<Graph> {
    let mut graph = Graph::builder();
    let mut x = graph.input("picture", [SIDE, SIDE, 1]);
    let mut before = Vec::new();
    for level in 0..3 {
        x = convolutions(&mut graph, x, channels << level);
        before.push((x, channels << level));
        x = graph.layer(MaxPooling2D::new(2), x);
    }
    x = convolutions(&mut graph, x, channels << 3);
    for (skipped, channels) in before.into_iter().rev() {
        x = graph.layer(UpSampling2D::new(2), x);
        x = graph.merge(Concatenate::new(-1), &[x, skipped]);
        x = convolutions(&mut graph, x, channels);
    }
    let label = graph.layer(Conv2D::new(LABELS, 1).activation("softmax"), x);
    Ok(graph.build(&[("label", label)], device, seed)?)
}

/// Two convolutions, normalized.
fn convolutions(graph: &mut GraphBuilder, mut x: Node, filters: usize) -> Node {
    for _ in 0..2 {
        let layer = Conv2D::new(filters, 3)
            .padding(Padding::Same)
            .use_bias(false);
        x = graph.layer(layer, x);
        x = graph.layer(BatchNormalization::new().momentum(0.9), x);
        x = graph.layer(ReLU::new(), x);
    }
    x
}

fn run(args: &Args, training: &Scenes, test: &Scenes) -> Result<()> {
    let network = network(args.channels.into(), &args.device, args.images.seed)?;
    let mut trainer = Trainer::builder(network)
        .optimizer(Adam::new(0.003)?)
        .loss("sparse_categorical_crossentropy")
        .metric("accuracy")
        .metric(MeanIoU::new(LABELS).sparse_y_pred(false))
        .seed(args.images.seed)
        .compile()?;
    let history = trainer.fit_generator(
        training.batches(args, true)?,
        FitGeneratorOptions {
            epochs: args.epochs,
            // The flows shuffle single pictures, so there is no need to permute their batches.
            shuffle: false,
            validation_data: Some(test.batches(args, false)?.into()),
            ..FitGeneratorOptions::default()
        },
    )?;

    let options = GeneratorOptions::default();
    let outputs = trainer.predict_generator(test.batches(args, false)?, options)?;
    let found = labels(&outputs[0])?;
    println!();
    println!("{}", overlaps(&test.masks, &found)?);
    if let Some(out) = &args.out {
        make_folder(out)?;
        trainer.save(out.join("model.safetensors"))?;
        history.write_csv(out.join("history.csv"))?;
        draw(test, &found, &out.join("masks.png"))?;
        println!("model, history and masks are in {}", out.display());
    }
    let overlap = history
        .last("val_mean_io_u")
        .context("no epoch was trained")?;
    println!("val_mean_io_u {overlap:.3}");
    Ok(())
}

/// The most likely label of each pixel.
fn labels(probabilities: &Array) -> Result<Vec<u8>> {
    let values = probabilities.as_slice::<f32>();
    let values = values.context("probabilities are floats")?;
    let best = |row: &[f32]| {
        let best =
            (0..LABELS as u8).max_by(|a, b| row[usize::from(*a)].total_cmp(&row[usize::from(*b)]));
        best.unwrap_or_default()
    };
    Ok(values.chunks_exact(LABELS).map(best).collect())
}

/// For each label, how much of what is its or was taken for it is both.
fn overlaps(masks: &Array, found: &[u8]) -> Result<String> {
    let masks = masks.as_slice::<u8>().context("masks are bytes")?;
    let (mut both, mut either) = ([0_u32; LABELS], [0_u32; LABELS]);
    for (is, taken_for) in masks.iter().zip(found) {
        either[usize::from(*is)] += 1;
        match is == taken_for {
            true => both[usize::from(*is)] += 1,
            false => either[usize::from(*taken_for)] += 1,
        }
    }
    let names = ["background"].into_iter().chain(CLASSES);
    let rows = names
        .zip(both.iter().zip(either))
        .map(|(name, (both, either))| {
            let share = f64::from(*both) / f64::from(either.max(1));
            vec![name.to_owned(), format!("{share:.3}")]
        });
    Ok(table(&["label", "overlap"], &rows.collect::<Vec<_>>()))
}

/// Pictures of the rows of a PNG, from above: what was seen, what it is, what it was taken for.
const COLUMNS: usize = 8;
/// Pixels of the PNG for one of a picture.
const ZOOM: usize = 2;
/// Colours of the labels.
const COLOURS: [[u8; 3]; LABELS] = [
    [0, 0, 0],
    [230, 25, 75],
    [60, 180, 75],
    [255, 225, 25],
    [0, 130, 200],
    [245, 130, 48],
    [145, 30, 180],
    [70, 240, 240],
    [240, 50, 230],
    [210, 245, 60],
    [250, 190, 212],
];

fn draw(test: &Scenes, found: &[u8], path: &Path) -> Result<()> {
    let pictures = test
        .pictures
        .as_slice::<u8>()
        .context("pictures are bytes")?;
    let masks = test.masks.as_slice::<u8>().context("masks are bytes")?;
    let columns = COLUMNS.min(test.pictures.len());
    let (width, height) = (columns * SIDE, 3 * SIDE);
    let colour = |labels: &[u8], at: usize| COLOURS[usize::from(labels[at])];
    let mut pixels = Vec::with_capacity(width * height * ZOOM * ZOOM * 3);
    for y in 0..height * ZOOM {
        for x in 0..width * ZOOM {
            let (x, y) = (x / ZOOM, y / ZOOM);
            let at = (x / SIDE * SIDE + y % SIDE) * SIDE + x % SIDE;
            pixels.extend(match y / SIDE {
                0 => [pictures[at]; 3],
                1 => colour(masks, at),
                _ => colour(found, at),
            });
        }
    }
    let (width, height) = (u32::try_from(width * ZOOM)?, u32::try_from(height * ZOOM)?);
    let mut png = Vec::new();
    // Areas of one colour are smaller unfiltered.
    PngEncoder::new_with_quality(&mut png, CompressionType::Best, FilterType::NoFilter)
        .write_image(&pixels, width, height, ExtendedColorType::Rgb8)?;
    write_whole(path, &png)
}
