//! Trains a classifier on a folder of your own pictures, a folder for each class, and shows what it
//! confuses.

#![allow(clippy::print_stdout, reason = "a program talks to its user")]

use anyhow::{Context, Result, ensure};
use clap::Parser;
use keros::prelude::*;
use keros_examples::confusion::confusion_svg;
use keros_examples::files::{make_folder, write_whole};
use keros_examples::report::fail;
use keros_examples::table::table;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// Trains a classifier on a folder with a folder of pictures for each class.
#[derive(Parser)]
struct Args {
    /// The folder, with at least two folders in it.
    folder: PathBuf,
    /// Folder for the model, the names of its classes, the history and the pictures.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Passes over the pictures at most; the training ends when the validation has not improved for
    /// five.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    epochs: u64,
    /// Height and width to which pictures are resized, in pixels.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(16..=1024))]
    size: u16,
    /// Pictures per update.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..))]
    batch_size: u16,
    /// The part of each class that is kept for validation, between 0 and 1.
    #[arg(long, default_value_t = 0.2)]
    validation_split: f64,
    /// Threads that read and augment pictures.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(0..=1024))]
    workers: u16,
    /// Take processes instead of threads, so that a picture that crashes its decoder does not end
    /// the training.
    #[arg(long)]
    processes: bool,
    /// Where to train: cpu, cuda or cuda:N.
    #[arg(long, default_value = "cpu", value_parser = parse_device)]
    device: Device,
    /// Seed of the weights, the order and the augmentation.
    #[arg(long, default_value_t = 42)]
    seed: u64,
}

fn main() -> ExitCode {
    keros::data::worker::serve_if_asked();
    let args = Args::parse();
    match prepare(&args) {
        Err(error) => fail(&error, 2),
        Ok(data) => match run(&args, data) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&error, 1),
        },
    }
}

struct Data {
    training: Arc<ImageFileFlow>,
    validation: Arc<ImageFileFlow>,
}

/// The folders that are classes: those with pictures in them that are not hidden. Says what is not used.
fn classes(folder: &Path) -> Result<Vec<String>> {
    let all = ImageDataGenerator::new().flow_from_directory(folder, DirectoryOptions::default())?;
    let of_picture = all.classes().context("pictures have classes")?;
    let mut classes = Vec::new();
    for (class, name) in all.class_names().iter().enumerate() {
        match (name.starts_with('.'), of_picture.contains(&class)) {
            (true, _) => {}
            (false, true) => classes.push(name.clone()),
            (false, false) => println!("left out: the folder {name} has no pictures"),
        }
    }
    ensure!(
        classes.len() > 1,
        "expected at least two folders with pictures in {}, found {}",
        folder.display(),
        classes.len()
    );
    let pictures = all.filenames().iter().map(PathBuf::as_path).collect();
    let mut ignored = 0;
    for class in &classes {
        ignored += other_files(&folder.join(class), folder, &pictures)?;
    }
    if ignored > 0 {
        println!(
            "ignored: {ignored} files whose names do not end in png, jpg, jpeg, bmp, ppm, tif or tiff"
        );
    }
    Ok(classes)
}

/// How many files of a class are not among the pictures, whose paths begin at `root`; hidden ones do not count.
fn other_files(class: &Path, root: &Path, pictures: &BTreeSet<&Path>) -> Result<usize> {
    let listed = || format!("listing {}", class.display());
    let mut count = 0;
    for entry in fs::read_dir(class).with_context(listed)? {
        let entry = entry.with_context(listed)?;
        let path = entry.path();
        if entry.file_type().with_context(listed)?.is_dir() {
            count += other_files(&path, root, pictures)?;
        } else if path.is_file() && !entry.file_name().to_string_lossy().starts_with('.') {
            let known = path
                .strip_prefix(root)
                .is_ok_and(|path| pictures.contains(path));
            count += usize::from(!known);
        }
    }
    Ok(count)
}

/// Finds the pictures and reads each once, so that a broken one is known before the training.
fn prepare(args: &Args) -> Result<Data> {
    let classes = classes(&args.folder)?;
    let part = |subset, shuffle| {
        let generator = ImageDataGenerator::new()
            .rotation_range(10.0)
            .width_shift_range(0.1)
            .height_shift_range(0.1)
            .zoom_range(0.1)
            .horizontal_flip(true)
            .rescale(1.0 / 255.0)
            .validation_split(args.validation_split);
        let options = DirectoryOptions {
            target_size: (args.size.into(), args.size.into()),
            class_mode: ClassMode::Sparse,
            classes: Some(classes.clone()),
            batch_size: args.batch_size.into(),
            shuffle,
            seed: args.seed,
            subset: Some(subset),
            interpolation: Interpolation::Bilinear,
            on_broken_file: OnBrokenFile::Skip,
            ..DirectoryOptions::default()
        };
        generator.flow_from_directory(&args.folder, options)
    };
    let training = part(Subset::Training, true)?;
    let validation = part(Subset::Validation, false)
        .with_context(|| format!("with a validation split of {}", args.validation_split))?;
    println!(
        "{} pictures of {} classes to train on, {} for validation",
        training.filenames().len(),
        classes.len(),
        validation.filenames().len()
    );
    for flow in [&training, &validation] {
        for broken in flow.broken_files(0) {
            println!("left out: {}", broken.error);
        }
    }
    Ok(Data {
        training: Arc::new(training),
        validation: Arc::new(validation),
    })
}

fn network(args: &Args, classes: usize) -> Result<Sequential> {
    let size = usize::from(args.size);
    let mut builder = Sequential::builder([size, size, 3]);
    for filters in [16, 32, 64] {
        builder = builder
            .layer(
                Conv2D::new(filters, 3)
                    .activation("relu")
                    .padding(Padding::Same),
            )
            .layer(MaxPooling2D::new(2));
    }
    let network = builder
        .layer(Flatten::new())
        .layer(Dropout::new(0.4))
        .layer(Dense::new(64).activation("relu"))
        .layer(Dense::new(classes).activation("softmax"));
    Ok(network.build(&args.device, args.seed)?)
}

fn run(args: &Args, data: Data) -> Result<()> {
    make_folder(&args.out)?;
    let classes = data.training.class_names();
    let mut trainer = Trainer::builder(network(args, classes.len())?)
        .optimizer("adam")
        .loss("sparse_categorical_crossentropy")
        .metric("accuracy")
        .seed(args.seed)
        .compile()?;
    let stopping = EarlyStopping::new("val_loss")
        .patience(5)
        .restore_best_weights(true);
    let history = trainer.fit_generator(
        data.training.clone(),
        FitGeneratorOptions {
            epochs: args.epochs,
            workers: args.workers.into(),
            use_multiprocessing: args.processes,
            // The flow shuffles single pictures, so there is no need to permute its batches.
            shuffle: false,
            validation_data: Some(data.validation.clone().into()),
            callbacks: CallbackList::new().with(stopping),
            ..FitGeneratorOptions::default()
        },
    )?;

    if let Some(stats) = trainer.loader_stats() {
        println!("{}", stats.verdict());
    }
    let (confusion, wrong) = confusion(&mut trainer, &data.validation)?;
    println!("\n{}", confusion_table(classes, &confusion));
    for picture in wrong.iter().take(10) {
        println!("{picture}");
    }
    let right: usize = (0..classes.len()).map(|i| confusion[i][i]).sum();
    let all: usize = confusion.iter().flatten().sum();
    trainer.save(args.out.join("model.safetensors"))?;
    history.write_csv(args.out.join("history.csv"))?;
    history.write_svg(args.out.join("curves.svg"))?;
    let picture = confusion_svg(classes, &confusion);
    write_whole(&args.out.join("confusion.svg"), picture.as_bytes())?;
    let names = classes.join("\n") + "\n";
    write_whole(&args.out.join("classes.txt"), names.as_bytes())?;
    println!("the model is in {}", args.out.display());
    println!("accuracy {:.3}", right as f64 / all.max(1) as f64);
    Ok(())
}

/// How often pictures of each class (rows) were taken for each class (columns), and the pictures
/// that were taken for another.
fn confusion(
    trainer: &mut Trainer<Sequential>,
    flow: &ImageFileFlow,
) -> Result<(Vec<Vec<usize>>, Vec<String>)> {
    let names = flow.class_names();
    let of_picture = flow.classes().context("pictures have classes")?;
    let mut counts = vec![vec![0; names.len()]; names.len()];
    let mut wrong = Vec::new();
    for index in 0..flow.len() {
        let batch = flow.batch(0, index)?;
        let outputs = trainer.predict_on_batch(batch.inputs)?;
        let rows = outputs[0]
            .as_slice::<f32>()
            .context("predictions are floats")?;
        // Broken files are missing in the batch: the indices say which pictures these are.
        for (picture, row) in batch.indices.iter().zip(rows.chunks_exact(names.len())) {
            let is = of_picture[*picture];
            let best = (0..names.len()).max_by(|a, b| row[*a].total_cmp(&row[*b]));
            let taken_for = best.unwrap_or(0);
            counts[is][taken_for] += 1;
            if is != taken_for {
                let file = flow.filenames()[*picture].display();
                wrong.push(format!("{file} was taken for {}", names[taken_for]));
            }
        }
    }
    Ok((counts, wrong))
}

fn confusion_table(classes: &[String], counts: &[Vec<usize>]) -> String {
    let mut header = vec!["is ↓ taken for →"];
    header.extend(classes.iter().map(String::as_str));
    let row = |(name, counts): (&String, &Vec<usize>)| {
        let mut cells = vec![name.clone()];
        cells.extend(counts.iter().map(usize::to_string));
        cells
    };
    let rows: Vec<Vec<String>> = classes.iter().zip(counts).map(row).collect();
    table(&header, &rows)
}
