//! What an output is compared with.

use keros_tensor::Tensor;

/// The form in which a loss takes its targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetKind {
    /// One class index per sample.
    Labels,
    /// One number per output value.
    Values,
}

/// The targets of a batch on the device.
#[derive(Clone, Debug)]
pub enum Target {
    /// `[N]` u32: class indices.
    Labels(Tensor),
    /// f32 of the output's shape.
    Values(Tensor),
}
