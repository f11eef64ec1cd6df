//! The layers that slide a window over an image, in f64 and plain loops.

use super::reference::{Config, Values, indices, offset};

/// How windows lie along one axis.
struct Axis {
    input: usize,
    output: usize,
    window: usize,
    stride: usize,
    dilation: usize,
    /// Padding before the first element.
    before: usize,
}

impl Axis {
    fn new(input: usize, window: usize, stride: usize, dilation: usize, padding: &str) -> Axis {
        let reach = (window - 1) * dilation + 1;
        let (output, before) = match padding {
            "same" => {
                let output = input.div_ceil(stride);
                let total = ((output - 1) * stride + reach).saturating_sub(input);
                (output, total / 2)
            }
            "causal" => (input.div_ceil(stride), reach - 1),
            _ => ((input - reach) / stride + 1, 0),
        };
        Axis {
            input,
            output,
            window,
            stride,
            dilation,
            before,
        }
    }

    /// The element under place `k` of window `at`, if it is not padding.
    fn under(&self, at: usize, k: usize) -> Option<usize> {
        let place = (at * self.stride + k * self.dilation).checked_sub(self.before)?;
        (place < self.input).then_some(place)
    }
}

/// A convolution with a kernel `[kh, kw, inputs of a group, filters]`.
fn convolution(x: &Values, kernel: &Values, [rows, columns]: &[Axis; 2]) -> Values {
    let (inputs, filters) = (kernel.shape[2], kernel.shape[3]);
    let groups = x.shape[3] / inputs;
    let shape = [x.shape[0], rows.output, columns.output, filters];
    let element = |index: Vec<usize>| {
        let group = index[3] / (filters / groups);
        let mut sum = 0.0;
        for i in 0..rows.window {
            let Some(row) = rows.under(index[1], i) else {
                continue;
            };
            for j in 0..columns.window {
                let Some(column) = columns.under(index[2], j) else {
                    continue;
                };
                for channel in 0..inputs {
                    let value = x.at(&[index[0], row, column, group * inputs + channel]);
                    sum += value * kernel.at(&[i, j, channel, index[3]]);
                }
            }
        }
        sum
    };
    Values::new(&shape, indices(&shape).map(element).collect())
}

/// The output before bias and activation, and how many parameters were used.
pub(super) fn convolve(
    class: &str,
    config: &Config<'_>,
    params: &[Values],
    x: &Values,
) -> (Values, usize) {
    let (strides, dilation) = (config.pair("strides", 1), config.pair("dilation_rate", 1));
    let kernel = &params[0];
    let axes = |x: &Values, kernel: &Values| {
        [0, 1].map(|axis| {
            let (input, window) = (x.shape[axis + 1], kernel.shape[axis]);
            let padding = config.text("padding");
            Axis::new(input, window, strides[axis], dilation[axis], padding)
        })
    };
    // A depthwise kernel [kh, kw, inputs, multiplier] is that of as many groups as inputs.
    let depthwise = |x: &Values| {
        let [height, width, inputs, multiplier] = kernel.shape[..] else {
            panic!("a kernel has four axes")
        };
        let kernel = Values::new(
            &[height, width, 1, inputs * multiplier],
            kernel.data.clone(),
        );
        convolution(x, &kernel, &axes(x, &kernel))
    };
    match class {
        "Conv1D" => {
            let [rows, length, channels] = x.shape[..] else {
                panic!("a series has one axis and channels")
            };
            let image = Values::new(&[rows, 1, length, channels], x.data.clone());
            let wide = [&[1], &kernel.shape[..]].concat();
            let kernel = Values::new(&wide, kernel.data.clone());
            let along = Axis::new(
                length,
                kernel.shape[1],
                strides[0],
                dilation[0],
                config.text("padding"),
            );
            let y = convolution(&image, &kernel, &[Axis::new(1, 1, 1, 1, "valid"), along]);
            (Values::new(&[rows, y.shape[2], y.shape[3]], y.data), 1)
        }
        "Conv2D" => (convolution(x, kernel, &axes(x, kernel)), 1),
        "DepthwiseConv2D" => (depthwise(x), 1),
        "SeparableConv2D" => {
            let deep = depthwise(x);
            let points = [1, 2].map(|axis| Axis::new(deep.shape[axis], 1, 1, 1, "valid"));
            (convolution(&deep, &params[1], &points), 2)
        }
        _ => (transposed(config, x, kernel, strides, dilation), 1),
    }
}

/// What the gradient of a convolution makes of an output; the kernel is `[kh, kw, filters, inputs]`.
fn transposed(
    config: &Config<'_>,
    x: &Values,
    kernel: &Values,
    strides: [usize; 2],
    dilation: [usize; 2],
) -> Values {
    let padding = config.text("padding");
    let [rows, columns] = [0, 1].map(|axis| {
        let reach = (kernel.shape[axis] - 1) * dilation[axis] + 1;
        let extra = match padding {
            "same" => 0,
            _ => reach.saturating_sub(strides[axis]),
        };
        let size = x.shape[axis + 1] * strides[axis] + extra;
        Axis::new(
            size,
            kernel.shape[axis],
            strides[axis],
            dilation[axis],
            padding,
        )
    });
    let shape = [x.shape[0], rows.input, columns.input, kernel.shape[2]];
    let mut y = Values::new(&shape, vec![0.0; shape.iter().product()]);
    for at in indices(&x.shape) {
        for tap in indices(&kernel.shape[..3]) {
            let (row, column) = (rows.under(at[1], tap[0]), columns.under(at[2], tap[1]));
            if let (Some(row), Some(column)) = (row, column) {
                let place = offset(&shape, &[at[0], row, column, tap[2]]);
                y.data[place] += x.at(&at) * kernel.at(&[tap[0], tap[1], tap[2], at[3]]);
            }
        }
    }
    y
}

pub(super) fn pool(class: &str, config: &Config<'_>, x: &Values) -> Values {
    let window = config.pair("pool_size", 2);
    let strides = match config.0["strides"].is_null() {
        true => window,
        false => config.pair("strides", 1),
    };
    let padding = config.text("padding");
    let [rows, columns] =
        [0, 1].map(|axis| Axis::new(x.shape[axis + 1], window[axis], strides[axis], 1, padding));
    let shape = [x.shape[0], rows.output, columns.output, x.shape[3]];
    let element = |index: Vec<usize>| {
        let under: Vec<f64> = indices(&window)
            .filter_map(|k| {
                let (row, column) = (rows.under(index[1], k[0])?, columns.under(index[2], k[1])?);
                Some(x.at(&[index[0], row, column, index[3]]))
            })
            .collect();
        match class {
            "MaxPooling2D" => under.iter().copied().fold(f64::MIN, f64::max),
            _ => under.iter().sum::<f64>() / under.len() as f64,
        }
    };
    Values::new(&shape, indices(&shape).map(element).collect())
}

pub(super) fn up_sample(config: &Config<'_>, x: &Values) -> Values {
    let size = config.pair("size", 2);
    let shape = [
        x.shape[0],
        x.shape[1] * size[0],
        x.shape[2] * size[1],
        x.shape[3],
    ];
    let bilinear = config.text("interpolation") == "bilinear";
    // The two neighbours along an axis, and the weight of the second.
    let between = |axis: usize, at: usize| {
        let last = x.shape[axis + 1] - 1;
        if !bilinear {
            return (at / size[axis], at / size[axis], 0.0);
        }
        let place = (at as f64 + 0.5) / size[axis] as f64 - 0.5;
        let place = place.clamp(0.0, last as f64);
        let low = place.floor() as usize;
        (low, (low + 1).min(last), place - place.floor())
    };
    let element = |index: Vec<usize>| {
        let (top, bottom, down) = between(0, index[1]);
        let (left, right, along) = between(1, index[2]);
        let at = |row, column| x.at(&[index[0], row, column, index[3]]);
        let upper = at(top, left) * (1.0 - along) + at(top, right) * along;
        let lower = at(bottom, left) * (1.0 - along) + at(bottom, right) * along;
        upper * (1.0 - down) + lower * down
    };
    Values::new(&shape, indices(&shape).map(element).collect())
}
