//! What a user may choose.

use keros_plugin::BoxError;
use schemars::JsonSchema;
use serde::Deserialize;
use std::path::PathBuf;

/// The configuration of a [`CsvLogger`](crate::CsvLogger).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The file to write.
    pub path: PathBuf,
    /// What separates values: one ASCII character; `,` unless given.
    #[serde(default = "comma")]
    pub separator: char,
    /// Whether to add rows to a file that is there already, instead of creating it anew.
    #[serde(default)]
    pub append: bool,
}

impl Config {
    /// Writes `path` anew, with commas.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Config {
        Config {
            path: path.into(),
            separator: comma(),
            append: false,
        }
    }

    /// Refuses what no CSV file can have.
    pub(crate) fn check(&self) -> Result<(), BoxError> {
        if self.path.as_os_str().is_empty() {
            return Err("config field `path`: expected a file, found an empty text".into());
        }
        // Digits and signs would make numbers unreadable.
        let usable = self.separator == '\t'
            || self.separator.is_ascii_punctuation()
            || self.separator == ' ';
        if !usable || matches!(self.separator, '"' | '.' | '-' | '+' | '_') {
            return Err(format!(
                "config field `separator`: expected a tab, a space or an ASCII punctuation mark other \
                 than \" . - + _, found {:?}",
                self.separator
            )
            .into());
        }
        Ok(())
    }

    /// The separator as a byte; checked to be one.
    pub(crate) fn separator_byte(&self) -> u8 {
        u8::try_from(self.separator).unwrap_or(b',')
    }
}

fn comma() -> char {
    ','
}
