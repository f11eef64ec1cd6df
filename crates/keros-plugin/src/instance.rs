//! One instance of a plugin's callback: the functions the host calls, and the wall no panic passes.

use crate::host::Host;
use crate::run::HostRun;
use keros_abi::{
    KEROS_E_ARG, KEROS_E_IO, KEROS_E_OTHER, KEROS_E_PANIC, KEROS_E_UNSUPPORTED, KEROS_EVENT_NESTED,
    KEROS_OK, KEROS_SET_LEARNING_RATE, KEROS_SKIP_BATCH, KEROS_STOP, KEROS_STOP_EPOCH,
    keros_callback, keros_decision, keros_event, keros_run, keros_status, keros_str,
};
use keros_callbacks::{
    BoxError, Callback, Context, Decision, Event, EventKind, Logs, Message, RunInfo,
};
use std::any::Any;
use std::ffi::c_void;
use std::mem::size_of;
use std::panic::{AssertUnwindSafe, catch_unwind};

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
        } else {
            KEROS_E_OTHER
        };
        Failure::new(status, error.to_string())
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
        out.extension = None;
    }

    /// # Safety
    /// `run` is the run of the event this thread is in.
    unsafe fn handle(
        &mut self,
        event: &keros_event,
        run: &keros_run,
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
        // SAFETY: the caller's promise.
        let mut run = unsafe { HostRun::new(run, logs, &mut self.info) };
        let mut cx = Context::new(&event, &mut run, &self.name, &mut self.messages);
        let answer = self.callback.on_event(&mut cx);
        let Decision {
            stop,
            stop_epoch,
            skip_batch,
            learning_rate,
            checkpoints,
            resume,
        } = answer?;
        if let Some(path) = checkpoints.first().or(resume.as_ref()) {
            let text = format!(
                "a plugin can neither write nor resume a checkpoint ({})",
                path.display()
            );
            return Err(Failure::new(KEROS_E_UNSUPPORTED, text));
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
    // SAFETY: as the event itself.
    let run = event.and_then(|event| unsafe { event.run.as_ref() });
    let result = match (event, run, out) {
        _ if instance.panicked.is_some() => Err(Failure::new(
            KEROS_E_PANIC,
            format!(
                "gets no more events since it {}",
                instance.panicked.as_deref().unwrap_or_default()
            ),
        )),
        (Some(event), Some(run), Some(out))
            if event.struct_size as usize >= size_of::<keros_event>()
                && run.struct_size as usize >= size_of::<keros_run>()
                && out.struct_size as usize >= size_of::<keros_decision>() =>
        {
            // SAFETY: the event is the one this thread is in.
            guard(|| unsafe { instance.handle(event, run, out) })
        }
        _ => Err(Failure::new(
            KEROS_E_ARG,
            "the host passed a null pointer or a struct older than version 1.0",
        )),
    };
    if !instance.messages.is_empty() {
        for message in instance.messages.drain(..) {
            instance.host.message(message.level, &message.text);
        }
    }
    match result {
        Ok(()) => KEROS_OK,
        Err(failure) => {
            instance.host.fail(&failure.text);
            if failure.status == KEROS_E_PANIC && instance.panicked.is_none() {
                instance.panicked = Some(failure.text);
            }
            failure.status
        }
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
        drop(unsafe { Box::from_raw(instance.cast::<Instance>()) });
        Ok(())
    });
}
