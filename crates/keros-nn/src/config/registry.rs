//! Classes by name: those of this crate, and the user's own.

use super::Arguments;
use crate::error::NnError;
use crate::layer::{Layer, Merge};
use crate::layers::*;
use std::collections::HashMap;

type Make<T> = Box<dyn Fn(&mut Arguments) -> Result<Box<T>, NnError>>;

/// The classes of layers that a configuration may name: those of [`layers`](crate::layers), and what
/// is added.
///
/// ```
/// use keros_nn::layers::Dense;
/// use keros_nn::{Arguments, Registry};
///
/// let mut registry = Registry::new();
/// registry.layer("Classifier", |arguments: &mut Arguments| {
///     Ok(Dense::new(arguments.required("classes")?).activation("softmax"))
/// });
/// ```
#[derive(Default)]
pub struct Registry {
    layers: HashMap<String, Make<dyn Layer>>,
    merges: HashMap<String, Make<dyn Merge>>,
}

/// A layer of one input, or of several.
pub(crate) enum Class {
    Layer(Box<dyn Layer>),
    Merge(Box<dyn Merge>),
}

impl Registry {
    /// The layers of this crate.
    #[must_use]
    pub fn new() -> Registry {
        Registry::default()
    }

    /// Adds a class of layers, or takes the place of one: `make` takes all arguments of
    /// [`Layer::config`] and returns the layer. Its name and whether it is trained are the network's
    /// matter.
    pub fn layer<L: Layer + 'static>(
        &mut self,
        class_name: impl Into<String>,
        make: impl Fn(&mut Arguments) -> Result<L, NnError> + 'static,
    ) {
        let make =
            move |arguments: &mut Arguments| Ok(Box::new(make(arguments)?) as Box<dyn Layer>);
        self.layers.insert(class_name.into(), Box::new(make));
    }

    /// Adds a class of layers with several inputs, as [`layer`](Self::layer) does.
    pub fn merge<M: Merge + 'static>(
        &mut self,
        class_name: impl Into<String>,
        make: impl Fn(&mut Arguments) -> Result<M, NnError> + 'static,
    ) {
        let make =
            move |arguments: &mut Arguments| Ok(Box::new(make(arguments)?) as Box<dyn Merge>);
        self.merges.insert(class_name.into(), Box::new(make));
    }

    /// The layer of a class with these arguments, all of which it must take.
    pub(crate) fn make(&self, class: &str, mut arguments: Arguments) -> Result<Class, NnError> {
        let made = if let Some(make) = self.layers.get(class) {
            Class::Layer(make(&mut arguments)?)
        } else if let Some(make) = self.merges.get(class) {
            Class::Merge(make(&mut arguments)?)
        } else {
            built_in(class, &mut arguments)?
        };
        arguments.finish()?;
        Ok(made)
    }
}

macro_rules! built_in {
    ($($layer:ident)*; $($merge:ident)*) => {
        const KNOWN: &[&str] = &[$(stringify!($layer),)* $(stringify!($merge),)*];

        fn built_in(class: &str, arguments: &mut Arguments) -> Result<Class, NnError> {
            match class {
                $(stringify!($layer) => Ok(Class::Layer(Box::new($layer::read(arguments)?))),)*
                $(stringify!($merge) => Ok(Class::Merge(Box::new($merge::read(arguments)?))),)*
                _ => Err(NnError::UnknownName {
                    kind: "class of layers",
                    name: class.to_owned(),
                    known: KNOWN,
                }),
            }
        }
    };
}

built_in! {
    Activation ActivityRegularization AlphaDropout AveragePooling1D AveragePooling2D BatchNormalization Conv1D
    Conv2D Conv2DTranspose Cropping1D Cropping2D Dense DepthwiseConv2D Dropout ELU Embedding Flatten
    GaussianDropout GaussianNoise GlobalAveragePooling1D GlobalAveragePooling2D GlobalMaxPooling1D
    GlobalMaxPooling2D GroupNormalization LayerNormalization LeakyReLU MaxPooling1D MaxPooling2D Normalization
    PReLU Permute ReLU RepeatVector Rescaling Reshape SeparableConv2D Softmax SpatialDropout1D
    SpatialDropout2D UnitNormalization UpSampling1D UpSampling2D ZeroPadding1D ZeroPadding2D;
    Add Average Concatenate Maximum Minimum Multiply Subtract
}
