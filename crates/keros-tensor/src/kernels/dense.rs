//! Fully connected layers.

use candle_core::{DType, Tensor};

use super::activation::{Activation, add_rows, finish_row, unapply};
use super::matmul::{Matrix, Tiles, matmul};
use super::{CHUNK, dims, expect_dims, rows};
use crate::parallel::{chunks_mut, for_each_part};
use crate::{TensorError, Workspace, access};

/// `y = activation(x · w + bias)` on the last axis.
///
/// `x`: `[…, in]`; `w`: `[in, out]`; `bias`: `[out]`; `y`: `[…, out]`.
///
/// # Errors
/// See [the module](super).
pub fn dense(
    ws: &mut Workspace,
    x: &Tensor,
    w: &Tensor,
    bias: Option<&Tensor>,
    activation: Activation,
) -> Result<Tensor, TensorError> {
    const OP: &str = "dense";
    let [inputs, outputs] = dims(OP, "kernel", w, "[in, out]")?;
    let batch = check_input(OP, x, inputs)?;
    if let Some(bias) = bias {
        expect_dims(OP, "bias", bias, &[outputs])?;
    }
    on_gpu!(x, |gpu| cuda::dense::dense(
        gpu,
        ws,
        (batch, inputs, outputs),
        x,
        w,
        bias,
        activation
    ));
    let mut shape = x.dims().to_vec();
    shape.pop();
    shape.push(outputs);
    let y = ws.take(&shape, DType::F32)?;
    let (x, w) = (access::read::<f32>(x)?, access::read::<f32>(w)?);
    let bias = bias.map(access::read::<f32>).transpose()?;
    let x = Matrix::new(&x, batch, inputs, inputs);
    let w = Matrix::new(&w, inputs, outputs, outputs);
    let bias = bias.as_deref();
    access::write(&y, |y| {
        for_each_part(
            Tiles::new(y, batch, outputs, tile(batch, outputs)),
            |_, mut tile| {
                let (row, column) = (tile.first_row, tile.first_column);
                let (a, b) = (x.rows(row, tile.rows()), w.columns(column, tile.columns()));
                matmul(&mut tile.matrix, false, a, b);
                let bias = bias.map(|bias| &bias[column..]);
                for row in tile.matrix.rows_mut() {
                    finish_row(row, bias, activation);
                }
            },
        );
    })?;
    Ok(y)
}

/// The gradients of [`dense`]: fills `dw` (`[in, out]`) and `dbias` (`[out]`), returns `dx`
/// (`[…, in]`) if `need_dx`.
///
/// `y` is the output of the forward pass and `dy` the gradient with respect to it.
///
/// # Errors
/// See [the module](super). After an error the gradients are unspecified.
#[allow(clippy::too_many_arguments)]
pub fn dense_backward(
    ws: &mut Workspace,
    x: &Tensor,
    w: &Tensor,
    y: &Tensor,
    dy: &Tensor,
    activation: Activation,
    dw: &Tensor,
    dbias: Option<&Tensor>,
    need_dx: bool,
) -> Result<Option<Tensor>, TensorError> {
    const OP: &str = "dense backward";
    let [inputs, outputs] = dims(OP, "kernel", w, "[in, out]")?;
    let batch = check_input(OP, x, inputs)?;
    let mut shape = x.dims().to_vec();
    shape.pop();
    shape.push(outputs);
    expect_dims(OP, "output", y, &shape)?;
    expect_dims(OP, "output gradient", dy, &shape)?;
    expect_dims(OP, "kernel gradient", dw, &[inputs, outputs])?;
    if let Some(dbias) = dbias {
        expect_dims(OP, "bias gradient", dbias, &[outputs])?;
    }
    on_gpu!(x, |gpu| cuda::dense::dense_backward(
        gpu,
        ws,
        (batch, inputs, outputs),
        (x, w, y, dy),
        activation,
        dw,
        dbias,
        need_dx
    ));

    let dz = match activation {
        Activation::Linear => None,
        _ => {
            let dz = ws.take(&shape, DType::F32)?;
            let (y, dy) = (access::read::<f32>(y)?, access::read::<f32>(dy)?);
            let (y, dy) = (&*y, &*dy);
            access::write(&dz, |dz| {
                for_each_part(chunks_mut(dz, CHUNK), |i, dz| {
                    let range = i * CHUNK..i * CHUNK + dz.len();
                    unapply(&y[range.clone()], &dy[range], dz, activation);
                });
            })?;
            Some(dz)
        }
    };
    let dx = if need_dx {
        Some(ws.take(x.dims(), DType::F32)?)
    } else {
        None
    };
    {
        let dz = access::read::<f32>(dz.as_ref().unwrap_or(dy))?;
        let dz_rows = &*dz;
        let dz = Matrix::new(dz_rows, batch, outputs, outputs);
        if let Some(dx) = &dx {
            let w = access::read::<f32>(w)?;
            let w_transposed = Matrix::new(&w, inputs, outputs, outputs).transposed();
            access::write(dx, |dx| {
                for_each_part(
                    Tiles::new(dx, batch, inputs, tile(batch, inputs)),
                    |_, mut tile| {
                        let a = dz.rows(tile.first_row, tile.rows());
                        let b = w_transposed.columns(tile.first_column, tile.columns());
                        matmul(&mut tile.matrix, false, a, b);
                    },
                );
            })?;
        }
        let x = access::read::<f32>(x)?;
        let x_transposed = Matrix::new(&x, batch, inputs, inputs).transposed();
        access::write(dw, |dw| {
            for_each_part(
                Tiles::new(dw, inputs, outputs, tile(inputs, outputs)),
                |_, mut tile| {
                    let a = x_transposed.rows(tile.first_row, tile.rows());
                    let b = dz.columns(tile.first_column, tile.columns());
                    matmul(&mut tile.matrix, false, a, b);
                },
            );
        })?;
        if let Some(dbias) = dbias {
            access::write(dbias, |dbias: &mut [f32]| {
                dbias.fill(0.0);
                add_rows([dz_rows], dbias);
            })?;
        }
    }
    if let Some(dz) = dz {
        ws.give(&dz);
    }
    Ok(dx)
}

/// Checks the last axis of `x` and returns the number of rows.
fn check_input(op: &'static str, x: &Tensor, inputs: usize) -> Result<usize, TensorError> {
    let (batch, last) = rows(op, "input", x)?;
    if last != inputs {
        let expected = format_args!("[…, {inputs}]").to_string();
        return Err(TensorError::shape(op, "input", expected, x.dims()));
    }
    Ok(batch)
}

/// Size of the tiles that tasks compute: wide ones, since a product packs its factors anew.
fn tile(_rows: usize, columns: usize) -> (usize, usize) {
    if columns >= 128 {
        (128, 128)
    } else {
        (32, 128)
    }
}
