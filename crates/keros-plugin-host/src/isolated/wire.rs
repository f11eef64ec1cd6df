//! The messages of docs/wire-format.md, as both sides write and read them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use keros_callbacks::{EpochLogs, Level, LogValue, Logs, ParamInfo, QueueStats, RunInfo};
use serde::de::{Error as _, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::time::Duration;

/// Major version of the wire format: another one cannot be talked to.
pub const WIRE_MAJOR: u32 = 1;
/// Minor version of the wire format: a later one has more.
pub const WIRE_MINOR: u32 = 0;

/// Longest line that carries no array and no state, in bytes.
pub(crate) const LINE_MAX: u64 = 8 << 20;

/// What the host sends.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum ToPlugin {
    Create(Create),
    Event(Box<WireEvent>),
    Answer {
        value: serde_json::Value,
    },
    Refused {
        text: String,
        #[serde(default)]
        unsupported: bool,
    },
    Requested {
        id: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        refused: Option<String>,
        #[serde(default)]
        over: bool,
    },
    Message {
        level: WireLevel,
        source: String,
        text: String,
    },
    SaveState,
    LoadState {
        state: Bytes,
    },
    Bye,
}

/// What a plugin sends.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum FromPlugin {
    Hello(Hello),
    Decision(WireDecision),
    Failed { text: String },
    Ask(serde_json::Map<String, serde_json::Value>),
    Message { level: WireLevel, text: String },
    Request(Request),
    State { state: Option<Bytes> },
    Loaded,
}

/// A version of the wire format.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Wire {
    pub(crate) major: u32,
    pub(crate) minor: u32,
}

impl Wire {
    pub(crate) const OURS: Wire = Wire {
        major: WIRE_MAJOR,
        minor: WIRE_MINOR,
    };
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Create {
    pub(crate) wire: Wire,
    pub(crate) host: String,
    pub(crate) version: String,
    /// JSON text; empty means `{}`.
    pub(crate) config: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Hello {
    pub(crate) wire: Wire,
    pub(crate) id: String,
    pub(crate) version: String,
    pub(crate) events: Vec<String>,
    /// The events whose logs come with them; all that are wanted unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) logs: Option<Vec<String>>,
    #[serde(default)]
    pub(crate) messages: bool,
    #[serde(default)]
    pub(crate) state: bool,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WireEvent {
    pub(crate) kind: String,
    pub(crate) epoch: u64,
    pub(crate) batch: u64,
    pub(crate) step: u64,
    pub(crate) samples: u64,
    pub(crate) nested: bool,
    pub(crate) learning_rate: Option<Number>,
    pub(crate) data_wait_ns: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) detail: Option<String>,
    /// Facts of the run, when they are others than at the event before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) run: Option<RunInfo>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) logs: Option<WireLogs>,
}

/// A field that is not known is refused: what is asked for is never passed over in silence.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct WireDecision {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stop: Option<String>,
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) stop_epoch: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) skip_batch: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) learning_rate: Option<Number>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) checkpoints: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) resume: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) logs: Option<WireLogs>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// What a plugin asks for inside an event.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Ask {
    Logs,
    Params,
    Param { index: usize },
    Gradient { index: usize },
    History,
    Facts,
    Queue,
    Inputs,
    Input { index: usize },
    Optimizer,
    SetLog { key: String, value: Value },
    SetParam { index: usize, f32: Bytes },
    SetOptimizerNumber { name: String, value: Number },
    SaveWeights { path: String },
    LoadWeights { path: String },
    SaveModel { path: String },
    SwapAverages,
}

/// A request of a plugin's thread; answered if it has an `id`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Request {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) stop: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) save: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Param {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) trainable: bool,
}

impl From<&ParamInfo> for Param {
    fn from(param: &ParamInfo) -> Param {
        Param {
            name: param.name.clone(),
            shape: param.shape.clone(),
            trainable: param.trainable,
        }
    }
}

/// Values in row-major order, with their shape.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Array {
    pub(crate) shape: Vec<usize>,
    pub(crate) f32: Bytes,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) epoch: u64,
    pub(crate) logs: WireLogs,
}

impl From<EpochLogs> for Row {
    fn from(row: EpochLogs) -> Row {
        Row {
            epoch: row.epoch,
            logs: WireLogs(row.logs),
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Queue {
    ready: u64,
    capacity: u64,
    delivered: u64,
    consumer_wait_ns: u64,
    producer_wait_ns: u64,
}

impl From<QueueStats> for Queue {
    fn from(stats: QueueStats) -> Queue {
        Queue {
            ready: stats.ready,
            capacity: stats.capacity,
            delivered: stats.delivered,
            consumer_wait_ns: nanoseconds(stats.consumer_wait),
            producer_wait_ns: nanoseconds(stats.producer_wait),
        }
    }
}

impl From<Queue> for QueueStats {
    fn from(queue: Queue) -> QueueStats {
        QueueStats {
            ready: queue.ready,
            capacity: queue.capacity,
            delivered: queue.delivered,
            consumer_wait: Duration::from_nanos(queue.consumer_wait_ns),
            producer_wait: Duration::from_nanos(queue.producer_wait_ns),
        }
    }
}

/// The numbers of the optimizer, in its order.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Optimizer {
    pub(crate) numbers: WireLogs,
    pub(crate) is_scheduled: bool,
}

pub(crate) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum WireLevel {
    Info,
    Warning,
    Error,
}

impl From<Level> for WireLevel {
    fn from(level: Level) -> WireLevel {
        match level {
            Level::Info => WireLevel::Info,
            Level::Warning => WireLevel::Warning,
            Level::Error => WireLevel::Error,
        }
    }
}

impl From<WireLevel> for Level {
    fn from(level: WireLevel) -> Level {
        match level {
            WireLevel::Info => Level::Info,
            WireLevel::Warning => Level::Warning,
            WireLevel::Error => Level::Error,
        }
    }
}

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

/// A message as a line, its end included.
pub(crate) fn line(message: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    Ok(line)
}
