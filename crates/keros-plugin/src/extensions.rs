//! The host's extensions of keros.h that an instance uses: found once, then called inside events.

use crate::error::HostError;
use crate::host::Host;
use crate::run::{RunPtr, check, items, missing, read_log, text};
use keros_abi::{
    KEROS_ARRAY_TRAINABLE, KEROS_E_NOT_FOUND, KEROS_E_OTHER, KEROS_E_STATE, KEROS_E_UNSUPPORTED,
    KEROS_EXT_CHECKPOINT, KEROS_EXT_FACTS, KEROS_EXT_HISTORY, KEROS_EXT_INPUTS,
    KEROS_EXT_OPTIMIZER, KEROS_EXT_PARAMETERS, KEROS_EXT_QUEUE, KEROS_EXT_REQUESTS, KEROS_OK,
    keros_array, keros_checkpoint, keros_facts, keros_history, keros_inputs, keros_logs,
    keros_optimizer, keros_parameters, keros_queue, keros_queue_stats, keros_requests, keros_run,
    keros_status, keros_str, keros_tensor, status_name,
};
use keros_callbacks::{
    ArrayInfo, BoxError, EpochLogs, LogValue, Logs, ParamInfo, QueueStats, RequestSink, Requests,
    RunError,
};
use std::mem::{align_of, size_of};
use std::path::Path;
use std::ptr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The tables of a host, those that it has.
#[derive(Clone, Copy)]
pub(crate) struct Extensions {
    facts: Option<keros_facts>,
    history: Option<keros_history>,
    optimizer: Option<keros_optimizer>,
    parameters: Option<keros_parameters>,
    inputs: Option<keros_inputs>,
    checkpoint: Option<keros_checkpoint>,
    queue: Option<keros_queue>,
}

type Lend = unsafe extern "C" fn(*const keros_run, u64, *mut keros_tensor) -> keros_status;
type Describe = unsafe extern "C" fn(*const keros_run, u64, *mut keros_array) -> keros_status;
type AtPath = unsafe extern "C" fn(*const keros_run, keros_str) -> keros_status;

impl Extensions {
    pub(crate) fn find(host: Host) -> Extensions {
        // SAFETY: keros.h gives each name its type.
        unsafe {
            Extensions {
                facts: host.extension(KEROS_EXT_FACTS),
                history: host.extension(KEROS_EXT_HISTORY),
                optimizer: host.extension(KEROS_EXT_OPTIMIZER),
                parameters: host.extension(KEROS_EXT_PARAMETERS),
                inputs: host.extension(KEROS_EXT_INPUTS),
                checkpoint: host.extension(KEROS_EXT_CHECKPOINT),
                queue: host.extension(KEROS_EXT_QUEUE),
            }
        }
    }

    /// The extensions with the run of the event this thread is in, whose host they are of.
    pub(crate) fn of<'a>(&'a self, run: RunPtr<'a>) -> InEvent<'a> {
        InEvent {
            run,
            extensions: self,
        }
    }
}

/// What the extensions offer inside an event, made safe.
#[derive(Clone, Copy)]
pub(crate) struct InEvent<'a> {
    run: RunPtr<'a>,
    extensions: &'a Extensions,
}

impl<'a> InEvent<'a> {
    /// An error for a status; with the host's reason where it has one.
    fn check(&self, asked: &'static str, status: keros_status) -> Result<(), BoxError> {
        if status == KEROS_E_UNSUPPORTED {
            return Err(RunError::Unsupported { asked }.into());
        }
        if status == KEROS_E_OTHER
            && let Some(reason) = self.reason(asked)
        {
            return Err(HostError::Failed { asked, reason }.into());
        }
        Ok(check(asked, status)?)
    }

    fn reason(&self, asked: &'static str) -> Option<String> {
        let error = self.extensions.facts?.error?;
        let mut found = keros_str::EMPTY;
        // SAFETY: called inside the event, with room for the answer.
        if unsafe { error(self.run.as_ptr(), &mut found) } != KEROS_OK {
            return None;
        }
        // SAFETY: valid until the next failure of the event.
        unsafe { text(asked, found) }.ok().map(str::to_owned)
    }

    pub(crate) fn facts(&self) -> Result<String, BoxError> {
        const ASKED: &str = "reading how the run was set up";
        let table = table(ASKED, self.extensions.facts)?;
        let function = table.facts.ok_or_else(|| missing(ASKED))?;
        let mut found = keros_str::EMPTY;
        // SAFETY: called inside the event, with room for the answer.
        self.check(ASKED, unsafe { function(self.run.as_ptr(), &mut found) })?;
        // SAFETY: valid until the next call.
        Ok(unsafe { text(ASKED, found) }?.to_owned())
    }

    pub(crate) fn detail(&self) -> Option<&'a str> {
        let function = self.extensions.facts?.detail?;
        let mut found = keros_str::EMPTY;
        // SAFETY: called inside the event, with room for the answer.
        if unsafe { function(self.run.as_ptr(), &mut found) } != KEROS_OK {
            return None;
        }
        // SAFETY: valid until the event is over.
        unsafe { text("reading what the event is about", found) }.ok()
    }

    pub(crate) fn history(&self) -> Result<Vec<EpochLogs>, BoxError> {
        const ASKED: &str = "reading the history";
        let table = table(ASKED, self.extensions.history)?;
        let count = table.count.ok_or_else(|| missing(ASKED))?;
        let row = table.row.ok_or_else(|| missing(ASKED))?;
        let mut rows = 0;
        // SAFETY: called inside the event, with room for the answer.
        self.check(ASKED, unsafe { count(self.run.as_ptr(), &mut rows) })?;
        let mut history = Vec::new();
        for index in 0..rows {
            let mut epoch = 0;
            let mut found = empty_logs();
            // SAFETY: called inside the event, with room for the answers, of the size told.
            let status = unsafe { row(self.run.as_ptr(), index, &mut epoch, &mut found) };
            self.check(ASKED, status)?;
            let mut logs = Logs::new();
            // SAFETY: the host says that there are as many items, valid until the next call.
            for log in unsafe { items(ASKED, found.items, found.count, found.stride as usize)? } {
                // SAFETY: as the item.
                if let Some((key, value)) = unsafe { read_log(ASKED, log)? } {
                    logs.set(key, value);
                }
            }
            history.push(EpochLogs { epoch, logs });
        }
        Ok(history)
    }

    pub(crate) fn optimizer_numbers(&self) -> Result<Vec<(String, f64)>, BoxError> {
        const ASKED: &str = "reading the numbers of the optimizer";
        let table = table(ASKED, self.extensions.optimizer)?;
        let function = table.numbers.ok_or_else(|| missing(ASKED))?;
        let mut found = empty_logs();
        // SAFETY: called inside the event, with room for an answer of the size told.
        self.check(ASKED, unsafe { function(self.run.as_ptr(), &mut found) })?;
        let mut numbers = Vec::new();
        // SAFETY: the host says that there are as many items, valid until the next call.
        for log in unsafe { items(ASKED, found.items, found.count, found.stride as usize)? } {
            // SAFETY: as the item.
            if let Some((name, LogValue::Float(value))) = unsafe { read_log(ASKED, log)? } {
                numbers.push((name.to_owned(), value));
            }
        }
        Ok(numbers)
    }

    pub(crate) fn set_optimizer_number(&self, name: &str, value: f64) -> Result<(), BoxError> {
        const ASKED: &str = "setting a number of the optimizer";
        let table = table(ASKED, self.extensions.optimizer)?;
        let function = table.set_number.ok_or_else(|| missing(ASKED))?;
        // SAFETY: called inside the event; the name lives during the call.
        let status = unsafe { function(self.run.as_ptr(), keros_str::new(name), value) };
        self.check(ASKED, status)
    }

    pub(crate) fn is_scheduled(&self) -> bool {
        let mut scheduled = 0;
        let function = self
            .extensions
            .optimizer
            .and_then(|table| table.is_scheduled);
        // SAFETY: called inside the event, with room for the answer.
        function.is_some_and(
            |function| unsafe { function(self.run.as_ptr(), &mut scheduled) } == KEROS_OK,
        ) && scheduled != 0
    }

    pub(crate) fn swap_averages(&self) -> Result<(), BoxError> {
        const ASKED: &str = "exchanging the weights and their averages";
        let table = table(ASKED, self.extensions.optimizer)?;
        let function = table.swap_averages.ok_or_else(|| missing(ASKED))?;
        // SAFETY: called inside the event.
        self.check(ASKED, unsafe { function(self.run.as_ptr()) })
    }

    pub(crate) fn params(&self) -> Result<Vec<ParamInfo>, BoxError> {
        const ASKED: &str = "reading the parameters";
        let table = table(ASKED, self.extensions.parameters)?;
        let arrays = self.arrays(ASKED, table.count, table.describe)?;
        let named = arrays.into_iter().map(|(info, flags)| ParamInfo {
            name: info.name,
            shape: info.shape,
            trainable: flags & KEROS_ARRAY_TRAINABLE != 0,
        });
        Ok(named.collect())
    }

    pub(crate) fn read_param(&self, index: usize, values: &mut Vec<f32>) -> Result<(), BoxError> {
        const ASKED: &str = "reading a parameter";
        let table = table(ASKED, self.extensions.parameters)?;
        self.read(ASKED, table.value, index, values)
    }

    pub(crate) fn read_gradient(
        &self,
        index: usize,
        values: &mut Vec<f32>,
    ) -> Result<(), BoxError> {
        const ASKED: &str = "reading a gradient";
        let table = table(ASKED, self.extensions.parameters)?;
        self.read(ASKED, table.gradient, index, values)
    }

    pub(crate) fn write_param(&self, index: usize, values: &[f32]) -> Result<(), BoxError> {
        const ASKED: &str = "setting a parameter";
        let table = table(ASKED, self.extensions.parameters)?;
        let describe = table.describe.ok_or_else(|| missing(ASKED))?;
        let assign = table.assign.ok_or_else(|| missing(ASKED))?;
        let (info, _) = self.describe(ASKED, describe, index as u64)?;
        let elements: usize = info.shape.iter().product();
        if elements != values.len() {
            return Err(HostError::Failed {
                asked: ASKED,
                reason: format!(
                    "expected {elements} values for `{}`, found {}",
                    info.name,
                    values.len()
                ),
            }
            .into());
        }
        let shape: Vec<i64> = info.shape.iter().map(|length| *length as i64).collect();
        let tensor = keros_tensor {
            data: values.as_ptr().cast(),
            device_type: 1,
            device_id: 0,
            ndim: shape.len() as i32,
            dtype_code: 2,
            dtype_bits: 32,
            dtype_lanes: 1,
            shape: shape.as_ptr(),
            strides: ptr::null(),
            byte_offset: 0,
        };
        // SAFETY: called inside the event, with a tensor of this shape that lives during the call.
        let status = unsafe { assign(self.run.as_ptr(), index as u64, &tensor) };
        self.check(ASKED, status)
    }

    pub(crate) fn inputs(&self) -> Result<Vec<ArrayInfo>, BoxError> {
        const ASKED: &str = "reading the inputs";
        let table = table(ASKED, self.extensions.inputs)?;
        let arrays = self.arrays(ASKED, table.count, table.describe)?;
        Ok(arrays.into_iter().map(|(info, _)| info).collect())
    }

    pub(crate) fn read_input(&self, index: usize, values: &mut Vec<f32>) -> Result<(), BoxError> {
        const ASKED: &str = "reading an input";
        let table = table(ASKED, self.extensions.inputs)?;
        self.read(ASKED, table.value, index, values)
    }

    pub(crate) fn save_weights(&self, path: &Path) -> Result<(), BoxError> {
        self.at_path("saving the weights", |table| table.save_weights, path)
    }

    pub(crate) fn load_weights(&self, path: &Path) -> Result<(), BoxError> {
        self.at_path("loading the weights", |table| table.load_weights, path)
    }

    pub(crate) fn save_model(&self, path: &Path) -> Result<(), BoxError> {
        self.at_path("saving the model", |table| table.save_model, path)
    }

    /// Has a checkpoint of the run written after this event.
    pub(crate) fn write_checkpoint(&self, path: &Path) -> Result<(), BoxError> {
        self.at_path("writing a checkpoint", |table| table.write, path)
    }

    /// Has the run go on from a checkpoint.
    pub(crate) fn resume(&self, path: &Path) -> Result<(), BoxError> {
        self.at_path("going on from a checkpoint", |table| table.resume, path)
    }

    pub(crate) fn queue(&self) -> Option<QueueStats> {
        let function = self.extensions.queue?.stats?;
        let mut found = keros_queue_stats {
            struct_size: size_of::<keros_queue_stats>() as u32,
            reserved: 0,
            ready: 0,
            capacity: 0,
            delivered: 0,
            consumer_wait_ns: 0,
            producer_wait_ns: 0,
        };
        // SAFETY: called inside the event, with room for an answer of the size told.
        let status = unsafe { function(self.run.as_ptr(), &mut found) };
        (status == KEROS_OK).then(|| QueueStats {
            ready: found.ready,
            capacity: found.capacity,
            delivered: found.delivered,
            consumer_wait: Duration::from_nanos(found.consumer_wait_ns),
            producer_wait: Duration::from_nanos(found.producer_wait_ns),
        })
    }

    fn at_path(
        &self,
        asked: &'static str,
        function: impl FnOnce(&keros_checkpoint) -> Option<AtPath>,
        path: &Path,
    ) -> Result<(), BoxError> {
        let table = table(asked, self.extensions.checkpoint)?;
        let function = function(&table).ok_or_else(|| missing(asked))?;
        let path = path.to_str().ok_or_else(|| HostError::Path {
            asked,
            path: path.to_owned(),
        })?;
        // SAFETY: called inside the event; the path lives during the call.
        let status = unsafe { function(self.run.as_ptr(), keros_str::new(path)) };
        self.check(asked, status)
    }

    fn arrays(
        &self,
        asked: &'static str,
        count: Option<unsafe extern "C" fn(*const keros_run, *mut u64) -> keros_status>,
        describe: Option<Describe>,
    ) -> Result<Vec<(ArrayInfo, u32)>, BoxError> {
        let count = count.ok_or_else(|| missing(asked))?;
        let describe = describe.ok_or_else(|| missing(asked))?;
        let mut number = 0;
        // SAFETY: called inside the event, with room for the answer.
        self.check(asked, unsafe { count(self.run.as_ptr(), &mut number) })?;
        (0..number)
            .map(|index| self.describe(asked, describe, index))
            .collect()
    }

    /// Name and shape of an array, and its flags.
    fn describe(
        &self,
        asked: &'static str,
        describe: Describe,
        index: u64,
    ) -> Result<(ArrayInfo, u32), BoxError> {
        let mut found = keros_array {
            struct_size: size_of::<keros_array>() as u32,
            flags: 0,
            name: keros_str::EMPTY,
            shape: ptr::null(),
            ndim: 0,
        };
        // SAFETY: called inside the event, with room for an answer of the size told.
        self.check(asked, unsafe {
            describe(self.run.as_ptr(), index, &mut found)
        })?;
        // SAFETY: the host says that there are as many lengths, and a name, valid in the event.
        let (name, shape) = unsafe {
            (
                text(asked, found.name)?,
                items(asked, found.shape, found.ndim, size_of::<i64>())?,
            )
        };
        let shape = shape.map(|length| usize::try_from(*length));
        let shape = shape.collect::<Result<_, _>>();
        let info = ArrayInfo {
            name: name.to_owned(),
            shape: shape.map_err(|_| broken(asked, "a negative length"))?,
        };
        Ok((info, found.flags))
    }

    /// Copies what the host lends.
    fn read(
        &self,
        asked: &'static str,
        function: Option<Lend>,
        index: usize,
        values: &mut Vec<f32>,
    ) -> Result<(), BoxError> {
        let function = function.ok_or_else(|| missing(asked))?;
        let mut found = keros_tensor {
            data: ptr::null(),
            device_type: 0,
            device_id: 0,
            ndim: 0,
            dtype_code: 0,
            dtype_bits: 0,
            dtype_lanes: 0,
            shape: ptr::null(),
            strides: ptr::null(),
            byte_offset: 0,
        };
        // SAFETY: called inside the event, with room for the answer.
        self.check(asked, unsafe {
            function(self.run.as_ptr(), index as u64, &mut found)
        })?;
        let kind = (found.dtype_code, found.dtype_bits, found.dtype_lanes);
        if kind != (2, 32, 1) || found.device_type != 1 || found.byte_offset != 0 {
            return Err(broken(asked, "a tensor that is not float32 on the CPU").into());
        }
        let axes = u64::try_from(found.ndim).unwrap_or(u64::MAX);
        // SAFETY: the host says that there are as many lengths, valid in the event.
        let lengths = unsafe { items(asked, found.shape, axes, size_of::<i64>())? };
        let elements = lengths
            .map(|length| u64::try_from(*length).ok())
            .try_fold(1_u64, |product, length| product.checked_mul(length?))
            .ok_or_else(|| broken(asked, "an impossible shape"))?;
        let data = found.data.cast::<f32>();
        if elements > 0 && (data.is_null() || data.addr() % align_of::<f32>() != 0) {
            return Err(broken(asked, "a null or misaligned array").into());
        }
        values.clear();
        if elements > 0 {
            // SAFETY: the host says that there are as many elements, valid until the next call.
            values
                .extend_from_slice(unsafe { std::slice::from_raw_parts(data, elements as usize) });
        }
        Ok(())
    }
}

fn table<T>(asked: &'static str, table: Option<T>) -> Result<T, RunError> {
    table.ok_or(RunError::Unsupported { asked })
}

fn broken(asked: &'static str, found: &'static str) -> HostError {
    HostError::Broken { asked, found }
}

fn empty_logs() -> keros_logs {
    keros_logs {
        struct_size: size_of::<keros_logs>() as u32,
        stride: 0,
        items: ptr::null(),
        count: 0,
    }
}

/// Requests through the host, until the instance ends.
pub(crate) struct HostRequests {
    table: keros_requests,
    /// `None` from then on: a thread of the author's may keep its [`Requests`] longer.
    host: Mutex<Option<Host>>,
}

// SAFETY: keros.h allows the two functions of the table on any thread until `destroy` returns, and
// `end` is called before that.
unsafe impl Send for HostRequests {}
// SAFETY: as above.
unsafe impl Sync for HostRequests {}

impl HostRequests {
    /// `None` if the host takes none.
    pub(crate) fn find(host: Host) -> Option<(Arc<HostRequests>, Requests)> {
        // SAFETY: keros.h gives the name its type.
        let table = unsafe { host.extension(KEROS_EXT_REQUESTS) }?;
        let own = Arc::new(HostRequests {
            table,
            host: Mutex::new(Some(host)),
        });
        let requests = Requests::new(Arc::clone(&own) as Arc<dyn RequestSink>);
        Some((own, requests))
    }

    /// The host is not called any more.
    pub(crate) fn end(&self) {
        *self.host.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn ask(
        &self,
        function: Option<
            unsafe extern "C" fn(*const keros_abi::keros_host, keros_str) -> keros_status,
        >,
        text: &str,
    ) -> Result<(), RunError> {
        let host = self.host.lock().unwrap_or_else(PoisonError::into_inner);
        let (Some(host), Some(function)) = (host.as_ref(), function) else {
            return Err(RunError::Over);
        };
        // SAFETY: allowed on any thread; the host lives, since `end` waits for the lock.
        match unsafe { function(host.as_ptr(), keros_str::new(text)) } {
            KEROS_OK => Ok(()),
            KEROS_E_STATE | KEROS_E_NOT_FOUND => Err(RunError::Over),
            status => Err(RunError::Refused {
                reason: format!(
                    "the host answered {}",
                    status_name(status).unwrap_or("an unknown status")
                ),
            }),
        }
    }
}

impl RequestSink for HostRequests {
    fn stop(&self, reason: &str) -> Result<(), RunError> {
        self.ask(self.table.stop, reason)
    }

    fn save(&self, path: &Path) -> Result<(), RunError> {
        match path.to_str() {
            Some(path) => self.ask(self.table.save, path),
            None => Err(RunError::Refused {
                reason: format!("the path {} is not UTF-8", path.display()),
            }),
        }
    }
}
