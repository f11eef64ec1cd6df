//! Several inputs as one.

use super::axis_of_batch;
use super::broadcast::Broadcast;
use crate::config::{Arguments, Config};
use crate::error::NnError;
use crate::layer::{Merge, Pass};
use keros_tensor::Tensor;
use keros_tensor::kernels::{self, Activation, MergeOp};

/// The methods of [`Merge`] that do not depend on what a layer computes.
macro_rules! merge {
    ($class:literal) => {
        fn class_name(&self) -> &'static str {
            $class
        }

        fn name(&self) -> Option<&str> {
            self.name.as_deref()
        }

        fn is_recordable(&self) -> bool {
            true
        }

        fn config(&self) -> Option<$crate::Config> {
            self.write()
        }
    };
}

/// What all element-wise merges share.
#[derive(Default)]
struct Elementwise {
    inputs: Vec<Broadcast>,
    /// That of a ReLU that follows.
    activation: Activation,
}

/// The shape that all samples can be broadcast to; `None` if there is none.
fn common_shape(inputs: &[Vec<usize>]) -> Option<Vec<usize>> {
    let rank = inputs.iter().map(Vec::len).max()?;
    let mut common = vec![1; rank];
    for input in inputs {
        for (common, &length) in common.iter_mut().rev().zip(input.iter().rev()) {
            match (*common, length) {
                (1, length) => *common = length,
                (common, length) if common == length || length == 1 => {}
                _ => return None,
            }
        }
    }
    Some(common)
}

impl Elementwise {
    fn build(&mut self, inputs: &[Vec<usize>], op: MergeOp) -> Result<Vec<usize>, NnError> {
        if op == MergeOp::Subtract && inputs.len() != 2 {
            return Err(NnError::argument("number of inputs", "2", inputs.len()));
        }
        let Some(output) = common_shape(inputs) else {
            let expected = "at least one, of shapes that broadcast to one another";
            return Err(NnError::argument("inputs", expected, format!("{inputs:?}")));
        };
        self.inputs = inputs
            .iter()
            .map(|input| Broadcast::new(input, &output))
            .collect::<Result<_, _>>()?;
        Ok(output)
    }

    fn forward(
        &self,
        inputs: &[Tensor],
        pass: &mut Pass<'_>,
        op: MergeOp,
    ) -> Result<Tensor, NnError> {
        expect_inputs(inputs.len(), self.inputs.len())?;
        let inputs = self
            .inputs
            .iter()
            .zip(inputs)
            .map(|(broadcast, x)| broadcast.forward(pass.workspace, x))
            .collect::<Result<Vec<_>, _>>()?;
        let y = kernels::merge(pass.workspace, &inputs, op, self.activation)?;
        if !is_linear(op) {
            inputs.iter().for_each(|x| pass.save(x));
        }
        if self.activation == Activation::Relu {
            pass.save(&y);
        }
        Ok(y)
    }

    fn backward(
        &self,
        dy: &Tensor,
        pass: &mut Pass<'_>,
        op: MergeOp,
    ) -> Result<Vec<Tensor>, NnError> {
        let count = self.inputs.len();
        let of_relu = match self.activation {
            Activation::Relu => {
                let y = pass.restore()?;
                let dz = kernels::activation_backward(pass.workspace, &y, dy, Activation::Relu)?;
                pass.workspace.give(dy);
                pass.workspace.give(&y);
                Some(dz)
            }
            _ => None,
        };
        let dy = of_relu.as_ref().unwrap_or(dy);
        let inputs = match is_linear(op) {
            // Only their shape is needed, which is that of the output.
            true => vec![dy.clone(); count],
            false => {
                let mut inputs = Vec::with_capacity(count);
                for _ in 0..count {
                    inputs.push(pass.restore()?);
                }
                inputs.reverse();
                inputs
            }
        };
        let mut grads = Vec::with_capacity(count);
        for (index, broadcast) in self.inputs.iter().enumerate() {
            // The last one may be handed on as it is.
            if op == MergeOp::Add && index + 1 == count && broadcast.is_plain() {
                grads.push(broadcast.backward(pass.workspace, dy.clone())?);
                return Ok(grads);
            }
            let dx = kernels::merge_backward(pass.workspace, &inputs, dy, index, op)?;
            grads.push(broadcast.backward(pass.workspace, dx)?);
        }
        pass.workspace.give(dy);
        Ok(grads)
    }
}

/// Whether the gradients do not depend on the inputs.
fn is_linear(op: MergeOp) -> bool {
    matches!(op, MergeOp::Add | MergeOp::Subtract | MergeOp::Average)
}

fn expect_inputs(found: usize, expected: usize) -> Result<(), NnError> {
    if found != expected {
        let expected = expected.to_string();
        return Err(NnError::argument("number of inputs", expected, found));
    }
    Ok(())
}

macro_rules! elementwise {
    ($($(#[$doc:meta])* $name:ident, $class:literal;)*) => {$(
        $(#[$doc])*
        ///
        /// **Shapes**: inputs `[N, …]` that broadcast to one another, missing axes of a sample
        /// counting as 1 → `[N, …]`.
        #[derive(Default)]
        pub struct $name {
            merge: Elementwise,
            name: Option<String>,
        }

        impl $name {
            /// The layer.
            #[must_use]
            pub fn new() -> $name {
                $name::default()
            }

            /// A name of its own.
            #[must_use]
            pub fn name(mut self, name: impl Into<String>) -> $name {
                self.name = Some(name.into());
                self
            }
        }

        impl $name {
            fn write(&self) -> Option<Config> {
                Some(Config::new())
            }

            pub(crate) fn read(_: &mut Arguments) -> Result<$name, NnError> {
                Ok($name::new())
            }
        }

        impl Merge for $name {
            merge!($class);

            fn takes_mixed_precision(&self) -> bool {
                let mut inputs = self.merge.inputs.iter();
                inputs.all(|broadcast| broadcast.is_plain())
            }

            fn fuse_relu(&mut self) -> bool {
                self.merge.activation = Activation::Relu;
                true
            }

            fn build(&mut self, inputs: &[Vec<usize>]) -> Result<Vec<usize>, NnError> {
                self.merge.build(inputs, MergeOp::$name)
            }

            fn forward(&self, inputs: &[Tensor], pass: &mut Pass<'_>) -> Result<Tensor, NnError> {
                self.merge.forward(inputs, pass, MergeOp::$name)
            }

            fn backward(&self, dy: &Tensor, pass: &mut Pass<'_>) -> Result<Vec<Tensor>, NnError> {
                self.merge.backward(dy, pass, MergeOp::$name)
            }
        }
    )*};
}

elementwise! {
    /// The sum of the inputs, Keras's `Add`.
    Add, "Add";
    /// The first of two inputs less the second, Keras's `Subtract`.
    Subtract, "Subtract";
    /// The product of the inputs, Keras's `Multiply`.
    Multiply, "Multiply";
    /// The mean of the inputs, Keras's `Average`.
    Average, "Average";
    /// The largest of the inputs in each place, Keras's `Maximum`. The gradient goes to the first
    /// input that has it.
    Maximum, "Maximum";
    /// The smallest of the inputs in each place, Keras's `Minimum`. The gradient goes to the first
    /// input that has it.
    Minimum, "Minimum";
}

/// The inputs one after the other along an axis, Keras's `Concatenate`.
///
/// **Shapes**: inputs `[N, …]` that differ in that axis at most → `[N, …]`.
pub struct Concatenate {
    axis: isize,
    name: Option<String>,
    built: Option<Joint>,
}

struct Joint {
    axis: usize,
    /// Length of each input along the axis.
    lengths: Vec<usize>,
}

impl Default for Concatenate {
    /// Along the last axis.
    fn default() -> Self {
        Concatenate::new(-1)
    }
}

impl Concatenate {
    /// Along this axis: 1 is the first of a sample, negative numbers count from the end; Keras's
    /// default is -1.
    #[must_use]
    pub fn new(axis: isize) -> Concatenate {
        Concatenate {
            axis,
            name: None,
            built: None,
        }
    }

    /// A name of its own.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Concatenate {
        self.name = Some(name.into());
        self
    }

    fn built(&self) -> Result<&Joint, NnError> {
        self.built.as_ref().ok_or(NnError::NotBuilt)
    }
}

arguments! {
    Concatenate = Concatenate::default();
    required;
    optional axis;
}

impl Merge for Concatenate {
    merge!("Concatenate");

    fn takes_mixed_precision(&self) -> bool {
        true
    }

    fn build(&mut self, inputs: &[Vec<usize>]) -> Result<Vec<usize>, NnError> {
        let Some(first) = inputs.first() else {
            return Err(NnError::argument("number of inputs", "at least 1", 0));
        };
        let axis = axis_of_batch(self.axis, first)?;
        let rest = |shape: &[usize]| {
            let mut shape = shape.to_vec();
            let length = (axis <= shape.len()).then(|| shape.remove(axis - 1));
            (length, shape)
        };
        let (_, expected) = rest(first);
        let mut lengths = Vec::new();
        for input in inputs {
            match rest(input) {
                (Some(length), found) if found == expected => lengths.push(length),
                _ => {
                    let expected = format!("{first:?} but for axis {axis} of the batch");
                    return Err(NnError::shape("input sample", expected, input));
                }
            }
        }
        let mut output = first.clone();
        output[axis - 1] = lengths.iter().sum();
        self.built = Some(Joint { axis, lengths });
        Ok(output)
    }

    fn forward(&self, inputs: &[Tensor], pass: &mut Pass<'_>) -> Result<Tensor, NnError> {
        let built = self.built()?;
        expect_inputs(inputs.len(), built.lengths.len())?;
        Ok(kernels::concatenate(pass.workspace, inputs, built.axis)?)
    }

    fn backward(&self, dy: &Tensor, pass: &mut Pass<'_>) -> Result<Vec<Tensor>, NnError> {
        let built = self.built()?;
        let mut start = 0;
        let mut grads = Vec::with_capacity(built.lengths.len());
        for &length in &built.lengths {
            let workspace = &mut *pass.workspace;
            grads.push(kernels::slice_axis(
                workspace, dy, built.axis, start, length,
            )?);
            start += length;
        }
        pass.workspace.give(dy);
        Ok(grads)
    }
}
