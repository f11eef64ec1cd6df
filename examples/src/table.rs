//! Tables for the terminal.

use std::fmt::Write;

/// Rows under a header, in columns as wide as their widest cell; all columns but the first are
/// aligned to the right.
#[must_use]
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows
            .iter()
            .filter_map(|row| row.get(column).map(|cell| cell.chars().count()));
        cells
            .chain([header[column].chars().count()])
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let mut text = String::new();
    let mut line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut row = String::new();
        for (column, (cell, width)) in cells.zip(&widths).enumerate() {
            // Writing to a string cannot fail.
            let _ = match column {
                0 => write!(row, "{cell:<width$}"),
                _ => write!(row, "  {cell:>width$}"),
            };
        }
        text.push_str(row.trim_end());
        text.push('\n');
    };
    line(&mut header.iter().copied());
    line(
        &mut widths
            .iter()
            .map(|width| "─".repeat(*width))
            .collect::<Vec<_>>()
            .iter()
            .map(String::as_str),
    );
    for row in rows {
        line(&mut row.iter().map(String::as_str));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::table;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [
            vec!["Ankle boot".to_owned(), "7".to_owned()],
            vec!["Bag".to_owned(), "1234".to_owned()],
        ];
        let text = table(&["class", "n"], &rows);
        assert_eq!(
            text,
            "class          n\n──────────  ────\nAnkle boot     7\nBag         1234\n"
        );
    }
}
