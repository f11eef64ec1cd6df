//! Tables of text: what `flow_from_dataframe` reads file names and targets from.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::DataError;
use crate::error::Mismatch;

/// Rows of cells under named columns, as text.
///
/// ```
/// use keros_data::Table;
///
/// # fn main() -> Result<(), keros_data::DataError> {
/// let table = Table::new(["filename", "class"], [["a.png", "cat"], ["b.png", "dog"]])?;
/// assert_eq!(table.len(), 2);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table of rows in memory.
    ///
    /// # Errors
    /// Two columns with one name; a row with another number of cells than there are columns.
    pub fn new<C, R, T>(
        columns: impl IntoIterator<Item = C>,
        rows: impl IntoIterator<Item = R>,
    ) -> Result<Self, DataError>
    where
        C: Into<String>,
        R: IntoIterator<Item = T>,
        T: Into<String>,
    {
        let mut table = Self {
            columns: Vec::new(),
            rows: Vec::new(),
        };
        for column in columns {
            let column = column.into();
            if table.columns.contains(&column) {
                return Err(DataError::DuplicateName {
                    name: column.into(),
                });
            }
            table.columns.push(column);
        }
        for row in rows {
            let row: Vec<String> = row.into_iter().map(Into::into).collect();
            if row.len() != table.columns.len() {
                return Err(DataError::LengthMismatch {
                    name: format!("row {}", table.rows.len()).into(),
                    reference: "the list of columns".into(),
                    expected: table.columns.len(),
                    found: row.len(),
                });
            }
            table.rows.push(row);
        }
        Ok(table)
    }

    /// Reads a CSV file (RFC 4180) whose first line has the names of the columns.
    ///
    /// # Errors
    /// A file that cannot be read, is not UTF-8, or has rows of different lengths, with the line; one
    /// without columns, or with two of one name.
    pub fn from_csv(path: impl AsRef<Path>) -> Result<Self, DataError> {
        let path = path.as_ref();
        match File::open(path) {
            Ok(file) => Self::from_csv_reader(path, file),
            Err(source) => Err(DataError::Io {
                path: path.to_owned(),
                source,
            }),
        }
    }

    /// As [`Table::from_csv`], from anything that can be read; errors call it by the given name.
    ///
    /// # Errors
    /// As [`Table::from_csv`].
    pub fn from_csv_reader(name: impl AsRef<Path>, reader: impl Read) -> Result<Self, DataError> {
        let path = name.as_ref();
        let failed = |error: csv::Error| match error.into_kind() {
            csv::ErrorKind::Io(source) => DataError::Io {
                path: path.to_owned(),
                source,
            },
            kind => DataError::Format {
                path: path.to_owned(),
                what: "it is no table",
                mismatch: Mismatch::boxed("a CSV file in UTF-8", describe(&kind)),
            },
        };
        let mut reader = csv::Reader::from_reader(reader);
        let columns: Vec<String> = reader
            .headers()
            .map_err(failed)?
            .iter()
            .map(str::to_owned)
            .collect();
        if columns.is_empty() {
            return Err(DataError::Format {
                path: path.to_owned(),
                what: "it has no columns",
                mismatch: Mismatch::boxed("their names in the first line", "none"),
            });
        }
        let twice = columns
            .iter()
            .enumerate()
            .find(|(place, name)| columns[..*place].contains(name));
        if let Some((_, name)) = twice {
            return Err(DataError::Format {
                path: path.to_owned(),
                what: "two columns have one name",
                mismatch: Mismatch::boxed("different names", format!("{name:?} twice")),
            });
        }
        let mut rows: Vec<Vec<String>> = Vec::new();
        for row in reader.records() {
            rows.push(row.map_err(failed)?.iter().map(str::to_owned).collect());
        }
        Self::new(columns, rows)
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The names of the columns.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The rows, each a cell for each column.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[String]> {
        self.rows.iter().map(Vec::as_slice)
    }

    /// The cells of a column from top to bottom.
    ///
    /// # Errors
    /// There is no such column, or none at all; `argument` is what asked for it.
    pub(crate) fn column(
        &self,
        argument: &'static str,
        name: &str,
    ) -> Result<Vec<&str>, DataError> {
        const DOING: &str = "setting up flow_from_dataframe";
        if self.columns.is_empty() {
            return Err(DataError::Empty {
                doing: DOING,
                what: "the list of the table's columns".into(),
            });
        }
        match self.columns.iter().position(|column| column == name) {
            Some(place) => Ok(self.rows.iter().map(|row| row[place].as_str()).collect()),
            None => Err(DataError::InvalidArgument {
                doing: DOING,
                argument,
                mismatch: Mismatch::boxed(
                    format!("one of the columns {}", self.columns.join(", ")),
                    name,
                ),
            }),
        }
    }
}

/// What is wrong with a row, with the line it is in.
fn describe(kind: &csv::ErrorKind) -> String {
    let line = |pos: &Option<csv::Position>| pos.as_ref().map_or(0, csv::Position::line);
    match kind {
        csv::ErrorKind::Utf8 { pos, .. } => format!("bytes that are none in line {}", line(pos)),
        csv::ErrorKind::UnequalLengths {
            pos,
            expected_len,
            len,
        } => format!(
            "{len} cells instead of {expected_len} in line {}",
            line(pos)
        ),
        other => format!("{other:?}"),
    }
}
