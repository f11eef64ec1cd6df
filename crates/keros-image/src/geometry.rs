//! From parameters to the matrix that maps output to input pixels: Keros's geometry and Keras's two
//! historical ones.

use serde::{Deserialize, Serialize};

use crate::{ImageError, ImageShape, TransformParams};

/// How the parameters become a matrix: which axis is which, and where the centre lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Geometry {
    /// Coordinates are (row, column), the centre is the true one, ((height − 1)/2, (width − 1)/2):
    /// the height shift is vertical, the width shift horizontal.
    #[default]
    Keros,
    /// As keras-preprocessing 1.1.2 (Keras 2.0 to 2.8) did: like [`Geometry::Keros`], but the
    /// centre is (height/2 + 0.5, width/2 + 0.5), one pixel off.
    KerasPreprocessing112,
    /// As tf.keras 2.9 and later, tf-keras and Keras 3 do: the axes are exchanged, so that the
    /// *height* shift moves the picture horizontally and the *width* shift vertically (likewise the
    /// zooms), rotation runs the other way, and the centre of an image that is not square is wrong.
    TfKeras,
}

/// Maps output (row, column) to input (row, column): `in = linear · out + offset`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Matrix {
    pub(crate) linear: [[f64; 2]; 2],
    pub(crate) offset: [f64; 2],
}

impl Geometry {
    /// The matrix of `params` for images of `shape`.
    pub(crate) fn matrix(
        self,
        params: &TransformParams,
        shape: ImageShape,
    ) -> Result<Matrix, ImageError> {
        params.check()?;
        let (height, width) = (shape.height as f64, shape.width as f64);
        let (centre_x, centre_y) = match self {
            Geometry::Keros | Geometry::TfKeras => (height / 2.0 - 0.5, width / 2.0 - 0.5),
            Geometry::KerasPreprocessing112 => (height / 2.0 + 0.5, width / 2.0 + 0.5),
        };

        // Rotation, shift, shear, zoom, in the order Keras multiplies them: the last bits decide
        // which pixel a coordinate on a border takes.
        let (sin, cos) = params.rotation_deg.to_radians().sin_cos();
        let (shear_sin, shear_cos) = params.shear_deg.to_radians().sin_cos();
        let rotation = [[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]];
        let shift = translation(params.height_shift_px, params.width_shift_px);
        let shear = [
            [1.0, -shear_sin, 0.0],
            [0.0, shear_cos, 0.0],
            [0.0, 0.0, 1.0],
        ];
        let zoom = [
            [params.zoom_height, 0.0, 0.0],
            [0.0, params.zoom_width, 0.0],
            [0.0, 0.0, 1.0],
        ];
        let about_origin = product(&product(&product(&rotation, &shift), &shear), &zoom);
        let centred = product(
            &product(&translation(centre_x, centre_y), &about_origin),
            &translation(-centre_x, -centre_y),
        );

        let [[a, b, x], [c, d, y], _] = centred;
        if ![a, b, c, d, x, y].iter().all(|entry| entry.is_finite()) {
            return Err(ImageError::MatrixOverflow);
        }
        Ok(match self {
            Geometry::Keros | Geometry::KerasPreprocessing112 => Matrix {
                linear: [[a, b], [c, d]],
                offset: [x, y],
            },
            Geometry::TfKeras => Matrix {
                linear: [[d, c], [b, a]],
                offset: [y, x],
            },
        })
    }
}

fn translation(x: f64, y: f64) -> [[f64; 3]; 3] {
    [[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]]
}

fn product(a: &[[f64; 3]; 3], b: &[[f64; 3]; 3]) -> [[f64; 3]; 3] {
    let mut c = [[0.0; 3]; 3];
    for (row, out) in a.iter().zip(&mut c) {
        for (j, value) in out.iter_mut().enumerate() {
            *value = row[0] * b[0][j] + row[1] * b[1][j] + row[2] * b[2][j];
        }
    }
    c
}
