//! Numbers, logs and bytes in the messages: what JSON has no words for.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use keros_callbacks::{LogValue, Logs};
use serde::de::{Error as _, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// A number; what JSON cannot say as one is a word.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Number(pub(crate) f64);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            number if number.is_finite() => to.serialize_f64(number),
            number if number.is_nan() => to.serialize_str("NaN"),
            number if number > 0.0 => to.serialize_str("Infinity"),
            _ => to.serialize_str("-Infinity"),
        }
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Number, D::Error> {
        #[derive(Deserialize)]
        #[serde(
            untagged,
            expecting = "expected a number, \"NaN\", \"Infinity\" or \"-Infinity\""
        )]
        enum Told {
            Number(f64),
            Word(Word),
        }
        #[derive(Deserialize)]
        enum Word {
            NaN,
            Infinity,
            #[serde(rename = "-Infinity")]
            MinusInfinity,
        }
        Ok(Number(match Told::deserialize(from)? {
            Told::Number(number) => number,
            Told::Word(Word::NaN) => f64::NAN,
            Told::Word(Word::Infinity) => f64::INFINITY,
            Told::Word(Word::MinusInfinity) => f64::NEG_INFINITY,
        }))
    }
}

/// A log value. A text is an object, because a word is a number.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "expected a number, \"NaN\", \"Infinity\", \"-Infinity\", a flag or {\"text\": …}"
)]
pub(crate) enum Value {
    Bool(bool),
    Integer(i64),
    Number(Number),
    Text { text: String },
}

impl Value {
    /// `None` for a kind the wire format lacks.
    pub(crate) fn of(value: &LogValue) -> Option<Value> {
        match value {
            LogValue::Bool(flag) => Some(Value::Bool(*flag)),
            LogValue::Integer(count) => Some(Value::Integer(*count)),
            LogValue::Float(number) => Some(Value::Number(Number(*number))),
            LogValue::Text(text) => Some(Value::Text { text: text.clone() }),
            _ => None,
        }
    }
}

impl From<Value> for LogValue {
    fn from(value: Value) -> LogValue {
        match value {
            Value::Bool(flag) => LogValue::Bool(flag),
            Value::Integer(count) => LogValue::Integer(count),
            Value::Number(Number(number)) => LogValue::Float(number),
            Value::Text { text } => LogValue::Text(text),
        }
    }
}

/// Logs as an object, in their order.
#[derive(Debug, Default)]
pub(crate) struct WireLogs(pub(crate) Logs);

impl Serialize for WireLogs {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(None)?;
        for (key, value) in self.0.iter() {
            if let Some(value) = Value::of(value) {
                map.serialize_entry(key, &value)?;
            }
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for WireLogs {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<WireLogs, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Logs;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of log values")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Logs, A::Error> {
                let mut logs = Logs::new();
                while let Some((key, value)) = map.next_entry::<String, Value>()? {
                    logs.set(&key, value);
                }
                Ok(logs)
            }
        }
        from.deserialize_map(InOrder).map(WireLogs)
    }
}

/// Bytes as base64; float32 values among them are little-endian.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bytes(pub(crate) Vec<u8>);

impl Bytes {
    pub(crate) fn of_values(values: &[f32]) -> Bytes {
        Bytes(
            values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect(),
        )
    }

    /// The values, if the bytes are those of whole ones.
    pub(crate) fn to_values(&self) -> Option<Vec<f32>> {
        let (values, rest) = self.0.as_chunks::<4>();
        let values = values.iter().map(|bytes| f32::from_le_bytes(*bytes));
        rest.is_empty().then(|| values.collect())
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Bytes, D::Error> {
        let text = String::deserialize(from)?;
        let bytes = STANDARD.decode(text);
        bytes
            .map(Bytes)
            .map_err(|error| D::Error::custom(format_args!("expected base64, {error}")))
    }
}
