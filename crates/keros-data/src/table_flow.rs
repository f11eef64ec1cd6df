//! `flow_from_dataframe`: images whose files and targets are told by a table.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use keros_image::{ColorMode, Decoder, Interpolation, Resize};

use crate::class_mode::{ClassMode, Targets};
use crate::epoch_order::EpochOrder;
use crate::error::Mismatch;
use crate::image_file_flow::{names_an_image, target_shape};
use crate::pipeline::Pipeline;
use crate::rng::Purpose;
use crate::{
    Array, Arrays, DataError, ImageDataGenerator, ImageFileFlow, OnBrokenFile, SaveImages, Subset,
    Table,
};

const DOING: &str = "setting up flow_from_dataframe";

/// Options of [`ImageDataGenerator::flow_from_dataframe`]. Write `TableOptions { batch_size: 16,
/// ..TableOptions::default() }`: options will be added.
#[derive(Clone, Debug, PartialEq)]
pub struct TableOptions {
    /// The column of the files' names. Default: `filename`.
    pub x_col: String,
    /// The column of the classes, or the columns of numbers. Default: `class`.
    pub y_col: Vec<String>,
    /// The column of the samples' weights, numbers. Default: none.
    pub weight_col: Option<String>,
    /// What separates several classes in a cell, or none in an empty one; with class mode categorical
    /// only. Default: nothing, a cell is one class.
    pub label_separator: Option<char>,
    /// Height and width of every image, in pixels. Default: (256, 256).
    pub target_size: (usize, usize),
    /// Channels of every image. Default: rgb.
    pub color_mode: ColorMode,
    /// The classes whose rows are taken; with a class mode that has classes only. Their indices follow
    /// their sorted names. Default: all.
    pub classes: Option<Vec<String>>,
    /// What the targets are. Default: categorical.
    pub class_mode: ClassMode,
    /// Images per batch; the last batch of an epoch may be shorter. Default: 32.
    pub batch_size: usize,
    /// Whether every epoch has a new order. Default: true.
    pub shuffle: bool,
    /// Seed of the order and of the augmentation. Default: 0.
    pub seed: u64,
    /// Where the images are written too. Default: nowhere.
    pub save_to_dir: Option<SaveImages>,
    /// The part of the rows that is taken, when the others were left out. Default: all of them.
    pub subset: Option<Subset>,
    /// How images are resized. Default: nearest.
    pub interpolation: Interpolation,
    /// Whether images are cut to the target's aspect ratio before they are resized. Default: false.
    pub keep_aspect_ratio: bool,
    /// Whether rows are left out whose file is not there or has no image's name. Default: true.
    pub validate_filenames: bool,
    /// What happens to a file that is no image. Default: an error.
    pub on_broken_file: OnBrokenFile,
    /// A file that claims more pixels is broken. Default: 100 million.
    pub max_pixels: u64,
    /// Whether photographs are turned upright by their EXIF orientation; Keras leaves them as they
    /// are stored. Default: true.
    pub apply_orientation: bool,
}

impl Default for TableOptions {
    fn default() -> Self {
        Self {
            x_col: "filename".to_owned(),
            y_col: vec!["class".to_owned()],
            weight_col: None,
            label_separator: None,
            target_size: (256, 256),
            color_mode: ColorMode::default(),
            classes: None,
            class_mode: ClassMode::default(),
            batch_size: 32,
            shuffle: true,
            seed: 0,
            save_to_dir: None,
            subset: None,
            interpolation: Interpolation::default(),
            keep_aspect_ratio: false,
            validate_filenames: true,
            on_broken_file: OnBrokenFile::default(),
            max_pixels: 100_000_000,
            apply_orientation: true,
        }
    }
}

pub(crate) fn flow(
    generator: ImageDataGenerator,
    table: &Table,
    directory: Option<&Path>,
    options: TableOptions,
) -> Result<ImageFileFlow, DataError> {
    generator.check()?;
    if options.batch_size == 0 {
        return Err(DataError::invalid(DOING, "batch_size", "at least 1", 0));
    }
    let shape = target_shape(options.target_size, options.color_mode, DOING)?;
    let mode = options.class_mode;
    if options.label_separator.is_some() && mode != ClassMode::Categorical {
        let expected = "none, or class mode categorical";
        return Err(DataError::invalid(DOING, "label_separator", expected, mode));
    }
    if options.classes.is_some() && !mode.has_classes() {
        let expected = "none, or class mode categorical, binary or sparse";
        return Err(DataError::invalid(DOING, "classes", expected, mode));
    }
    let (part, augments) = Subset::of(options.subset, &generator, DOING)?;
    let filenames = table.column("x_col", &options.x_col)?;
    let path = |row: usize| match directory {
        Some(directory) => directory.join(filenames[row]),
        None => PathBuf::from(filenames[row]),
    };
    let mut rows: Vec<usize> = (0..table.len()).collect();
    if options.validate_filenames {
        rows.retain(|row| names_an_image(&path(*row)) && path(*row).is_file());
    }
    let dropped = table.len() - rows.len();
    if table.is_empty() {
        return Err(DataError::Empty {
            doing: DOING,
            what: "the table".into(),
        });
    }
    if rows.is_empty() {
        let expected = match directory {
            Some(directory) => format!("images in {}", directory.display()),
            None => "paths of images".to_owned(),
        };
        let first = path(0);
        let found = format!(
            "none in {dropped} rows, the first of them {}",
            first.display()
        );
        return Err(DataError::InvalidArgument {
            doing: DOING,
            argument: "x_col",
            mismatch: Mismatch::boxed(expected, found),
        });
    }

    let mut class_names = Vec::new();
    let mut labels = Labels::default();
    if mode.has_classes() {
        labels = Labels::read(table, &rows, &options)?;
        class_names = labels.keep(&mut rows, options.classes.as_deref());
        if mode == ClassMode::Binary && class_names.len() != 2 {
            let found = format!("{} classes", class_names.len());
            let expected = "two classes for binary";
            return Err(DataError::invalid(DOING, "class_mode", expected, found));
        }
        if class_names.is_empty() {
            return Err(DataError::Empty {
                doing: DOING,
                what: "the list of classes".into(),
            });
        }
    }
    let images = rows.len();
    let rows = &rows[part(images)];
    if rows.is_empty() {
        if let Some(subset) = options.subset.filter(|_| images > 0) {
            return Err(subset.without_images(&generator, images, DOING));
        }
        return Err(DataError::Empty {
            doing: DOING,
            what: "the list of images".into(),
        });
    }
    let targets = match mode {
        ClassMode::Input => Targets::Images,
        ClassMode::None => Targets::None,
        ClassMode::Raw | ClassMode::MultiOutput => {
            Targets::Numbers(numbers(table, &options.y_col, rows, mode)?)
        }
        _ => labels.targets(rows, &class_names, &options),
    };
    let weights = options.weight_col.as_ref().map(|column| {
        let values = floats(table, "weight_col", column, rows)?;
        Array::from_vec(&[rows.len()], values)
    });
    Ok(ImageFileFlow {
        pipeline: Pipeline::new(
            generator,
            shape,
            options.seed,
            augments,
            options.save_to_dir,
            options.subset,
        )?,
        decoder: Decoder::new()
            .color_mode(options.color_mode)
            .max_pixels(options.max_pixels)
            .apply_orientation(options.apply_orientation),
        resize: Resize::new(shape.height, shape.width)
            .interpolation(options.interpolation)
            .keep_aspect_ratio(options.keep_aspect_ratio),
        paths: rows.iter().map(|row| path(*row)).collect(),
        filenames: rows
            .iter()
            .map(|row| PathBuf::from(filenames[*row]))
            .collect(),
        class_names,
        targets,
        folders: None,
        sample_weight: weights.transpose()?,
        batch_size: options.batch_size,
        order: options
            .shuffle
            .then(|| EpochOrder::new(options.seed, Purpose::Samples)),
        on_broken_file: options.on_broken_file,
        dropped,
    })
}

/// The classes of every row of a table, as written there.
#[derive(Default)]
struct Labels<'t> {
    of_row: Vec<Vec<&'t str>>,
}

impl<'t> Labels<'t> {
    fn read(table: &'t Table, rows: &[usize], options: &TableOptions) -> Result<Self, DataError> {
        let [column] = options.y_col.as_slice() else {
            let found = format!("{} columns", options.y_col.len());
            let expected = "one column of classes";
            return Err(DataError::invalid(DOING, "y_col", expected, found));
        };
        let cells = table.column("y_col", column)?;
        let split = |cell: &'t str| match options.label_separator {
            Some(separator) => {
                let labels = cell.split(separator).map(str::trim);
                labels.filter(|label| !label.is_empty()).collect()
            }
            None => vec![cell],
        };
        // A row that is in none of the wanted classes is left out, whatever its cell.
        let each_has_one = options.label_separator.is_none() && options.classes.is_none();
        if each_has_one && let Some(row) = rows.iter().find(|row| cells[**row].trim().is_empty()) {
            return Err(DataError::InvalidArgument {
                doing: DOING,
                argument: "y_col",
                mismatch: Mismatch::boxed(
                    format!("a class in every row of the column {column}"),
                    format!("an empty cell in row {row}"),
                ),
            });
        }
        Ok(Self {
            of_row: cells.into_iter().map(split).collect(),
        })
    }

    /// Keeps what is of these classes, and the rows with anything left; the classes, sorted.
    fn keep(&mut self, rows: &mut Vec<usize>, classes: Option<&[String]>) -> Vec<String> {
        let kept: BTreeSet<&str> = match classes {
            Some(classes) => classes.iter().map(String::as_str).collect(),
            None => rows
                .iter()
                .flat_map(|row| self.of_row[*row].iter().copied())
                .collect(),
        };
        if classes.is_some() {
            for labels in &mut self.of_row {
                labels.retain(|label| kept.contains(label));
            }
            rows.retain(|row| !self.of_row[*row].is_empty());
        }
        kept.into_iter().map(str::to_owned).collect()
    }

    /// The targets of these rows; the classes are sorted.
    fn targets(&self, rows: &[usize], classes: &[String], options: &TableOptions) -> Targets {
        let index = |label: &&str| {
            let place = classes.binary_search_by(|class| class.as_str().cmp(label));
            place.ok()
        };
        let of_row = rows
            .iter()
            .map(|row| self.of_row[*row].iter().filter_map(index));
        match options.label_separator {
            Some(_) => Targets::AnyOf(of_row.map(Iterator::collect).collect(), classes.len()),
            None => {
                let one = of_row.filter_map(|mut labels| labels.next()).collect();
                Targets::OneOf(one, classes.len(), options.class_mode)
            }
        }
    }
}

/// The numbers of a column in these rows.
fn floats(
    table: &Table,
    argument: &'static str,
    column: &str,
    rows: &[usize],
) -> Result<Vec<f32>, DataError> {
    let cells = table.column(argument, column)?;
    let number = |row: &usize| {
        let cell = cells[*row].trim();
        cell.parse().map_err(|_| DataError::InvalidArgument {
            doing: DOING,
            argument,
            mismatch: Mismatch::boxed(
                format!("a number in every row of the column {column}"),
                format!("{cell:?} in row {row}"),
            ),
        })
    };
    rows.iter().map(number).collect()
}

fn numbers(
    table: &Table,
    columns: &[String],
    rows: &[usize],
    mode: ClassMode,
) -> Result<Arrays, DataError> {
    let mut values = Vec::with_capacity(columns.len());
    for column in columns {
        values.push(floats(table, "y_col", column, rows)?);
    }
    if mode == ClassMode::MultiOutput {
        let pairs = columns
            .iter()
            .zip(values)
            .map(|(column, values)| Ok((column.clone(), Array::from_vec(&[rows.len()], values)?)));
        return Arrays::from_pairs(pairs.collect::<Result<Vec<_>, DataError>>()?);
    }
    let array = match values.as_slice() {
        [] => {
            return Err(DataError::Empty {
                doing: DOING,
                what: "y_col".into(),
            });
        }
        [one] => Array::from_vec(&[rows.len()], one.clone())?,
        several => {
            let cells = (0..rows.len()).flat_map(|row| several.iter().map(move |v| v[row]));
            Array::from_vec(&[rows.len(), several.len()], cells.collect())?
        }
    };
    Ok(array.into())
}
