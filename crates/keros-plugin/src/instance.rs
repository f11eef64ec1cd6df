//! One instance of a plugin's callback: the functions the host calls, and the wall no panic passes.

use crate::extensions::{Extensions, HostRequests};
use crate::host::Host;
use crate::run::{HostRun, RunPtr};
use keros_abi::{
    KEROS_E_ARG, KEROS_E_IO, KEROS_E_NOT_FOUND, KEROS_E_OTHER, KEROS_E_PANIC, KEROS_E_UNSUPPORTED,
    KEROS_ERROR, KEROS_EVENT_NESTED, KEROS_EXT_MESSAGES, KEROS_EXT_STATE, KEROS_INFO, KEROS_OK,
    KEROS_SET_LEARNING_RATE, KEROS_SKIP_BATCH, KEROS_STOP, KEROS_STOP_EPOCH, KEROS_WARNING,
    keros_callback, keros_decision, keros_event, keros_messages, keros_sink, keros_state,
    keros_status, keros_str,
};
use keros_callbacks::{
    BoxError, Callback, Context, Decision, Event, EventKind, Level, Logs, Message, Requests,
    RunError, RunInfo,
};
use std::any::Any;
use std::ffi::c_void;
use std::mem::size_of;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::Arc;

/// A status and the words for [`Host::fail`].
pub(crate) struct Failure {
    pub(crate) status: keros_status,
    pub(crate) text: String,
}

impl Failure {
    pub(crate) fn new(status: keros_status, text: impl Into<String>) -> Failure {
        Failure {
            status,
            text: text.into(),
        }
    }
}

impl From<BoxError> for Failure {
    fn from(error: BoxError) -> Failure {
        let status = if error.is::<std::io::Error>() {
            KEROS_E_IO
        } else if matches!(error.downcast_ref(), Some(RunError::Unsupported { .. })) {
            KEROS_E_UNSUPPORTED
        } else {
            KEROS_E_OTHER
        };
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            // Many errors tell their cause themselves.
            let told = cause.to_string();
            if !text.contains(&told) {
                text = format!("{text}: {told}");
            }
            source = cause.source();
        }
        Failure::new(status, text)
    }
}

/// Runs code of the author; a panic becomes a failure with its message.
pub(crate) fn guard<T>(code: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    // After a panic the instance is only destroyed, so nobody sees what it left half done.
    catch_unwind(AssertUnwindSafe(code)).unwrap_or_else(|payload| {
        let text = format!("panicked: {}", message_of(&*payload));
        // A payload may panic when dropped, outside of any guard.
        std::mem::forget(payload);
        Err(Failure::new(KEROS_E_PANIC, text))
    })
}

fn message_of(payload: &(dyn Any + Send)) -> &str {
    match payload.downcast_ref::<&str>() {
        Some(text) => text,
        None => payload
            .downcast_ref::<String>()
            .map_or("with a value that is not text", String::as_str),
    }
}

/// What [`keros_callback::instance`] points to.
pub(crate) struct Instance {
    callback: Box<dyn Callback + Send>,
    host: Host,
    extensions: Extensions,
    requests: Option<(Arc<HostRequests>, Requests)>,
    name: String,
    /// What it said when it panicked.
    panicked: Option<String>,
    /// Kept so that an event finds their memory: per kind of event, as each has its own names.
    logs: [Logs; EventKind::ALL.len()],
    info: RunInfo,
    messages: Vec<Message>,
    /// The host reads it after the event.
    reason: String,
}

impl Instance {
    /// Hands an instance of `callback` to the host: fills `out`.
    pub(crate) fn hand_over(
        callback: impl Callback + Send + 'static,
        host: Host,
        out: &mut keros_callback,
    ) {
        let events = callback.events().bits();
        let instance = Instance {
            name: callback.name().to_owned(),
            callback: Box::new(callback),
            host,
            extensions: Extensions::find(host),
            requests: HostRequests::find(host),
            panicked: None,
            logs: Default::default(),
            info: RunInfo::default(),
            messages: Vec::new(),
            reason: String::new(),
        };
        out.events = events;
        out.instance = Box::into_raw(Box::new(instance)).cast();
        out.on_event = Some(on_event);
        out.destroy = Some(destroy);
        out.extension = Some(extension);
    }

    /// Runs code of the author for the host, unless it has panicked before.
    fn run(&mut self, code: impl FnOnce(&mut Instance) -> Result<(), Failure>) -> keros_status {
        let result = match &self.panicked {
            Some(panicked) => Err(Failure::new(
                KEROS_E_PANIC,
                format!("gets no more events since it {panicked}"),
            )),
            None => guard(|| code(self)),
        };
        if !self.messages.is_empty() {
            for message in self.messages.drain(..) {
                self.host.message(message.level, &message.text);
            }
        }
        match result {
            Ok(()) => KEROS_OK,
            Err(failure) => {
                self.host.fail(&failure.text);
                if failure.status == KEROS_E_PANIC && self.panicked.is_none() {
                    self.panicked = Some(failure.text);
                }
                failure.status
            }
        }
    }

    fn handle(
        &mut self,
        event: &keros_event,
        run: RunPtr<'_>,
        out: &mut keros_decision,
    ) -> Result<(), Failure> {
        let kind = EventKind::from_number(event.kind).ok_or_else(|| {
            Failure::new(
                KEROS_E_UNSUPPORTED,
                format!("event kind {} is not one this plugin asked for", event.kind),
            )
        })?;
        let event = Event {
            kind,
            epoch: event.epoch,
            batch: event.batch,
            step: event.step,
            samples: event.samples,
            nested: event.flags & KEROS_EVENT_NESTED != 0,
        };
        let logs = &mut self.logs[kind as usize];
        let requests = self.requests.as_ref().map(|(_, requests)| requests);
        let extensions = self.extensions.of(run);
        let mut run = HostRun::new(run, extensions, requests, logs, &mut self.info);
        let mut cx = Context::new(&event, &mut run, &self.name, &mut self.messages);
        let answer = self.callback.on_event(&mut cx);
        if matches!(&answer, Ok(decision) if decision.is_continue()) {
            return Ok(());
        }
        let Decision {
            stop,
            stop_epoch,
            skip_batch,
            learning_rate,
            checkpoints,
            resume,
        } = answer?;
        for path in &checkpoints {
            extensions.write_checkpoint(path)?;
        }
        if let Some(path) = resume {
            extensions.resume(&path)?;
        }
        if let Some(reason) = stop {
            self.reason = reason;
            out.actions |= KEROS_STOP;
            out.reason = keros_str::new(&self.reason);
        }
        if stop_epoch {
            out.actions |= KEROS_STOP_EPOCH;
        }
        if skip_batch {
            out.actions |= KEROS_SKIP_BATCH;
        }
        if let Some(rate) = learning_rate {
            out.actions |= KEROS_SET_LEARNING_RATE;
            out.learning_rate = rate;
        }
        Ok(())
    }
}

/// [`keros_callback::on_event`].
unsafe extern "C" fn on_event(
    instance: *mut c_void,
    event: *const keros_event,
    decision: *mut keros_decision,
) -> keros_status {
    // SAFETY: null, or what `hand_over` gave and `destroy` has not ended; calls do not overlap.
    let Some(instance) = (unsafe { instance.cast::<Instance>().as_mut() }) else {
        return KEROS_E_ARG;
    };
    // SAFETY: null, or the host's memory, valid until we return.
    let (event, out) = unsafe { (event.as_ref(), decision.as_mut()) };
    // SAFETY: as the event itself, which is the one this thread is in.
    let run = event.and_then(|event| unsafe { RunPtr::new(event.run) });
    instance.run(|instance| match (event, run, out) {
        (Some(event), Some(run), Some(out))
            if event.struct_size as usize >= size_of::<keros_event>()
                && out.struct_size as usize >= size_of::<keros_decision>() =>
        {
            instance.handle(event, run, out)
        }
        _ => Err(Failure::new(
            KEROS_E_ARG,
            "the host passed a null pointer or a struct older than version 1.0",
        )),
    })
}

/// [`keros_callback::extension`].
unsafe extern "C" fn extension(_instance: *mut c_void, id: keros_str) -> *const c_void {
    static STATE: keros_state = keros_state {
        struct_size: size_of::<keros_state>() as u32,
        reserved: 0,
        save: Some(save_state),
        load: Some(load_state),
    };
    static MESSAGES: keros_messages = keros_messages {
        struct_size: size_of::<keros_messages>() as u32,
        reserved: 0,
        message: Some(on_message),
    };
    // SAFETY: keros.h asks for a readable text.
    match unsafe { id.text() } {
        Some(KEROS_EXT_STATE) => ptr::from_ref(&STATE).cast(),
        Some(KEROS_EXT_MESSAGES) => ptr::from_ref(&MESSAGES).cast(),
        _ => ptr::null(),
    }
}

/// [`keros_state::save`].
unsafe extern "C" fn save_state(instance: *mut c_void, sink: *const keros_sink) -> keros_status {
    // SAFETY: null, or what `hand_over` gave and `destroy` has not ended; calls do not overlap.
    let Some(instance) = (unsafe { instance.cast::<Instance>().as_mut() }) else {
        return KEROS_E_ARG;
    };
    let mut remembers = false;
    let status = instance.run(|instance| {
        let Some(state) = instance.callback.save_state()? else {
            return Ok(());
        };
        remembers = true;
        // SAFETY: null, or the host's memory, valid until we return.
        let sink_at = unsafe { sink.as_ref() };
        let write = sink_at.filter(|sink| sink.struct_size as usize >= size_of::<keros_sink>());
        let Some(write) = write.and_then(|sink| sink.write) else {
            return Err(Failure::new(KEROS_E_ARG, "the host passed no sink"));
        };
        // SAFETY: called inside the call that was given the sink; the bytes live during it.
        match unsafe { write(sink, state.as_ptr().cast(), state.len() as u64) } {
            KEROS_OK => Ok(()),
            status => Err(Failure::new(status, "the host did not take the state")),
        }
    });
    match status {
        KEROS_OK if !remembers => KEROS_E_NOT_FOUND,
        status => status,
    }
}

/// [`keros_state::load`].
unsafe extern "C" fn load_state(
    instance: *mut c_void,
    bytes: *const c_void,
    len: u64,
) -> keros_status {
    // SAFETY: null, or what `hand_over` gave and `destroy` has not ended; calls do not overlap.
    let Some(instance) = (unsafe { instance.cast::<Instance>().as_mut() }) else {
        return KEROS_E_ARG;
    };
    let ptr = bytes.cast();
    // SAFETY: the host's memory, valid until we return.
    let bytes = unsafe { keros_str { ptr, len }.bytes() };
    instance.run(|instance| match bytes {
        Some(bytes) => Ok(instance.callback.load_state(bytes)?),
        None => Err(Failure::new(KEROS_E_ARG, "the host passed no state")),
    })
}

/// [`keros_messages::message`].
unsafe extern "C" fn on_message(
    instance: *mut c_void,
    level: u32,
    source: keros_str,
    words: keros_str,
) {
    let level = match level {
        KEROS_INFO => Level::Info,
        KEROS_WARNING => Level::Warning,
        KEROS_ERROR => Level::Error,
        _ => return,
    };
    // SAFETY: null, or what `hand_over` gave and `destroy` has not ended; calls do not overlap.
    let instance = unsafe { instance.cast::<Instance>().as_mut() };
    // SAFETY: the texts are valid until we return.
    let texts = unsafe { (source.text(), words.text()) };
    if let (Some(instance), (Some(source), Some(text))) = (instance, texts) {
        let message = Message {
            level,
            source: source.to_owned(),
            text: text.to_owned(),
        };
        // A panic counts at the next event, which can report it.
        let _ = instance.run(|instance| {
            instance.callback.on_message(&message);
            Ok(())
        });
    }
}

/// [`keros_callback::destroy`].
unsafe extern "C" fn destroy(instance: *mut c_void) {
    if instance.is_null() {
        return;
    }
    // A panic in `Drop` cannot be reported: nothing the host has to show comes after this.
    let _ = guard(|| {
        // SAFETY: what `hand_over` gave; the host calls this once.
        let instance = unsafe { Box::from_raw(instance.cast::<Instance>()) };
        let requests = instance.requests.as_ref().map(|(own, _)| Arc::clone(own));
        let dropped = guard(|| {
            drop(instance);
            Ok(())
        });
        // Not before its threads have ended, but whatever they left behind.
        if let Some(requests) = requests {
            requests.end();
        }
        dropped
    });
}
