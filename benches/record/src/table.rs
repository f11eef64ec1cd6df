//! Tables in Markdown.

use std::fmt;

use crate::case::Quartiles;

/// A table whose columns are aligned in the text too: words to the left, figures to the right.
pub(crate) struct Table<const N: usize> {
    words: usize,
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    /// A table with these headings; the first columns, so many, are of words.
    pub(crate) fn new(words: usize, headings: [&str; N], rows: Vec<[String; N]>) -> Table<N> {
        let mut all = vec![headings.map(str::to_owned)];
        all.extend(rows);
        Table { words, rows: all }
    }
}

impl<const N: usize> fmt::Display for Table<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |column: usize| {
            let widths = self.rows.iter().map(|row| row[column].chars().count());
            widths.max().unwrap_or(0).max(4)
        };
        for (number, row) in self.rows.iter().enumerate() {
            for (column, cell) in row.iter().enumerate() {
                let width = width(column);
                match column < self.words {
                    true => write!(f, "| {cell:<width$} ")?,
                    false => write!(f, "| {cell:>width$} ")?,
                }
            }
            writeln!(f, "|")?;
            if number == 0 {
                for column in 0..N {
                    let rule = "-".repeat(width(column) - 1);
                    match column < self.words {
                        true => write!(f, "| {rule}- ")?,
                        false => write!(f, "| {rule}: ")?,
                    }
                }
                writeln!(f, "|")?;
            }
        }
        Ok(())
    }
}

/// A figure with three significant digits, whole from 100 on and with at most five decimals.
#[must_use]
pub fn significant(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 99.95 => 0,
        size if size >= 9.995 => 1,
        size if size >= 0.9995 => 2,
        size if size >= 0.09995 => 3,
        size if size >= 0.009995 => 4,
        _ => 5,
    };
    format!("{value:.digits$}")
}

/// A median with its quartiles.
pub(crate) fn quartiles(quartiles: Quartiles) -> String {
    let Quartiles { low, median, high } = quartiles;
    let [low, median, high] = [low, median, high].map(significant);
    format!("{median} ({low}–{high})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits() {
        let texts = [0.00157, 0.0123, 0.99999, 1.234, 12.34, 99.99, 8571.6].map(significant);
        let expected = ["0.00157", "0.0123", "1.00", "1.23", "12.3", "100", "8572"];
        assert_eq!(texts, expected);
    }

    #[test]
    fn columns_are_aligned() {
        let rows = vec![["mlp".to_owned(), "17".to_owned()]];
        let table = Table::new(1, ["case", "figure"], rows).to_string();
        let expected = "| case | figure |\n| ---- | -----: |\n| mlp  |     17 |\n";
        assert_eq!(table, expected);
    }
}
