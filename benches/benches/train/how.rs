//! Where a training computes, and how exactly.

use std::fmt;
use std::str::FromStr;

use anyhow::{Error, bail};

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct How {
    /// As `parse_device` reads it.
    pub(crate) device: String,
    pub(crate) precision: Precision,
    /// Whether workers turn, shift and mirror the images of each batch, beside the training.
    pub(crate) augment: bool,
    /// Whether keros, and torch-compiled, may tell a GPU of what comes again as CUDA graphs.
    pub(crate) graphs: bool,
    /// Whether keros measures cuDNN's algorithms, as PyTorch always does here.
    pub(crate) measured: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Precision {
    Float32,
    /// Products of `f32` in TF32.
    Tf32,
    MixedBfloat16,
    MixedFloat16,
}

impl How {
    pub(crate) fn is_on_gpu(&self) -> bool {
        self.device != "cpu"
    }

    /// What a case says beside the batch size; the processor has one precision.
    pub(crate) fn suffix(&self) -> String {
        let precision = match self.is_on_gpu() {
            true => format!(", {}", self.precision),
            false => String::new(),
        };
        let augment = if self.augment { ", augmented" } else { "" };
        let graphs = if self.graphs { "" } else { ", no graphs" };
        let measured = if self.measured { ", measured" } else { "" };
        precision + augment + graphs + measured
    }
}

impl Precision {
    pub(crate) const ALL: [Precision; 4] = [
        Precision::Float32,
        Precision::Tf32,
        Precision::MixedBfloat16,
        Precision::MixedFloat16,
    ];

    fn name(self) -> &'static str {
        match self {
            Precision::Float32 => "float32",
            Precision::Tf32 => "tf32",
            Precision::MixedBfloat16 => "mixed_bfloat16",
            Precision::MixedFloat16 => "mixed_float16",
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Precision {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        match Precision::ALL
            .into_iter()
            .find(|precision| precision.name() == name)
        {
            Some(precision) => Ok(precision),
            None => {
                let names = Precision::ALL.map(Precision::name).join(", ");
                bail!("there is no precision `{name}`; there are: {names}")
            }
        }
    }
}
