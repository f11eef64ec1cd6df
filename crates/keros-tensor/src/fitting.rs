//! Loading what fits of a file and telling what does not, for networks that are not quite those the
//! file was written for.

use std::fmt;
use std::path::Path;

use candle_core::{DType, Device, Tensor};

use crate::weights::load_tensors;
use crate::{Param, ParamId, Params, TensorDifference, TensorError, WeightsMismatch};

/// What a file filled and what it did not.
///
/// As text it is a line for each of the three kinds that there are, with shapes where they differ.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "layers that do not fit are left as they were"]
#[non_exhaustive]
pub struct LoadedWeights {
    /// Parameters that have their values from the file, layer by layer.
    pub loaded: Vec<String>,
    /// Parameters that are as they were, layer by layer.
    pub skipped: Vec<SkippedParam>,
    /// Tensors of the file that no parameter has its values from, in file order.
    pub unused: Vec<String>,
}

/// A parameter that a file did not fill.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SkippedParam {
    /// Name of the parameter.
    pub name: String,
    /// Why it is as it was.
    pub reason: SkipReason,
}

/// Why a file did not fill a parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SkipReason {
    /// The file has nothing for it.
    Missing,
    /// What the file has is of another shape or element type.
    Different(TensorDifference),
    /// It would fit, but the file has something else for another parameter of its layer, or more
    /// variables than the layer has: a layer is filled as a whole.
    Layer,
}

impl fmt::Display for LoadedWeights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let skipped: Vec<String> = self.skipped.iter().map(ToString::to_string).collect();
        let kinds = [
            ("loaded", &self.loaded),
            ("skipped", &skipped),
            ("unused", &self.unused),
        ];
        let mut lines = kinds.iter().filter(|(_, names)| !names.is_empty());
        if let Some((kind, names)) = lines.next() {
            write!(f, "{kind}: {}", names.join(", "))?;
        }
        lines.try_for_each(|(kind, names)| write!(f, "\n{kind}: {}", names.join(", ")))
    }
}

impl fmt::Display for SkippedParam {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.name)?;
        match &self.reason {
            SkipReason::Missing => f.write_str("(not in the file)"),
            SkipReason::Different(TensorDifference {
                expected, found, ..
            }) => write!(
                f,
                "(expected {:?} {:?}, found {} {:?})",
                expected.0, expected.1, found.0, found.1
            ),
            SkipReason::Layer => f.write_str("(its layer does not fit)"),
        }
    }
}

/// Fills the parameters that fit from a safetensors file, by their names; Keras's `skip_mismatch`.
///
/// `layers`: parameters that belong together, of which all are filled or none.
///
/// # Errors
/// A file that cannot be read; no parameter has changed then.
pub fn load_fitting_params(
    params: &Params,
    layers: &[&[ParamId]],
    path: impl AsRef<Path>,
) -> Result<LoadedWeights, TensorError> {
    let path = path.as_ref();
    let mut tensors = load_tensors(path, &Device::Cpu)?;
    let mut filler = Filler::new(params, path);
    for &layer in layers {
        let found = layer.iter().map(|id| {
            let name = params[*id].name();
            let place = tensors.iter().position(|(found, _)| found == name)?;
            Some(tensors.remove(place))
        });
        let found = found.collect();
        filler.layer(layer, found, Vec::new(), false);
    }
    filler.rest(tensors.into_iter().map(|(name, _)| name), false);
    filler.fill()
}

/// What a file has for a parameter: known before its elements are read, so that a file is read no
/// further than it fills parameters.
pub(crate) trait Stored {
    fn dtype(&self) -> DType;

    fn dims(&self) -> &[usize];

    /// The values, of the file at `path`.
    fn read(self, path: &Path) -> Result<Tensor, TensorError>;
}

impl Stored for Tensor {
    fn dtype(&self) -> DType {
        Tensor::dtype(self)
    }

    fn dims(&self) -> &[usize] {
        Tensor::dims(self)
    }

    fn read(self, _: &Path) -> Result<Tensor, TensorError> {
        Ok(self)
    }
}

/// Gathers what is to be set, layer by layer, so that nothing has changed until all is known.
pub(crate) struct Filler<'p, V> {
    params: &'p Params,
    values: Vec<(&'p Param, V)>,
    report: LoadedWeights,
    /// What does not fit and has to.
    mismatch: WeightsMismatch,
}

impl<'p, V: Stored> Filler<'p, V> {
    pub(crate) fn new(params: &'p Params, path: &Path) -> Filler<'p, V> {
        Filler {
            params,
            values: Vec::new(),
            report: LoadedWeights::default(),
            mismatch: WeightsMismatch {
                path: path.to_owned(),
                missing: Vec::new(),
                unexpected: Vec::new(),
                different: Vec::new(),
            },
        }
    }

    /// The parameters of a layer with what the file has for each under its name there, and what it
    /// has for the layer beyond them.
    pub(crate) fn layer(
        &mut self,
        layer: &[ParamId],
        found: Vec<Option<(String, V)>>,
        beyond: Vec<String>,
        has_to_fit: bool,
    ) {
        let params = layer.iter().map(|id| &self.params[*id]);
        let of_layer: Vec<_> = params
            .zip(found)
            .map(|(param, found)| match found {
                None => (param, None, SkipReason::Missing),
                Some((name, value)) => match difference(param, &value) {
                    Some(different) => (param, Some((name, value)), different),
                    None => (param, Some((name, value)), SkipReason::Layer),
                },
            })
            .collect();
        let fit = |(_, _, reason): &(_, _, SkipReason)| *reason == SkipReason::Layer;
        let fits = beyond.is_empty() && of_layer.iter().all(fit);
        for (param, found, reason) in of_layer {
            let name = param.name().to_owned();
            let found = match found {
                Some((_, value)) if fits => {
                    self.values.push((param, value));
                    self.report.loaded.push(name);
                    continue;
                }
                found => found,
            };
            match &reason {
                SkipReason::Missing if has_to_fit => self.mismatch.missing.push(name.clone()),
                SkipReason::Different(different) if has_to_fit => {
                    self.mismatch.different.push(different.clone());
                }
                _ => {}
            }
            self.report.skipped.push(SkippedParam { name, reason });
            self.report.unused.extend(found.map(|(name, _)| name));
        }
        self.rest(beyond, has_to_fit);
    }

    /// What the file has beyond what is looked for.
    pub(crate) fn rest(&mut self, names: impl IntoIterator<Item = String>, has_to_fit: bool) {
        let known = self.report.unused.len();
        self.report.unused.extend(names);
        if has_to_fit {
            let rest = &self.report.unused[known..];
            self.mismatch.unexpected.extend_from_slice(rest);
        }
    }

    /// Sets the parameters, or nothing.
    pub(crate) fn fill(self) -> Result<LoadedWeights, TensorError> {
        let WeightsMismatch {
            missing,
            unexpected,
            different,
            ..
        } = &self.mismatch;
        if missing.len() + unexpected.len() + different.len() > 0 {
            return Err(TensorError::Weights(Box::new(self.mismatch)));
        }
        let path = &self.mismatch.path;
        let values: Vec<_> = self
            .values
            .into_iter()
            .map(|(param, value)| {
                let value = value.read(path)?;
                Ok((param, value.to_device(param.value().device())?))
            })
            .collect::<Result<_, TensorError>>()?;
        for (param, value) in values {
            param.set(&value)?;
        }
        Ok(self.report)
    }
}

fn difference(param: &Param, found: &impl Stored) -> Option<SkipReason> {
    let value = param.value();
    let same = found.dims() == value.dims() && found.dtype() == value.dtype();
    (!same).then(|| {
        SkipReason::Different(TensorDifference {
            name: param.name().to_owned(),
            expected: (value.dtype(), value.dims().to_vec()),
            found: (found.dtype().as_str().to_uppercase(), found.dims().to_vec()),
        })
    })
}
