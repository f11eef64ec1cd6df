//! What each layer computes, written down once more in f64 and plain loops, after Keras's
//! documentation.

use super::windows;
use serde_json::{Value, json};

/// A tensor in row-major order.
#[derive(Clone, Debug)]
pub(super) struct Values {
    pub(super) shape: Vec<usize>,
    pub(super) data: Vec<f64>,
}

impl Values {
    pub(super) fn new(shape: &[usize], data: Vec<f64>) -> Values {
        assert_eq!(shape.iter().product::<usize>(), data.len());
        Values {
            shape: shape.to_vec(),
            data,
        }
    }

    fn map(&self, f: impl Fn(f64) -> f64) -> Values {
        Values::new(&self.shape, self.data.iter().map(|x| f(*x)).collect())
    }

    /// The tensor of this shape whose element at an index is that of `self` at another.
    fn gather(&self, shape: &[usize], from: impl Fn(&[usize]) -> Option<Vec<usize>>) -> Values {
        let element = |index: &[usize]| from(index).map_or(0.0, |from| self.at(&from));
        Values::new(shape, indices(shape).map(|i| element(&i)).collect())
    }

    pub(super) fn at(&self, index: &[usize]) -> f64 {
        self.data[offset(&self.shape, index)]
    }

    /// The elements in groups of those that differ in `axes` only, each changed by `f`.
    fn by_group(&self, axes: &[usize], f: impl Fn(&mut [f64])) -> Values {
        let mut groups: Vec<(Vec<usize>, Vec<usize>)> = Vec::new();
        for (place, mut index) in indices(&self.shape).enumerate() {
            axes.iter().for_each(|axis| index[*axis] = 0);
            match groups.iter_mut().find(|(key, _)| *key == index) {
                Some((_, places)) => places.push(place),
                None => groups.push((index, vec![place])),
            }
        }
        let mut out = self.clone();
        for (_, places) in groups {
            let mut group: Vec<f64> = places.iter().map(|place| self.data[*place]).collect();
            f(&mut group);
            places
                .iter()
                .zip(group)
                .for_each(|(place, value)| out.data[*place] = value);
        }
        out
    }

    /// Combines each element with that of `other` at the same place, whose axes of length 1 and
    /// missing ones repeat.
    pub(super) fn with(&self, other: &Values, f: impl Fn(f64, f64) -> f64) -> Values {
        let rank = self.shape.len().max(other.shape.len());
        let wide = |x: &Values| {
            // Missing axes come after the first, as in Keras's merges.
            let mut shape = x.shape.clone();
            (x.shape.len()..rank).for_each(|_| shape.insert(1, 1));
            Values::new(&shape, x.data.clone())
        };
        let (a, b) = (wide(self), wide(other));
        let lengths = a.shape.iter().zip(&b.shape);
        let shape: Vec<usize> = lengths.map(|(a, b)| *a.max(b)).collect();
        let repeat = |x: &Values, index: &[usize]| {
            let index: Vec<usize> = index.iter().zip(&x.shape).map(|(i, n)| i % n).collect();
            x.at(&index)
        };
        let data = indices(&shape).map(|i| f(repeat(&a, &i), repeat(&b, &i)));
        Values::new(&shape, data.collect())
    }

    /// Scales and shifts along `axes` with parameters of those axes' lengths.
    fn affine(&self, axes: &[usize], gamma: Option<&Values>, beta: Option<&Values>) -> Values {
        let mut out = self.clone();
        for (place, index) in indices(&self.shape).enumerate() {
            let own: Vec<usize> = axes.iter().map(|axis| index[*axis]).collect();
            out.data[place] *= gamma.map_or(1.0, |gamma| gamma.at(&own));
            out.data[place] += beta.map_or(0.0, |beta| beta.at(&own));
        }
        out
    }
}

pub(super) fn offset(shape: &[usize], index: &[usize]) -> usize {
    index.iter().zip(shape).fold(0, |at, (i, n)| at * n + i)
}

/// All indices of a shape in row-major order.
pub(super) fn indices(shape: &[usize]) -> impl Iterator<Item = Vec<usize>> + use<> {
    let shape = shape.to_vec();
    (0..shape.iter().product::<usize>()).map(move |mut place| {
        let mut index = vec![0; shape.len()];
        for (i, n) in index.iter_mut().zip(&shape).rev() {
            *i = place % n;
            place /= n;
        }
        index
    })
}

/// The arguments of a layer, with Keras's defaults where it has them.
pub(super) struct Config<'a>(pub(super) &'a Value);

impl Config<'_> {
    pub(super) fn number(&self, name: &str, default: f64) -> f64 {
        self.0[name].as_f64().unwrap_or(default)
    }

    pub(super) fn count(&self, name: &str, default: usize) -> usize {
        self.0[name].as_u64().map_or(default, |n| n as usize)
    }

    pub(super) fn pair(&self, name: &str, default: usize) -> [usize; 2] {
        match &self.0[name] {
            // A series has one number.
            Value::Array(pair) => [0, pair.len() - 1].map(|i| pair[i].as_u64().unwrap() as usize),
            _ => [self.count(name, default); 2],
        }
    }

    pub(super) fn text(&self, name: &str) -> &str {
        self.0[name].as_str().unwrap_or_default()
    }

    fn flag(&self, name: &str, default: bool) -> bool {
        self.0[name].as_bool().unwrap_or(default)
    }

    fn list(&self, name: &str) -> Vec<i64> {
        match &self.0[name] {
            Value::Array(list) => list.iter().map(|n| n.as_i64().unwrap()).collect(),
            Value::Null => Vec::new(),
            one => vec![one.as_i64().unwrap()],
        }
    }

    /// Axes counted from the front; the last one unless given.
    fn axes(&self, name: &str, rank: usize) -> Vec<usize> {
        let mut axes = self.list(name);
        if axes.is_empty() {
            axes.push(-1);
        }
        let from_front = |axis: &i64| axis.rem_euclid(rank as i64) as usize;
        axes.iter().map(from_front).collect()
    }

    /// A number for each channel.
    fn by_channel(&self, name: &str, default: f64) -> Vec<f64> {
        match &self.0[name] {
            Value::Array(list) => list.iter().map(|x| x.as_f64().unwrap()).collect(),
            _ => vec![self.number(name, default)],
        }
    }
}

/// The output of a layer with these parameters, in the order in which the layer makes them, those
/// that are not trained left out.
pub(super) fn forward(class: &str, config: &Value, params: &[Values], x: &[Values]) -> Values {
    let config = &Config(config);
    let first = &x[0];
    let rank = first.shape.len();
    let rows = first.shape[0];
    let merged = |f: fn(f64, f64) -> f64| x[1..].iter().fold(first.clone(), |a, b| a.with(b, f));
    match class {
        "Activation" => activation(config.text("activation"), first),
        "ActivityRegularization" | "Flatten" | "Reshape" => first.clone(),
        "Add" => merged(|a, b| a + b),
        "Average" => merged(|a, b| a + b).map(|sum| sum / x.len() as f64),
        "Maximum" => merged(f64::max),
        "Minimum" => merged(f64::min),
        "Multiply" => merged(|a, b| a * b),
        "Subtract" => merged(|a, b| a - b),
        "Concatenate" => concatenate(config.axes("axis", rank)[0], x),
        "AveragePooling1D"
        | "Cropping1D"
        | "GlobalAveragePooling1D"
        | "GlobalMaxPooling1D"
        | "MaxPooling1D"
        | "UpSampling1D"
        | "ZeroPadding1D" => of_series(class, config, first),
        "Cropping2D" => border(config, "cropping", -1, first),
        "ZeroPadding2D" => border(config, "padding", 1, first),
        "Dense" => {
            let units = params[0].shape[1];
            let mut shape = first.shape.clone();
            shape[rank - 1] = units;
            let product = |index: Vec<usize>| -> f64 {
                let (unit, row) = (index[rank - 1], &index[..rank - 1]);
                let term = |i: usize| first.at(&[row, &[i]].concat()) * params[0].at(&[i, unit]);
                (0..params[0].shape[0]).map(term).sum()
            };
            let y = Values::new(&shape, indices(&shape).map(product).collect());
            activation(
                config.text("activation"),
                &y.affine(&[rank - 1], None, params.get(1)),
            )
        }
        "Conv1D" | "Conv2D" | "Conv2DTranspose" | "DepthwiseConv2D" | "SeparableConv2D" => {
            let (y, used) = windows::convolve(class, config, params, first);
            let y = y.affine(&[y.shape.len() - 1], None, params.get(used));
            activation(config.text("activation"), &y)
        }
        "AveragePooling2D" | "MaxPooling2D" => windows::pool(class, config, first),
        "GlobalAveragePooling2D" => over_image(first, |values| {
            values.iter().sum::<f64>() / values.len() as f64
        }),
        "GlobalMaxPooling2D" => over_image(first, |values| {
            values.iter().copied().fold(f64::MIN, f64::max)
        }),
        "ELU" => {
            let alpha = config.number("alpha", 1.0);
            first.map(|x| if x > 0.0 { x } else { alpha * x.exp_m1() })
        }
        "LeakyReLU" => {
            let slope = config.number("negative_slope", 0.3);
            first.map(|x| if x > 0.0 { x } else { slope * x })
        }
        "PReLU" => {
            let mut alpha = params[0].clone();
            alpha.shape.insert(0, 1);
            first.with(&alpha, |x, alpha| if x > 0.0 { x } else { alpha * x })
        }
        "ReLU" => {
            let (slope, threshold) = (
                config.number("negative_slope", 0.0),
                config.number("threshold", 0.0),
            );
            let top = config.number("max_value", f64::INFINITY);
            first.map(|x| match x >= threshold {
                true => x.min(top),
                false => slope * (x - threshold),
            })
        }
        "Softmax" => first.by_group(&config.axes("axis", rank), softmax),
        "Embedding" => {
            let width = params[0].shape[1];
            let shape = [&first.shape[..], &[width]].concat();
            let row = |index: &[usize]| first.at(&index[..rank]) as usize;
            params[0].gather(&shape, |index| Some(vec![row(index), index[rank]]))
        }
        "BatchNormalization" => {
            let axis = config.axes("axis", rank);
            let others: Vec<usize> = (0..rank).filter(|i| !axis.contains(i)).collect();
            let y = first.by_group(&others, |group| {
                standardize(group, config.number("epsilon", 1e-3))
            });
            with_scale(config, params, &y, &axis)
        }
        "LayerNormalization" => {
            let axes = config.axes("axis", rank);
            let y = first.by_group(&axes, |group| {
                standardize(group, config.number("epsilon", 1e-3))
            });
            with_scale(config, params, &y, &axes)
        }
        "GroupNormalization" => {
            let axis = config.axes("axis", rank)[0];
            let channels = first.shape[axis];
            let groups = match config.list("groups").first() {
                Some(-1) => channels,
                Some(groups) => *groups as usize,
                None => 32,
            };
            let mut y = first.clone();
            let mut shape = y.shape.clone();
            shape.splice(axis..=axis, [groups, channels / groups]);
            y.shape = shape;
            let inside: Vec<usize> = (1..=rank).filter(|i| *i != axis).collect();
            let mut y = y.by_group(&inside, |group| {
                standardize(group, config.number("epsilon", 1e-3))
            });
            y.shape = first.shape.clone();
            with_scale(config, params, &y, &[axis])
        }
        "UnitNormalization" => first.by_group(&config.axes("axis", rank), |group| {
            let squares: f64 = group.iter().map(|x| x * x).sum();
            let length = squares.sqrt().max(1e-12);
            group.iter_mut().for_each(|x| *x /= length);
        }),
        "Permute" => {
            let dims: Vec<usize> = config.list("dims").iter().map(|d| *d as usize).collect();
            let mut shape = vec![rows];
            shape.extend(dims.iter().map(|dim| first.shape[*dim]));
            first.gather(&shape, |index| {
                let mut from = vec![index[0]; rank];
                dims.iter()
                    .zip(&index[1..])
                    .for_each(|(dim, i)| from[*dim] = *i);
                Some(from)
            })
        }
        "RepeatVector" => {
            let shape = [rows, config.count("n", 1), first.shape[1]];
            first.gather(&shape, |index| Some(vec![index[0], index[2]]))
        }
        "Rescaling" => {
            let last = |name, default| {
                let numbers = config.by_channel(name, default);
                let mut shape = vec![1; rank];
                shape[rank - 1] = numbers.len();
                Values::new(&shape, numbers)
            };
            let scaled = first.with(&last("scale", 1.0), |x, scale| x * scale);
            scaled.with(&last("offset", 0.0), |x, offset| x + offset)
        }
        "Normalization" => {
            let last = |name, default| {
                let numbers = config.by_channel(name, default);
                let mut shape = vec![1; rank];
                shape[rank - 1] = numbers.len();
                Values::new(&shape, numbers)
            };
            let deviation = last("variance", 1.0).map(|variance| variance.sqrt().max(1e-7));
            let mean = last("mean", 0.0);
            match config.flag("invert", false) {
                true => first
                    .with(&deviation, |x, d| x * d)
                    .with(&mean, |x, mean| x + mean),
                false => first
                    .with(&mean, |x, mean| x - mean)
                    .with(&deviation, |x, d| x / d),
            }
        }
        "UpSampling2D" => windows::up_sample(config, first),
        _ => panic!("no reference for {class}"),
    }
}

/// What a layer makes of sequences: what that of images makes of images of height 1.
fn of_series(class: &str, config: &Config<'_>, x: &Values) -> Values {
    let mut wide = config.0.clone();
    for name in ["pool_size", "strides"] {
        if let Value::Array(steps) = &config.0[name] {
            wide[name] = json!([1, steps[0]]);
        }
    }
    for name in ["padding", "cropping"] {
        if config.0[name].is_array() {
            wide[name] = json!([[0, 0], config.0[name]]);
        }
    }
    if !config.0["size"].is_null() {
        wide["size"] = json!([1, config.0["size"]]);
    }
    let [rows, steps, channels] = x.shape[..] else {
        panic!("a series has one axis and channels")
    };
    let images = Values::new(&[rows, 1, steps, channels], x.data.clone());
    let mut y = forward(&class.replace("1D", "2D"), &wide, &[], &[images]);
    // What is global has lost its axes already.
    if y.shape.len() == 4 {
        y.shape.remove(1);
    }
    y
}

/// The penalty that a layer adds to the loss.
pub(super) fn penalty(class: &str, config: &Value, y: &Values) -> f64 {
    if class != "ActivityRegularization" {
        return 0.0;
    }
    let config = Config(config);
    let (l1, l2) = (config.number("l1", 0.0), config.number("l2", 0.0));
    let sum: f64 = y.data.iter().map(|y| l1 * y.abs() + l2 * y * y).sum();
    sum / y.shape[0] as f64
}

fn with_scale(config: &Config<'_>, params: &[Values], y: &Values, axes: &[usize]) -> Values {
    let (scale, center) = (config.flag("scale", true), config.flag("center", true));
    let gamma = params.first().filter(|_| scale);
    let beta = params.get(usize::from(scale)).filter(|_| center);
    y.affine(axes, gamma, beta)
}

fn standardize(group: &mut [f64], epsilon: f64) {
    let n = group.len() as f64;
    let mean = group.iter().sum::<f64>() / n;
    let variance = group.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
    let scale = (variance + epsilon).sqrt();
    group.iter_mut().for_each(|x| *x = (*x - mean) / scale);
}

fn softmax(group: &mut [f64]) {
    let sum: f64 = group.iter().map(|x| x.exp()).sum();
    group.iter_mut().for_each(|x| *x = x.exp() / sum);
}

fn over_image(x: &Values, f: impl Fn(&[f64]) -> f64) -> Values {
    let [rows, height, width, channels] = x.shape[..] else {
        panic!("an image has two axes and channels")
    };
    let channel = |index: Vec<usize>| {
        let image: Vec<f64> = indices(&[height, width])
            .map(|at| x.at(&[index[0], at[0], at[1], index[1]]))
            .collect();
        f(&image)
    };
    let shape = [rows, channels];
    Values::new(&shape, indices(&shape).map(channel).collect())
}

fn concatenate(axis: usize, x: &[Values]) -> Values {
    let mut shape = x[0].shape.clone();
    shape[axis] = x.iter().map(|x| x.shape[axis]).sum();
    let element = |mut index: Vec<usize>| {
        for x in x {
            if index[axis] < x.shape[axis] {
                return x.at(&index);
            }
            index[axis] -= x.shape[axis];
        }
        panic!("the lengths add up")
    };
    Values::new(&shape, indices(&shape).map(element).collect())
}

/// Adds rows and columns of zeros, or with a sign of -1 takes them away.
fn border(config: &Config<'_>, name: &str, sign: i64, x: &Values) -> Values {
    let side = |axis: usize, end: usize| sign * config.0[name][axis][end].as_i64().unwrap();
    let mut shape = x.shape.clone();
    for axis in [0, 1] {
        let length = shape[axis + 1] as i64 + side(axis, 0) + side(axis, 1);
        shape[axis + 1] = usize::try_from(length).unwrap();
    }
    x.gather(&shape, |index| {
        let mut from = index.to_vec();
        for axis in [0, 1] {
            let at = index[axis + 1] as i64 - side(axis, 0);
            from[axis + 1] = usize::try_from(at)
                .ok()
                .filter(|at| *at < x.shape[axis + 1])?;
        }
        Some(from)
    })
}

fn activation(name: &str, x: &Values) -> Values {
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let last = [x.shape.len() - 1];
    match name {
        "" | "linear" => x.clone(),
        "relu" => x.map(|x| x.max(0.0)),
        "relu6" => x.map(|x| x.clamp(0.0, 6.0)),
        "leaky_relu" => x.map(|x| if x > 0.0 { x } else { 0.2 * x }),
        "elu" => x.map(|x| if x > 0.0 { x } else { x.exp_m1() }),
        "selu" => x.map(|x| {
            let (alpha, scale) = (1.673_263_242_354_377_2, 1.050_700_987_355_480_5);
            scale * if x > 0.0 { x } else { alpha * x.exp_m1() }
        }),
        "gelu" => x.map(|x| 0.5 * x * (1.0 + erf(x / 2.0_f64.sqrt()))),
        "silu" => x.map(|x| x * sigmoid(x)),
        "mish" => x.map(|x| x * x.exp().ln_1p().tanh()),
        "sigmoid" => x.map(sigmoid),
        "hard_sigmoid" => x.map(|x| (x / 6.0 + 0.5).clamp(0.0, 1.0)),
        "hard_silu" => x.map(|x| x * (x / 6.0 + 0.5).clamp(0.0, 1.0)),
        "tanh" => x.map(f64::tanh),
        "softplus" => x.map(|x| x.exp().ln_1p()),
        "softsign" => x.map(|x| x / (1.0 + x.abs())),
        "exponential" => x.map(f64::exp),
        "softmax" => x.by_group(&last, softmax),
        "log_softmax" => x.by_group(&last, |group| {
            let sum: f64 = group.iter().map(|x| x.exp()).sum();
            group.iter_mut().for_each(|x| *x -= sum.ln());
        }),
        _ => panic!("no reference for the activation {name}"),
    }
}

/// The error function by its series, for |x| ≤ 4.
fn erf(x: f64) -> f64 {
    let (mut term, mut sum) = (x, x);
    for n in 1..100 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * std::f64::consts::FRAC_2_SQRT_PI
}
