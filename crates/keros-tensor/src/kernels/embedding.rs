//! Rows of a table by index.

use candle_core::{DType, Tensor};

use super::{dims, expect_dims};
use crate::parallel::{chunks_mut, for_each_part};
use crate::{TensorError, Workspace, access};

/// Pieces into which the gradient of a table is cut; each task looks at all indices.
const PIECES: usize = 16;

/// `y[…, :] = table[x[…], :]`; also returns the indices as `u32`, for [`embedding_backward`].
///
/// `x`: `[N, …]`, whole numbers from 0 as `f32`; `table`: `[rows, width]`; `y`: `[N, …, width]`.
///
/// On a GPU nobody looks at the numbers before the kernel runs: one that is no index makes a row of NaN, and
/// [`embedding_backward`] passes over it. [`check_indices`] finds it while the numbers are on the host.
///
/// # Errors
/// That of [`check_indices`], on the CPU; otherwise see [the module](super).
pub fn embedding(
    ws: &mut Workspace,
    x: &Tensor,
    table: &Tensor,
) -> Result<(Tensor, Tensor), TensorError> {
    const OP: &str = "embedding";
    let [rows, width] = dims(OP, "table", table, "[rows, width]")?;
    let shape = [x.dims(), &[width]].concat();
    on_gpu!(x, |gpu| cuda::embedding::embedding(
        gpu, ws, x, table, &shape
    ));
    let sample: usize = x.dims().iter().skip(1).product();
    let indices = ws.take(x.dims(), DType::U32)?;
    let y = ws.take(&shape, DType::F32)?;
    let x = access::read::<f32>(x)?;
    let x = &*x;
    check_indices(x, sample, rows)?;
    access::write(&indices, |indices: &mut [u32]| {
        for (index, &value) in indices.iter_mut().zip(x) {
            *index = value as u32;
        }
    })?;
    {
        let (indices, table) = (access::read::<u32>(&indices)?, access::read::<f32>(table)?);
        let (indices, table) = (&*indices, &*table);
        let chunk = (super::CHUNK / width.max(1)).max(1);
        access::write(&y, |y| {
            for_each_part(chunks_mut(y, chunk * width), |i, y: &mut [f32]| {
                for (y, &index) in y.chunks_exact_mut(width).zip(&indices[i * chunk..]) {
                    let start = index as usize * width;
                    y.copy_from_slice(&table[start..start + width]);
                }
            });
        })?;
    }
    Ok((y, indices))
}

/// Whether all numbers, so many for each sample, are indices of a table of so many rows.
///
/// # Errors
/// [`TensorError::Argument`] for the first that is none, with its place.
pub fn check_indices(values: &[f32], per_sample: usize, rows: usize) -> Result<(), TensorError> {
    let is_index = |value: &f32| value.fract() == 0.0 && (0.0..rows as f32).contains(value);
    let Some(at) = values.iter().position(|value| !is_index(value)) else {
        return Ok(());
    };
    let (row, position) = (at / per_sample.max(1), at % per_sample.max(1));
    let expected = format!("a whole number in 0..{rows}");
    let found = format!("{} in row {row}, position {position}", values[at]);
    Err(TensorError::argument("embedding", "index", expected, found))
}

/// The gradient of [`embedding`] with respect to the table: fills `dtable` (`[rows, width]`) with
/// the sum of the rows of `dy` of each index, on the CPU in their order.
///
/// On a GPU each index that occurs looks at all places from its first on.
///
/// # Errors
/// See [the module](super).
pub fn embedding_backward(
    ws: &mut Workspace,
    indices: &Tensor,
    dy: &Tensor,
    dtable: &Tensor,
) -> Result<(), TensorError> {
    const OP: &str = "embedding backward";
    let [rows, width] = dims(OP, "table gradient", dtable, "[rows, width]")?;
    expect_dims(
        OP,
        "output gradient",
        dy,
        &[indices.dims(), &[width]].concat(),
    )?;
    on_gpu!(indices, |gpu| {
        crate::access::check_apart(OP, [dtable], &[dy])?;
        cuda::embedding::embedding_backward(gpu, ws, indices, dy, dtable)
    });
    // Only a GPU needs memory for it.
    let _ = ws;
    let (indices, dy) = (access::read::<u32>(indices)?, access::read::<f32>(dy)?);
    let (indices, dy) = (&*indices, &*dy);
    let piece = rows.div_ceil(PIECES).max(1);
    access::write(dtable, |dtable| {
        for_each_part(
            chunks_mut(dtable, piece * width),
            |i, dtable: &mut [f32]| {
                dtable.fill(0.0);
                for (&index, dy) in indices.iter().zip(dy.chunks_exact(width)) {
                    let row = (index as usize).checked_sub(i * piece);
                    let row = row.and_then(|row| dtable.chunks_exact_mut(width).nth(row));
                    for (sum, &dy) in row.into_iter().flatten().zip(dy) {
                        *sum += dy;
                    }
                }
            },
        );
    })
}
