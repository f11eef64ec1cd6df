//! From pixels to the bytes of a file: what Keras's `array_to_img` and `save` do.

use std::io::Cursor;

use image::ExtendedColorType;

use crate::pixel_ops::{extremes, stretch};
use crate::{Format, ImageError, ImageShape};

/// The bytes of a file that shows the values, stretched so that the smallest becomes black and the
/// largest white (255), as Keras does for `save_to_dir`. An image of one value only becomes black.
///
/// # Shapes
/// `values` holds `shape` values, `[height, width, channels]`, of 1, 3 or 4 channels.
///
/// # Errors
/// A buffer that does not fit the shape; values that are not finite; another number of channels, or
/// one that the format does not have.
pub fn encode(values: &[f32], shape: ImageShape, format: Format) -> Result<Vec<u8>, ImageError> {
    shape.check_length("source", values.len())?;
    let unwritable = |reason: String| ImageError::Unwritable {
        format,
        shape,
        reason,
    };
    let color = match shape.channels {
        1 => ExtendedColorType::L8,
        3 => ExtendedColorType::Rgb8,
        4 => ExtendedColorType::Rgba8,
        other => {
            return Err(unwritable(format!(
                "expected 1, 3 or 4 channels, found {other}"
            )));
        }
    };
    if let Some(value) = values.iter().find(|value| !value.is_finite()) {
        return Err(unwritable(format!("expected finite values, found {value}")));
    }
    let mut stretched = values.to_vec();
    stretch(&mut stretched, extremes(values));
    let bytes: Vec<u8> = stretched.into_iter().map(|value| value as u8).collect();
    let mut file = Cursor::new(Vec::new());
    let (width, height) = (shape.width as u32, shape.height as u32);
    image::write_buffer_with_format(&mut file, &bytes, width, height, color, format.name())
        .map_err(|error| unwritable(error.to_string()))?;
    Ok(file.into_inner())
}
