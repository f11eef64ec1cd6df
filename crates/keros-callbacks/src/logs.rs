//! The numbers of a run: typed values under names, in a fixed order.

use std::fmt;

/// A value of [`Logs`].
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(untagged)
)]
#[non_exhaustive]
pub enum LogValue {
    /// A flag.
    Bool(bool),
    /// A count.
    Integer(i64),
    /// A measurement; losses and metrics are of this kind.
    Float(f64),
    /// A text.
    Text(String),
}

impl LogValue {
    /// The value as a number, if it is one.
    #[must_use]
    pub fn as_number(&self) -> Option<f64> {
        match self {
            LogValue::Float(value) => Some(*value),
            LogValue::Integer(value) => Some(*value as f64),
            LogValue::Bool(_) | LogValue::Text(_) => None,
        }
    }
}

impl fmt::Display for LogValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LogValue::Bool(value) => value.fmt(f),
            LogValue::Integer(value) => value.fmt(f),
            LogValue::Float(value) => value.fmt(f),
            LogValue::Text(value) => value.fmt(f),
        }
    }
}

impl From<f64> for LogValue {
    fn from(value: f64) -> Self {
        LogValue::Float(value)
    }
}

impl From<i64> for LogValue {
    fn from(value: i64) -> Self {
        LogValue::Integer(value)
    }
}

impl From<bool> for LogValue {
    fn from(value: bool) -> Self {
        LogValue::Bool(value)
    }
}

impl From<&str> for LogValue {
    fn from(value: &str) -> Self {
        LogValue::Text(value.to_owned())
    }
}

/// The logs of one epoch.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct EpochLogs {
    /// Zero-based epoch.
    pub epoch: u64,
    /// What epoch end reported, with the keys callbacks added.
    pub logs: Logs,
}

/// Named values in the order in which they were first set: the loss, the metrics in the order they
/// were compiled, the `val_` values, then what callbacks add.
///
/// The losses and metrics of a training batch are running means since the start of the epoch,
/// weighted by the number of samples, as in Keras 2 and 3.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(transparent)
)]
pub struct Logs {
    entries: Vec<(String, LogValue)>,
}

impl Logs {
    /// No values.
    #[must_use]
    pub fn new() -> Logs {
        Logs::default()
    }

    /// Sets `key`; a key that is there keeps its place.
    pub fn set(&mut self, key: &str, value: impl Into<LogValue>) {
        let value = value.into();
        match self.entries.iter_mut().find(|(name, _)| name == key) {
            Some(entry) => entry.1 = value,
            None => self.entries.push((key.to_owned(), value)),
        }
    }

    /// The value of `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&LogValue> {
        self.entries
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value)
    }

    /// The value of `key` if it is a number.
    #[must_use]
    pub fn number(&self, key: &str) -> Option<f64> {
        self.get(key).and_then(LogValue::as_number)
    }

    /// Keys and values in order.
    #[inline]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &LogValue)> {
        self.entries
            .iter()
            .map(|(key, value)| (key.as_str(), value))
    }

    /// Keys and values in order, the values to be changed.
    #[inline]
    pub fn iter_mut(&mut self) -> impl ExactSizeIterator<Item = (&str, &mut LogValue)> {
        self.entries
            .iter_mut()
            .map(|(key, value)| (key.as_str(), value))
    }

    /// How many values there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Removes every value.
    pub fn clear(&mut self) {
        self.entries.clear();
    }
}

impl<K: AsRef<str>, V: Into<LogValue>> FromIterator<(K, V)> for Logs {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(iter: I) -> Self {
        let mut logs = Logs::new();
        for (key, value) in iter {
            logs.set(key.as_ref(), value);
        }
        logs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_keep_the_order_in_which_they_were_first_set() {
        let mut logs = Logs::new();
        logs.set("loss", 2.0);
        logs.set("accuracy", 0.5);
        logs.set("loss", 1.0);
        let all: Vec<_> = logs.iter().map(|(k, v)| (k, v.as_number())).collect();
        assert_eq!(all, [("loss", Some(1.0)), ("accuracy", Some(0.5))]);
    }

    #[test]
    fn text_and_flags_are_not_numbers() {
        let mut logs = Logs::new();
        logs.set("note", "warm");
        logs.set("done", true);
        logs.set("count", 3_i64);
        assert_eq!(logs.number("note"), None);
        assert_eq!(logs.number("done"), None);
        assert_eq!(logs.number("count"), Some(3.0));
        assert_eq!(logs.number("absent"), None);
    }
}
