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
/// assert!("float16".parse::<DtypePolicy>().is_err());
/// # Ok::<(), keros_nn::NnError>(())
/// ```
#[doc(alias = "DTypePolicy")]
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
    /// Layers without such kernels compute in `f32`; [`Layer::takes_mixed_precision`](crate::Layer) says
    /// which have them.
    MixedBfloat16,
    /// The same with `f16`, which older GPUs are fast with too: 11 bits of mantissa, but a range of 6e-8
    /// to 65504 only, so that the loss has to be scaled lest small gradients become 0
    /// ([`LossScaleOptimizer`](crate::LossScaleOptimizer)).
    MixedFloat16,
}

const NAMES: [(&str, DtypePolicy); 3] = [
    ("float32", DtypePolicy::Float32),
    ("mixed_bfloat16", DtypePolicy::MixedBfloat16),
    ("mixed_float16", DtypePolicy::MixedFloat16),
];

const KNOWN: [&str; NAMES.len()] = [NAMES[0].0, NAMES[1].0, NAMES[2].0];

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
            (DtypePolicy::Float32, _) | (_, None) => Ok(()),
            (_, Some(Device::Cpu)) => Err(NnError::argument(
                "dtype policy",
                "`float32` on the CPU, which has no faster arithmetic for 16 bits",
                format!("`{self}`"),
            )),
            _ => Ok(()),
        }
    }

    /// The type of a layer's values, if it has kernels for 16 bits or if not.
    pub(crate) fn computes(self, takes_mixed_precision: bool) -> DType {
        match self {
            DtypePolicy::MixedBfloat16 if takes_mixed_precision => DType::BF16,
            DtypePolicy::MixedFloat16 if takes_mixed_precision => DType::F16,
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
