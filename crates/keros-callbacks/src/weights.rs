//! The parameters of a model as callbacks see them: names, shapes and copies of their values.

/// A parameter of the model.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ParamInfo {
    /// Its name, such as `dense/kernel`.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Whether the optimizer may change it.
    pub trainable: bool,
}

/// Copies of the values of all parameters, in the order of the model. Serializes, for the state of
/// a callback.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Weights {
    /// The name of each parameter and its values in row-major order.
    #[cfg_attr(feature = "serde", serde(with = "crate::weights_serde"))]
    pub params: Vec<(String, Vec<f32>)>,
}
