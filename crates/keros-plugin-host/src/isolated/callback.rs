//! A plugin in a process of its own as a [`Callback`].

use super::IsolateOptions;
use super::answers::answer;
use super::error::IsolateError;
use super::process::{Gone, Process};
use super::wanted::Wanted;
use super::wire::{
    Bytes, Create, FromPlugin, Number, ToPlugin, Wire, WireDecision, WireEvent, WireLogs,
    nanoseconds,
};
use keros_callbacks::{
    BoxError, Callback, CallbackResult, Context, Decision, Event, EventKind, EventSet, Message,
    RunInfo,
};
use std::cell::RefCell;
use std::fmt;
use std::process::Command;
use std::time::Duration;

/// A plugin in a process of its own. Dropping it ends the process.
///
/// A process that ends, or has to be ended, is an error of this callback at the event at which that is
/// found, and again when another run begins; at other events the callback then does nothing.
pub struct IsolatedCallback {
    id: String,
    version: String,
    events: EventSet,
    tells_state: bool,
    hears_messages: bool,
    /// The events whose logs it wants to have sent along.
    logs: EventSet,
    /// Those at which it asked for them the last time: they are sent along once without being asked for.
    asked: EventSet,
    /// What the process knows of the run.
    run: Option<RunInfo>,
    event_limit: Duration,
    fate: RefCell<Fate>,
}

enum Fate {
    Running(Process),
    /// The process is gone, and whether the training knows.
    Gone {
        how: String,
        told: bool,
    },
}

/// Why there is no answer.
enum Trouble {
    /// The plugin says so; its process goes on.
    Plugin(String),
    Gone(Gone),
    /// A log that the decision sets cannot be set.
    Run(BoxError),
}

impl From<Gone> for Trouble {
    fn from(gone: Gone) -> Trouble {
        Trouble::Gone(gone)
    }
}

impl IsolatedCallback {
    /// Starts `command`; `program` is its name in messages. `refused` makes the error of what it tells
    /// when it refuses.
    pub(super) fn start(
        command: Command,
        program: &str,
        config_json: &str,
        options: &IsolateOptions,
        refused: impl FnOnce(String) -> IsolateError,
    ) -> Result<IsolatedCallback, IsolateError> {
        let start = Process::start(command, options.end_limit);
        let mut process = start.map_err(|source| IsolateError::Start {
            program: program.to_owned(),
            source,
        })?;
        let no_hello = |Gone(how)| IsolateError::NoHello {
            program: program.to_owned(),
            how: format!("its process {how}"),
        };
        let create = ToPlugin::Create(Create {
            wire: Wire::OURS,
            host: "keros".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            config: config_json.to_owned(),
        });
        process.send(&create).map_err(no_hello)?;
        let mut left = options.start_limit;
        match process.next(&mut left).map_err(no_hello)? {
            FromPlugin::Hello(hello) => {
                let wanted = Wanted::check(&hello, program)?;
                Ok(IsolatedCallback {
                    id: hello.id,
                    version: hello.version,
                    events: wanted.events,
                    tells_state: hello.state,
                    hears_messages: hello.messages,
                    logs: wanted.logs,
                    asked: EventSet::NONE,
                    run: None,
                    event_limit: options.event_limit,
                    fate: RefCell::new(Fate::Running(process)),
                })
            }
            FromPlugin::Failed { text } => Err(refused(text)),
            other => Err(no_hello(
                process.kill(format!("{} and was killed", out_of_turn(&other))),
            )),
        }
    }

    /// The plugin's own version.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Whether its process runs, as far as the last event showed.
    #[must_use]
    pub fn is_running(&self) -> bool {
        matches!(*self.fate.borrow(), Fate::Running(_))
    }

    fn ended(&self, how: &str) -> IsolateError {
        IsolateError::Ended {
            id: self.id.clone(),
            how: how.to_owned(),
        }
    }

    fn event(&mut self, cx: &mut Context<'_>) -> WireEvent {
        let event = cx.event();
        let run = (self.run.as_ref() != Some(cx.info())).then(|| cx.info().clone());
        if run.is_some() {
            self.run.clone_from(&run);
        }
        let kind = EventSet::of(&[event.kind]);
        let asked = self.asked.contains(event.kind);
        self.asked = self.asked.without(kind);
        let logs = if asked || self.logs.contains(event.kind) {
            // A failure is told when the plugin asks.
            cx.logs().ok().map(|logs| WireLogs(logs.clone()))
        } else {
            None
        };
        WireEvent {
            kind: event.kind.name().to_owned(),
            epoch: event.epoch,
            batch: event.batch,
            step: event.step,
            samples: event.samples,
            nested: event.nested,
            learning_rate: cx.learning_rate().map(Number),
            data_wait_ns: nanoseconds(cx.data_wait()),
            detail: cx.detail().map(str::to_owned),
            run,
            logs,
        }
    }

    /// Tells of the event and does what is asked for until there is a decision.
    fn converse(
        &mut self,
        process: &mut Process,
        cx: &mut Context<'_>,
    ) -> Result<Decision, Trouble> {
        process.check_silence()?;
        process.bind(cx.requests().ok());
        let elements = cx
            .params()
            .iter()
            .map(|p| p.shape.iter().product::<usize>());
        process.allow(4 * elements.max().unwrap_or(0) as u64);
        let event = self.event(cx);
        process.send(&ToPlugin::Event(Box::new(event)))?;
        let mut left = self.event_limit;
        loop {
            match process.next(&mut left)? {
                FromPlugin::Decision(decision) => return decide(decision, cx),
                FromPlugin::Failed { text } => return Err(Trouble::Plugin(text)),
                FromPlugin::Ask(ask) => {
                    if ask.get("what").is_some_and(|what| what == "logs") {
                        self.asked = self.asked.union(EventSet::of(&[cx.event().kind]));
                    }
                    process.send(&answer(ask, cx))?;
                }
                other => {
                    let why = format!("{} and was killed", out_of_turn(&other));
                    return Err(process.kill(why).into());
                }
            }
        }
    }

    /// Asks something outside of events.
    fn ask(&self, process: &mut Process, question: &ToPlugin) -> Result<FromPlugin, Trouble> {
        process.check_silence()?;
        process.allow(keros_abi::KEROS_STATE_MAX);
        process.send(question)?;
        match process.next(&mut self.event_limit.clone())? {
            FromPlugin::Failed { text } => Err(Trouble::Plugin(text)),
            answer => Ok(answer),
        }
    }

    /// Asks something outside of events, if there is a process. `None` if there is none any more.
    fn ask_of_running<T>(
        &self,
        question: &ToPlugin,
        read: impl FnOnce(FromPlugin) -> Result<T, FromPlugin>,
    ) -> Result<Option<T>, Trouble> {
        let mut fate = self.fate.borrow_mut();
        let Fate::Running(process) = &mut *fate else {
            return Ok(None);
        };
        let answer = self.ask(process, question).and_then(|answer| {
            read(answer).map_err(|other| {
                let why = format!("{} and was killed", out_of_turn(&other));
                process.kill(why).into()
            })
        });
        if let Err(Trouble::Gone(Gone(how))) = &answer {
            let how = how.clone();
            *fate = Fate::Gone { how, told: false };
        }
        answer.map(Some)
    }

    fn failed(&self, text: String) -> IsolateError {
        let id = self.id.clone();
        IsolateError::Failed { id, text }
    }
}

impl Callback for IsolatedCallback {
    /// The plugin's id.
    fn name(&self) -> &str {
        &self.id
    }

    fn events(&self) -> EventSet {
        self.events
    }

    fn on_event(&mut self, cx: &mut Context<'_>) -> CallbackResult {
        // Should the training panic on the way, the process is in the middle of an event for ever.
        let interrupted = Fate::Gone {
            how: "was killed in the middle of an event".to_owned(),
            told: true,
        };
        let mut process = match self.fate.replace(interrupted) {
            Fate::Running(process) => process,
            Fate::Gone { how, told } => {
                let error = self.ended(&how);
                *self.fate.get_mut() = Fate::Gone { how, told: true };
                return if told && !begins_a_run(cx.event()) {
                    Ok(Decision::CONTINUE)
                } else {
                    Err(error.into())
                };
            }
        };
        let outcome = self.converse(&mut process, cx);
        for (level, text) in process.said() {
            cx.message(level, text);
        }
        let (fate, outcome) = match outcome {
            Ok(decision) => (Fate::Running(process), Ok(decision)),
            Err(Trouble::Plugin(text)) => (Fate::Running(process), Err(self.failed(text).into())),
            Err(Trouble::Run(error)) => (Fate::Running(process), Err(error)),
            Err(Trouble::Gone(Gone(how))) => {
                let error = self.ended(&how).into();
                (Fate::Gone { how, told: true }, Err(error))
            }
        };
        *self.fate.get_mut() = fate;
        outcome
    }

    /// Tells the process, if it wants to hear.
    fn on_message(&mut self, message: &Message) {
        if !self.hears_messages {
            return;
        }
        if let Fate::Running(process) = self.fate.get_mut()
            && let Err(Gone(how)) = process.send(&ToPlugin::Message {
                level: message.level.into(),
                source: message.source.clone(),
                text: message.text.clone(),
            })
        {
            *self.fate.get_mut() = Fate::Gone { how, told: false };
        }
    }

    /// What the plugin tells; `None` if it keeps no state or its process is gone, which is then an error
    /// of the next event and does not keep the checkpoint from being written.
    fn save_state(&self) -> Result<Option<Vec<u8>>, BoxError> {
        if !self.tells_state {
            return Ok(None);
        }
        let state = self.ask_of_running(&ToPlugin::SaveState, |answer| match answer {
            FromPlugin::State { state } => Ok(state),
            other => Err(other),
        });
        match state {
            Ok(state) => Ok(state.flatten().map(|Bytes(state)| state)),
            Err(Trouble::Plugin(text)) => Err(self.failed(text).into()),
            Err(Trouble::Run(error)) => Err(error),
            Err(Trouble::Gone(_)) => Ok(None),
        }
    }

    fn load_state(&mut self, state: &[u8]) -> Result<(), BoxError> {
        let question = ToPlugin::LoadState {
            state: Bytes(state.to_vec()),
        };
        if !self.tells_state {
            let text = "loading its state: this version of the plugin keeps no state";
            return Err(self.failed(text.to_owned()).into());
        }
        let loaded = self.ask_of_running(&question, |answer| match answer {
            FromPlugin::Loaded => Ok(()),
            other => Err(other),
        });
        match loaded {
            Ok(Some(())) => Ok(()),
            Ok(None) => Err("its process is gone".into()),
            Err(Trouble::Plugin(text)) => Err(self.failed(text).into()),
            Err(Trouble::Run(error)) => Err(error),
            Err(Trouble::Gone(Gone(how))) => Err(self.ended(&how).into()),
        }
    }
}

impl fmt::Debug for IsolatedCallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IsolatedCallback")
            .field("id", &self.id)
            .field("version", &self.version)
            .field("events", &self.events)
            .field("is_running", &self.is_running())
            .finish_non_exhaustive()
    }
}

fn begins_a_run(event: &Event) -> bool {
    match event.kind {
        EventKind::TrainBegin | EventKind::PredictBegin => true,
        EventKind::TestBegin => !event.nested,
        _ => false,
    }
}

/// Reads a decision, and does the part of it that is done at once.
fn decide(decision: WireDecision, cx: &mut Context<'_>) -> Result<Decision, Trouble> {
    let WireLogs(logs) = decision.logs.unwrap_or_default();
    for (key, value) in logs.iter() {
        cx.set_log(key, value.clone()).map_err(Trouble::Run)?;
    }
    Ok(Decision {
        stop: decision.stop,
        stop_epoch: decision.stop_epoch,
        skip_batch: decision.skip_batch,
        learning_rate: decision.learning_rate.map(|Number(rate)| rate),
        checkpoints: decision.checkpoints.into_iter().map(Into::into).collect(),
        resume: decision.resume.map(Into::into),
    })
}

/// Says what came that was not to come.
fn out_of_turn(message: &FromPlugin) -> String {
    let name = match message {
        FromPlugin::Hello(_) => "hello",
        FromPlugin::Decision(_) => "decision",
        FromPlugin::Failed { .. } => "failed",
        FromPlugin::Ask(_) => "ask",
        FromPlugin::Message { .. } => "message",
        FromPlugin::Request(_) => "request",
        FromPlugin::State { .. } => "state",
        FromPlugin::Loaded => "loaded",
    };
    format!("sent `{name}` out of turn")
}
