//! The host's side of keros.h: what a plugin's calls reach, and when.
//!
//! A plugin may keep the pointers it gets and call at the wrong time or from the wrong thread. It then
//! gets a status: nothing of an event is touched unless the caller is the thread that is inside it.

use crate::extensions::{self, Loans};
use keros_abi::{
    KEROS_ABI_MINOR, KEROS_BOOL, KEROS_E_ARG, KEROS_E_NOT_FOUND, KEROS_E_OTHER, KEROS_E_PANIC,
    KEROS_E_STATE, KEROS_E_THREAD, KEROS_ERROR, KEROS_F64, KEROS_I64, KEROS_INFO, KEROS_OK,
    KEROS_RUN_VALIDATION, KEROS_TEXT, KEROS_TEXT_MAX, KEROS_UNKNOWN, KEROS_WARNING, keros_host,
    keros_log, keros_logs, keros_run, keros_run_info, keros_status, keros_str, keros_value,
    keros_value_as,
};
use keros_callbacks::{BoxError, Context, Level, LogValue, Requests};
use std::any::Any;
use std::cell::Cell;
use std::ffi::c_void;
use std::mem::{offset_of, size_of};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Messages that may wait for the next event.
const MESSAGES_MAX: usize = 1024;

/// What a plugin left behind in a call; mostly nothing.
#[derive(Default)]
pub(crate) struct Left {
    /// Its last [`keros_host::fail`].
    pub(crate) reason: Option<String>,
    /// The failure of the training it was told of by a status.
    pub(crate) cause: Option<BoxError>,
    /// A panic of the training, caught on its way through the plugin.
    pub(crate) panic: Option<Box<dyn Any + Send>>,
    /// Checkpoints it has asked for.
    pub(crate) checkpoints: Vec<PathBuf>,
    /// The checkpoint it wants to go on from.
    pub(crate) resume: Option<PathBuf>,
}

/// The host of one instance.
#[repr(C)]
pub(crate) struct Bridge {
    /// First, so that a pointer to it is one to the bridge.
    host: keros_host,
    run: keros_run,
    /// Mark of the thread that is inside `create` or an event; 0 if there is none.
    owner: AtomicUsize,

    // For the owner only.
    /// The context of the event; null outside of events.
    cx: Cell<*mut c_void>,
    left: Cell<Option<Box<Left>>>,
    logs: Cell<Vec<keros_log>>,
    metrics: Cell<Vec<keros_str>>,
    loans: Cell<Loans>,
    /// Whether anything is lent.
    lent: Cell<bool>,
    /// The run of the last event, to see whether it is another one now.
    bound: Cell<Option<Requests>>,

    // For every thread.
    waiting: AtomicBool,
    messages: Mutex<Vec<(Level, String)>>,
    requests: Mutex<Option<Requests>>,
}

thread_local! {
    static MARK: u8 = const { 0 };
}

/// A number no other living thread has, never 0.
fn mark() -> usize {
    MARK.with(|mark| ptr::from_ref(mark).addr())
}

impl Bridge {
    pub(crate) fn new() -> Bridge {
        Bridge {
            host: keros_host {
                struct_size: size_of::<keros_host>() as u32,
                abi_minor: KEROS_ABI_MINOR,
                name: keros_str::new("keros"),
                version: keros_str::new(env!("CARGO_PKG_VERSION")),
                extension: Some(extension),
                message: Some(message),
                fail: Some(fail),
            },
            run: keros_run {
                struct_size: size_of::<keros_run>() as u32,
                reserved: 0,
                info: Some(info),
                logs: Some(logs),
                log: Some(log),
                set_log: Some(set_log),
                learning_rate: Some(learning_rate),
                data_wait_ns: Some(data_wait_ns),
            },
            owner: AtomicUsize::new(0),
            cx: Cell::new(ptr::null_mut()),
            left: Cell::default(),
            logs: Cell::default(),
            metrics: Cell::default(),
            loans: Cell::default(),
            lent: Cell::new(false),
            bound: Cell::new(None),
            waiting: AtomicBool::new(false),
            messages: Mutex::default(),
            requests: Mutex::new(None),
        }
    }

    /// What the plugin gets as its host.
    pub(crate) fn host(this: *const Bridge) -> *const keros_host {
        this.cast()
    }

    /// What the plugin gets as the run of an event.
    pub(crate) fn run(this: *const Bridge) -> *const keros_run {
        this.wrapping_byte_add(offset_of!(Bridge, run)).cast()
    }

    /// Calls into the plugin, with `cx` within its reach if it is an event.
    pub(crate) fn during(
        &self,
        cx: Option<&mut Context<'_>>,
        call: impl FnOnce() -> keros_status,
    ) -> (keros_status, Option<Box<Left>>) {
        if let Some(cx) = &cx {
            self.bind(cx);
        }
        self.cx
            .set(cx.map_or(ptr::null_mut(), |cx| ptr::from_mut(cx).cast()));
        self.owner.store(mark(), Ordering::Relaxed);
        let status = call();
        self.owner.store(0, Ordering::Relaxed);
        self.cx.set(ptr::null_mut());
        if self.lent.replace(false) {
            self.take_back();
        }
        (status, self.left.take())
    }

    /// Makes the run of an event the one that requests go to.
    fn bind(&self, cx: &Context<'_>) {
        let bound = self.bound.take();
        let now = cx.requests().ok();
        let same = match (&bound, now) {
            (Some(bound), Some(now)) => bound.same_run(now),
            (None, None) => true,
            _ => false,
        };
        if same {
            self.bound.set(bound);
            return;
        }
        let now = now.cloned();
        *self.requests.lock().unwrap_or_else(PoisonError::into_inner) = now.clone();
        self.bound.set(now);
    }

    /// Where requests go, if an event of a run has come.
    pub(crate) fn requests(&self) -> Option<Requests> {
        let requests = self.requests.lock();
        requests.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Does something with what was lent, to lend more; for the owner.
    pub(crate) fn with_loans<T>(&self, what: impl FnOnce(&mut Loans) -> T) -> T {
        /// Puts them back, also if the training panics: the plugin goes on in its event with all it was lent.
        struct AtHand<'b> {
            place: &'b Cell<Loans>,
            loans: Loans,
        }
        impl Drop for AtHand<'_> {
            fn drop(&mut self) {
                self.place.set(std::mem::take(&mut self.loans));
            }
        }
        self.lent.set(true);
        let mut at_hand = AtHand {
            place: &self.loans,
            loans: self.loans.take(),
        };
        what(&mut at_hand.loans)
    }

    /// Ends what was lent, and keeps what was asked for along with it.
    fn take_back(&self) {
        let mut loans = self.loans.take();
        if !loans.checkpoints.is_empty() || loans.resume.is_some() {
            self.leave(|left| {
                left.checkpoints = std::mem::take(&mut loans.checkpoints);
                left.resume = loans.resume.take();
            });
        }
        loans.end();
        self.loans.set(loans);
    }

    /// Whether the calling thread is inside an event.
    pub(crate) fn is_in_event(&self) -> bool {
        // The context is read by its owner only.
        self.is_owner() && !self.cx.get().is_null()
    }

    /// Hands on the messages that wait.
    pub(crate) fn deliver(&self, cx: &mut Context<'_>) {
        if !self.waiting.load(Ordering::Acquire) {
            return;
        }
        let messages = {
            let mut messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
            self.waiting.store(false, Ordering::Release);
            std::mem::take(&mut *messages)
        };
        for (level, text) in messages {
            cx.message(level, text);
        }
    }

    fn is_owner(&self) -> bool {
        self.owner.load(Ordering::Relaxed) == mark()
    }

    /// Changes what the plugin leaves behind; for the owner.
    fn leave(&self, change: impl FnOnce(&mut Left)) {
        let mut left = self.left.take().unwrap_or_default();
        change(&mut left);
        self.left.set(Some(left));
    }
}

/// The bridge of a host.
///
/// # Safety
/// `host` is null or what [`Bridge::host`] gave, and the bridge lives for `'a`.
pub(crate) unsafe fn of_host<'a>(host: *const keros_host) -> Option<&'a Bridge> {
    // SAFETY: the host is the first field; the rest is the caller's promise.
    unsafe { host.cast::<Bridge>().as_ref() }
}

/// Does what the thread inside the event may do.
///
/// # Safety
/// `run` is null or what [`Bridge::run`] gave, and the bridge lives.
pub(crate) unsafe fn inside(
    run: *const keros_run,
    what: impl FnOnce(&Bridge, &mut Context<'_>) -> keros_status,
) -> keros_status {
    if run.is_null() {
        return KEROS_E_ARG;
    }
    let bridge = run
        .wrapping_byte_sub(offset_of!(Bridge, run))
        .cast::<Bridge>();
    // SAFETY: the run is that field of a living bridge.
    let bridge = unsafe { &*bridge };
    match bridge.owner.load(Ordering::Relaxed) {
        0 => return KEROS_E_STATE,
        owner if owner != mark() => return KEROS_E_THREAD,
        _ => {}
    }
    let cx = bridge.cx.get().cast::<Context<'_>>();
    // SAFETY: this thread set it in `during`, which waits for the plugin and lends it to nobody else;
    // the plugin calls one function at a time.
    let Some(cx) = (unsafe { cx.as_mut() }) else {
        return KEROS_E_STATE;
    };
    match catch_unwind(AssertUnwindSafe(|| what(bridge, cx))) {
        Ok(status) => status,
        Err(panic) => {
            bridge.leave(|left| left.panic = Some(panic));
            KEROS_E_PANIC
        }
    }
}

/// Reports a failure of the training by status, and keeps it.
pub(crate) fn failed(bridge: &Bridge, cause: BoxError) -> keros_status {
    bridge.with_loans(|loans| loans.failed(&cause));
    bridge.leave(|left| left.cause = Some(cause));
    KEROS_E_OTHER
}

/// A text of the plugin that is not too long.
///
/// # Safety
/// A possible view is readable for `'a`.
pub(crate) unsafe fn text<'a>(view: keros_str) -> Option<&'a str> {
    if view.len > KEROS_TEXT_MAX {
        return None;
    }
    // SAFETY: the caller's promise.
    unsafe { view.text() }
}

/// A log value as the plugin sees it, while the value lives; `None` for a kind keros.h lacks.
pub(crate) fn told(value: &LogValue) -> Option<keros_value> {
    let (kind, content) = match value {
        LogValue::Float(value) => (KEROS_F64, keros_value_as { f: *value }),
        LogValue::Integer(value) => (KEROS_I64, keros_value_as { i: *value }),
        LogValue::Bool(value) => (KEROS_BOOL, keros_value_as { i: (*value).into() }),
        LogValue::Text(value) => {
            let s = keros_str::new(value);
            (KEROS_TEXT, keros_value_as { s })
        }
        _ => return None,
    };
    Some(keros_value {
        kind,
        reserved: 0,
        r#as: content,
    })
}

/// [`keros_run::info`].
unsafe extern "C" fn info(run: *const keros_run, out: *mut keros_run_info) -> keros_status {
    // SAFETY: keros.h asks for the host's run, and for a struct of the size it tells.
    unsafe {
        inside(run, |bridge, cx| {
            let out = match out.as_mut() {
                Some(out) if out.struct_size as usize >= size_of::<keros_run_info>() => out,
                _ => return KEROS_E_ARG,
            };
            let info = cx.info();
            let mut metrics = bridge.metrics.take();
            metrics.clear();
            metrics.extend(info.metrics.iter().map(|name| keros_str::new(name)));
            out.flags = if info.validation {
                KEROS_RUN_VALIDATION
            } else {
                0
            };
            out.epochs = info.epochs;
            out.initial_epoch = info.initial_epoch;
            out.steps = info.steps.unwrap_or(KEROS_UNKNOWN);
            (out.metrics, out.metric_count) = array(&metrics);
            bridge.metrics.set(metrics);
            KEROS_OK
        })
    }
}

/// [`keros_run::logs`].
unsafe extern "C" fn logs(run: *const keros_run, out: *mut keros_logs) -> keros_status {
    // SAFETY: keros.h asks for the host's run, and for a struct of the size it tells.
    unsafe {
        inside(run, |bridge, cx| {
            // Before anything is computed.
            if !put(out, &[]) {
                return KEROS_E_ARG;
            }
            let logs = match cx.logs() {
                Ok(logs) => logs,
                Err(cause) => return failed(bridge, cause),
            };
            let mut items = bridge.logs.take();
            items.clear();
            items.reserve(logs.len());
            for (key, value) in logs.iter() {
                if let Some(value) = told(value) {
                    let key = keros_str::new(key);
                    items.push(keros_log { key, value });
                }
            }
            put(out, &items);
            bridge.logs.set(items);
            KEROS_OK
        })
    }
}

/// Fills `out` with items that live as long as keros.h says; `false` if it is null or too small.
///
/// # Safety
/// `out` is null or a struct of the size it tells.
pub(crate) unsafe fn put(out: *mut keros_logs, items: &[keros_log]) -> bool {
    // SAFETY: the caller's promise.
    match unsafe { out.as_mut() } {
        Some(out) if out.struct_size as usize >= size_of::<keros_logs>() => {
            out.stride = size_of::<keros_log>() as u32;
            (out.items, out.count) = array(items);
            true
        }
        _ => false,
    }
}

/// The first item, null if there is none, and the number of items.
pub(crate) fn array<T>(items: &[T]) -> (*const T, u64) {
    if items.is_empty() {
        (ptr::null(), 0)
    } else {
        (items.as_ptr(), items.len() as u64)
    }
}

/// [`keros_run::log`].
unsafe extern "C" fn log(
    run: *const keros_run,
    key: keros_str,
    out: *mut keros_value,
) -> keros_status {
    // SAFETY: keros.h asks for the host's run, a readable key and room for a value.
    unsafe {
        inside(run, |bridge, cx| {
            let (Some(key), Some(out)) = (text(key), out.as_mut()) else {
                return KEROS_E_ARG;
            };
            match cx.logs() {
                Ok(logs) => match logs.get(key).and_then(told) {
                    Some(value) => {
                        *out = value;
                        KEROS_OK
                    }
                    None => KEROS_E_NOT_FOUND,
                },
                Err(cause) => failed(bridge, cause),
            }
        })
    }
}

/// [`keros_run::set_log`].
unsafe extern "C" fn set_log(
    run: *const keros_run,
    key: keros_str,
    value: *const keros_value,
) -> keros_status {
    // SAFETY: keros.h asks for the host's run, a readable key and a value whose kind tells its member.
    unsafe {
        inside(run, |bridge, cx| {
            let (Some(key), Some(value)) = (text(key), value.as_ref()) else {
                return KEROS_E_ARG;
            };
            if key.is_empty() || value.reserved != 0 {
                return KEROS_E_ARG;
            }
            let value = match value.kind {
                KEROS_F64 => LogValue::Float(value.r#as.f),
                KEROS_I64 => LogValue::Integer(value.r#as.i),
                KEROS_BOOL if value.r#as.i == 0 => LogValue::Bool(false),
                KEROS_BOOL if value.r#as.i == 1 => LogValue::Bool(true),
                KEROS_TEXT => match text(value.r#as.s) {
                    Some(text) => LogValue::Text(text.to_owned()),
                    None => return KEROS_E_ARG,
                },
                _ => return KEROS_E_ARG,
            };
            match cx.set_log(key, value) {
                Ok(()) => KEROS_OK,
                Err(cause) => failed(bridge, cause),
            }
        })
    }
}

/// [`keros_run::learning_rate`].
unsafe extern "C" fn learning_rate(run: *const keros_run, out: *mut f64) -> keros_status {
    // SAFETY: keros.h asks for the host's run and room for a number.
    unsafe {
        inside(run, |_, cx| match (out.as_mut(), cx.learning_rate()) {
            (None, _) => KEROS_E_ARG,
            (_, None) => KEROS_E_NOT_FOUND,
            (Some(out), Some(rate)) => {
                *out = rate;
                KEROS_OK
            }
        })
    }
}

/// [`keros_run::data_wait_ns`].
unsafe extern "C" fn data_wait_ns(run: *const keros_run, out: *mut u64) -> keros_status {
    // SAFETY: keros.h asks for the host's run and room for a number.
    unsafe {
        inside(run, |_, cx| match out.as_mut() {
            None => KEROS_E_ARG,
            Some(out) => {
                *out = u64::try_from(cx.data_wait().as_nanos()).unwrap_or(u64::MAX);
                KEROS_OK
            }
        })
    }
}

/// [`keros_host::extension`].
unsafe extern "C" fn extension(host: *const keros_host, id: keros_str) -> *const c_void {
    // SAFETY: keros.h asks for a readable text.
    match unsafe { text(id) } {
        Some(id) if !host.is_null() => extensions::find(id),
        _ => ptr::null(),
    }
}

/// [`keros_host::message`].
unsafe extern "C" fn message(
    host: *const keros_host,
    level: u32,
    words: keros_str,
) -> keros_status {
    let level = match level {
        KEROS_INFO => Level::Info,
        KEROS_WARNING => Level::Warning,
        KEROS_ERROR => Level::Error,
        _ => return KEROS_E_ARG,
    };
    // SAFETY: keros.h asks for the host of a living instance and a readable text.
    let (bridge, words) = unsafe { (of_host(host), text(words)) };
    let (Some(bridge), Some(words)) = (bridge, words.filter(|words| !words.is_empty())) else {
        return KEROS_E_ARG;
    };
    let mut messages = bridge
        .messages
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    if messages.len() >= MESSAGES_MAX {
        return KEROS_E_STATE;
    }
    messages.push((level, words.to_owned()));
    bridge.waiting.store(true, Ordering::Release);
    KEROS_OK
}

/// [`keros_host::fail`].
unsafe extern "C" fn fail(host: *const keros_host, words: keros_str) {
    // SAFETY: keros.h asks for the host of a living instance.
    let Some(bridge) = (unsafe { of_host(host) }) else {
        return;
    };
    if !bridge.is_owner() {
        return;
    }
    let some = keros_str {
        len: words.len.min(KEROS_TEXT_MAX),
        ..words
    };
    // SAFETY: keros.h asks for a readable text; a part of it is one too.
    if let Some(bytes) = unsafe { some.bytes() } {
        // Words for people: better with a few replaced letters than not at all.
        let words = String::from_utf8_lossy(bytes).into_owned();
        bridge.leave(|left| left.reason = Some(words));
    }
}
