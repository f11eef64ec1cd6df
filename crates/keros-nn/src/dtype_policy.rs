//! In which types a network computes, by Keras's names.

use crate::error::NnError;
use keros_tensor::{DType, Device, Params};
use std::fmt;
use std::str::FromStr;

/// The types of a network's values and parameters: Keras's `dtype_policy`.
///
/// ```
/// use keros_nn::DtypePolicy;
///
/// let policy: DtypePolicy = "mixed_bfloat16".parse()?;
/// assert_eq!(policy, DtypePolicy::MixedBfloat16);
/// assert!("mixed_float16".parse::<DtypePolicy>().is_err());
/// # Ok::<(), keros_nn::NnError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum DtypePolicy {
    /// Everything is `f32`.
    #[default]
    Float32,
    /// Layers hand on `bf16` and compute with it on the tensor cores of a GPU, which halves the memory
    /// and its traffic; parameters, their gradients, the optimizer, statistics and losses stay `f32`.
    ///
    /// `bf16` has the range of `f32` and 8 bits of mantissa, so no loss has to be scaled.
    /// Layers without such kernels compute in `f32`; [`Layer::takes_bfloat16`](crate::Layer) says
    /// which have them.
    MixedBfloat16,
}

const NAMES: [(&str, DtypePolicy); 2] = [
    ("float32", DtypePolicy::Float32),
    ("mixed_bfloat16", DtypePolicy::MixedBfloat16),
];

const KNOWN: [&str; NAMES.len()] = [NAMES[0].0, NAMES[1].0];

impl DtypePolicy {
    /// Keras's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        let named = NAMES.iter().find(|(_, policy)| *policy == self);
        named.map_or("float32", |(name, _)| name)
    }

    /// Whether the parameters are where this is computed.
    pub(crate) fn check(self, params: &Params) -> Result<(), NnError> {
        let device = params
            .iter()
            .next()
            .map(|(_, param)| param.value().device());
        match (self, device) {
            (DtypePolicy::MixedBfloat16, Some(Device::Cpu)) => Err(NnError::argument(
                "dtype policy",
                "`float32` on the CPU, which has no faster arithmetic for `bf16`",
                format!("`{self}`"),
            )),
            _ => Ok(()),
        }
    }

    /// The type of a layer's values, if it has kernels for `bf16` or if not.
    pub(crate) fn computes(self, takes_bfloat16: bool) -> DType {
        match self {
            DtypePolicy::MixedBfloat16 if takes_bfloat16 => DType::BF16,
            _ => DType::F32,
        }
    }
}

impl fmt::Display for DtypePolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for DtypePolicy {
    type Err = NnError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let named = NAMES.iter().find(|(known, _)| *known == name);
        named
            .map(|(_, policy)| *policy)
            .ok_or_else(|| NnError::UnknownName {
                kind: "dtype policy",
                name: name.to_owned(),
                known: &KNOWN,
            })
    }
}
