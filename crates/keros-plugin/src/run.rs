//! The run behind the host's functions, as hooks see it: [`Run`] over [`keros_run`].

use crate::error::HostError;
use crate::extensions::InEvent;
use keros_abi::{
    KEROS_BOOL, KEROS_E_UNSUPPORTED, KEROS_F64, KEROS_I64, KEROS_OK, KEROS_RUN_VALIDATION,
    KEROS_TEXT, KEROS_UNKNOWN, keros_log, keros_logs, keros_run, keros_run_info, keros_status,
    keros_str, keros_value, keros_value_as,
};
use keros_callbacks::{
    ArrayInfo, BoxError, EpochLogs, LogValue, Logs, ParamInfo, QueueStats, Requests, Run, RunInfo,
};
use std::cell::{Cell, OnceCell};
use std::marker::PhantomData;
use std::mem::{align_of, size_of};
use std::ops::Deref;
use std::path::Path;
use std::time::Duration;

/// The kinds of values this version knows; logs of other kinds are passed over.
const KINDS: [u32; 4] = [KEROS_F64, KEROS_I64, KEROS_BOOL, KEROS_TEXT];

/// The host's run during an event: the functions it has, and the pointer they want back. A reference
/// to it could not be given back: hosts reach what they keep behind the functions.
#[derive(Clone, Copy)]
pub(crate) struct RunPtr<'a> {
    run: *const keros_run,
    event: PhantomData<&'a keros_run>,
}

impl RunPtr<'_> {
    /// The run of an event, if it has the functions of version 1.0.
    ///
    /// # Safety
    /// If not null, `run` is the run of the event this thread is in, as keros.h tells.
    pub(crate) unsafe fn new(run: *const keros_run) -> Option<Self> {
        // SAFETY: the caller's promise.
        let known = unsafe { run.as_ref() }?;
        let event = PhantomData;
        (known.struct_size as usize >= size_of::<keros_run>()).then_some(RunPtr { run, event })
    }

    /// What keros.h passes.
    pub(crate) fn as_ptr(self) -> *const keros_run {
        self.run
    }
}

impl Deref for RunPtr<'_> {
    type Target = keros_run;

    fn deref(&self) -> &keros_run {
        // SAFETY: `new` was promised that it lives during the event.
        unsafe { &*self.run }
    }
}

/// The run during one event. What is read is written over what an earlier event left in `logs` and
/// `info`, so that reading the same names again allocates nothing.
pub(crate) struct HostRun<'a> {
    run: RunPtr<'a>,
    extensions: InEvent<'a>,
    requests: Option<&'a Requests>,
    params: OnceCell<Vec<ParamInfo>>,
    logs: &'a mut Logs,
    /// Whether `logs` are those of this event.
    read: bool,
    /// Room for `info`, until it is asked for.
    room: Cell<Option<&'a mut RunInfo>>,
    info: OnceCell<&'a RunInfo>,
}

/// What is shown of a host that does not tell.
static NOTHING_TOLD: RunInfo = RunInfo {
    epochs: 0,
    initial_epoch: 0,
    steps: None,
    metrics: Vec::new(),
    validation: false,
};

impl<'a> HostRun<'a> {
    /// The run with room left by earlier events.
    pub(crate) fn new(
        run: RunPtr<'a>,
        extensions: InEvent<'a>,
        requests: Option<&'a Requests>,
        logs: &'a mut Logs,
        info: &'a mut RunInfo,
    ) -> HostRun<'a> {
        HostRun {
            run,
            extensions,
            requests,
            params: OnceCell::new(),
            logs,
            read: false,
            room: Cell::new(Some(info)),
            info: OnceCell::new(),
        }
    }

    fn read_info(&self, info: &mut RunInfo) -> Result<(), HostError> {
        const ASKED: &str = "reading the facts of the run";
        let mut found = keros_run_info {
            struct_size: size_of::<keros_run_info>() as u32,
            flags: 0,
            epochs: 0,
            initial_epoch: 0,
            steps: KEROS_UNKNOWN,
            metrics: std::ptr::null(),
            metric_count: 0,
        };
        let function = self.run.info.ok_or_else(|| missing(ASKED))?;
        // SAFETY: called inside the event, with room for an answer of the size told.
        check(ASKED, unsafe { function(self.run.as_ptr(), &mut found) })?;
        info.epochs = found.epochs;
        info.initial_epoch = found.initial_epoch;
        info.steps = (found.steps != KEROS_UNKNOWN).then_some(found.steps);
        info.validation = found.flags & KEROS_RUN_VALIDATION != 0;
        // SAFETY: the host says that there are as many items of the type, valid during the event.
        let names = unsafe {
            items(
                ASKED,
                found.metrics,
                found.metric_count,
                size_of::<keros_str>(),
            )?
        };
        info.metrics.truncate(names.len());
        for (i, name) in names.enumerate() {
            // SAFETY: names are valid during the event.
            let name = unsafe { text(ASKED, *name)? };
            match info.metrics.get_mut(i) {
                Some(known) if known == name => {}
                Some(known) => name.clone_into(known),
                None => info.metrics.push(name.to_owned()),
            }
        }
        Ok(())
    }

    fn read_logs(&mut self) -> Result<(), HostError> {
        const ASKED: &str = "reading the logs";
        let mut found = keros_logs {
            struct_size: size_of::<keros_logs>() as u32,
            stride: 0,
            items: std::ptr::null(),
            count: 0,
        };
        let function = self.run.logs.ok_or_else(|| missing(ASKED))?;
        // SAFETY: called inside the event, with room for an answer of the size told.
        check(ASKED, unsafe { function(self.run.as_ptr(), &mut found) })?;
        // SAFETY: the host says that there are as many items, that far apart, valid until set_log.
        let items = unsafe { items(ASKED, found.items, found.count, found.stride as usize)? };
        let items = items.filter(|log| KINDS.contains(&log.value.kind));

        // The same names as at the last event of this kind: only the values change.
        let same = {
            let mut known = self.logs.iter_mut();
            let mut same = true;
            for log in items.clone() {
                // SAFETY: keys are valid until set_log.
                let key = unsafe { log.key.bytes() };
                match known.next() {
                    Some((name, value)) if key == Some(name.as_bytes()) => match value {
                        LogValue::Float(value) if log.value.kind == KEROS_F64 => {
                            // SAFETY: the kind tells which member was written.
                            *value = unsafe { log.value.r#as.f };
                        }
                        // SAFETY: values are valid until set_log.
                        value => unsafe { assign(ASKED, value, &log.value)? },
                    },
                    _ => {
                        same = false;
                        break;
                    }
                }
            }
            same && known.next().is_none()
        };
        if same {
            return Ok(());
        }

        self.logs.clear();
        for log in items {
            // SAFETY: keys and values are valid until set_log.
            if let Some((key, value)) = unsafe { read_log(ASKED, log)? } {
                self.logs.set(key, value);
            }
        }
        Ok(())
    }
}

impl Run for HostRun<'_> {
    fn info(&self) -> &RunInfo {
        self.info.get_or_init(|| {
            if let Some(info) = self.room.take()
                && self.read_info(info).is_ok()
            {
                return info;
            }
            // There is no way to say so here; a host that keeps to keros.h does not get here.
            &NOTHING_TOLD
        })
    }

    fn logs(&mut self) -> Result<&mut Logs, BoxError> {
        if !self.read {
            self.read_logs()?;
            self.read = true;
        }
        Ok(self.logs)
    }

    fn set_log(&mut self, key: &str, value: LogValue) -> Result<(), BoxError> {
        const ASKED: &str = "setting a log";
        let (kind, content) = match &value {
            LogValue::Float(value) => (KEROS_F64, keros_value_as { f: *value }),
            LogValue::Integer(value) => (KEROS_I64, keros_value_as { i: *value }),
            LogValue::Bool(value) => (KEROS_BOOL, keros_value_as { i: (*value).into() }),
            LogValue::Text(value) => (
                KEROS_TEXT,
                keros_value_as {
                    s: keros_str::new(value),
                },
            ),
            _ => {
                let status = KEROS_E_UNSUPPORTED;
                return Err(HostError::Status {
                    asked: ASKED,
                    status,
                }
                .into());
            }
        };
        let told = keros_value {
            kind,
            reserved: 0,
            r#as: content,
        };
        let function = self.run.set_log.ok_or_else(|| missing(ASKED))?;
        // SAFETY: called inside the event; key and value live during the call.
        check(ASKED, unsafe {
            function(self.run.as_ptr(), keros_str::new(key), &told)
        })?;
        if self.read {
            self.logs.set(key, value);
        }
        Ok(())
    }

    fn learning_rate(&self) -> Option<f64> {
        let mut rate = 0.0;
        // SAFETY: called inside the event, with room for the answer.
        let status = unsafe { self.run.learning_rate?(self.run.as_ptr(), &mut rate) };
        (status == KEROS_OK).then_some(rate)
    }

    fn data_wait(&self) -> Duration {
        let mut nanoseconds = 0;
        if let Some(function) = self.run.data_wait_ns {
            // SAFETY: called inside the event, with room for the answer.
            let _ = unsafe { function(self.run.as_ptr(), &mut nanoseconds) };
        }
        Duration::from_nanos(nanoseconds)
    }

    fn detail(&self) -> Option<&str> {
        self.extensions.detail()
    }

    fn params(&self) -> &[ParamInfo] {
        // A host that does not tell has none to show.
        self.params
            .get_or_init(|| self.extensions.params().unwrap_or_default())
    }

    fn read_param(&mut self, index: usize, values: &mut Vec<f32>) -> Result<(), BoxError> {
        self.extensions.read_param(index, values)
    }

    fn read_gradient(&mut self, index: usize, values: &mut Vec<f32>) -> Result<(), BoxError> {
        self.extensions.read_gradient(index, values)
    }

    fn write_param(&mut self, index: usize, values: &[f32]) -> Result<(), BoxError> {
        self.extensions.write_param(index, values)
    }

    fn save_weights(&mut self, path: &Path) -> Result<(), BoxError> {
        self.extensions.save_weights(path)
    }

    fn save_model(&mut self, path: &Path) -> Result<(), BoxError> {
        self.extensions.save_model(path)
    }

    fn load_weights(&mut self, path: &Path) -> Result<(), BoxError> {
        self.extensions.load_weights(path)
    }

    fn swap_averages(&mut self) -> Result<(), BoxError> {
        self.extensions.swap_averages()
    }

    fn is_scheduled(&self) -> bool {
        self.extensions.is_scheduled()
    }

    fn optimizer_numbers(&self) -> Vec<(String, f64)> {
        self.extensions.optimizer_numbers().unwrap_or_default()
    }

    fn set_optimizer_number(&mut self, name: &str, value: f64) -> Result<(), BoxError> {
        self.extensions.set_optimizer_number(name, value)
    }

    fn history(&self) -> Result<Vec<EpochLogs>, BoxError> {
        self.extensions.history()
    }

    fn queue(&self) -> Option<QueueStats> {
        self.extensions.queue()
    }

    fn inputs(&self) -> Vec<ArrayInfo> {
        self.extensions.inputs().unwrap_or_default()
    }

    fn read_input(&mut self, index: usize, values: &mut Vec<f32>) -> Result<(), BoxError> {
        self.extensions.read_input(index, values)
    }

    fn facts(&self) -> Result<String, BoxError> {
        self.extensions.facts()
    }

    fn requests(&self) -> Option<&Requests> {
        self.requests
    }
}

/// Key and value of a log; `None` for a kind this version does not know.
///
/// # Safety
/// Its texts are valid for `'a`.
pub(crate) unsafe fn read_log<'a>(
    asked: &'static str,
    log: &'a keros_log,
) -> Result<Option<(&'a str, LogValue)>, HostError> {
    if !KINDS.contains(&log.value.kind) {
        return Ok(None);
    }
    let mut value = LogValue::Bool(false);
    // SAFETY: the caller's promise.
    unsafe {
        assign(asked, &mut value, &log.value)?;
        Ok(Some((text(asked, log.key)?, value)))
    }
}

pub(crate) fn check(asked: &'static str, status: keros_status) -> Result<(), HostError> {
    match status {
        KEROS_OK => Ok(()),
        status => Err(HostError::Status { asked, status }),
    }
}

pub(crate) fn missing(asked: &'static str) -> HostError {
    HostError::Broken {
        asked,
        found: "a null function",
    }
}

/// `count` items that are `stride` bytes apart.
///
/// # Safety
/// If the arguments are possible ones, there are such items, valid for `'a`.
pub(crate) unsafe fn items<'a, T: 'a>(
    asked: &'static str,
    first: *const T,
    count: u64,
    stride: usize,
) -> Result<impl ExactSizeIterator<Item = &'a T> + Clone, HostError> {
    let broken = |found| HostError::Broken { asked, found };
    if count > 0 && (first.is_null() || !first.is_aligned()) {
        return Err(broken("a null or misaligned array"));
    }
    if count > 0 && (stride < size_of::<T>() || !stride.is_multiple_of(align_of::<T>())) {
        return Err(broken("an impossible stride"));
    }
    let count = usize::try_from(count).map_err(|_| broken("an impossible count"))?;
    // SAFETY: inside the array the caller promises, aligned as its first item is.
    Ok((0..count).map(move |i| unsafe { &*first.byte_add(i * stride) }))
}

/// # Safety
/// If the view is a possible one, its bytes are valid for `'a`.
pub(crate) unsafe fn text<'a>(asked: &'static str, view: keros_str) -> Result<&'a str, HostError> {
    // SAFETY: the caller's promise.
    unsafe { view.text() }.ok_or(HostError::Broken {
        asked,
        found: "a text that is null or not UTF-8",
    })
}

/// Writes a value of one of the [`KINDS`] over another, a text into the memory of a text.
///
/// # Safety
/// A text of the value is valid during the call.
unsafe fn assign(
    asked: &'static str,
    target: &mut LogValue,
    value: &keros_value,
) -> Result<(), HostError> {
    // SAFETY: the kind tells which member was written; a text is the caller's promise.
    unsafe {
        match value.kind {
            KEROS_F64 => *target = LogValue::Float(value.r#as.f),
            KEROS_I64 => *target = LogValue::Integer(value.r#as.i),
            KEROS_BOOL => *target = LogValue::Bool(value.r#as.i != 0),
            _ => {
                let found = text(asked, value.r#as.s)?;
                match target {
                    LogValue::Text(known) => found.clone_into(known),
                    target => *target = LogValue::Text(found.to_owned()),
                }
            }
        }
    }
    Ok(())
}
