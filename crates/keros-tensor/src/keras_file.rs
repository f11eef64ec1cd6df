//! Reading the weights of Keras 3: `.weights.h5` files, and the one inside a `.keras` archive.
//!
//! What a file may make us read is bounded by its own size and by the parameters: each group is visited
//! once, and shapes are compared before any element is read.

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use hdf5_reader::dataset::Dataset;
use hdf5_reader::group::Group;
use hdf5_reader::{Datatype, Hdf5File, OpenOptions};

use crate::file::unreadable;
use crate::fitting::{Filler, LoadedWeights, Stored};
use crate::{ParamId, Params, TensorError};

/// Name of the weights inside a `.keras` archive.
const ARCHIVE_MEMBER: &str = "model.weights.h5";
/// Name of the configuration beside them.
const CONFIG_MEMBER: &str = "config.json";
/// Deflate cannot expand further than this.
const MAX_EXPANSION: usize = 1032;
/// Groups inside each other; a model in a model takes two.
const MAX_DEPTH: usize = 64;

/// Which layers of a Keras file fill which, and what happens to those that do not fit; Keras's
/// arguments of `load_weights`. By default all of both sides have to match.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadKeras {
    /// Whether layers go together by their names; else by their class and how many of the class come
    /// before them, which is what Keras 3 does. By name, layers that only one side has are left
    /// alone.
    pub by_name: bool,
    /// Whether a layer that has variables of another number or shape, or none, in the file is left
    /// alone and reported; else it is an error.
    pub skip_mismatch: bool,
}

/// A layer that a Keras file is to fill.
#[derive(Clone, Debug)]
pub struct KerasLayer<'a> {
    /// The path under which Keras keeps it below `layers`. Keras counts the layers of a class there,
    /// whatever their names are: `conv2d`, `conv2d_1`, …
    pub path: String,
    /// Its own name.
    pub name: &'a str,
    /// Its parameters, in the order in which the layer of Keras made its variables.
    pub params: &'a [ParamId],
}

/// Fills parameters from a `.weights.h5` or `.keras` file of Keras 3, each layer as a whole or not at
/// all.
///
/// # Errors
/// A file that cannot be read, that is neither HDF5 nor a `.keras` archive, that is damaged, whose
/// variables for these parameters are not of type float32 (or int32 or int64, such as a count), or that
/// does not name its layers where that is asked for; layers that do not match and are not to be
/// skipped, all listed by name. No parameter has changed then.
pub fn load_keras_params(
    params: &Params,
    layers: &[KerasLayer<'_>],
    options: LoadKeras,
    path: impl AsRef<Path>,
) -> Result<LoadedWeights, TensorError> {
    let path = path.as_ref();
    let mut in_file = read_layers(path)?;
    if options.by_name && in_file.iter().all(|layer| layer.name.is_none()) {
        return Err(bad_file(path, &"it does not name its layers"));
    }
    let all = !options.skip_mismatch && !options.by_name;
    let mut filler = Filler::new(params, path);
    for layer in layers {
        let place = in_file.iter().position(|found| match options.by_name {
            true => found.name.as_deref() == Some(layer.name),
            false => found.path == layer.path,
        });
        let mut variables = match place {
            Some(place) => in_file.remove(place).into_named().collect(),
            None => VecDeque::new(),
        };
        let found = layer.params.iter().map(|_| variables.pop_front()).collect();
        let beyond = variables.into_iter().map(|(name, _)| name).collect();
        let has_to_fit = all || (!options.skip_mismatch && place.is_some());
        filler.layer(layer.params, found, beyond, has_to_fit);
    }
    let rest = in_file.into_iter().flat_map(Layer::into_named);
    filler.rest(rest.map(|(name, _)| name), all);
    filler.fill()
}

/// The variables of one layer of a file.
struct Layer {
    path: String,
    /// The layer's own name, if the file tells it.
    name: Option<String>,
    variables: Vec<Variable>,
}

impl Layer {
    fn into_named(self) -> impl Iterator<Item = (String, Variable)> {
        let variables = self.variables.into_iter();
        variables.map(|variable| (variable.path.clone(), variable))
    }
}

/// A variable whose values have not been read.
struct Variable {
    path: String,
    dims: Vec<usize>,
    dataset: Dataset,
}

impl Stored for Variable {
    /// That of the values as they are read.
    fn dtype(&self) -> DType {
        DType::F32
    }

    fn dims(&self) -> &[usize] {
        &self.dims
    }

    fn read(self, path: &Path) -> Result<Tensor, TensorError> {
        let dataset = &self.dataset;
        let values = match dataset.dtype() {
            // A count, such as Normalization has; Keras on TensorFlow has it in 64 bits.
            Datatype::FixedPoint { size: 8, .. } => dataset
                .read_array::<i64>()
                .map(|counts| counts.mapv(|count| count as f32)),
            Datatype::FixedPoint { .. } => dataset
                .read_array::<i32>()
                .map(|counts| counts.mapv(|count| count as f32)),
            _ => dataset.read_array::<f32>(),
        };
        let values = values
            .map_err(|error| bad_file(path, &format_args!("layers/{}: {error}", self.path)))?;
        let flat = values.iter().copied().collect();
        Ok(Tensor::from_vec::<_, f32>(flat, self.dims, &Device::Cpu)?)
    }
}

/// All layers that have variables, in the order of their paths.
fn read_layers(path: &Path) -> Result<Vec<Layer>, TensorError> {
    let bad = |what: &dyn fmt::Display| bad_file(path, what);
    let mut bytes = std::fs::read(path).map_err(|source| unreadable(path, source))?;
    if bytes.starts_with(b"PK") {
        bytes = unpack(path, ARCHIVE_MEMBER)?;
    }
    let size = bytes.len() as u64;
    let limit = bytes.len().saturating_mul(MAX_EXPANSION);
    // Each variable is read once.
    let options = OpenOptions::default()
        .with_max_read_bytes(limit)
        .with_chunk_cache_bytes(0);
    let file = Hdf5File::from_vec_with_options(bytes, options).map_err(|error| bad(&error))?;
    let expected = file.superblock().eof_address;
    if size < expected {
        return Err(bad(&format_args!(
            "it is cut off: expected {expected} bytes, found {size}"
        )));
    }
    let layers = file.group("layers").map_err(|error| bad(&error))?;
    let mut walk = Walk {
        visited: HashSet::new(),
        found: Vec::new(),
    };
    walk.visit(&layers, "", 0).map_err(|what| bad(&what))?;
    Ok(walk.found)
}

fn bad_file(path: &Path, what: &dyn fmt::Display) -> TensorError {
    TensorError::KerasFile {
        path: path.into(),
        reason: what.to_string().into(),
    }
}

/// The configuration of the network in a `.keras` archive of Keras 3: JSON.
///
/// # Errors
/// A file that cannot be read or is no such archive.
pub fn read_keras_config(path: impl AsRef<Path>) -> Result<String, TensorError> {
    let path = path.as_ref();
    let bytes = unpack(path, CONFIG_MEMBER)?;
    String::from_utf8(bytes).map_err(|error| bad_file(path, &error))
}

/// A member of a `.keras` archive.
fn unpack(path: &Path, member: &str) -> Result<Vec<u8>, TensorError> {
    let bad = |what: &dyn fmt::Display| bad_file(path, what);
    let file = File::open(path).map_err(|source| unreadable(path, source))?;
    let size = file.metadata().map_or(0, |data| data.len());
    let mut archive = zip::ZipArchive::new(file).map_err(|error| bad(&error))?;
    let member = archive.by_name(member).map_err(|error| bad(&error))?;
    let mut bytes = Vec::new();
    member
        .take(size.saturating_mul(MAX_EXPANSION as u64))
        .read_to_end(&mut bytes)
        .map_err(|error| bad(&error))?;
    Ok(bytes)
}

/// A walk through the groups of a file. A file can link one group to many places, even to one inside
/// the group itself; Keras writes each in one place.
struct Walk {
    /// The addresses of all groups so far.
    visited: HashSet<u64>,
    found: Vec<Layer>,
}

impl Walk {
    /// Adds the layers of a group of layers; those of an inner model stand in a group of their own.
    fn visit(&mut self, group: &Group, path: &str, depth: usize) -> Result<(), String> {
        let bad = |what: &dyn fmt::Display| format!("layers/{path}: {what}");
        if depth > MAX_DEPTH {
            return Err(bad(&format_args!("more than {MAX_DEPTH} groups deep")));
        }
        if !self.visited.insert(group.address()) {
            return Err(bad(&"the group is in another place too"));
        }
        let mut groups = group.groups().map_err(|error| bad(&error))?;
        groups.sort_by(|a, b| a.name().cmp(b.name()));
        for inner in &groups {
            let name = inner.name();
            let inner_path = match path.is_empty() {
                true => name.to_owned(),
                false => format!("{path}/{name}"),
            };
            if name != "vars" {
                self.visit(inner, &inner_path, depth + 1)?;
                continue;
            }
            if !self.visited.insert(inner.address()) {
                return Err(bad(&"its variables are in another place too"));
            }
            let variables = variables(inner, &inner_path)?;
            if !variables.is_empty() {
                let name = inner.attribute("name").and_then(|name| name.read_string());
                self.found.push(Layer {
                    path: path.to_owned(),
                    name: name.ok(),
                    variables,
                });
            }
        }
        Ok(())
    }
}

/// The datasets `0`, `1`, … of a group.
fn variables(group: &Group, path: &str) -> Result<Vec<Variable>, String> {
    let bad = |what: &dyn fmt::Display| format!("layers/{path}: {what}");
    let mut datasets = group.datasets().map_err(|error| bad(&error))?;
    datasets.sort_by_key(|dataset| dataset.name().parse().unwrap_or(usize::MAX));
    let described = datasets.into_iter().enumerate().map(|(index, dataset)| {
        if dataset.name() != index.to_string() {
            let name = dataset.name();
            return Err(bad(&format_args!(
                "expected variable {index}, found {name:?}"
            )));
        }
        let dims = dataset.shape().iter().map(|&dim| usize::try_from(dim));
        Ok(Variable {
            path: format!("{path}/{index}"),
            dims: dims
                .collect::<Result<_, _>>()
                .map_err(|error| bad(&error))?,
            dataset,
        })
    });
    described.collect()
}
