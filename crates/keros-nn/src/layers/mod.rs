//! The layers, one a file, with Keras's names, arguments and defaults.

mod conv2d;
mod dense;
mod dropout;
mod flatten;
mod max_pooling2d;

pub use conv2d::Conv2D;
pub use dense::Dense;
pub use dropout::Dropout;
pub use flatten::Flatten;
pub use keros_tensor::kernels::Padding;
pub use max_pooling2d::MaxPooling2D;

use crate::error::NnError;

/// Height and width; a single number stands for both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size2(pub(crate) usize, pub(crate) usize);

impl From<usize> for Size2 {
    fn from(size: usize) -> Self {
        Size2(size, size)
    }
}

impl From<(usize, usize)> for Size2 {
    fn from((height, width): (usize, usize)) -> Self {
        Size2(height, width)
    }
}

impl Size2 {
    fn positive(self, what: &str) -> Result<(usize, usize), NnError> {
        if self.0 == 0 || self.1 == 0 {
            let found = format!("({}, {})", self.0, self.1);
            return Err(NnError::argument(what, "two numbers from 1", found));
        }
        Ok((self.0, self.1))
    }
}

/// Height, width and channels of an image input.
fn image(input: &[usize]) -> Result<(usize, usize, usize), NnError> {
    match *input {
        [height, width, channels] => Ok((height, width, channels)),
        _ => Err(NnError::shape(
            "input sample",
            "[height, width, channels]",
            input,
        )),
    }
}
