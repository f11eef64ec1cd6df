//! The messages of docs/wire-format.md, as both sides write and read them.

mod values;

pub(crate) use values::{Bytes, Number, Value, WireLogs};

use keros_callbacks::{EpochLogs, Level, ParamInfo, QueueStats, RunInfo};
use serde::{Deserialize, Serialize};
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
    Bye {
        /// How long the plugin may take to end.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit_ns: Option<u64>,
    },
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

/// A message as a line, its end included.
pub(crate) fn line(message: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    Ok(line)
}
