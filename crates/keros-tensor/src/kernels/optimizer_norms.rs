//! Updates whose length depends on norms of the parameter: Lamb and Adafactor.
//!
//! They first make a direction of each gradient, in its place, and then go along it.

use candle_core::{DType, Tensor};

use super::optimizer::{Group, Update, groups};
use super::optimizer_common::{LANES, accumulate, sum_slice};
use super::{CHUNK, expect_dims};
use crate::parallel::{chunks_mut, for_each_part};
use crate::simd::multiversion;
use crate::{TensorError, Workspace, access};

/// Most parts that the rows of a matrix fall into, and fewest rows of one: what is kept of each column for each part
/// takes half the memory of the matrix at most.
const PARTS: usize = 32;
const FEWEST_ROWS: usize = 4;
/// Columns that one task averages.
const COLUMNS: usize = 256;

/// How far an update goes along its direction: `w -= factor u`.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Factor {
    /// `lr |w| / |u|`, or `lr` if one of the norms is 0.
    Trust { lr: f64 },
    /// `rate max(epsilon, rms(w)) / max(1, rms(u) / threshold)`.
    Clipped {
        rate: f64,
        epsilon: f64,
        threshold: f64,
    },
}

impl Factor {
    /// The factor for `count` elements with these sums of `w²` and `u²`.
    fn of(self, [of_w, of_u]: [f64; 2], count: usize) -> f64 {
        match self {
            // NaN is not above 0.
            Factor::Trust { lr } if of_w > 0.0 && of_u > 0.0 => lr * (of_w.sqrt() / of_u.sqrt()),
            Factor::Trust { lr } => lr,
            Factor::Clipped {
                rate,
                epsilon,
                threshold,
            } => {
                let rms = |sum: f64| (sum / count as f64).sqrt();
                rate * larger(epsilon, rms(of_w)) / larger(1.0, rms(of_u) / threshold)
            }
        }
    }
}

/// The larger of a bound and a number, which stays NaN if it is.
fn larger(bound: f64, x: f64) -> f64 {
    if x < bound { bound } else { x }
}

/// One update of Lamb (Y. You et al., 2019) in Keras's form.
///
/// The moments of [`adam_update`](super::adam_update), then `u = m c1 / (√(v c2) + epsilon)` and
/// `w -= lr |w| / |u| u`, or `w -= lr u` if one of the norms is 0, where the caller gives `corrections = (c1, c2)`,
/// `c1 = 1 / (1 - beta1^t)` and `c2 = 1 / (1 - beta2^t)` for update number `t` from 1.
/// The state is `m` and `v`, which start at 0. The gradients become the directions `u`.
///
/// # Errors
/// See [the module](super).
#[allow(clippy::too_many_arguments)]
pub fn lamb_update(
    ws: &mut Workspace,
    updates: &[Update<'_>],
    lr: f64,
    corrections: (f64, f64),
    beta1: f64,
    beta2: f64,
    epsilon: f64,
) -> Result<(), TensorError> {
    const OP: &str = "Lamb update";
    // Checks their number and shapes.
    let of_params = groups::<3>(OP, updates)?;
    if updates.is_empty() {
        return Ok(());
    }
    let of_params = of_params.iter().zip(updates);
    let groups = of_params.map(|(group, update)| {
        let [param, m, v] = group.changed;
        Group::new(OP, [update.grad, m, v], Some(param))
    });
    let groups: Vec<Group<'_, 3>> = groups.collect::<Result<_, _>>()?;
    let factor = Factor::Trust { lr };
    let (c1, c2) = (corrections.0 as f32, corrections.1 as f32);
    let (rate1, rate2) = ((1.0 - beta1) as f32, (1.0 - beta2) as f32);
    let epsilon = epsilon as f32;
    on_gpu!(updates[0].param, |gpu| {
        use cuda::optimizer::{Rule, descend, update};
        let numbers = [rate1, rate2, c1, c2, epsilon];
        update(gpu, OP, &groups, Rule::lamb_f32, numbers)?;
        descend(gpu, OP, ws, &pairs(updates), factor)
    });
    // Only a GPU needs memory for it.
    let _ = ws;
    for (group, update) in groups.iter().zip(updates) {
        let sums = {
            let w = access::read::<f32>(update.param)?;
            let w = &*w;
            access::write_all(group.changed, |[g, m, v]| {
                let mut sums = vec![[0.0; 2]; g.len().div_ceil(CHUNK)];
                let parts = (
                    [g, m, v].map(|slice| chunks_mut(slice, CHUNK)),
                    chunks_mut(&mut sums, 1),
                );
                for_each_part(parts, |i, ([g, m, v], sums)| {
                    let w = &w[i * CHUNK..];
                    sums.fill(lamb(g, w, m, v, rate1, rate2, c1, c2, epsilon));
                });
                total(&sums)
            })?
        };
        go(update, factor, sums)?;
    }
    Ok(())
}

/// The numbers of [`adafactor_update`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Adafactor {
    /// The learning rate, already at most `1 / √t`.
    pub rate: f64,
    /// How much of the sums stays.
    pub beta2: f64,
    /// What is added to each square.
    pub epsilon1: f64,
    /// The smallest root mean square of a parameter that counts.
    pub epsilon2: f64,
    /// The largest root mean square of a direction.
    pub clip_threshold: f64,
}

/// One update of Adafactor (N. Shazeer, M. Stern, 2018) in Keras's form.
///
/// With `q = g² + epsilon1` and moving averages `s = beta2 s + (1 - beta2) …`: for a parameter with two axes or more,
/// `r` averages the means of `q` over the last axis and `c` those over the one before, and
/// `v = r / mean(r) · c` with the mean over the last axis of `r`; for others `v` averages `q` itself.
/// Then `u = g / √v` and `w -= rate max(epsilon2, rms(w)) / max(1, rms(u) / clip_threshold) u`.
/// The state is `r` and `c`, which have the shape of the parameter without its last axis and without the one before,
/// or `v`; all start at 0. The gradients become the directions `u`.
///
/// # Errors
/// See [the module](super).
pub fn adafactor_update(
    ws: &mut Workspace,
    updates: &[Update<'_>],
    numbers: Adafactor,
) -> Result<(), TensorError> {
    const OP: &str = "Adafactor update";
    let mut whole = Vec::new();
    let mut factored = Vec::new();
    for update in updates {
        expect_dims(OP, "gradient", update.grad, update.param.dims())?;
        let state: Vec<&Tensor> = update.state.iter().collect();
        match (factors(update.param.dims()), &state[..]) {
            (None, &[v]) => whole.push(Group::new(OP, [update.grad, v], Some(update.param))?),
            (Some(shapes), &[r, c]) => {
                expect_dims(OP, "state of the rows", r, &shapes.rows)?;
                expect_dims(OP, "state of the columns", c, &shapes.columns)?;
                factored.push((update, shapes.sizes));
            }
            (shapes, _) => {
                let expected = if shapes.is_some() { 2 } else { 1 };
                let what = "number of state tensors";
                return Err(TensorError::argument(OP, what, expected, state.len()));
            }
        }
    }
    if updates.is_empty() {
        return Ok(());
    }
    let factor = Factor::Clipped {
        rate: numbers.rate,
        epsilon: numbers.epsilon2,
        threshold: numbers.clip_threshold,
    };
    let (beta, rest) = (numbers.beta2 as f32, (1.0 - numbers.beta2) as f32);
    let epsilon = numbers.epsilon1 as f32;
    on_gpu!(updates[0].param, |gpu| {
        use cuda::optimizer::{Rule, descend, factored_direction, update};
        let of_whole = [beta, rest, epsilon];
        update(gpu, OP, &whole, Rule::adafactor_f32, of_whole)?;
        for (update, sizes) in &factored {
            average_squares(ws, update, *sizes, numbers)?;
            factored_direction(gpu, OP, ws, update, *sizes)?;
        }
        descend(gpu, OP, ws, &pairs(updates), factor)
    });
    for update in updates
        .iter()
        .filter(|update| update.param.elem_count() > 0)
    {
        let sums = match factors(update.param.dims()) {
            Some(shapes) => factored_on_cpu(ws, update, shapes.sizes, numbers)?,
            None => {
                let w = access::read::<f32>(update.param)?;
                let w = &*w;
                access::write2(
                    update.grad,
                    &update.state[0],
                    |g: &mut [f32], v: &mut [f32]| {
                        let mut sums = vec![[0.0; 2]; g.len().div_ceil(CHUNK)];
                        let parts = (
                            [g, v].map(|slice| chunks_mut(slice, CHUNK)),
                            chunks_mut(&mut sums, 1),
                        );
                        for_each_part(parts, |i, ([g, v], sums)| {
                            sums.fill(adafactor(g, &w[i * CHUNK..], v, beta, rest, epsilon));
                        });
                        total(&sums)
                    },
                )?
            }
        };
        go(update, factor, sums)?;
    }
    Ok(())
}

/// A parameter of two axes or more as matrices.
struct Factors {
    /// The shape of what is kept of the rows, and of the columns.
    rows: Vec<usize>,
    columns: Vec<usize>,
    /// How many matrices, and their rows and columns.
    sizes: [usize; 3],
}

fn factors(shape: &[usize]) -> Option<Factors> {
    let [outer @ .., rows, columns] = shape else {
        return None;
    };
    Some(Factors {
        rows: [outer, &[*rows]].concat(),
        columns: [outer, &[*columns]].concat(),
        sizes: [outer.iter().product(), *rows, *columns],
    })
}

/// The direction of a factored parameter in the place of its gradient, and the sums of `w²` and `u²`.
fn factored_on_cpu(
    ws: &mut Workspace,
    update: &Update<'_>,
    [matrices, rows, columns]: [usize; 3],
    numbers: Adafactor,
) -> Result<[f64; 2], TensorError> {
    let (beta, rest) = (numbers.beta2 as f32, (1.0 - numbers.beta2) as f32);
    let epsilon = numbers.epsilon1 as f32;
    let some_rows = rows.div_ceil(PARTS).max(CHUNK / columns).max(FEWEST_ROWS);
    let some = some_rows * columns;
    let parts = rows.div_ceil(some_rows);
    let of_columns = ws.take(&[parts, columns], DType::F64)?;
    let w = access::read::<f32>(update.param)?;
    let w = &*w;
    let [r, c] = [&update.state[0], &update.state[1]];
    let (mut sums, mut totals) = (vec![[0.0; 2]; parts], [0.0; 2]);
    for matrix in 0..matrices {
        let of_rows = matrix * rows..(matrix + 1) * rows;
        let of_matrix = of_rows.start * columns..of_rows.end * columns;
        {
            let g = access::read::<f32>(update.grad)?;
            let g = &g[of_matrix.clone()];
            access::write2(r, &of_columns, |r: &mut [f32], of_columns: &mut [f64]| {
                let r = chunks_mut(&mut r[of_rows.clone()], some_rows);
                for_each_part(
                    (r, chunks_mut(of_columns, columns)),
                    |i, (r, of_columns)| {
                        add_squares(&g[i * some..], r, of_columns, beta, rest, epsilon);
                    },
                );
            })?;
        }
        let r = access::read::<f32>(r)?;
        let r = &r[of_rows];
        {
            let of_columns = access::read::<f64>(&of_columns)?;
            let of_columns = &*of_columns;
            access::write(c, |c: &mut [f32]| {
                let c = &mut c[matrix * columns..][..columns];
                for_each_part(chunks_mut(c, COLUMNS), |i, c| {
                    let of_columns = &of_columns[i * COLUMNS..];
                    average_columns(c, of_columns, columns, rows, beta, rest, epsilon);
                });
            })?;
        }
        let c = access::read::<f32>(c)?;
        let c = &c[matrix * columns..][..columns];
        let w = &w[of_matrix.clone()];
        let mean = r.iter().map(|r| f64::from(*r)).sum::<f64>() / rows as f64;
        access::write(update.grad, |g: &mut [f32]| {
            let g = chunks_mut(&mut g[of_matrix], some);
            for_each_part((g, chunks_mut(&mut sums, 1)), |i, (g, sums)| {
                let (w, r) = (&w[i * some..], &r[i * some_rows..]);
                sums.fill(factored(g, w, r, c, mean as f32));
            });
        })?;
        let [of_w, of_u] = total(&sums);
        totals = [totals[0] + of_w, totals[1] + of_u];
    }
    ws.give(&of_columns);
    Ok(totals)
}

/// The same averages on a GPU, by kernels that it has.
#[cfg(feature = "cuda")]
fn average_squares(
    ws: &mut Workspace,
    update: &Update<'_>,
    [matrices, rows, columns]: [usize; 3],
    numbers: Adafactor,
) -> Result<(), TensorError> {
    use super::{Activation, MergeOp, affine, global_average_pool, merge, moving_average};
    if update.param.elem_count() == 0 {
        return Ok(());
    }
    let twice = [update.grad.clone(), update.grad.clone()];
    let squares = merge(ws, &twice, MergeOp::Multiply, Activation::Linear)?;
    let of_rows = squares.reshape((matrices * rows, columns, 1))?;
    let of_rows = global_average_pool(ws, &of_rows)?;
    let of_columns = squares.reshape((matrices, rows, columns))?;
    let of_columns = global_average_pool(ws, &of_columns)?;
    ws.give(&squares);
    for (average, mean) in update.state.iter().zip([of_rows, of_columns]) {
        let raised = affine(ws, &mean, &[1.0], &[numbers.epsilon1 as f32])?;
        ws.give(&mean);
        let of_shape = raised.reshape(average.shape())?;
        let pair = (average, &of_shape);
        moving_average(&[pair], numbers.beta2, 1.0 - numbers.beta2)?;
        ws.give(&raised);
    }
    Ok(())
}

/// The parameters, each with its direction.
#[cfg(feature = "cuda")]
fn pairs<'a>(updates: &[Update<'a>]) -> Vec<Group<'a, 1>> {
    let pairs = updates.iter().map(|update| Group {
        changed: [update.param],
        read: Some(update.grad),
    });
    pairs.collect()
}

/// Goes along the direction.
fn go(update: &Update<'_>, factor: Factor, sums: [f64; 2]) -> Result<(), TensorError> {
    let factor = factor.of(sums, update.param.elem_count());
    accumulate(&[(update.param, update.grad)], -factor)
}

fn total(sums: &[[f64; 2]]) -> [f64; 2] {
    let add = |[a, b]: [f64; 2], [c, d]: &[f64; 2]| [a + c, b + d];
    sums.iter().fold([0.0; 2], add)
}

multiversion! {
    /// Makes the direction of Lamb of a gradient; returns the sums of `w²` and `u²`.
    fn lamb(
        g: &mut [f32],
        w: &[f32],
        m: &mut [f32],
        v: &mut [f32],
        rate1: f32,
        rate2: f32,
        c1: f32,
        c2: f32,
        epsilon: f32,
    ) -> [f64; 2] {
        let (mut of_w, mut of_u) = ([0.0_f64; LANES], [0.0_f64; LANES]);
        let blocks = g.chunks_mut(LANES).zip(w.chunks(LANES));
        let blocks = blocks.zip(m.chunks_mut(LANES).zip(v.chunks_mut(LANES)));
        for ((g, w), (m, v)) in blocks {
            for (((g, m), v), (&w, (of_w, of_u))) in
                g.iter_mut().zip(m).zip(v).zip(w.iter().zip(of_w.iter_mut().zip(&mut of_u)))
            {
                *m += rate1 * (*g - *m);
                *v += rate2 * (*g * *g - *v);
                let u = *m * c1 / ((*v * c2).sqrt() + epsilon);
                *g = u;
                *of_w += f64::from(w) * f64::from(w);
                *of_u += f64::from(u) * f64::from(u);
            }
        }
        [of_w.iter().sum(), of_u.iter().sum()]
    }

    /// The same for Adafactor, where each element has its own average.
    fn adafactor(
        g: &mut [f32],
        w: &[f32],
        v: &mut [f32],
        beta: f32,
        rest: f32,
        epsilon: f32,
    ) -> [f64; 2] {
        let (mut of_w, mut of_u) = ([0.0_f64; LANES], [0.0_f64; LANES]);
        let blocks = g.chunks_mut(LANES).zip(w.chunks(LANES)).zip(v.chunks_mut(LANES));
        for ((g, w), v) in blocks {
            for ((g, v), (&w, (of_w, of_u))) in
                g.iter_mut().zip(v).zip(w.iter().zip(of_w.iter_mut().zip(&mut of_u)))
            {
                *v = beta * *v + rest * (*g * *g + epsilon);
                let u = *g / v.sqrt();
                *g = u;
                *of_w += f64::from(w) * f64::from(w);
                *of_u += f64::from(u) * f64::from(u);
            }
        }
        [of_w.iter().sum(), of_u.iter().sum()]
    }

    /// The averages of some rows, and the sums of their columns.
    fn add_squares(
        g: &[f32],
        r: &mut [f32],
        of_columns: &mut [f64],
        beta: f32,
        rest: f32,
        epsilon: f32,
    ) {
        of_columns.fill(0.0);
        let columns = of_columns.len();
        for (g, r) in g.chunks_exact(columns).zip(r) {
            for (sum, &g) in of_columns.iter_mut().zip(g) {
                *sum += f64::from(g * g);
            }
            let mean = sum_slice(g, |g| f64::from(g * g)) / columns as f64;
            *r = beta * *r + rest * (mean as f32 + epsilon);
        }
    }

    /// The averages of some columns, from the sums of each part of the rows, the first of which begins with these.
    fn average_columns(
        c: &mut [f32],
        of_columns: &[f64],
        columns: usize,
        rows: usize,
        beta: f32,
        rest: f32,
        epsilon: f32,
    ) {
        let mut sums = [0.0_f64; COLUMNS];
        for part in of_columns.chunks(columns) {
            for (sum, x) in sums.iter_mut().zip(&part[..c.len()]) {
                *sum += x;
            }
        }
        for (c, sum) in c.iter_mut().zip(sums) {
            let mean = (sum / rows as f64) as f32;
            *c = beta * *c + rest * (mean + epsilon);
        }
    }

    /// The directions of some rows.
    fn factored(g: &mut [f32], w: &[f32], r: &[f32], c: &[f32], mean: f32) -> [f64; 2] {
        let (mut of_w, mut of_u) = ([0.0_f64; LANES], [0.0_f64; LANES]);
        let rows = g.chunks_exact_mut(c.len()).zip(w.chunks_exact(c.len()));
        for ((g, w), &r) in rows.zip(r) {
            // Each root alone: of a row and a column without gradients, the product would be 0.
            let by_row = mean.sqrt() / r.sqrt();
            let blocks = g.chunks_mut(LANES).zip(w.chunks(LANES)).zip(c.chunks(LANES));
            for ((g, w), c) in blocks {
                for ((g, &c), (&w, (of_w, of_u))) in
                    g.iter_mut().zip(c).zip(w.iter().zip(of_w.iter_mut().zip(&mut of_u)))
                {
                    let u = *g * by_row / c.sqrt();
                    *g = u;
                    *of_w += f64::from(w) * f64::from(w);
                    *of_u += f64::from(u) * f64::from(u);
                }
            }
        }
        [of_w.iter().sum(), of_u.iter().sum()]
    }
}
