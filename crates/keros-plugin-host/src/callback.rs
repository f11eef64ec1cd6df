//! An instance of a plugin as a [`Callback`].

use crate::bridge::{Bridge, Left, text};
use crate::error::{PluginError, Status};
use crate::instance::{Sink, Tables};
use crate::plugin::Plugin;
use keros_abi::{
    KEROS_E_NOT_FOUND, KEROS_E_PANIC, KEROS_E_UNSUPPORTED, KEROS_ERROR, KEROS_EVENT_NESTED,
    KEROS_INFO, KEROS_OK, KEROS_SET_LEARNING_RATE, KEROS_SKIP_BATCH, KEROS_STOP, KEROS_STOP_EPOCH,
    KEROS_WARNING, keros_callback, keros_decision, keros_event, keros_status, keros_str,
};
use keros_callbacks::{
    BoxError, Callback, CallbackResult, Context, Decision, EventSet, Level, Message,
};
use std::cell::Cell;
use std::ffi::c_void;
use std::fmt;
use std::mem::size_of;
use std::ptr::{self, NonNull};
use std::sync::{Arc, Mutex, PoisonError};

const ACTIONS: u32 = KEROS_STOP | KEROS_STOP_EPOCH | KEROS_SKIP_BATCH | KEROS_SET_LEARNING_RATE;

type OnEvent =
    unsafe extern "C" fn(*mut c_void, *const keros_event, *mut keros_decision) -> keros_status;
type Destroy = unsafe extern "C" fn(*mut c_void);
type Extension = unsafe extern "C" fn(*mut c_void, keros_str) -> *const c_void;

/// One instance of a plugin. Dropping it ends the instance.
pub struct LoadedCallback {
    plugin: Arc<Plugin>,
    events: EventSet,
    on_event: OnEvent,
    destroy: Destroy,
    extension: Option<Extension>,
    tables: Tables,
    instance: *mut c_void,
    /// Ours; shared with the plugin until `destroy` returns, so reached by pointer only.
    bridge: NonNull<Bridge>,
    panicked: Cell<bool>,
}

// SAFETY: keros.h lets the calls of one instance come from different threads as long as they do not
// overlap, which `&mut self` ensures; `extension` may overlap and takes no part in the rest. The
// bridge knows by itself which thread is inside an event.
unsafe impl Send for LoadedCallback {}

/// A struct for the plugin to fill, with room behind it: a plugin built with a later header that
/// assigns the whole struct instead of its fields does no harm.
#[repr(C)]
struct Roomy<T> {
    content: T,
    room: [u64; 8],
}

/// `create` of one plugin is not to overlap, and two files may be the same plugin.
pub(crate) static CREATE: Mutex<()> = Mutex::new(());

impl LoadedCallback {
    pub(crate) fn create(plugin: Arc<Plugin>, config_json: &str) -> Result<Self, PluginError> {
        let null = |function| PluginError::NullFunction {
            path: plugin.path().to_owned(),
            id: plugin.id().to_owned(),
            function,
        };
        let create = plugin.module().create.ok_or_else(|| null("create"))?;
        let mut out = Roomy {
            content: keros_callback {
                struct_size: size_of::<keros_callback>() as u32,
                reserved: 0,
                events: 0,
                instance: ptr::null_mut(),
                on_event: None,
                destroy: None,
                extension: None,
            },
            room: [0; 8],
        };
        let bridge = NonNull::from(Box::leak(Box::new(Bridge::new())));
        let (status, left) = {
            let _alone = CREATE.lock().unwrap_or_else(PoisonError::into_inner);
            // SAFETY: just made, and shared only as `&Bridge`.
            unsafe { bridge.as_ref() }.during(None, || {
                let host = Bridge::host(bridge.as_ptr());
                // SAFETY: as keros.h asks: the host lives until `destroy`, the text and the struct to
                // fill live during the call, which does not overlap another.
                unsafe { create(host, keros_str::new(config_json), (&raw mut out).cast()) }
            })
        };
        let Roomy { content: made, .. } = out;
        let refused = if status != KEROS_OK {
            Some(PluginError::Create {
                path: plugin.path().to_owned(),
                id: plugin.id().to_owned(),
                status: Status(status),
                text: left.and_then(|left| left.reason).unwrap_or_default(),
            })
        } else {
            None
        };
        match (refused, made.on_event, made.destroy) {
            (None, Some(on_event), Some(destroy)) => {
                let mut callback = LoadedCallback {
                    plugin,
                    events: EventSet::from_bits(made.events),
                    on_event,
                    destroy,
                    extension: made.extension,
                    tables: Tables::default(),
                    instance: made.instance,
                    bridge,
                    panicked: Cell::new(false),
                };
                // SAFETY: they are the extensions of this instance.
                callback.tables = unsafe { Tables::find(|id| callback.extension(id)) };
                Ok(callback)
            }
            (refused, _, destroy) => {
                let error = match (refused, destroy) {
                    (Some(error), _) => error,
                    (None, None) => null("destroy"),
                    (None, Some(destroy)) => {
                        // SAFETY: the instance was made and nothing else is called.
                        unsafe { destroy(made.instance) };
                        null("on_event")
                    }
                };
                // SAFETY: there is no instance that could use it.
                drop(unsafe { Box::from_raw(bridge.as_ptr()) });
                Err(error)
            }
        }
    }

    /// The plugin this is an instance of.
    #[must_use]
    pub fn plugin(&self) -> &Arc<Plugin> {
        &self.plugin
    }

    /// The plugin's extension called `id` for this instance. What it points to is told by the
    /// extension's description; it is valid as long as `self`.
    #[must_use]
    pub fn extension(&self, id: &str) -> Option<NonNull<c_void>> {
        // SAFETY: keros.h allows the call at any time; the text lives during it.
        let found = unsafe { self.extension?(self.instance, keros_str::new(id)) };
        NonNull::new(found.cast_mut())
    }

    /// Whether the plugin wants to hear what is said to the user.
    pub(crate) fn hears_messages(&self) -> bool {
        self.tables.message.is_some()
    }

    /// Whether the plugin can tell and load its state.
    pub(crate) fn keeps_state(&self) -> bool {
        self.tables.save_state.is_some()
    }

    /// Checks what the plugin asked for.
    fn decision(&self, answer: &keros_decision) -> Result<Decision, PluginError> {
        let actions = answer.actions;
        if actions == 0 {
            return Ok(Decision::CONTINUE);
        }
        if actions & !ACTIONS != 0 {
            return Err(PluginError::Actions {
                id: self.plugin.id().to_owned(),
                expected: ACTIONS,
                found: actions & !ACTIONS,
            });
        }
        let stop = if actions & KEROS_STOP != 0 {
            // SAFETY: keros.h asks that the reason stays readable until the next call.
            let reason = unsafe { text(answer.reason) };
            Some(
                reason
                    .map(str::to_owned)
                    .ok_or_else(|| self.wrong(answer.reason))?,
            )
        } else {
            None
        };
        let learning_rate = actions & KEROS_SET_LEARNING_RATE != 0;
        Ok(Decision {
            stop,
            stop_epoch: actions & KEROS_STOP_EPOCH != 0,
            skip_batch: actions & KEROS_SKIP_BATCH != 0,
            learning_rate: learning_rate.then_some(answer.learning_rate),
            ..Decision::CONTINUE
        })
    }

    fn wrong(&self, reason: keros_str) -> PluginError {
        let found = if reason.ptr.is_null() {
            format!("a null pointer with a length of {}", reason.len)
        } else if reason.len > keros_abi::KEROS_TEXT_MAX {
            format!("{} bytes", reason.len)
        } else {
            "bytes that are not UTF-8".to_owned()
        };
        PluginError::Reason {
            id: self.plugin.id().to_owned(),
            found,
        }
    }
}

impl LoadedCallback {
    /// Calls a function of the instance's extensions that returns a status.
    fn call(
        &self,
        doing: &'static str,
        function: impl FnOnce() -> keros_status,
    ) -> Result<keros_status, PluginError> {
        if self.panicked.get() {
            let id = self.plugin.id().to_owned();
            return Err(PluginError::Panicked { id });
        }
        // SAFETY: ours until we are dropped, and shared only as `&Bridge`.
        let (status, left) = unsafe { self.bridge.as_ref() }.during(None, function);
        if status == KEROS_OK || status == KEROS_E_NOT_FOUND {
            return Ok(status);
        }
        self.panicked.set(status == KEROS_E_PANIC);
        Err(PluginError::State {
            id: self.plugin.id().to_owned(),
            doing,
            status: Status(status),
            text: left.and_then(|left| left.reason).unwrap_or_default(),
        })
    }
}

impl Callback for LoadedCallback {
    /// The plugin's id.
    fn name(&self) -> &str {
        self.plugin.id()
    }

    fn events(&self) -> EventSet {
        self.events
    }

    fn on_event(&mut self, cx: &mut Context<'_>) -> CallbackResult {
        if self.panicked.get() {
            let id = self.plugin.id().to_owned();
            return Err(PluginError::Panicked { id }.into());
        }
        let event = cx.event();
        let event = keros_event {
            struct_size: size_of::<keros_event>() as u32,
            kind: event.kind as u32,
            epoch: event.epoch,
            batch: event.batch,
            step: event.step,
            samples: event.samples,
            flags: if event.nested { KEROS_EVENT_NESTED } else { 0 },
            run: Bridge::run(self.bridge.as_ptr()),
        };
        let mut answer = Roomy {
            content: keros_decision {
                struct_size: size_of::<keros_decision>() as u32,
                actions: 0,
                learning_rate: 0.0,
                reason: keros_str::EMPTY,
            },
            room: [0; 8],
        };
        // SAFETY: ours until we are dropped, and shared only as `&Bridge`.
        let bridge = unsafe { self.bridge.as_ref() };
        let (status, left) = bridge.during(Some(cx), || {
            // SAFETY: as keros.h asks: the instance is one that was created and not destroyed, calls
            // do not overlap, event and decision live during the call.
            unsafe { (self.on_event)(self.instance, &event, (&raw mut answer).cast()) }
        });
        bridge.deliver(cx);
        if status == KEROS_OK && left.is_none() {
            if answer.content.actions == 0 {
                return Ok(Decision::CONTINUE);
            }
            return Ok(self.decision(&answer.content)?);
        }
        let left = left.map_or_else(Left::default, |left| *left);
        if let Some(panic) = left.panic {
            // The training's own panic goes on where it came from.
            std::panic::resume_unwind(panic);
        }
        if status == KEROS_OK {
            return Ok(Decision {
                checkpoints: left.checkpoints,
                resume: left.resume,
                ..self.decision(&answer.content)?
            });
        }
        let (text, cause) = (left.reason, left.cause);
        self.panicked.set(status == KEROS_E_PANIC);
        Err(PluginError::Event {
            id: self.plugin.id().to_owned(),
            status: Status(status),
            text: text.unwrap_or_default(),
            cause,
        }
        .into())
    }

    /// Shows it to the plugin, if it has [`KEROS_EXT_MESSAGES`](keros_abi::KEROS_EXT_MESSAGES).
    fn on_message(&mut self, message: &Message) {
        if let Some(show) = self.tables.message
            && !self.panicked.get()
        {
            let level = match message.level {
                Level::Info => KEROS_INFO,
                Level::Warning => KEROS_WARNING,
                Level::Error => KEROS_ERROR,
            };
            let (source, text) = (
                keros_str::new(&message.source),
                keros_str::new(&message.text),
            );
            // SAFETY: as keros.h asks: calls do not overlap, the texts live during the call.
            unsafe { show(self.instance, level, source, text) }
        }
    }

    /// What the plugin writes, if it has [`KEROS_EXT_STATE`](keros_abi::KEROS_EXT_STATE).
    fn save_state(&self) -> Result<Option<Vec<u8>>, BoxError> {
        let Some(save) = self.tables.save_state else {
            return Ok(None);
        };
        let sink = Sink::new();
        let status = self.call("telling", || {
            // SAFETY: as keros.h asks: calls do not overlap, the sink lives during the call.
            unsafe { save(self.instance, sink.table()) }
        })?;
        Ok((status == KEROS_OK).then(|| sink.into_bytes()))
    }

    fn load_state(&mut self, state: &[u8]) -> Result<(), BoxError> {
        let refused = |status, text: &str| PluginError::State {
            id: self.plugin.id().to_owned(),
            doing: "loading",
            status: Status(status),
            text: text.to_owned(),
        };
        let Some(load) = self.tables.load_state else {
            let text = "this version of the plugin keeps no state";
            return Err(refused(KEROS_E_UNSUPPORTED, text).into());
        };
        let status = self.call("loading", || {
            // SAFETY: as keros.h asks: calls do not overlap, the bytes live during the call.
            unsafe { load(self.instance, state.as_ptr().cast(), state.len() as u64) }
        })?;
        match status {
            KEROS_OK => Ok(()),
            status => Err(refused(status, "").into()),
        }
    }
}

impl Drop for LoadedCallback {
    fn drop(&mut self) {
        // SAFETY: the last call of this instance, and the only one of `destroy`. After it keros.h
        // forbids the plugin to use the bridge.
        unsafe {
            (self.destroy)(self.instance);
            drop(Box::from_raw(self.bridge.as_ptr()));
        }
    }
}

impl fmt::Debug for LoadedCallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadedCallback")
            .field("plugin", &self.plugin)
            .field("events", &self.events)
            .field("panicked", &self.panicked.get())
            .finish_non_exhaustive()
    }
}
