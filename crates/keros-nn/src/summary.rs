//! A network as a table, as Keras's `summary` prints it.

use crate::network::{Connection, Network};
use std::fmt::Write;

/// Widths of the columns' texts; with borders and padding a line has 76 characters, as in Keras on a terminal of 80.
const WIDTHS: [usize; 3] = [31, 22, 13];
/// With the column of connections.
const CONNECTED_WIDTHS: [usize; 4] = [19, 17, 10, 17];
/// The column of numbers, which are aligned to the right.
const NUMBERS: usize = 2;

/// The layers of a network with their output shapes and numbers of parameters, and the totals with
/// their memory, as text. Where layers do not simply follow one another, there is also what each is
/// connected to, as `layer[call][0]`.
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
    let connections = network.connections();
    let (widths, headers): (&[usize], &[&str]) = match connections.is_empty() {
        true => (&WIDTHS, &["Layer (type)", "Output Shape", "Param #"]),
        false => (
            &CONNECTED_WIDTHS,
            &["Layer (type)", "Output Shape", "Param #", "Connected to"],
        ),
    };
    let mut table = String::new();
    rule(&mut table, widths, "┏━┳━┓");
    row(&mut table, widths, "┃", headers);
    rule(&mut table, widths, "┡━╇━┩");
    for (i, layer) in network.layers().iter().enumerate() {
        if i > 0 {
            rule(&mut table, widths, "├─┼─┤");
        }
        let count: usize = layer
            .params
            .iter()
            .map(|id| params[*id].grad().elem_count())
            .sum();
        let dims = layer.output_shape.iter().map(|dim| format!(", {dim}"));
        let mut cells = vec![
            format!("{} ({})", layer.name, layer.class_name),
            format!("(None{})", dims.collect::<String>()),
            thousands(count),
        ];
        cells.extend(connections.get(i).map(|takes| listed(takes)));
        row(&mut table, widths, "│", &cells);
    }
    rule(&mut table, widths, "└─┴─┘");
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

/// `x[0][0], y[1][0]`; the second number is that of the output, of which layers have one.
fn listed(takes: &[Connection<'_>]) -> String {
    let takes = takes
        .iter()
        .map(|take| format!("{}[{}][0]", take.layer, take.call));
    match takes.collect::<Vec<_>>() {
        none if none.is_empty() => "-".to_owned(),
        takes => takes.join(", "),
    }
}

/// A horizontal rule from its left end, line, crossing, line and right end.
fn rule(table: &mut String, widths: &[usize], pattern: &str) {
    let signs: Vec<char> = pattern.chars().collect();
    for (column, width) in widths.iter().enumerate() {
        table.push(signs[if column == 0 { 0 } else { 2 }]);
        table.extend(std::iter::repeat_n(signs[1], width + 2));
    }
    table.push(signs[4]);
    table.push('\n');
}

/// A row of cells, on as many lines as the longest needs.
fn row(table: &mut String, widths: &[usize], border: &str, cells: &[impl AsRef<str>]) {
    let cells = cells.iter().zip(widths);
    let cells: Vec<Vec<String>> = cells
        .map(|(cell, &width)| wrapped(cell.as_ref(), width))
        .collect();
    for line in 0..cells.iter().map(Vec::len).max().unwrap_or_default() {
        for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
            let text = cell.get(line).map_or("", String::as_str);
            // Writing to a string cannot fail.
            let _ = match column {
                NUMBERS => write!(table, "{border} {text:>width$} "),
                _ => write!(table, "{border} {text:<width$} "),
            };
        }
        table.push_str(border);
        table.push('\n');
    }
}

/// The words of a text on lines of so many characters; a longer word ends in `…`.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        let length = word.chars().count();
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + length <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ if length > width => {
                lines.push(word.chars().take(width - 1).chain(['…']).collect());
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
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
