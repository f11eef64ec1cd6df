//! File names with values of a run in them, as `model.{epoch:02d}-{val_loss:.2f}.safetensors`.

use crate::error::ArgumentError;
use crate::logs::{LogValue, Logs};
use std::path::{Path, PathBuf};

/// A file name in the notation of Python's `str.format`: `{name}` or `{name:spec}` with a spec of
/// `[0][width][.precision][d|f|e|g]`; `{{` and `}}` stand for braces. Only a float with `d` is rounded
/// here, where Python fails after the first epoch.
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
    form: Form,
}

/// The letter at the end of a format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Form {
    /// None.
    #[default]
    Plain,
    /// `d`.
    Whole,
    /// `f`.
    Fixed,
    /// `e`.
    Scientific,
    /// `g`.
    General,
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
            let (plain_form, precise) = (spec.form == Form::Plain, spec.precision.is_some());
            match name {
                "loss" | "val_loss" if spec.form == Form::Whole => {
                    return Err(wrong("losses without `d`, which is for whole numbers"));
                }
                "epoch" | "batch" if plain_form && precise => {
                    return Err(wrong("epoch and batch without a precision"));
                }
                _ => {}
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

    /// As it was given.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Whether the value of this name is in it.
    pub(super) fn has(&self, name: &str) -> bool {
        let is_it = |piece: &Piece| matches!(piece, Piece::Value { name: own, .. } if own == name);
        self.pieces.iter().any(is_it)
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
                Piece::Value { name, spec } => {
                    let text = match (name.as_str(), logs.get(name)) {
                        ("epoch", _) => spec.integer(epoch.into()),
                        ("batch", _) => spec.integer(batch.into()),
                        (_, Some(LogValue::Integer(value))) => spec.integer((*value).into()),
                        (_, Some(LogValue::Float(value))) => spec.float(*value),
                        _ => {
                            let keys = logs.iter().map(|(key, _)| key);
                            let known: Vec<&str> =
                                ["epoch", "batch"].into_iter().chain(keys).collect();
                            let expected = format!("values that there are: {}", known.join(", "));
                            return Err(ArgumentError::new("filepath", expected, &self.text));
                        }
                    };
                    path.push_str(&text);
                }
            }
        }
        Ok(path.into())
    }
}

impl Spec {
    fn parse(text: &str) -> Option<Spec> {
        let form = match text.as_bytes().last() {
            Some(b'd') => Form::Whole,
            Some(b'f') => Form::Fixed,
            Some(b'e') => Form::Scientific,
            Some(b'g') => Form::General,
            _ => Form::Plain,
        };
        let text = match form {
            Form::Plain => text,
            _ => &text[..text.len() - 1],
        };
        let (width, precision) = match text.split_once('.') {
            Some((width, precision)) => (width, Some(digits(precision)?)),
            None => (text, None),
        };
        let spec = Spec {
            zeros: width.starts_with('0'),
            width: match width {
                "" => 0,
                width => digits(width)?,
            },
            precision,
            form,
        };
        let whole_and_precise = form == Form::Whole && precision.is_some();
        (spec.width <= LONGEST && precision.unwrap_or(0) <= LONGEST && !whole_and_precise)
            .then_some(spec)
    }

    fn integer(self, number: i128) -> String {
        match self.form {
            Form::Plain if self.precision.is_none() => self.pad(number.to_string()),
            Form::Whole => self.pad(number.to_string()),
            _ => self.float(number as f64),
        }
    }

    fn float(self, number: f64) -> String {
        let digits = self.precision.unwrap_or(6);
        let text = match (self.form, self.precision) {
            _ if number.is_nan() => "nan".to_owned(),
            _ if number.is_infinite() => number.to_string(),
            (Form::Whole, _) => format!("{number:.0}"),
            (Form::Fixed, _) => format!("{number:.digits$}"),
            (Form::Scientific, _) => {
                let (mantissa, exponent) = scientific(number, Some(digits));
                format!("{mantissa}e{exponent:+03}")
            }
            (Form::General, _) => general(number, digits, false),
            (Form::Plain, Some(_)) => general(number, digits, true),
            (Form::Plain, None) => shortest(number),
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

/// A number of digits alone.
fn digits(text: &str) -> Option<usize> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

/// What stands before the `e` and after it, with so many decimals or as few as tell the number.
fn scientific(number: f64, decimals: Option<usize>) -> (String, i32) {
    let text = match decimals {
        Some(decimals) => format!("{number:.decimals$e}"),
        None => format!("{number:e}"),
    };
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    (mantissa.to_owned(), exponent.parse().unwrap_or_default())
}

/// With so many digits, but no zeros at the end; `has_point`: with a digit behind the point, as Python
/// writes a float whose format has no letter.
fn general(number: f64, digits: usize, has_point: bool) -> String {
    let digits = digits.max(1);
    let (mantissa, exponent) = scientific(number, Some(digits - 1));
    let digits = digits as i32;
    let short = |text: String| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    };
    if !(-4..digits - i32::from(has_point)).contains(&exponent) {
        return format!("{}e{exponent:+03}", short(mantissa));
    }
    let decimals = usize::try_from(digits - 1 - exponent).unwrap_or_default();
    let text = short(format!("{number:.decimals$}"));
    if has_point { with_point(text) } else { text }
}

/// With as few digits as tell the number.
fn shortest(number: f64) -> String {
    let (mantissa, exponent) = scientific(number, None);
    match (-4..16).contains(&exponent) {
        true => with_point(number.to_string()),
        false => format!("{mantissa}e{exponent:+03}"),
    }
}

fn with_point(text: String) -> String {
    match text.contains('.') {
        true => text,
        false => format!("{text}.0"),
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
    fn floats_are_written_as_python_writes_them() {
        // What Python's `format(value, spec)` returns.
        let written = [
            (0.9149, "", "0.9149"),
            (1.0, "", "1.0"),
            (1e-5, "", "1e-05"),
            (1e16, "", "1e+16"),
            (0.9149, "f", "0.914900"),
            (-2.5, ".0f", "-2"),
            (0.25, ".1f", "0.2"),
            (0.9149, "e", "9.149000e-01"),
            (0.9149, ".2e", "9.15e-01"),
            (1e100, ".0e", "1e+100"),
            (0.9149, "g", "0.9149"),
            (0.00015, ".3g", "0.00015"),
            (1e-5, "g", "1e-05"),
            (123456.789, "g", "123457"),
            (999999.5, "g", "1e+06"),
            (100.0, ".0g", "1e+02"),
            (-2.5, "06g", "-002.5"),
            (1.0, ".3", "1.0"),
            (100.0, ".3", "1e+02"),
            (0.9149, "10", "    0.9149"),
            (f64::NAN, ".2f", "nan"),
            (f64::INFINITY, "e", "inf"),
            (f64::NEG_INFINITY, "08.3f", "-0000inf"),
        ];
        for (value, spec, expected) in written {
            let template = PathTemplate::parse(Path::new(&format!("{{x:{spec}}}"))).unwrap();
            let logs = [("x", value)].into_iter().collect();
            let path = template.path(1, 1, &logs).unwrap();
            assert_eq!(path, Path::new(expected), "{value:e} as {spec}");
        }
        let logs = [("x", -7_i64)].into_iter().collect();
        for (spec, expected) in [
            ("05d", "-0007"),
            ("", "-7"),
            (".1f", "-7.0"),
            ("e", "-7.000000e+00"),
        ] {
            let template = PathTemplate::parse(Path::new(&format!("{{x:{spec}}}"))).unwrap();
            assert_eq!(template.path(1, 1, &logs).unwrap(), Path::new(expected));
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
            "{epoch:.2}",
            "{loss:d}",
            "{a:+5f}",
            "{a:.+2f}",
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
