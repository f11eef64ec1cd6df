//! A network as a table, as Keras's `summary` prints it.

use crate::network::Network;
use std::fmt::Write;

/// Widths of the columns' texts; with borders and padding a line has 78 characters, as in Keras.
const WIDTHS: [usize; 3] = [31, 22, 13];

/// The layers of a network with their output shapes and numbers of parameters, and the totals with
/// their memory, as text.
///
/// ```
/// use keros_nn::layers::Dense;
/// use keros_nn::{Sequential, summary};
///
/// let network = Sequential::builder([784]).layer(Dense::new(10)).build(&keros_tensor::Device::Cpu, 0)?;
/// println!("{}", summary(&network));
/// # Ok::<(), keros_nn::NnError>(())
/// ```
#[must_use]
pub fn summary(network: &dyn Network) -> String {
    let params = network.params();
    let mut table = String::new();
    rule(&mut table, "┏━┳━┓");
    let header = ["Layer (type)", "Output Shape", "Param #"].map(str::to_owned);
    line(&mut table, "┃", &header);
    rule(&mut table, "┡━╇━┩");
    for (i, layer) in network.layers().iter().enumerate() {
        if i > 0 {
            rule(&mut table, "├─┼─┤");
        }
        let count: usize = layer
            .params
            .iter()
            .map(|id| params[*id].grad().elem_count())
            .sum();
        let dims = layer.output_shape.iter().map(|dim| format!(", {dim}"));
        let shape = format!("(None{})", dims.collect::<String>());
        let (name, class) = (layer.name.to_owned(), format!("({})", layer.class_name));
        let both = format!("{name} {class}");
        let (first, second) = match both.chars().count() <= WIDTHS[0] {
            true => (both, None),
            false => (name, Some(class)),
        };
        line(&mut table, "│", &[first, shape, thousands(count)]);
        if let Some(class) = second {
            line(&mut table, "│", &[class, String::new(), String::new()]);
        }
    }
    rule(&mut table, "└─┴─┘");
    let (all, trainable) = (params.num_elements(false), params.num_elements(true));
    for (name, count) in [
        ("Total", all),
        ("Trainable", trainable),
        ("Non-trainable", all - trainable),
    ] {
        // Writing to a string cannot fail.
        let _ = writeln!(
            table,
            " {name} params: {} ({})",
            thousands(count),
            memory(count)
        );
    }
    table
}

/// A horizontal rule from its left end, line, crossing, line and right end.
fn rule(table: &mut String, pattern: &str) {
    let signs: Vec<char> = pattern.chars().collect();
    for (column, width) in WIDTHS.iter().enumerate() {
        table.push(signs[if column == 0 { 0 } else { 2 }]);
        table.extend(std::iter::repeat_n(signs[1], width + 2));
    }
    table.push(signs[4]);
    table.push('\n');
}

/// A line of cells; the last column is aligned to the right, and what is too long ends in `…`.
fn line(table: &mut String, border: &str, cells: &[String; 3]) {
    for (column, (cell, width)) in cells.iter().zip(WIDTHS).enumerate() {
        let cell = match cell.chars().count() > width {
            true => cell.chars().take(width - 1).chain(['…']).collect(),
            false => cell.clone(),
        };
        // Writing to a string cannot fail.
        let _ = match column {
            2 => write!(table, "{border} {cell:>width$} "),
            _ => write!(table, "{border} {cell:<width$} "),
        };
    }
    table.push_str(border);
    table.push('\n');
}

/// `1234567` as `1,234,567`.
fn thousands(count: usize) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The memory of that many f32 values.
fn memory(count: usize) -> String {
    let mut size = count as f64 * 4.0;
    for unit in ["B", "KB", "MB", "GB"] {
        if size < 1024.0 {
            return format!("{size:.2} {unit}");
        }
        size /= 1024.0;
    }
    format!("{size:.2} TB")
}
