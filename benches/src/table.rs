//! The table of results as Markdown, with the machine that they were measured on.

use std::fmt;
use std::fs;

use crate::rounds::Quartiles;

/// A Markdown table under a line about the machine.
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings and a row per result.
    #[must_use]
    pub fn new<T, const N: usize>(
        headings: [&str; N],
        results: &[T],
        row: impl Fn(&T) -> [String; N],
    ) -> Table {
        let mut rows = vec![headings.map(str::to_owned).to_vec()];
        rows.extend(results.iter().map(|result| row(result).to_vec()));
        Table { rows }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((headings, rows)) = self.rows.split_first() else {
            return Ok(());
        };
        if rows.is_empty() {
            return Ok(());
        }
        let widths: Vec<usize> = (0..headings.len())
            .map(|column| {
                let widths = self.rows.iter().map(|row| row[column].chars().count());
                widths.max().unwrap_or(0).max(4)
            })
            .collect();
        // The first column is text, the others are figures.
        let line = |f: &mut fmt::Formatter<'_>, row: &[String]| {
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                match column {
                    0 => write!(f, "| {cell:<width$} |")?,
                    _ => write!(f, " {cell:>width$} |")?,
                }
            }
            writeln!(f)
        };
        writeln!(f, "\n{}\n", machine())?;
        line(f, headings)?;
        let rule: Vec<String> = widths
            .iter()
            .enumerate()
            .map(|(column, width)| match column {
                0 => "-".repeat(*width),
                _ => format!("{}:", "-".repeat(width - 1)),
            })
            .collect();
        line(f, &rule)?;
        for row in rows {
            line(f, row)?;
        }
        Ok(())
    }
}

/// Processor, cores, and how busy they were: figures are worth no more than the machine was idle.
fn machine() -> String {
    let mut facts = Vec::new();
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    if let Some(model) = model {
        facts.push(model.trim_start_matches([' ', '\t', ':']).to_owned());
    }
    if let Ok(cores) = std::thread::available_parallelism() {
        facts.push(format!("{cores} cores"));
    }
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    if let Some(load) = load.split(' ').next().filter(|load| !load.is_empty()) {
        facts.push(format!("load average {load}, this program included"));
    }
    facts.push("medians of rounds; in parentheses the quartiles".to_owned());
    facts.join("; ")
}

/// A figure with three significant digits, or whole from 100 on.
#[must_use]
pub fn significant(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 99.95 => 0,
        size if size >= 9.995 => 1,
        size if size >= 0.9995 => 2,
        _ => 3,
    };
    format!("{value:.digits$}")
}

/// A median with its quartiles.
#[must_use]
pub fn quartiles(quartiles: Quartiles) -> String {
    let Quartiles { low, median, high } = quartiles;
    format!(
        "{} ({}–{})",
        significant(median),
        significant(low),
        significant(high)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits() {
        let texts = [0.0123, 0.99999, 1.234, 12.34, 99.99, 8571.6].map(significant);
        assert_eq!(texts, ["0.012", "1.00", "1.23", "12.3", "100", "8572"]);
    }

    #[test]
    fn a_table_without_results_is_nothing() {
        let table = Table::new(["case", "figure"], &[(); 0], |()| {
            [const { String::new() }; 2]
        });
        assert_eq!(table.to_string(), "");
    }
}
