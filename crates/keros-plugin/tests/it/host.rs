//! A host as keros.h describes it, as simple as can be, that writes down what it is asked.

use keros_abi::*;
use std::cell::RefCell;
use std::ffi::c_void;
use std::mem::{offset_of, size_of};
use std::ptr;

/// What the plugin did, in words.
#[derive(Default)]
pub(crate) struct Notes {
    pub(crate) calls: Vec<String>,
    pub(crate) failure: Option<String>,
    /// Name and value.
    pub(crate) logs: Vec<(&'static str, f64)>,
    /// What the functions of the run answer.
    pub(crate) status: keros_status,
}

/// A later version of a log, so that its distance is not its size here.
#[repr(C)]
struct LaterLog {
    log: keros_log,
    later: u64,
}

/// Host and run in one, so that both lead to the notes.
#[repr(C)]
pub(crate) struct Host {
    pub(crate) host: keros_host,
    pub(crate) run: keros_run,
    items: RefCell<Vec<LaterLog>>,
    metrics: [keros_str; 2],
    notes: RefCell<Notes>,
}

impl Host {
    pub(crate) fn new() -> Box<Host> {
        Box::new(Host {
            host: keros_host {
                struct_size: size_of::<keros_host>() as u32,
                abi_minor: KEROS_ABI_MINOR,
                name: keros_str::new("test"),
                version: keros_str::new("1"),
                extension: None,
                message: Some(message),
                fail: Some(fail),
            },
            run: keros_run {
                struct_size: size_of::<keros_run>() as u32,
                reserved: 0,
                info: Some(info),
                logs: Some(logs),
                log: None,
                set_log: Some(set_log),
                learning_rate: Some(learning_rate),
                data_wait_ns: Some(data_wait_ns),
            },
            items: RefCell::default(),
            metrics: [keros_str::new("loss"), keros_str::new("accuracy")],
            notes: RefCell::default(),
        })
    }

    pub(crate) fn notes(&self) -> std::cell::RefMut<'_, Notes> {
        self.notes.borrow_mut()
    }

    pub(crate) fn take_calls(&self) -> Vec<String> {
        std::mem::take(&mut self.notes().calls)
    }

    pub(crate) fn failure(&self) -> Option<String> {
        self.notes().failure.take()
    }

    /// Creates an instance, or tells status and reason.
    pub(crate) fn create(
        &self,
        module: &keros_plugin_module,
        config: &str,
    ) -> Result<Instance<'_>, (keros_status, String)> {
        let mut out = keros_callback {
            struct_size: size_of::<keros_callback>() as u32,
            reserved: 0,
            events: 0,
            instance: ptr::null_mut(),
            on_event: None,
            destroy: None,
            extension: None,
        };
        // SAFETY: as keros.h asks; the host outlives the instance by its lifetime.
        let status = unsafe {
            module.create.unwrap()(ptr::from_ref(self).cast(), keros_str::new(config), &mut out)
        };
        if status == KEROS_OK {
            Ok(Instance {
                host: self,
                callback: out,
            })
        } else {
            Err((status, self.failure().unwrap_or_default()))
        }
    }
}

pub(crate) struct Instance<'a> {
    pub(crate) host: &'a Host,
    pub(crate) callback: keros_callback,
}

impl Instance<'_> {
    /// Sends an event with numbers that can be told apart.
    pub(crate) fn send(&self, kind: u32) -> (keros_status, keros_decision) {
        self.send_sized(kind, size_of::<keros_event>())
    }

    pub(crate) fn send_sized(&self, kind: u32, size: usize) -> (keros_status, keros_decision) {
        let host = ptr::from_ref(self.host);
        let event = keros_event {
            struct_size: size as u32,
            kind,
            epoch: 1,
            batch: 2,
            step: 3,
            samples: 4,
            flags: KEROS_EVENT_NESTED,
            run: host.wrapping_byte_add(offset_of!(Host, run)).cast(),
        };
        let mut decision = keros_decision {
            struct_size: size_of::<keros_decision>() as u32,
            actions: 0,
            learning_rate: 0.0,
            reason: keros_str::EMPTY,
        };
        // SAFETY: as keros.h asks.
        let status = unsafe {
            self.callback.on_event.unwrap()(self.callback.instance, &event, &mut decision)
        };
        (status, decision)
    }
}

impl Drop for Instance<'_> {
    fn drop(&mut self) {
        // SAFETY: the last call, once.
        unsafe { self.callback.destroy.unwrap()(self.callback.instance) }
    }
}

/// # Safety
/// `run` is that of a living [`Host`].
unsafe fn of_run<'a>(run: *const keros_run) -> &'a Host {
    // SAFETY: the run is that field.
    unsafe { &*run.wrapping_byte_sub(offset_of!(Host, run)).cast::<Host>() }
}

unsafe extern "C" fn message(
    host: *const keros_host,
    level: u32,
    words: keros_str,
) -> keros_status {
    // SAFETY: the host is the first field; the text is readable.
    let (host, words) = unsafe { (&*host.cast::<Host>(), words.text().unwrap()) };
    host.notes().calls.push(format!("message {level}: {words}"));
    KEROS_OK
}

unsafe extern "C" fn fail(host: *const keros_host, words: keros_str) {
    // SAFETY: the host is the first field; the text is readable.
    let (host, words) = unsafe { (&*host.cast::<Host>(), words.text().unwrap()) };
    host.notes().failure = Some(words.to_owned());
}

unsafe extern "C" fn info(run: *const keros_run, out: *mut keros_run_info) -> keros_status {
    // SAFETY: as keros.h asks.
    let (host, out) = unsafe { (of_run(run), &mut *out) };
    host.notes().calls.push("info".to_owned());
    out.flags = KEROS_RUN_VALIDATION | 1 << 31;
    out.epochs = 5;
    out.initial_epoch = 1;
    out.steps = KEROS_UNKNOWN;
    out.metrics = host.metrics.as_ptr();
    out.metric_count = host.metrics.len() as u64;
    host.notes().status
}

unsafe extern "C" fn logs(run: *const keros_run, out: *mut keros_logs) -> keros_status {
    // SAFETY: as keros.h asks.
    let (host, out) = unsafe { (of_run(run), &mut *out) };
    let mut notes = host.notes();
    notes.calls.push("logs".to_owned());
    let mut items = host.items.borrow_mut();
    items.clear();
    items.extend(notes.logs.iter().map(|(key, value)| LaterLog {
        log: keros_log {
            key: keros_str::new(key),
            value: keros_value {
                // A kind of a later version, to be passed over.
                kind: if value.is_nan() { 99 } else { KEROS_F64 },
                reserved: 0,
                r#as: keros_value_as { f: *value },
            },
        },
        later: u64::MAX,
    }));
    out.items = items.as_ptr().cast();
    out.count = items.len() as u64;
    out.stride = size_of::<LaterLog>() as u32;
    notes.status
}

unsafe extern "C" fn set_log(
    run: *const keros_run,
    key: keros_str,
    value: *const keros_value,
) -> keros_status {
    // SAFETY: as keros.h asks.
    let (host, key, value) = unsafe { (of_run(run), key.text().unwrap(), &*value) };
    assert_eq!(value.reserved, 0);
    // SAFETY: the kind tells the member.
    let words = unsafe {
        match value.kind {
            KEROS_F64 => format!("f64 {}", value.r#as.f),
            KEROS_I64 => format!("i64 {}", value.r#as.i),
            KEROS_BOOL => format!("bool {}", value.r#as.i),
            _ => format!("text {}", value.r#as.s.text().unwrap()),
        }
    };
    host.notes().calls.push(format!("set {key} = {words}"));
    host.notes().status
}

unsafe extern "C" fn learning_rate(run: *const keros_run, out: *mut f64) -> keros_status {
    // SAFETY: as keros.h asks.
    let (host, out) = unsafe { (of_run(run), &mut *out) };
    host.notes().calls.push("learning_rate".to_owned());
    *out = 0.25;
    host.notes().status
}

unsafe extern "C" fn data_wait_ns(run: *const keros_run, out: *mut u64) -> keros_status {
    // SAFETY: as keros.h asks.
    let (host, out) = unsafe { (of_run(run), &mut *out) };
    host.notes().calls.push("data_wait".to_owned());
    *out = 1_500_000_000;
    host.notes().status
}

/// What an extension lookup of the instance gives.
pub(crate) fn extension(instance: &Instance<'_>, id: &str) -> *const c_void {
    match instance.callback.extension {
        // SAFETY: as keros.h asks.
        Some(function) => unsafe { function(instance.callback.instance, keros_str::new(id)) },
        None => ptr::null(),
    }
}
