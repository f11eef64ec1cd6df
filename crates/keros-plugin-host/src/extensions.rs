//! The host's extensions of keros.h: the tables, and their functions over a [`Context`].
//!
//! What is lent to the plugin lives in [`Loans`] until the event is over, and the memory is used again
//! by the next one.

mod functions;

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
            match bridge.with_loans(|loans| what(loans, cx)) {
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
/// A possible view is readable.
unsafe fn with_path(
    view: keros_str,
    what: impl FnOnce(&Path) -> Result<(), BoxError>,
) -> Result<keros_status, BoxError> {
    // SAFETY: the caller's promise.
    match unsafe { path(view) } {
        None => Ok(KEROS_E_ARG),
        Some(path) => what(path).map(|()| KEROS_OK),
    }
}

/// An index of keros.h as one of ours; what has no room is beyond every end.
fn place(index: u64) -> usize {
    usize::try_from(index).unwrap_or(usize::MAX)
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
