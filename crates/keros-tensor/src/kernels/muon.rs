//! Muon, whose direction is that of the momentum with all singular values near 1.

use candle_core::{DType, Tensor};

use super::matmul::{Matrix, Tiles, matmul};
use super::optimizer::{Group, Update, apply, groups, run_each};
use super::optimizer_common::{accumulate, scale, sum};
use super::{CHUNK, dims, optimizer_rules};
use crate::parallel::{chunks_mut, for_each_part};
use crate::simd::multiversion;
use crate::{TensorError, Workspace, access};

/// The numbers of [`muon_update`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Muon {
    /// The learning rate.
    pub lr: f64,
    /// How much of the momentum stays.
    pub momentum: f64,
    /// Whether the momentum of the step after is taken.
    pub nesterov: bool,
    /// `a`, `b` and `c` of the iteration.
    pub coefficients: [f64; 3],
    /// How often it is done.
    pub steps: usize,
    /// The root mean square of an update of learning rate 1, if it is to be the same for all shapes.
    pub rms_rate: Option<f64>,
}

/// What is added to the norm of the momentum, as in Keras.
const EPSILON: f64 = 1e-7;

/// One update of Muon (K. Jordan et al., 2024) in Keras's form, of matrices.
///
/// `m = momentum m + g`, and `x` is `m`, or for `nesterov` `g + momentum m`, divided by its norm. Then so many times
/// `x = a x + (b A + c A²) x` with `A = x xᵀ`, or the same of `xᵀ` where that is smaller, and
/// `w -= lr √max(rows, columns) rms_rate x`, or `w -= lr x` without that rate.
/// The state is `m`, which starts at 0. The gradients are overwritten.
///
/// # Errors
/// A parameter that has not two axes; otherwise see [the module](super).
pub fn muon_update(
    ws: &mut Workspace,
    updates: &[Update<'_>],
    numbers: Muon,
) -> Result<(), TensorError> {
    const OP: &str = "Muon update";
    // Checks their number and shapes.
    groups::<2>(OP, updates)?;
    for update in updates {
        dims::<2>(OP, "parameter", update.param, "[rows, columns]")?;
    }
    let momenta = updates
        .iter()
        .map(|update| Group::new(OP, [update.grad, &update.state[0]], None));
    let momenta = momenta.collect::<Result<Vec<_>, _>>()?;
    gather(OP, momenta, numbers)?;
    let with_elements: Vec<_> = updates
        .iter()
        .filter(|update| update.param.elem_count() > 0)
        .collect();
    let directions: Vec<&Tensor> = with_elements.iter().map(|update| update.grad).collect();
    normalize(OP, ws, &directions)?;
    for update in with_elements {
        let [rows, columns] = dims(OP, "parameter", update.param, "[rows, columns]")?;
        let x = orthogonal(OP, ws, update.grad, (rows, columns), numbers)?;
        let rate = match numbers.rms_rate {
            Some(rate) => numbers.lr * (rows.max(columns) as f64).sqrt() * rate,
            None => numbers.lr,
        };
        accumulate(&[(update.param, &x)], -rate)?;
        // Without steps it is the gradient, which is the caller's.
        if numbers.steps > 0 {
            ws.give(&x);
        }
    }
    Ok(())
}

/// The momenta, and what is to be made orthogonal in the places of the gradients.
fn gather(op: &'static str, momenta: Vec<Group<'_, 2>>, numbers: Muon) -> Result<(), TensorError> {
    let mu = numbers.momentum as f32;
    match numbers.nesterov {
        true => apply!(op, momenta, muon_nesterov_f32(mu), |[g, m], _| {
            optimizer_rules::gather_nesterov(g, m, mu);
        }),
        false => apply!(op, momenta, muon_f32(mu), |[g, m], _| {
            optimizer_rules::gather(g, m, mu);
        }),
    }
}

/// Divides each tensor by its norm.
fn normalize(op: &'static str, ws: &mut Workspace, tensors: &[&Tensor]) -> Result<(), TensorError> {
    if tensors.is_empty() {
        return Ok(());
    }
    on_gpu!(tensors[0], |gpu| cuda::optimizer::normalize(
        gpu, op, ws, tensors, EPSILON
    ));
    // Only a GPU says what it does, and needs memory for it.
    let _ = (op, ws);
    for tensor in tensors {
        let norm = sum(tensor, |x| f64::from(x) * f64::from(x))?.sqrt();
        scale(&[tensor], 1.0 / (norm + EPSILON))?;
    }
    Ok(())
}

/// A matrix with the singular vectors of `x`, whose norm is at most 1, and singular values near 1; `x` itself without
/// steps.
fn orthogonal(
    op: &'static str,
    ws: &mut Workspace,
    x: &Tensor,
    (rows, columns): (usize, usize),
    numbers: Muon,
) -> Result<Tensor, TensorError> {
    let is_wide = rows <= columns;
    let small = rows.min(columns);
    let mut x = x.clone();
    for step in 0..numbers.steps {
        let (shape, inner) = ((small, small), rows.max(columns));
        let gram = product(op, ws, (&x, !is_wide), (&x, is_wide), shape, inner)?;
        let sum = product(op, ws, (&gram, false), (&gram, false), shape, small)?;
        polynomial(op, &sum, &gram, small, numbers.coefficients)?;
        ws.give(&gram);
        let shape = (rows, columns);
        let next = match is_wide {
            true => product(op, ws, (&sum, false), (&x, false), shape, small)?,
            // It is symmetric.
            false => product(op, ws, (&x, false), (&sum, false), shape, small)?,
        };
        ws.give(&sum);
        if step > 0 {
            ws.give(&x);
        }
        x = next;
    }
    Ok(x)
}

/// `square = a I + b gram + c square` of matrices of this many rows and columns.
fn polynomial(
    op: &'static str,
    square: &Tensor,
    gram: &Tensor,
    size: usize,
    coefficients: [f64; 3],
) -> Result<(), TensorError> {
    let coefficients = coefficients.map(|x| x as f32);
    on_gpu!(square, |gpu| cuda::muon::polynomial(
        gpu,
        op,
        square,
        gram,
        size,
        coefficients
    ));
    // Only a GPU says what it does.
    let _ = op;
    let gram = access::read::<f32>(gram)?;
    let gram = &*gram;
    let rows = (CHUNK / size).max(1);
    access::write(square, |square| {
        for_each_part(chunks_mut(square, rows * size), |i, square| {
            combine(
                square,
                &gram[i * rows * size..],
                size,
                i * rows,
                coefficients,
            );
        });
    })
}

/// The product of two matrices, each as it is or transposed; `inner` is what they have in common.
fn product(
    op: &'static str,
    ws: &mut Workspace,
    (a, a_transposed): (&Tensor, bool),
    (b, b_transposed): (&Tensor, bool),
    (rows, columns): (usize, usize),
    inner: usize,
) -> Result<Tensor, TensorError> {
    let y = ws.take(&[rows, columns], DType::F32)?;
    on_gpu!(a, |gpu| {
        let (a, b) = ((a, a_transposed), (b, b_transposed));
        cuda::muon::product(gpu, op, a, b, &y, inner)?;
        Ok(y)
    });
    // Only a GPU says what it does.
    let _ = op;
    {
        let (a, b) = (access::read::<f32>(a)?, access::read::<f32>(b)?);
        let a = match a_transposed {
            true => Matrix::new(&a, inner, rows, rows).transposed(),
            false => Matrix::new(&a, rows, inner, inner),
        };
        let b = match b_transposed {
            true => Matrix::new(&b, columns, inner, inner).transposed(),
            false => Matrix::new(&b, inner, columns, columns),
        };
        access::write(&y, |y| {
            for_each_part(Tiles::new(y, rows, columns, (128, 128)), |_, mut tile| {
                let a = a.rows(tile.first_row, tile.rows());
                let b = b.columns(tile.first_column, tile.columns());
                matmul(&mut tile.matrix, false, a, b);
            });
        })?;
    }
    Ok(y)
}

multiversion! {
    /// The rows of `polynomial` from the first of these on.
    fn combine(
        square: &mut [f32],
        gram: &[f32],
        size: usize,
        first: usize,
        coefficients: [f32; 3],
    ) {
        let [a, b, c] = coefficients;
        for (i, (square, gram)) in square.chunks_exact_mut(size).zip(gram.chunks(size)).enumerate() {
            for (square, gram) in square.iter_mut().zip(gram) {
                *square = b * gram + c * *square;
            }
            square[first + i] += a;
        }
    }
}
