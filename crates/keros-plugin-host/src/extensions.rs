//! The host's extensions of keros.h: the tables, and their functions over a [`Context`].
//!
//! What is lent to the plugin lives in [`Loans`] until the event is over, and the memory is used again
//! by the next one.

use crate::bridge::{Bridge, failed, inside, of_host, put, text, told};
use keros_abi::{
    KEROS_ARRAY_TRAINABLE, KEROS_E_ARG, KEROS_E_NOT_FOUND, KEROS_E_OTHER, KEROS_E_STATE,
    KEROS_E_UNSUPPORTED, KEROS_EXT_CHECKPOINT, KEROS_EXT_FACTS, KEROS_EXT_HISTORY,
    KEROS_EXT_INPUTS, KEROS_EXT_OPTIMIZER, KEROS_EXT_PARAMETERS, KEROS_EXT_QUEUE,
    KEROS_EXT_REQUESTS, KEROS_EXT_THREAD_CHECK, KEROS_OK, keros_array, keros_checkpoint,
    keros_facts, keros_history, keros_host, keros_inputs, keros_log, keros_logs, keros_optimizer,
    keros_parameters, keros_queue, keros_queue_stats, keros_requests, keros_run, keros_status,
    keros_str, keros_tensor, keros_thread_check,
};
use keros_callbacks::{BoxError, Context, EpochLogs, LogValue, Requests, RunError};
use std::ffi::c_void;
use std::mem::size_of;
use std::path::{Path, PathBuf};
use std::ptr;

/// What the plugin was lent in this event, and what it asked for beside the decision.
#[derive(Default)]
pub(crate) struct Loans {
    facts: String,
    /// The reason of the last failure.
    error: Option<String>,
    history: Option<Vec<EpochLogs>>,
    history_items: Vec<keros_log>,
    numbers: Vec<(String, f64)>,
    number_items: Vec<keros_log>,
    /// The first `used` are those of this event.
    arrays: Vec<Loan>,
    used: usize,
    pub(crate) checkpoints: Vec<PathBuf>,
    pub(crate) resume: Option<PathBuf>,
}

/// What is lent of one array.
#[derive(Default)]
struct Loan {
    of: Option<(Of, u64)>,
    name: String,
    shape: Vec<i64>,
    strides: Vec<i64>,
    values: Vec<f32>,
}

/// Which of its sides.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Description,
    Value,
    Gradient,
    Input,
    InputDescription,
}

impl Loans {
    /// What was lent is taken back; the memory stays.
    pub(crate) fn end(&mut self) {
        self.error = None;
        self.history = None;
        self.used = 0;
        self.checkpoints.clear();
        self.resume = None;
    }

    pub(crate) fn failed(&mut self, reason: &BoxError) {
        self.error = Some(reason.to_string());
    }

    /// The place of an array, the same for every call of one event.
    fn array(&mut self, of: Of, index: u64) -> &mut Loan {
        let key = Some((of, index));
        let known = self.arrays[..self.used]
            .iter()
            .position(|loan| loan.of == key);
        let at = known.unwrap_or_else(|| {
            if self.used == self.arrays.len() {
                self.arrays.push(Loan::default());
            }
            self.used += 1;
            self.used - 1
        });
        let loan = &mut self.arrays[at];
        loan.of = key;
        loan
    }
}

impl Loan {
    fn describe(&mut self, shape: &[usize]) {
        self.shape.clear();
        self.shape.extend(shape.iter().map(|length| *length as i64));
    }

    fn tensor(&mut self) -> keros_tensor {
        self.strides.clear();
        self.strides.resize(self.shape.len(), 1);
        for axis in (1..self.shape.len()).rev() {
            self.strides[axis - 1] = self.strides[axis] * self.shape[axis].max(1);
        }
        keros_tensor {
            data: self.values.as_ptr().cast(),
            device_type: 1,
            device_id: 0,
            ndim: self.shape.len() as i32,
            dtype_code: 2,
            dtype_bits: 32,
            dtype_lanes: 1,
            shape: self.shape.as_ptr(),
            strides: self.strides.as_ptr(),
            byte_offset: 0,
        }
    }
}

macro_rules! table {
    ($table:ident { $($function:ident),* }) => {{
        static TABLE: $table = $table {
            struct_size: size_of::<$table>() as u32,
            reserved: 0,
            $($function: Some(functions::$table::$function),)*
        };
        ptr::from_ref(&TABLE).cast()
    }};
}

/// The extension called `id`, or null.
pub(crate) fn find(id: &str) -> *const c_void {
    match id {
        KEROS_EXT_THREAD_CHECK => table!(keros_thread_check { in_event }),
        KEROS_EXT_FACTS => table!(keros_facts {
            facts,
            detail,
            error
        }),
        KEROS_EXT_HISTORY => table!(keros_history { count, row }),
        KEROS_EXT_OPTIMIZER => table!(keros_optimizer {
            numbers,
            set_number,
            is_scheduled,
            swap_averages
        }),
        KEROS_EXT_PARAMETERS => table!(keros_parameters {
            count,
            describe,
            value,
            gradient,
            assign
        }),
        KEROS_EXT_INPUTS => table!(keros_inputs {
            count,
            describe,
            value
        }),
        KEROS_EXT_CHECKPOINT => table!(keros_checkpoint {
            save_weights,
            load_weights,
            save_model,
            write,
            resume
        }),
        KEROS_EXT_QUEUE => table!(keros_queue { stats }),
        KEROS_EXT_REQUESTS => table!(keros_requests { stop, save }),
        _ => ptr::null(),
    }
}

/// Does what the thread inside the event may do, with the loans at hand.
///
/// # Safety
/// As for [`inside`].
unsafe fn lending(
    run: *const keros_run,
    what: impl FnOnce(&mut Loans, &mut Context<'_>) -> Result<keros_status, BoxError>,
) -> keros_status {
    // SAFETY: the caller's promise.
    unsafe {
        inside(run, |bridge, cx| {
            let mut loans = bridge.take_loans();
            let result = what(&mut loans, cx);
            bridge.put_loans(loans);
            match result {
                Ok(status) => status,
                Err(error) if is_unsupported(&error) => KEROS_E_UNSUPPORTED,
                Err(error) => failed(bridge, error),
            }
        })
    }
}

fn is_unsupported(error: &BoxError) -> bool {
    matches!(error.downcast_ref(), Some(RunError::Unsupported { .. }))
}

/// Writes an answer of a plain type.
///
/// # Safety
/// `out` is null or has room for a value.
unsafe fn answer<T>(out: *mut T, value: T) -> Result<keros_status, BoxError> {
    // SAFETY: the caller's promise.
    match unsafe { out.as_mut() } {
        Some(out) => {
            *out = value;
            Ok(KEROS_OK)
        }
        None => Ok(KEROS_E_ARG),
    }
}

/// A path of the plugin.
///
/// # Safety
/// A possible view is readable for `'a`.
unsafe fn path<'a>(view: keros_str) -> Option<&'a Path> {
    // SAFETY: the caller's promise.
    let text = unsafe { text(view) }?;
    (!text.is_empty()).then(|| Path::new(text))
}

/// Does something with a path.
///
/// # Safety
/// As for [`inside`], with a readable path.
unsafe fn with_path(
    run: *const keros_run,
    view: keros_str,
    what: impl FnOnce(&Path, &mut Loans, &mut Context<'_>) -> Result<(), BoxError>,
) -> keros_status {
    // SAFETY: the caller's promise.
    unsafe {
        lending(run, |loans, cx| match path(view) {
            None => Ok(KEROS_E_ARG),
            Some(path) => what(path, loans, cx).map(|()| KEROS_OK),
        })
    }
}

/// Fills the description of an array.
///
/// # Safety
/// `out` is null or a struct of the size it tells.
unsafe fn describe_array(
    out: *mut keros_array,
    loan: &Loan,
    flags: u32,
) -> Result<keros_status, BoxError> {
    // SAFETY: the caller's promise.
    match unsafe { out.as_mut() } {
        Some(out) if out.struct_size as usize >= size_of::<keros_array>() => {
            out.flags = flags;
            out.name = keros_str::new(&loan.name);
            (out.shape, out.ndim) = crate::bridge::array(&loan.shape);
            Ok(KEROS_OK)
        }
        _ => Ok(KEROS_E_ARG),
    }
}

/// Asks the run something from any thread.
///
/// # Safety
/// `host` is null or that of a living instance.
unsafe fn request(
    host: *const keros_host,
    ask: impl FnOnce(&Requests) -> Result<(), RunError>,
) -> keros_status {
    // SAFETY: the caller's promise.
    let Some(bridge) = (unsafe { of_host(host) }) else {
        return KEROS_E_ARG;
    };
    match bridge.requests().map(|requests| ask(&requests)) {
        Some(Ok(())) => KEROS_OK,
        None | Some(Err(RunError::Over)) => KEROS_E_STATE,
        Some(Err(RunError::Unsupported { .. })) => KEROS_E_UNSUPPORTED,
        Some(Err(_)) => KEROS_E_OTHER,
    }
}

/// The values of a tensor of the plugin, if it is one of this shape.
///
/// # Safety
/// `tensor` is null or as keros.h tells.
unsafe fn values<'a>(tensor: *const keros_tensor, shape: &[usize]) -> Option<&'a [f32]> {
    // SAFETY: the caller's promise.
    let tensor = unsafe { tensor.as_ref() }?;
    let float = (tensor.dtype_code, tensor.dtype_bits, tensor.dtype_lanes) == (2, 32, 1);
    let axes = usize::try_from(tensor.ndim).ok()? == shape.len();
    if !float || !axes || tensor.device_type != 1 {
        return None;
    }
    // SAFETY: keros.h asks for as many lengths and, unless null, strides.
    let lengths = |at: *const i64| unsafe { std::slice::from_raw_parts(at, shape.len()) };
    if !shape.is_empty() {
        let expected = shape.iter().map(|length| *length as i64);
        if tensor.shape.is_null() || !lengths(tensor.shape).iter().copied().eq(expected) {
            return None;
        }
        if !tensor.strides.is_null() {
            let mut stride = 1;
            for (found, length) in lengths(tensor.strides).iter().zip(shape).rev() {
                if *length > 1 && *found != stride {
                    return None;
                }
                stride *= (*length).max(1) as i64;
            }
        }
    }
    let elements: usize = shape.iter().product();
    let first = tensor
        .data
        .wrapping_byte_add(usize::try_from(tensor.byte_offset).ok()?)
        .cast::<f32>();
    if elements == 0 {
        return Some(&[]);
    }
    if tensor.data.is_null() || !first.is_aligned() {
        return None;
    }
    // SAFETY: keros.h asks for as many elements, which are aligned.
    Some(unsafe { std::slice::from_raw_parts(first, elements) })
}

/// The functions of the tables, a module each.
#[allow(
    non_camel_case_types,
    reason = "the modules have the names of the tables in keros.h"
)]
mod functions {
    use super::*;

    pub(super) mod keros_thread_check {
        use super::*;

        pub(crate) unsafe extern "C" fn in_event(host: *const keros_host) -> i32 {
            // SAFETY: keros.h asks for the host of a living instance.
            let bridge = unsafe { of_host(host) };
            bridge.is_some_and(Bridge::is_in_event).into()
        }
    }

    pub(super) mod keros_facts {
        use super::*;

        pub(crate) unsafe extern "C" fn facts(
            run: *const keros_run,
            out: *mut keros_str,
        ) -> keros_status {
            // SAFETY: keros.h asks for the host's run and room for a view.
            unsafe {
                lending(run, |loans, cx| {
                    loans.facts = cx.facts()?;
                    answer(out, keros_str::new(&loans.facts))
                })
            }
        }

        pub(crate) unsafe extern "C" fn detail(
            run: *const keros_run,
            out: *mut keros_str,
        ) -> keros_status {
            // SAFETY: keros.h asks for the host's run and room for a view.
            unsafe {
                lending(run, |_, cx| match cx.detail() {
                    Some(detail) => answer(out, keros_str::new(detail)),
                    None => Ok(KEROS_E_NOT_FOUND),
                })
            }
        }

        pub(crate) unsafe extern "C" fn error(
            run: *const keros_run,
            out: *mut keros_str,
        ) -> keros_status {
            // SAFETY: keros.h asks for the host's run and room for a view.
            unsafe {
                lending(run, |loans, _| match &loans.error {
                    Some(error) => answer(out, keros_str::new(error)),
                    None => Ok(KEROS_E_NOT_FOUND),
                })
            }
        }
    }

    pub(super) mod keros_history {
        use super::*;

        fn rows<'l>(
            loans: &'l mut Loans,
            cx: &mut Context<'_>,
        ) -> Result<&'l mut Vec<EpochLogs>, BoxError> {
            let rows = match loans.history.take() {
                Some(rows) => rows,
                None => cx.history()?,
            };
            Ok(loans.history.insert(rows))
        }

        pub(crate) unsafe extern "C" fn count(
            run: *const keros_run,
            out: *mut u64,
        ) -> keros_status {
            // SAFETY: keros.h asks for the host's run and room for a number.
            unsafe { lending(run, |loans, cx| answer(out, rows(loans, cx)?.len() as u64)) }
        }

        pub(crate) unsafe extern "C" fn row(
            run: *const keros_run,
            index: u64,
            epoch: *mut u64,
            logs: *mut keros_logs,
        ) -> keros_status {
            // SAFETY: keros.h asks for the host's run, room for a number and a struct of the size it
            // tells.
            unsafe {
                lending(run, |loans, cx| {
                    let mut items = std::mem::take(&mut loans.history_items);
                    items.clear();
                    let row = usize::try_from(index).ok();
                    let row = row
                        .and_then(|index| rows(loans, cx).map(|rows| rows.get(index)).transpose());
                    let status = match row.transpose()? {
                        None => KEROS_E_ARG,
                        Some(row) => {
                            for (key, value) in row.logs.iter() {
                                items.extend(told(value).map(|value| keros_log {
                                    key: keros_str::new(key),
                                    value,
                                }));
                            }
                            match (epoch.as_mut(), put(logs, &items)) {
                                (Some(epoch), true) => {
                                    *epoch = row.epoch;
                                    KEROS_OK
                                }
                                _ => KEROS_E_ARG,
                            }
                        }
                    };
                    loans.history_items = items;
                    Ok(status)
                })
            }
        }
    }

    pub(super) mod keros_optimizer {
        use super::*;

        pub(crate) unsafe extern "C" fn numbers(
            run: *const keros_run,
            out: *mut keros_logs,
        ) -> keros_status {
            // SAFETY: keros.h asks for the host's run and a struct of the size it tells.
            unsafe {
                lending(run, |loans, cx| {
                    loans.numbers = cx.optimizer_numbers();
                    loans.number_items.clear();
                    for (name, value) in &loans.numbers {
                        let value = told(&LogValue::Float(*value));
                        loans.number_items.extend(value.map(|value| keros_log {
                            key: keros_str::new(name),
                            value,
                        }));
                    }
                    match put(out, &loans.number_items) {
                        true => Ok(KEROS_OK),
                        false => Ok(KEROS_E_ARG),
                    }
                })
            }
        }

        pub(crate) unsafe extern "C" fn set_number(
            run: *const keros_run,
            name: keros_str,
            value: f64,
        ) -> keros_status {
            // SAFETY: keros.h asks for the host's run and a readable name.
            unsafe {
                lending(run, |_, cx| match text(name) {
                    None => Ok(KEROS_E_ARG),
                    Some(name) => cx.set_optimizer_number(name, value).map(|()| KEROS_OK),
                })
            }
        }

        pub(crate) unsafe extern "C" fn is_scheduled(
            run: *const keros_run,
            out: *mut i32,
        ) -> keros_status {
            // SAFETY: keros.h asks for the host's run and room for a number.
            unsafe { lending(run, |_, cx| answer(out, cx.is_scheduled().into())) }
        }

        pub(crate) unsafe extern "C" fn swap_averages(run: *const keros_run) -> keros_status {
            // SAFETY: keros.h asks for the host's run.
            unsafe { lending(run, |_, cx| cx.swap_averages().map(|()| KEROS_OK)) }
        }
    }

    pub(super) mod keros_parameters {
        use super::*;

        /// Lends the values or the gradient of a parameter.
        ///
        /// # Safety
        /// As keros.h tells of [`value`].
        unsafe fn lend(
            run: *const keros_run,
            of: Of,
            index: u64,
            out: *mut keros_tensor,
        ) -> keros_status {
            // SAFETY: keros.h asks for the host's run and room for a tensor.
            unsafe {
                lending(run, |loans, cx| {
                    let at = usize::try_from(index).unwrap_or(usize::MAX);
                    let Some(param) = cx.params().get(at) else {
                        return Ok(KEROS_E_ARG);
                    };
                    let loan = loans.array(of, index);
                    loan.describe(&param.shape);
                    match of {
                        Of::Gradient => cx.read_gradient(at, &mut loan.values)?,
                        _ => cx.read_param(at, &mut loan.values)?,
                    }
                    answer(out, loan.tensor())
                })
            }
        }

        pub(crate) unsafe extern "C" fn count(
            run: *const keros_run,
            out: *mut u64,
        ) -> keros_status {
            // SAFETY: keros.h asks for the host's run and room for a number.
            unsafe { lending(run, |_, cx| answer(out, cx.params().len() as u64)) }
        }

        pub(crate) unsafe extern "C" fn describe(
            run: *const keros_run,
            index: u64,
            out: *mut keros_array,
        ) -> keros_status {
            // SAFETY: keros.h asks for the host's run and a struct of the size it tells.
            unsafe {
                lending(run, |loans, cx| {
                    let at = usize::try_from(index).unwrap_or(usize::MAX);
                    let Some(param) = cx.params().get(at) else {
                        return Ok(KEROS_E_ARG);
                    };
                    let loan = loans.array(Of::Description, index);
                    loan.describe(&param.shape);
                    param.name.clone_into(&mut loan.name);
                    let flags = if param.trainable {
                        KEROS_ARRAY_TRAINABLE
                    } else {
                        0
                    };
                    describe_array(out, loan, flags)
                })
            }
        }

        pub(crate) unsafe extern "C" fn value(
            run: *const keros_run,
            index: u64,
            out: *mut keros_tensor,
        ) -> keros_status {
            // SAFETY: the same is asked of us.
            unsafe { lend(run, Of::Value, index, out) }
        }

        pub(crate) unsafe extern "C" fn gradient(
            run: *const keros_run,
            index: u64,
            out: *mut keros_tensor,
        ) -> keros_status {
            // SAFETY: the same is asked of us.
            unsafe { lend(run, Of::Gradient, index, out) }
        }

        pub(crate) unsafe extern "C" fn assign(
            run: *const keros_run,
            index: u64,
            tensor: *const keros_tensor,
        ) -> keros_status {
            // SAFETY: keros.h asks for the host's run and a tensor of the plugin.
            unsafe {
                lending(run, |_, cx| {
                    let at = usize::try_from(index).unwrap_or(usize::MAX);
                    let shape = cx.params().get(at).map(|param| param.shape.as_slice());
                    let Some(values) = shape.and_then(|shape| values(tensor, shape)) else {
                        return Ok(KEROS_E_ARG);
                    };
                    cx.write_param(at, values).map(|()| KEROS_OK)
                })
            }
        }
    }

    pub(super) mod keros_inputs {
        use super::*;

        pub(crate) unsafe extern "C" fn count(
            run: *const keros_run,
            out: *mut u64,
        ) -> keros_status {
            // SAFETY: keros.h asks for the host's run and room for a number.
            unsafe { lending(run, |_, cx| answer(out, cx.inputs().len() as u64)) }
        }

        pub(crate) unsafe extern "C" fn describe(
            run: *const keros_run,
            index: u64,
            out: *mut keros_array,
        ) -> keros_status {
            // SAFETY: keros.h asks for the host's run and a struct of the size it tells.
            unsafe {
                lending(run, |loans, cx| {
                    let inputs = cx.inputs();
                    let at = usize::try_from(index).unwrap_or(usize::MAX);
                    let Some(input) = inputs.get(at) else {
                        return Ok(KEROS_E_ARG);
                    };
                    let loan = loans.array(Of::InputDescription, index);
                    loan.describe(&input.shape);
                    input.name.clone_into(&mut loan.name);
                    describe_array(out, loan, 0)
                })
            }
        }

        pub(crate) unsafe extern "C" fn value(
            run: *const keros_run,
            index: u64,
            out: *mut keros_tensor,
        ) -> keros_status {
            // SAFETY: keros.h asks for the host's run and room for a tensor.
            unsafe {
                lending(run, |loans, cx| {
                    let inputs = cx.inputs();
                    let at = usize::try_from(index).unwrap_or(usize::MAX);
                    let Some(input) = inputs.get(at) else {
                        return Ok(KEROS_E_ARG);
                    };
                    let loan = loans.array(Of::Input, index);
                    loan.describe(&input.shape);
                    cx.read_input(at, &mut loan.values)?;
                    answer(out, loan.tensor())
                })
            }
        }
    }

    pub(super) mod keros_checkpoint {
        use super::*;

        pub(crate) unsafe extern "C" fn save_weights(
            run: *const keros_run,
            path: keros_str,
        ) -> keros_status {
            // SAFETY: keros.h asks for the host's run and a readable path.
            unsafe { with_path(run, path, |path, _, cx| cx.save_weights(path)) }
        }

        pub(crate) unsafe extern "C" fn load_weights(
            run: *const keros_run,
            path: keros_str,
        ) -> keros_status {
            // SAFETY: keros.h asks for the host's run and a readable path.
            unsafe { with_path(run, path, |path, _, cx| cx.load_weights(path)) }
        }

        pub(crate) unsafe extern "C" fn save_model(
            run: *const keros_run,
            path: keros_str,
        ) -> keros_status {
            // SAFETY: keros.h asks for the host's run and a readable path.
            unsafe { with_path(run, path, |path, _, cx| cx.save_model(path)) }
        }

        pub(crate) unsafe extern "C" fn write(
            run: *const keros_run,
            path: keros_str,
        ) -> keros_status {
            // SAFETY: keros.h asks for the host's run and a readable path.
            unsafe {
                with_path(run, path, |path, loans, _| {
                    loans.checkpoints.push(path.to_owned());
                    Ok(())
                })
            }
        }

        pub(crate) unsafe extern "C" fn resume(
            run: *const keros_run,
            path: keros_str,
        ) -> keros_status {
            // SAFETY: keros.h asks for the host's run and a readable path.
            unsafe {
                with_path(run, path, |path, loans, _| {
                    loans.resume.get_or_insert_with(|| path.to_owned());
                    Ok(())
                })
            }
        }
    }

    pub(super) mod keros_queue {
        use super::*;

        pub(crate) unsafe extern "C" fn stats(
            run: *const keros_run,
            out: *mut keros_queue_stats,
        ) -> keros_status {
            // SAFETY: keros.h asks for the host's run and a struct of the size it tells.
            unsafe {
                lending(run, |_, cx| {
                    let out = match out.as_mut() {
                        Some(out) if out.struct_size as usize >= size_of::<keros_queue_stats>() => {
                            out
                        }
                        _ => return Ok(KEROS_E_ARG),
                    };
                    let Some(queue) = cx.queue() else {
                        return Ok(KEROS_E_NOT_FOUND);
                    };
                    let nanoseconds = |time: std::time::Duration| {
                        u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
                    };
                    out.reserved = 0;
                    out.ready = queue.ready;
                    out.capacity = queue.capacity;
                    out.delivered = queue.delivered;
                    out.consumer_wait_ns = nanoseconds(queue.consumer_wait);
                    out.producer_wait_ns = nanoseconds(queue.producer_wait);
                    Ok(KEROS_OK)
                })
            }
        }
    }

    pub(super) mod keros_requests {
        use super::*;

        pub(crate) unsafe extern "C" fn stop(
            host: *const keros_host,
            reason: keros_str,
        ) -> keros_status {
            // SAFETY: keros.h asks for the host of a living instance and a readable text.
            unsafe {
                match text(reason) {
                    None => KEROS_E_ARG,
                    Some(reason) => request(host, |requests| requests.stop(reason)),
                }
            }
        }

        pub(crate) unsafe extern "C" fn save(
            host: *const keros_host,
            view: keros_str,
        ) -> keros_status {
            // SAFETY: keros.h asks for the host of a living instance and a readable path.
            unsafe {
                match path(view) {
                    None => KEROS_E_ARG,
                    Some(path) => request(host, |requests| requests.save(path)),
                }
            }
        }
    }
}
