//! Arguments that may be given by Keras's name or as a value.

use crate::activation::Activation;
use crate::constraint::Constraint;
use crate::dtype_policy::DtypePolicy;
use crate::error::NnError;
use crate::initializer::Initializer;
use crate::losses::Loss;
use crate::metrics::Metric;
use crate::optimizers::Optimizer;
use crate::regularizer::Regularizer;

/// Something that stands for a `T`: a name such as `"adam"`, a value such as
/// [`Adam`](crate::Adam), or a box of one.
pub trait Resolve<T: ?Sized> {
    /// The value.
    ///
    /// # Errors
    /// [`NnError::UnknownName`] with the names there are.
    fn resolve(self) -> Result<Box<T>, NnError>;
}

macro_rules! resolve {
    ($($kind:ident)*) => {
        $(impl Resolve<dyn $kind> for &str {
            fn resolve(self) -> Result<Box<dyn $kind>, NnError> {
                self.parse()
            }
        }

        impl Resolve<dyn $kind> for Box<dyn $kind> {
            fn resolve(self) -> Result<Box<dyn $kind>, NnError> {
                Ok(self)
            }
        }

        impl<V: $kind + 'static> Resolve<dyn $kind> for V {
            fn resolve(self) -> Result<Box<dyn $kind>, NnError> {
                Ok(Box::new(self))
            }
        })*
    };
}

/// Names that stand for plain values.
macro_rules! resolve_plain {
    ($($kind:ident)*) => {
        $(impl Resolve<$kind> for &str {
            fn resolve(self) -> Result<Box<$kind>, NnError> {
                self.parse().map(Box::new)
            }
        }

        impl Resolve<$kind> for $kind {
            fn resolve(self) -> Result<Box<$kind>, NnError> {
                Ok(Box::new(self))
            }
        })*
    };
}

resolve_plain! { Activation DtypePolicy Initializer }

resolve! { Constraint Loss Metric Optimizer Regularizer }
