//! The suite of images in folders and tables: which files, in which order, with which targets and
//! pixels.

use crate::fixture::{Args, Case, Outcome, folder, numbers, run};
use keros::data::{
    Array, ClassMode, ColorMode, DataFormat, DirectoryOptions, ImageDataGenerator, ImageFileFlow,
    Interpolation, Sequence, Subset, Table, TableOptions,
};
use serde_json::{Value, json};

/// The generator of a case's arguments.
pub(crate) fn generator(mut args: Args) -> Result<ImageDataGenerator, String> {
    let mut generator = ImageDataGenerator::new();
    if let Some(rescale) = args.float("rescale") {
        generator = generator.rescale(rescale as f32);
    }
    if let Some(split) = args.float("validation_split") {
        generator = generator.validation_split(split);
    }
    match args.take("data_format") {
        Some(Value::String(format)) if format == "channels_first" => {
            generator = generator.data_format(DataFormat::ChannelsFirst);
        }
        None => {}
        other => return Err(format!("unknown data_format {other:?}")),
    }
    args.finish()?;
    Ok(generator)
}

pub(crate) fn count(args: &mut Args, name: &str, default: usize) -> usize {
    args.float(name).map_or(default, |number| number as usize)
}

fn texts(value: Option<Value>) -> Option<Vec<String>> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    value.map(|value| match &value {
        Value::Array(values) => values.iter().map(text).collect(),
        one => vec![text(one)],
    })
}

fn size(args: &mut Args) -> (usize, usize) {
    let size = numbers(&args.take("target_size").unwrap()).values;
    (size[0] as usize, size[1] as usize)
}

fn class_mode(args: &mut Args) -> Result<ClassMode, String> {
    Ok(match args.take("class_mode") {
        None => ClassMode::default(),
        Some(Value::Null) => ClassMode::None,
        Some(Value::String(name)) => {
            let modes = [
                ClassMode::Categorical,
                ClassMode::Binary,
                ClassMode::Sparse,
                ClassMode::Input,
                ClassMode::Raw,
                ClassMode::MultiOutput,
            ];
            let found = modes.into_iter().find(|mode| mode.to_string() == name);
            found.ok_or(format!("unknown class_mode {name}"))?
        }
        other => return Err(format!("unknown class_mode {other:?}")),
    })
}

pub(crate) fn subset(args: &mut Args) -> Result<Option<Subset>, String> {
    match args.take("subset") {
        None => Ok(None),
        Some(Value::String(name)) if name == "training" => Ok(Some(Subset::Training)),
        Some(Value::String(name)) if name == "validation" => Ok(Some(Subset::Validation)),
        other => Err(format!("unknown subset {other:?}")),
    }
}

fn interpolation(args: &mut Args) -> Result<Interpolation, String> {
    match args.take("interpolation") {
        None => Ok(Interpolation::default()),
        Some(name) => serde_json::from_value(name).map_err(|error| error.to_string()),
    }
}

/// The options of `flow_from_directory` in a case's arguments.
pub(crate) fn directory_options(mut args: Args) -> Result<DirectoryOptions, String> {
    let color_mode = match args.take("color_mode") {
        None => ColorMode::default(),
        Some(name) => serde_json::from_value(name).map_err(|error| error.to_string())?,
    };
    let options = DirectoryOptions {
        target_size: size(&mut args),
        color_mode,
        classes: texts(args.take("classes")),
        class_mode: class_mode(&mut args)?,
        batch_size: count(&mut args, "batch_size", 32),
        shuffle: args.flag("shuffle").unwrap_or(true),
        subset: subset(&mut args)?,
        interpolation: interpolation(&mut args)?,
        keep_aspect_ratio: args.flag("keep_aspect_ratio").unwrap_or(false),
        ..DirectoryOptions::default()
    };
    args.finish()?;
    Ok(options)
}

fn table_options(mut args: Args) -> Result<TableOptions, String> {
    let defaults = TableOptions::default();
    let weight_col = texts(args.take("weight_col")).map(|mut names| names.remove(0));
    let options = TableOptions {
        y_col: texts(args.take("y_col")).unwrap_or(defaults.y_col.clone()),
        weight_col,
        target_size: size(&mut args),
        classes: texts(args.take("classes")),
        class_mode: class_mode(&mut args)?,
        batch_size: count(&mut args, "batch_size", 32),
        shuffle: args.flag("shuffle").unwrap_or(true),
        subset: subset(&mut args)?,
        ..defaults
    };
    args.finish()?;
    Ok(options)
}

fn floats(array: &Array) -> Vec<f32> {
    match array.as_slice::<i64>() {
        Some(labels) => labels.iter().map(|label| *label as f32).collect(),
        None => array.as_slice::<f32>().unwrap().to_vec(),
    }
}

/// What a flow is and what its batches hold.
fn check(case: &Case, flow: &ImageFileFlow, found_words: &str) -> Outcome {
    let classes = flow.class_names().len();
    for (key, expected) in case.expected.as_object().unwrap() {
        let equal = |found: Value| match found == *expected {
            true => Ok(()),
            false => Err(format!("{key}: expected {expected}, found {found}")),
        };
        match key.as_str() {
            "class_indices" => {
                let names = flow.class_names().iter().zip(0_usize..);
                equal(
                    names
                        .map(|(name, i)| (name.clone(), i.into()))
                        .collect::<serde_json::Map<_, _>>()
                        .into(),
                )?;
            }
            "filenames" => {
                let names = flow.filenames().iter().map(|name| name.to_str());
                equal(json!(names.collect::<Vec<_>>()))?;
            }
            "classes" => equal(json!(flow.classes()))?,
            "samples" => equal(flow.num_samples().into())?,
            "num_batches" => equal(flow.len().into())?,
            "message" => {
                let of_classes = match classes {
                    0 => String::new(),
                    classes => format!(" belonging to {classes} classes"),
                };
                let samples = flow.filenames().len();
                equal(format!("Found {samples} {found_words}{of_classes}.").into())?;
            }
            "image_shape" => {
                let batch = flow.batch(0, 0).unwrap();
                equal(json!(batch.inputs.first().shape()[1..]))?;
            }
            "x_batches" | "y_batches" | "weight_batches" => {
                let expected = expected.as_array().unwrap();
                if expected.len() > flow.len() {
                    return Err(format!("{key}: expected {} batches", expected.len()));
                }
                for (index, expected) in expected.iter().enumerate() {
                    let batch = flow.batch(0, index).unwrap();
                    let what = format!("{key}[{index}]");
                    let arrays = match key.as_str() {
                        "x_batches" => batch.inputs,
                        "y_batches" => batch.targets.unwrap(),
                        _ => batch.sample_weight.unwrap(),
                    };
                    let expected = match expected {
                        Value::Array(outputs) => outputs.iter().collect(),
                        one => vec![one],
                    };
                    if arrays.count() != expected.len() {
                        return Err(format!("{what}: {} arrays", arrays.count()));
                    }
                    for ((_, array), expected) in arrays.iter().zip(expected) {
                        let expected = numbers(expected);
                        if array.shape() != expected.shape {
                            let shapes = (&expected.shape, array.shape());
                            return Err(format!("{what}: shapes {shapes:?}"));
                        }
                        case.close(&what, &floats(array), &expected)?;
                    }
                }
            }
            "reads" => {
                for (index, read) in expected.as_array().unwrap().iter().enumerate() {
                    match (flow.batch(0, index), read["ok"].as_bool().unwrap()) {
                        (Ok(_), true) => {}
                        (Err(error), false) => {
                            let file = read["file"].as_str().unwrap();
                            assert!(error.to_string().contains(file), "{error}");
                        }
                        (read, _) => return Err(format!("batch {index}: {read:?}")),
                    }
                }
            }
            other => return Err(format!("unknown result {other}")),
        }
    }
    Ok(())
}

/// The recorded table; in one case every third row has two classes.
fn table(case: &mut Case) -> Table {
    let file = case.args.take("csv").unwrap();
    let table = Table::from_csv(folder().join(file.as_str().unwrap())).unwrap();
    if case.id != "df_multilabel" {
        return table;
    }
    let class = table
        .columns()
        .iter()
        .position(|name| name == "class")
        .unwrap();
    let mut row = 0;
    let rows = table.rows().map(|cells| {
        let mut cells = cells.to_vec();
        if row % 3 == 0 {
            cells[class] = "cat;elephant".to_owned();
        }
        row += 1;
        cells
    });
    Table::new(table.columns(), rows).unwrap()
}

#[test]
fn dirs() {
    run("dirs", &[], |case| {
        let args = |case: &mut Case, name| Args::of(case.args.take(name));
        let directory = case.args.take("directory").unwrap();
        let directory = folder().join(directory.as_str().unwrap());
        let generator = generator(args(case, "generator"))?;
        if case.args.text("csv").is_none() {
            let options = directory_options(args(case, "flow_from_directory"))?;
            case.args.finish()?;
            let flow = generator.flow_from_directory(&directory, options);
            return check(case, &flow.map_err(|error| error.to_string())?, "images");
        }
        let table = table(case);
        let mut options = table_options(args(case, "flow_from_dataframe"))?;
        if case.id == "df_multilabel" {
            options.label_separator = Some(';');
        }
        case.args.finish()?;
        let flow = generator.flow_from_dataframe(&table, Some(&directory), options);
        check(
            case,
            &flow.map_err(|error| error.to_string())?,
            "validated image filenames",
        )
    });
}
