//! The helper process: runs a plugin file and speaks the wire format about it.

use super::remote::RemoteRun;
use super::wire::{
    self, Ask, Bytes, Create, FromPlugin, Hello, Number, Request, ToPlugin, WIRE_MAJOR, Wire,
    WireDecision, WireEvent,
};
use crate::LoadedCallback;
use keros_callbacks::{
    BoxError, Callback, Context, Decision, Event, EventKind, Message, RequestSink, Requests,
    RunError, RunInfo,
};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// First argument of a program that is started again to run a plugin file, which is the second.
pub(super) const ARGUMENT: &str = "--keros-plugin-run";

/// How long a plugin may go on when the host is gone and has not told how long.
const ORPHAN_LIMIT: Duration = Duration::from_secs(5);

/// Whether this program can be started again to run plugin files.
static ASKS: AtomicBool = AtomicBool::new(false);

pub(super) fn can_run_again() -> bool {
    ASKS.load(Ordering::Relaxed)
}

/// Makes this program one that runs plugin files for [`isolate`](crate::isolate): call it first thing
/// in `main`. If the program was started for that purpose it does so and ends; otherwise this returns
/// at once, and `isolate` starts the program again where it needs to.
///
/// Nothing may be printed and no thread be started before.
pub fn run_if_asked() {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == ARGUMENT) {
        let plugin = arguments.next().unwrap_or_default();
        let ended_well = run_plugin(PathBuf::from(plugin)) == ExitCode::SUCCESS;
        std::process::exit(i32::from(!ended_well));
    }
    ASKS.store(true, Ordering::Relaxed);
}

/// Runs the plugin at `path` for the host at the other ends of stdin and stdout, in the wire format,
/// until the host says goodbye or is gone: what the program `keros-plugin-run` does. Call it first
/// thing in `main`, before anything is printed.
///
/// On Unix stdin is empty for the plugin and its stdout is the stderr of the process.
#[must_use]
pub fn run_plugin(path: impl AsRef<Path>) -> ExitCode {
    match streams().and_then(|(from, to)| Helper::start(from, to)) {
        Ok(helper) => helper.run(path.as_ref()),
        Err(_) => ExitCode::FAILURE,
    }
}

/// What the host says and where it listens, kept from the plugin.
#[cfg(unix)]
fn streams() -> io::Result<(File, File)> {
    use rustix::io::fcntl_dupfd_cloexec;
    use rustix::stdio::{dup2_stdin, dup2_stdout, stderr, stdin, stdout};

    let (from, to) = (
        fcntl_dupfd_cloexec(stdin(), 3)?,
        fcntl_dupfd_cloexec(stdout(), 3)?,
    );
    dup2_stdin(File::open("/dev/null")?)?;
    dup2_stdout(stderr())?;
    Ok((from.into(), to.into()))
}

/// What the host says and where it listens. What the plugin prints to stdout is in the way.
#[cfg(windows)]
fn streams() -> io::Result<(File, File)> {
    use std::os::windows::io::AsHandle;

    let from = io::stdin().as_handle().try_clone_to_owned()?;
    let to = io::stdout().as_handle().try_clone_to_owned()?;
    Ok((from.into(), to.into()))
}

/// The conversation with the host.
pub(super) struct Link {
    to: Arc<Mutex<File>>,
    from: Receiver<ToPlugin>,
}

impl Link {
    fn send(&self, message: &FromPlugin) -> Result<(), BoxError> {
        send(&self.to, message)
    }

    /// Asks the host for something; inside an event.
    pub(super) fn ask(
        &self,
        asked: &'static str,
        ask: &Ask,
    ) -> Result<serde_json::Value, BoxError> {
        let serde_json::Value::Object(ask) = serde_json::to_value(ask)? else {
            return Err("a question is an object".into());
        };
        self.send(&FromPlugin::Ask(ask))?;
        match self.from.recv() {
            Ok(ToPlugin::Answer { value }) => Ok(value),
            Ok(ToPlugin::Refused {
                unsupported: true, ..
            }) => Err(RunError::Unsupported { asked }.into()),
            Ok(ToPlugin::Refused { text, .. }) => Err(text.into()),
            Ok(_) | Err(_) => Err(format!("{asked}: the host is gone").into()),
        }
    }
}

fn send(to: &Mutex<File>, message: &FromPlugin) -> Result<(), BoxError> {
    let line = wire::line(message)?;
    lock(to).write_all(&line)?;
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Hands requests of the plugin's threads to the host.
struct RemoteRequests {
    to: Arc<Mutex<File>>,
    next: AtomicU64,
    /// Those without an answer; `None` when the host is gone.
    waiting: Mutex<Option<Vec<Waiting>>>,
}

/// A request without an answer.
struct Waiting {
    id: u64,
    answer: Sender<Result<(), RunError>>,
}

impl RemoteRequests {
    fn request(&self, stop: Option<&str>, save: Option<&str>) -> Result<(), RunError> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = channel();
        match &mut *lock(&self.waiting) {
            Some(waiting) => waiting.push(Waiting { id, answer: sender }),
            None => return Err(RunError::Over),
        }
        let request = FromPlugin::Request(Request {
            id: Some(id),
            stop: stop.map(str::to_owned),
            save: save.map(str::to_owned),
        });
        send(&self.to, &request).map_err(|_| RunError::Over)?;
        answer.recv().unwrap_or(Err(RunError::Over))
    }

    fn answered(&self, id: u64, result: Result<(), RunError>) {
        if let Some(waiting) = &mut *lock(&self.waiting)
            && let Some(at) = waiting.iter().position(|waiting| waiting.id == id)
        {
            // Nobody waits any more: then there is nobody to tell.
            let _ = waiting.swap_remove(at).answer.send(result);
        }
    }
}

impl RequestSink for RemoteRequests {
    fn stop(&self, reason: &str) -> Result<(), RunError> {
        self.request(Some(reason), None)
    }

    fn save(&self, path: &Path) -> Result<(), RunError> {
        let path = path.to_str().ok_or_else(|| RunError::Refused {
            reason: "expected a path in UTF-8, found another".to_owned(),
        })?;
        self.request(None, Some(path))
    }
}

struct Helper {
    link: Link,
    requests: Requests,
}

impl Helper {
    fn start(from: File, to: File) -> io::Result<Helper> {
        let to = Arc::new(Mutex::new(to));
        let sink = Arc::new(RemoteRequests {
            to: Arc::clone(&to),
            next: AtomicU64::new(0),
            waiting: Mutex::new(Some(Vec::new())),
        });
        let (sender, messages) = channel();
        let requests = Requests::new(Arc::clone(&sink) as Arc<dyn RequestSink>);
        let reader = thread::Builder::new().name("keros-host".to_owned());
        reader.spawn(move || {
            let limit = read(BufReader::new(from), &sender, &sink);
            drop(sender);
            *lock(&sink.waiting) = None;
            // A plugin that hangs would stay for ever if the host does not live to end it.
            thread::sleep(limit);
            std::process::exit(1);
        })?;
        let link = Link { to, from: messages };
        Ok(Helper { link, requests })
    }

    fn run(self, path: &Path) -> ExitCode {
        let Ok(ToPlugin::Create(create)) = self.link.from.recv() else {
            return ExitCode::FAILURE;
        };
        let mut callback = match make(path, &create) {
            Ok(callback) => callback,
            Err(error) => {
                let text = error.to_string();
                // The host is gone: then there is nobody to tell.
                let _ = self.link.send(&FromPlugin::Failed { text });
                return ExitCode::FAILURE;
            }
        };
        match self.serve(&mut callback) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        }
    }

    /// Until the host says goodbye or is gone.
    fn serve(&self, callback: &mut LoadedCallback) -> Result<(), BoxError> {
        let events = callback.events();
        let wanted = EventKind::ALL
            .into_iter()
            .filter(|kind| events.contains(*kind));
        self.link.send(&FromPlugin::Hello(Hello {
            wire: Wire::OURS,
            id: callback.name().to_owned(),
            version: callback.plugin().version().to_owned(),
            events: wanted.map(|kind| kind.name().to_owned()).collect(),
            // When they are asked for.
            logs: Some(Vec::new()),
            messages: callback.hears_messages(),
            state: callback.keeps_state(),
        }))?;
        let prefix = format!("plugin `{}`: ", callback.name());
        let told = |error: BoxError| {
            let text = error.to_string();
            text.strip_prefix(&prefix).unwrap_or(&text).to_owned()
        };
        let mut info = RunInfo::default();
        while let Ok(message) = self.link.from.recv() {
            let answer = match message {
                ToPlugin::Event(event) => self.event(callback, *event, &mut info)?,
                ToPlugin::SaveState => callback.save_state().map(|state| FromPlugin::State {
                    state: state.map(Bytes),
                }),
                ToPlugin::LoadState { state } => {
                    callback.load_state(&state.0).map(|()| FromPlugin::Loaded)
                }
                ToPlugin::Message {
                    level,
                    source,
                    text,
                } => {
                    callback.on_message(&Message {
                        level: level.into(),
                        source,
                        text,
                    });
                    continue;
                }
                ToPlugin::Bye { .. } => return Ok(()),
                // Nothing else comes outside of events.
                _ => continue,
            };
            let answer = answer.unwrap_or_else(|error| FromPlugin::Failed { text: told(error) });
            self.link.send(&answer)?;
        }
        Ok(())
    }

    fn event(
        &self,
        callback: &mut LoadedCallback,
        mut event: WireEvent,
        info: &mut RunInfo,
    ) -> Result<Result<FromPlugin, BoxError>, BoxError> {
        let known = EventKind::ALL.into_iter();
        let Some(kind) = known.into_iter().find(|kind| kind.name() == event.kind) else {
            return Ok(Err(
                format!("an event of an unknown kind `{}`", event.kind).into()
            ));
        };
        if let Some(run) = event.run.take() {
            *info = run;
        }
        let told = Event {
            kind,
            epoch: event.epoch,
            batch: event.batch,
            step: event.step,
            samples: event.samples,
            nested: event.nested,
        };
        let mut messages = Vec::new();
        let name = callback.name().to_owned();
        let mut run = RemoteRun::new(&self.link, info, &self.requests, event);
        let outcome = callback.on_event(&mut Context::new(&told, &mut run, &name, &mut messages));
        for Message { level, text, .. } in messages {
            let level = level.into();
            self.link.send(&FromPlugin::Message { level, text })?;
        }
        Ok(outcome.and_then(|decision| Ok(FromPlugin::Decision(tell(decision)?))))
    }
}

fn make(path: &Path, create: &Create) -> Result<LoadedCallback, BoxError> {
    if create.wire.major != WIRE_MAJOR {
        return Err(format!(
            "the host speaks another wire format (expected major version {WIRE_MAJOR}, found {})",
            create.wire.major
        )
        .into());
    }
    Ok(crate::load(path, &create.config)?)
}

fn tell(decision: Decision) -> Result<WireDecision, BoxError> {
    let text = |path: PathBuf| {
        let path = path.into_os_string().into_string();
        path.map_err(|_| BoxError::from("expected a path in UTF-8, found another"))
    };
    Ok(WireDecision {
        stop: decision.stop,
        stop_epoch: decision.stop_epoch,
        skip_batch: decision.skip_batch,
        learning_rate: decision.learning_rate.map(Number),
        checkpoints: decision
            .checkpoints
            .into_iter()
            .map(text)
            .collect::<Result<_, _>>()?,
        resume: decision.resume.map(text).transpose()?,
        logs: None,
    })
}

/// Hands on what the host says until it is gone. Returns how long the plugin may take to end then.
fn read(mut from: impl BufRead, to: &Sender<ToPlugin>, requests: &RemoteRequests) -> Duration {
    let mut line = Vec::new();
    let mut limit = ORPHAN_LIMIT;
    loop {
        line.clear();
        match from.read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return limit,
            Ok(_) => {}
        }
        match serde_json::from_slice(&line) {
            Ok(ToPlugin::Requested { id, refused, over }) => {
                let result = match refused {
                    None => Ok(()),
                    Some(_) if over => Err(RunError::Over),
                    Some(reason) => Err(RunError::Refused { reason }),
                };
                requests.answered(id, result);
            }
            Ok(message) => {
                if let ToPlugin::Bye {
                    limit_ns: Some(limit_ns),
                } = message
                {
                    limit = Duration::from_nanos(limit_ns);
                }
                if to.send(message).is_err() {
                    return limit;
                }
            }
            // It may wait for an answer.
            Err(error) => {
                let text = format!("cannot read what the host says: {error}");
                let _ = send(&requests.to, &FromPlugin::Failed { text });
            }
        }
    }
}
