//! Several callbacks as one: who is called, in which order, and what happens when one fails.

use crate::callback::Callback;
use crate::context::{Context, Level, Message};
use crate::decision::Decision;
use crate::error::{BoxError, CallbackError};
use crate::event::{Event, EventKind, EventSet};
use crate::run::Run;
use std::path::{Path, PathBuf};

/// What happens when a callback returns an error or makes an impossible request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FailurePolicy {
    /// The run ends with that error.
    #[default]
    Abort,
    /// A message is sent and the callback is not called again, not for a checkpoint either.
    Disable,
    /// A message is sent and the callback goes on being called.
    Log,
}

struct Entry<'a> {
    name: String,
    callback: Box<dyn Callback + 'a>,
    events: EventSet,
    policy: FailurePolicy,
    /// Whether it has failed and is not to be called again.
    disabled: bool,
}

impl Entry<'_> {
    fn state_error(&self, doing: &'static str, source: BoxError) -> CallbackError {
        CallbackError::State {
            callback: self.name.clone(),
            doing,
            source,
        }
    }
}

/// What a callback keeps in a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct CallbackState {
    /// Name of the callback.
    pub name: String,
    /// How many callbacks of that name come before it in the list.
    #[cfg_attr(feature = "serde", serde(default))]
    pub index: usize,
    /// Its state, in a form of its own.
    #[cfg_attr(feature = "serde", serde(with = "serde_bytes"))]
    pub state: Vec<u8>,
}

/// Callbacks in the order in which they run.
#[derive(Default)]
pub struct CallbackList<'a> {
    entries: Vec<Entry<'a>>,
    wanted: EventSet,
    messages: Vec<Message>,
    /// The checkpoints that were asked for last, each with the index of who did.
    asked: Vec<(PathBuf, usize)>,
    /// The index of who asked first to go on from a checkpoint.
    resumes: Option<usize>,
}

impl<'a> CallbackList<'a> {
    /// No callbacks.
    #[must_use]
    pub fn new() -> CallbackList<'a> {
        CallbackList::default()
    }

    /// Adds a callback whose failure aborts the run. Pass `&mut callback` to look at it afterwards.
    pub fn push(&mut self, callback: impl Callback + 'a) {
        self.push_with(callback, FailurePolicy::Abort);
    }

    /// Adds a callback with its own failure policy.
    pub fn push_with(&mut self, callback: impl Callback + 'a, policy: FailurePolicy) {
        let events = callback.events();
        self.wanted = self.wanted.union(events);
        self.entries.push(Entry {
            name: callback.name().to_owned(),
            callback: Box::new(callback),
            events,
            policy,
            disabled: false,
        });
    }

    /// Adds a callback and returns the list, for chains.
    #[must_use]
    pub fn with(mut self, callback: impl Callback + 'a) -> CallbackList<'a> {
        self.push(callback);
        self
    }

    /// How many callbacks there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether any callback wants events of this kind.
    #[must_use]
    pub fn wants(&self, kind: EventKind) -> bool {
        self.wanted.contains(kind)
    }

    /// Sends an event to everyone who wants it and merges the decisions.
    ///
    /// # Errors
    /// The first failure of a callback whose policy is [`FailurePolicy::Abort`]; the callbacks after
    /// it are not called, unless it is told of an error: then the run is ending anyway, and everyone
    /// has to know.
    pub fn dispatch(
        &mut self,
        event: &Event,
        run: &mut dyn Run,
    ) -> Result<Decision, CallbackError> {
        let mut merged = Decision::CONTINUE;
        if can_checkpoint(event.kind) {
            self.asked.clear();
        }
        if event.kind == EventKind::TrainBegin {
            self.resumes = None;
        }
        if !self.wants(event.kind) {
            return Ok(merged);
        }
        let mut first_failure = None;
        for i in 0..self.entries.len() {
            let entry = &mut self.entries[i];
            if entry.disabled || !entry.events.contains(event.kind) {
                continue;
            }
            let mut cx = Context::new(event, run, &entry.name, &mut self.messages);
            let outcome = match entry.callback.on_event(&mut cx) {
                Ok(decision) if decision.is_continue() => Ok(None),
                Ok(decision) => {
                    let scheduled = run.is_scheduled();
                    check(&entry.name, event.kind, scheduled, decision).map(Some)
                }
                Err(source) => Err(CallbackError::Failed {
                    callback: entry.name.clone(),
                    event: event.kind,
                    source,
                }),
            };
            match outcome {
                Ok(Some(decision)) => {
                    let paths = decision.checkpoints.iter().cloned();
                    self.asked.extend(paths.map(|path| (path, i)));
                    if decision.resume.is_some() {
                        self.resumes.get_or_insert(i);
                    }
                    merged.merge(decision);
                }
                Ok(None) => {}
                Err(error) => match self.failed(i, error) {
                    Ok(()) => {}
                    Err(error) if event.kind == EventKind::Error => {
                        // The run ends by the error before, so that this one would be lost.
                        self.say_failed(i, error.to_string());
                        first_failure.get_or_insert(error);
                    }
                    Err(error) => {
                        self.deliver_messages();
                        return Err(error);
                    }
                },
            }
            if !self.messages.is_empty() {
                self.deliver_messages();
            }
        }
        first_failure.map_or(Ok(merged), Err)
    }

    /// Tells that a checkpoint could not be written. It is a failure of the callback whose decision at `event`, the last
    /// one sent of its kind, asked for it; of one that another thread [asked](crate::Requests::save) for, a message.
    ///
    /// # Errors
    /// The failure, if the policy of the callback is [`FailurePolicy::Abort`].
    pub fn checkpoint_failed(
        &mut self,
        event: EventKind,
        path: &Path,
        source: BoxError,
    ) -> Result<(), CallbackError> {
        if let Some(at) = self.asked.iter().position(|(asked, _)| asked == path) {
            let (_, i) = self.asked.remove(at);
            let error = CallbackError::Failed {
                callback: self.entries[i].name.clone(),
                event,
                source,
            };
            self.failed(i, error)?;
        } else {
            let path = path.display();
            self.messages.push(Message {
                level: Level::Error,
                source: "requests".to_owned(),
                text: format!("the checkpoint {path} that was asked for is not written: {source}"),
            });
        }
        self.deliver_messages();
        Ok(())
    }

    /// Tells whoever asked to go on from the checkpoint at `path` that it is damaged, and returns the one
    /// to go on from instead, if there is one.
    pub fn damaged_checkpoint(&mut self, path: &Path) -> Option<PathBuf> {
        let entry = self.entries.get_mut(self.resumes?)?;
        entry.callback.on_damaged_checkpoint(path)
    }

    /// The state of every callback that has one, for a checkpoint. One that is disabled has none.
    ///
    /// # Errors
    /// The first callback that cannot tell its state and whose policy is [`FailurePolicy::Abort`].
    pub fn states(&mut self) -> Result<Vec<CallbackState>, CallbackError> {
        let mut states = Vec::new();
        for i in 0..self.entries.len() {
            let entry = &self.entries[i];
            if entry.disabled {
                continue;
            }
            match entry.callback.save_state() {
                Ok(state) => states.extend(state.map(|state| CallbackState {
                    name: entry.name.clone(),
                    index: self.index_in_name(i),
                    state,
                })),
                Err(source) => {
                    let error = entry.state_error("telling", source);
                    self.failed(i, error)?;
                    self.deliver_messages();
                }
            }
        }
        Ok(states)
    }

    /// How many callbacks before number `i` have its name.
    fn index_in_name(&self, i: usize) -> usize {
        let before = self.entries[..i].iter();
        before
            .filter(|entry| entry.name == self.entries[i].name)
            .count()
    }

    /// Gives the callbacks the states that callbacks of the same names told, the first of a name that
    /// of the first, and so on. A callback without one begins anew; the names of states that nobody
    /// takes are returned.
    ///
    /// # Errors
    /// The first callback that cannot go on from its state and whose policy is
    /// [`FailurePolicy::Abort`].
    pub fn load_states(
        &mut self,
        mut states: Vec<CallbackState>,
    ) -> Result<Vec<String>, CallbackError> {
        for i in 0..self.entries.len() {
            let index = self.index_in_name(i);
            let entry = &mut self.entries[i];
            let is_its = |state: &CallbackState| state.name == entry.name && state.index == index;
            let Some(known) = states.iter().position(is_its) else {
                continue;
            };
            let state = states.remove(known).state;
            if !entry.disabled
                && let Err(source) = entry.callback.load_state(&state)
            {
                let error = entry.state_error("loading", source);
                self.failed(i, error)?;
                self.deliver_messages();
            }
        }
        Ok(states.into_iter().map(|state| state.name).collect())
    }

    /// Shows a message of the trainer to every callback.
    pub fn message(&mut self, message: Message) {
        self.messages.push(message);
        self.deliver_messages();
    }

    /// Does with a failure of a callback what its policy says: it becomes a message, or is returned.
    fn failed(&mut self, i: usize, error: CallbackError) -> Result<(), CallbackError> {
        let outcome = match self.entries[i].policy {
            FailurePolicy::Abort => return Err(error),
            FailurePolicy::Disable => {
                self.entries[i].disabled = true;
                "; it is disabled for the rest of the run"
            }
            FailurePolicy::Log => "",
        };
        self.say_failed(i, format!("{error}{outcome}"));
        Ok(())
    }

    fn say_failed(&mut self, i: usize, text: String) {
        self.messages.push(Message {
            level: Level::Error,
            source: self.entries[i].name.clone(),
            text,
        });
    }

    fn deliver_messages(&mut self) {
        for message in self.messages.drain(..) {
            for entry in self.entries.iter_mut().filter(|entry| !entry.disabled) {
                entry.callback.on_message(&message);
            }
        }
    }
}

/// Whether a checkpoint can be asked for at this event.
fn can_checkpoint(event: EventKind) -> bool {
    matches!(event, EventKind::TrainBatchEnd | EventKind::EpochEnd)
}

/// Refuses what cannot be done at this event, or in a run whose learning rate is `scheduled`.
fn check(
    name: &str,
    event: EventKind,
    scheduled: bool,
    decision: Decision,
) -> Result<Decision, CallbackError> {
    let refuse = |asked: String, expected: &'static str| {
        Err(CallbackError::Decision {
            callback: name.to_owned(),
            event,
            asked,
            expected,
        })
    };
    use EventKind::{AfterBackward, BeforeStep, TrainBatchBegin, TrainBatchEnd, TrainBegin};
    if decision.skip_batch && !matches!(event, TrainBatchBegin | AfterBackward | BeforeStep) {
        return refuse(
            "skip the batch".to_owned(),
            "possible at train_batch_begin, after_backward and before_step only",
        );
    }
    if let Some(path) = decision.checkpoints.first()
        && !can_checkpoint(event)
    {
        return refuse(
            format!("write the checkpoint {}", path.display()),
            "possible at train_batch_end and epoch_end only",
        );
    }
    if let Some(path) = &decision.resume
        && event != TrainBegin
    {
        return refuse(
            format!("go on from {}", path.display()),
            "possible at train_begin only",
        );
    }
    if decision.stop_epoch && !matches!(event, TrainBatchBegin | TrainBatchEnd) {
        return refuse(
            "stop the epoch".to_owned(),
            "possible at train_batch_begin and train_batch_end only",
        );
    }
    if let Some(rate) = decision.learning_rate {
        let asked = || format!("set the learning rate to {rate}");
        if !event.is_training() {
            return refuse(
                asked(),
                "possible at train, epoch and train batch events only",
            );
        }
        if !rate.is_finite() || rate < 0.0 {
            return refuse(asked(), "expected a finite number that is not negative");
        }
        if scheduled {
            let expected = "expected an optimizer without a schedule of the learning rate";
            return refuse(asked(), expected);
        }
    }
    Ok(decision)
}
