//! File names with values of a run in them, as `model.{epoch:02d}-{val_loss:.2f}.safetensors`.

use crate::error::ArgumentError;
use crate::logs::Logs;
use std::path::{Path, PathBuf};

/// A file name in the notation of Python's `str.format`: `{name}` or `{name:spec}` with a spec of
/// `[0][width][.precision][d|f|e|g]`; `{{` and `}}` stand for braces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PathTemplate {
    text: String,
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Value { name: String, spec: Spec },
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Spec {
    zeros: bool,
    width: usize,
    precision: Option<usize>,
    scientific: bool,
    whole: bool,
}

/// More than any file name has.
const LONGEST: usize = 255;

impl PathTemplate {
    pub(super) fn parse(path: &Path) -> Result<PathTemplate, ArgumentError> {
        let wrong = |why: &str| {
            let expected =
                format!("a file name with values as {{epoch:02d}} or {{val_loss:.2f}} ({why})");
            ArgumentError::new("filepath", expected, path.display())
        };
        let text = path.to_str().ok_or_else(|| wrong("UTF-8"))?.to_owned();
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text.as_str();
        while let Some(at) = rest.find(['{', '}']) {
            plain.push_str(&rest[..at]);
            let brace = &rest[at..];
            if brace.starts_with("{{") || brace.starts_with("}}") {
                plain.push_str(&brace[..1]);
                rest = &brace[2..];
                continue;
            }
            let end = brace.find('}').filter(|_| brace.starts_with('{'));
            let end = end.ok_or_else(|| wrong("each brace has its other one"))?;
            let (name, spec) = match brace[1..end].split_once(':') {
                Some((name, spec)) => (name, spec),
                None => (&brace[1..end], ""),
            };
            let spec = Spec::parse(spec).ok_or_else(|| wrong("a format of numbers"))?;
            if name.is_empty() {
                return Err(wrong("a name in the braces"));
            }
            pieces.push(Piece::Text(std::mem::take(&mut plain)));
            pieces.push(Piece::Value {
                name: name.to_owned(),
                spec,
            });
            rest = &brace[end + 1..];
        }
        plain.push_str(rest);
        pieces.push(Piece::Text(plain));
        Ok(PathTemplate { text, pieces })
    }

    /// The path for a one-based epoch and batch and these logs.
    pub(super) fn path(
        &self,
        epoch: u64,
        batch: u64,
        logs: &Logs,
    ) -> Result<PathBuf, ArgumentError> {
        let mut path = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => path.push_str(text),
                Piece::Value { name, spec } => match name.as_str() {
                    "epoch" => path.push_str(&spec.count(epoch)),
                    "batch" => path.push_str(&spec.count(batch)),
                    _ => {
                        let number = logs.number(name).ok_or_else(|| {
                            let keys = logs.iter().map(|(key, _)| key);
                            let known: Vec<&str> =
                                ["epoch", "batch"].into_iter().chain(keys).collect();
                            let expected = format!("values that there are: {}", known.join(", "));
                            ArgumentError::new("filepath", expected, &self.text)
                        })?;
                        path.push_str(&spec.number(number));
                    }
                },
            }
        }
        Ok(path.into())
    }
}

impl Spec {
    fn parse(text: &str) -> Option<Spec> {
        let mut spec = Spec::default();
        let text = match text.as_bytes().last() {
            Some(b'd' | b'f' | b'e' | b'g') => {
                spec.scientific = text.ends_with('e');
                spec.whole = text.ends_with('d');
                &text[..text.len() - 1]
            }
            _ => text,
        };
        let (width, precision) = match text.split_once('.') {
            Some((width, precision)) => (width, Some(precision.parse().ok()?)),
            None => (text, None),
        };
        spec.zeros = width.starts_with('0');
        spec.width = if width.is_empty() {
            0
        } else {
            width.parse().ok()?
        };
        spec.precision = precision;
        let whole_and_precise = spec.whole && precision.is_some();
        (spec.width <= LONGEST && precision.unwrap_or(0) <= LONGEST && !whole_and_precise)
            .then_some(spec)
    }

    fn count(self, count: u64) -> String {
        match self.precision.is_some() || self.scientific {
            true => self.number(count as f64),
            false => self.pad(count.to_string()),
        }
    }

    fn number(self, number: f64) -> String {
        let text = match (self.precision, self.scientific) {
            _ if self.whole => format!("{number:.0}"),
            (Some(digits), false) => format!("{number:.digits$}"),
            (Some(digits), true) => format!("{number:.digits$e}"),
            (None, true) => format!("{number:e}"),
            (None, false) => number.to_string(),
        };
        self.pad(text)
    }

    fn pad(self, text: String) -> String {
        let missing = self.width.saturating_sub(text.len());
        match (self.zeros, text.strip_prefix('-')) {
            (true, Some(digits)) => format!("-{}{digits}", "0".repeat(missing)),
            (true, None) => format!("{}{text}", "0".repeat(missing)),
            (false, _) => format!("{}{text}", " ".repeat(missing)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_python_writes_them() {
        let mut logs = Logs::new();
        logs.set("val_loss", 0.9149);
        for (template, expected) in [
            ("m.{epoch:02d}-{val_loss:.2f}.x", "m.03-0.91.x"),
            ("{epoch}_{batch:4d}", "3_  12"),
            ("a{{b}}{val_loss}", "a{b}0.9149"),
            ("plain", "plain"),
        ] {
            let template = PathTemplate::parse(Path::new(template)).unwrap();
            assert_eq!(template.path(3, 12, &logs).unwrap(), Path::new(expected));
        }
    }

    #[test]
    fn what_cannot_be_written_is_refused() {
        for template in [
            "{",
            "}",
            "{}",
            "{epoch",
            "{epoch:x}",
            "{epoch:.2d}",
            "{a:9999d}",
        ] {
            assert!(
                PathTemplate::parse(Path::new(template)).is_err(),
                "{template}"
            );
        }
        let template = PathTemplate::parse(Path::new("{val_acc}")).unwrap();
        let error = template.path(1, 1, &Logs::new()).unwrap_err().to_string();
        assert!(error.contains("epoch, batch"), "{error}");
    }
}
