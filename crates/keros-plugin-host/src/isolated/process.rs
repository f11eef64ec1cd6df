//! The process of a plugin as seen by the host: its pipes, the threads behind them, and its end.
//!
//! A thread each writes what the process is told, reads what it answers, and reads its stderr, so that
//! nothing the process does or leaves undone holds up the training for longer than its limits.

use super::lines::{Line, read_line};
use super::wire::{self, FromPlugin, LINE_MAX, Request, ToPlugin, nanoseconds};
use keros_callbacks::{Level, Requests, RunError};
use std::io::{self, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

/// Messages that may wait for the next event; a process that sends more is ended.
const MESSAGES_MAX: usize = 4096;
/// Lines of stderr that may wait for the next event; more are counted only.
const STDERR_MAX: usize = 256;
/// Longest line of stderr that is shown whole, in bytes.
const STDERR_LINE_MAX: u64 = 4096;
/// Lines that may wait until the process reads them.
const UNREAD_MAX: usize = 1024;
/// How often a silent process is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// How long a process that has closed its pipe, or was killed, may take to be gone, and the last words of one that is
/// gone to be read.
const PATIENCE: Duration = Duration::from_secs(1);

/// The process is gone, or was ended: how that went, to follow "its process".
#[derive(Debug)]
pub(crate) struct Gone(pub(crate) String);

/// A running process. Dropping it says goodbye, and kills it if it does not go.
pub(crate) struct Process {
    child: Child,
    /// The only one that lives on its own: dropping it closes the stdin.
    to: Option<Arc<SyncSender<Vec<u8>>>>,
    from: Receiver<Result<FromPlugin, String>>,
    /// Disconnected when stderr is at its end.
    stderr_end: Receiver<()>,
    shared: Arc<Shared>,
    end_limit: Duration,
    gone: bool,
}

struct Shared {
    said: Mutex<Said>,
    requests: Mutex<Option<Requests>>,
    line_max: AtomicU64,
}

/// What the process has said to the user and nobody has shown yet.
#[derive(Default)]
struct Said {
    messages: Vec<(Level, String)>,
    stderr: Vec<String>,
    stderr_left_out: u64,
    /// The last line of stderr that is not blank.
    last_words: String,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Process {
    pub(crate) fn start(mut command: Command, end_limit: Duration) -> io::Result<Process> {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        #[cfg(unix)]
        {
            use std::os::unix::process::CommandExt;
            // A group of its own: it is ended with all that it has started, and Ctrl-C is for the host.
            command.process_group(0);
        }
        let mut child = command.spawn()?;
        let (stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let shared = Arc::new(Shared {
            said: Mutex::default(),
            requests: Mutex::new(None),
            line_max: AtomicU64::new(LINE_MAX),
        });
        let (to, unread) = sync_channel::<Vec<u8>>(UNREAD_MAX);
        let (answers, from) = sync_channel(1);
        let (at_end, stderr_end) = sync_channel::<()>(0);
        let to = Arc::new(to);
        let process = Process {
            child,
            to: Some(Arc::clone(&to)),
            from,
            stderr_end,
            shared: Arc::clone(&shared),
            end_limit,
            gone: false,
        };
        let thread = |name: &str| thread::Builder::new().name(name.to_owned());
        if let Some(mut stdin) = stdin {
            thread("keros-plugin-stdin").spawn(move || {
                for line in unread {
                    if stdin.write_all(&line).is_err() {
                        return;
                    }
                }
            })?;
        }
        if let Some(stdout) = stdout {
            let shared = Arc::clone(&shared);
            let to = Arc::downgrade(&to);
            thread("keros-plugin-stdout").spawn(move || {
                Reader {
                    shared,
                    answers,
                    to,
                }
                .read(BufReader::new(stdout))
            })?;
        }
        if let Some(stderr) = stderr {
            thread("keros-plugin-stderr").spawn(move || {
                read_stderr(BufReader::new(stderr), &shared);
                drop(at_end);
            })?;
        }
        Ok(process)
    }

    /// Ends a process that has spoken when nothing was asked of it.
    pub(crate) fn check_silence(&mut self) -> Result<(), Gone> {
        match self.from.try_recv() {
            Ok(Ok(_)) => Err(self.kill("spoke out of turn and was killed".to_owned())),
            Ok(Err(broken)) => Err(self.kill(format!("{broken} and was killed"))),
            Err(_) => Ok(()),
        }
    }

    /// Sends a message; does not wait until it is read.
    pub(crate) fn send(&mut self, message: &ToPlugin) -> Result<(), Gone> {
        let line = match wire::line(message) {
            Ok(line) => line,
            Err(error) => return Err(self.kill(format!("cannot be told that: {error}"))),
        };
        match self.to.as_ref().map(|to| to.try_send(line)) {
            Some(Ok(())) => Ok(()),
            Some(Err(TrySendError::Full(_))) => Err(self.kill(format!(
                "did not read the last {UNREAD_MAX} messages and was killed"
            ))),
            // Its stdin is closed; how it ended is told by its stdout.
            Some(Err(TrySendError::Disconnected(_))) | None => Ok(()),
        }
    }

    /// The next answer. `left` is how long the process may still take, and is made less by as much as
    /// it did.
    pub(crate) fn next(&mut self, left: &mut Duration) -> Result<FromPlugin, Gone> {
        let whole = *left;
        let begin = Instant::now();
        loop {
            *left = whole.saturating_sub(begin.elapsed());
            match self.from.recv_timeout(LOOK.min(*left)) {
                Ok(Ok(answer)) => {
                    *left = whole.saturating_sub(begin.elapsed());
                    return Ok(answer);
                }
                Ok(Err(broken)) => return Err(self.kill(format!("{broken} and was killed"))),
                Err(RecvTimeoutError::Disconnected) => return Err(self.ended()),
                Err(RecvTimeoutError::Timeout) if left.is_zero() => {
                    return Err(self.kill("did not answer in time and was killed".to_owned()));
                }
                // What it has started may keep its stdout open.
                Err(RecvTimeoutError::Timeout) => {
                    if matches!(self.child.try_wait(), Ok(Some(_))) {
                        // Its last answer may be on its way.
                        if let Ok(Ok(answer)) = self.from.recv_timeout(PATIENCE) {
                            return Ok(answer);
                        }
                        return Err(self.ended());
                    }
                }
            }
        }
    }

    /// Ends a process that does what it must not.
    pub(crate) fn kill(&mut self, why: String) -> Gone {
        self.end();
        Gone(self.with_last_words(why))
    }

    /// The requests of the run that the process may make from now on.
    pub(crate) fn bind(&self, requests: Option<&Requests>) {
        let mut bound = lock(&self.shared.requests);
        let same = match (&*bound, requests) {
            (Some(bound), Some(requests)) => bound.same_run(requests),
            (None, None) => true,
            _ => false,
        };
        if !same {
            *bound = requests.cloned();
        }
    }

    /// Allows lines with so many bytes in base64 beside the usual.
    pub(crate) fn allow(&self, bytes: u64) {
        let max = LINE_MAX + bytes.div_ceil(3).saturating_mul(4);
        self.shared.line_max.store(max, Ordering::Relaxed);
    }

    /// Takes what the process has said to the user.
    pub(crate) fn said(&self) -> Vec<(Level, String)> {
        let mut said = lock(&self.shared.said);
        let mut all = std::mem::take(&mut said.messages);
        all.extend(said.stderr.drain(..).map(|line| (Level::Info, line)));
        match std::mem::take(&mut said.stderr_left_out) {
            0 => {}
            lines => all.push((Level::Info, format!("and {lines} more lines on stderr"))),
        }
        all
    }

    /// How the process ended that has closed its stdout.
    fn ended(&mut self) -> Gone {
        match self.wait(PATIENCE) {
            Some(how) => {
                self.gone = true;
                Gone(self.with_last_words(format!("ended with {how}")))
            }
            None => self.kill("closed its stdout and was killed".to_owned()),
        }
    }

    /// Waits for the process, whose pipe is closed or about to be.
    fn wait(&mut self, limit: Duration) -> Option<std::process::ExitStatus> {
        let begin = Instant::now();
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if begin.elapsed() < limit => thread::sleep(Duration::from_millis(1)),
                Ok(None) | Err(_) => return None,
            }
        }
    }

    fn with_last_words(&self, how: String) -> String {
        // Until its stderr is at its end, or somebody else keeps it open.
        let _ = self.stderr_end.recv_timeout(PATIENCE);
        let last_words = lock(&self.shared.said).last_words.clone();
        if last_words.is_empty() {
            how
        } else {
            format!("{how}, its last words: {last_words}")
        }
    }

    /// Ends the process and what it has started.
    fn end(&mut self) {
        self.to = None;
        if self.gone {
            return;
        }
        self.gone = true;
        #[cfg(unix)]
        // Fails if all of the group have ended.
        let _ = rustix::process::kill_process_group(
            rustix::process::Pid::from_child(&self.child),
            rustix::process::Signal::KILL,
        );
        // Fails if it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.gone {
            return;
        }
        let begin = Instant::now();
        let limit_ns = Some(nanoseconds(self.end_limit));
        // What cannot be said is killed below.
        let _ = self.send(&ToPlugin::Bye { limit_ns });
        self.to = None;
        *lock(&self.shared.requests) = None;
        while !self.gone {
            let left = self.end_limit.saturating_sub(begin.elapsed());
            match self.from.recv_timeout(left.min(LOOK)) {
                // It may have been about to answer.
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) if !left.is_zero() => {
                    self.gone = matches!(self.child.try_wait(), Ok(Some(_)));
                }
                Err(RecvTimeoutError::Timeout) => self.end(),
                Err(RecvTimeoutError::Disconnected) => match self.wait(left) {
                    Some(_) => self.gone = true,
                    None => self.end(),
                },
            }
        }
    }
}

/// Reads what a process sends.
struct Reader {
    shared: Arc<Shared>,
    answers: SyncSender<Result<FromPlugin, String>>,
    to: Weak<SyncSender<Vec<u8>>>,
}

impl Reader {
    /// Until the end of the pipe or the first thing that is wrong.
    fn read(self, mut from: impl io::BufRead) {
        let mut line = Vec::new();
        loop {
            let max = || self.shared.line_max.load(Ordering::Relaxed);
            let outcome = match read_line(&mut from, &mut line, max) {
                Ok(Line::Whole) => self.take(&line),
                Ok(Line::TooLong) => Err(format!("sent a line of more than {} bytes", max())),
                // An end in the middle of a line is an end: the process tells how.
                Ok(Line::Cut | Line::End) | Err(_) => return,
            };
            match outcome {
                Ok(None) => {}
                Ok(Some(answer)) => {
                    if self.answers.send(Ok(answer)).is_err() {
                        return;
                    }
                }
                Err(broken) => {
                    // Nobody may be left to hear it.
                    let _ = self.answers.send(Err(broken));
                    return;
                }
            }
        }
    }

    /// Does what can be done at once; gives an answer, which is for the training.
    fn take(&self, line: &[u8]) -> Result<Option<FromPlugin>, String> {
        let message = serde_json::from_slice(line).map_err(|error| {
            let start = String::from_utf8_lossy(&line[..line.len().min(80)]).into_owned();
            format!("sent what is no message of the wire format ({error}): {start:?}")
        })?;
        match message {
            FromPlugin::Message { level, text } => {
                let mut said = lock(&self.shared.said);
                if said.messages.len() >= MESSAGES_MAX {
                    return Err(format!("sent more than {MESSAGES_MAX} messages at a time"));
                }
                said.messages.push((level.into(), text));
                Ok(None)
            }
            FromPlugin::Request(request) => {
                let id = request.id;
                let answer = self.request(request);
                let Some(id) = id else {
                    return Ok(None);
                };
                let (refused, over) = match answer {
                    Ok(()) => (None, false),
                    Err(error) => (Some(error.to_string()), matches!(error, RunError::Over)),
                };
                let requested = ToPlugin::Requested { id, refused, over };
                let line = wire::line(&requested).map_err(|error| error.to_string())?;
                match self.to.upgrade().map(|to| to.try_send(line)) {
                    Some(Err(TrySendError::Full(_))) => {
                        Err("does not read the answers to its requests".to_owned())
                    }
                    _ => Ok(None),
                }
            }
            answer => Ok(Some(answer)),
        }
    }

    fn request(&self, request: Request) -> Result<(), RunError> {
        let requests = lock(&self.shared.requests).clone().ok_or(RunError::Over)?;
        if let Some(reason) = request.stop {
            requests.stop(&reason)?;
        }
        if let Some(path) = request.save {
            requests.save(path)?;
        }
        Ok(())
    }
}

fn read_stderr(mut from: BufReader<impl Read>, shared: &Shared) {
    let mut line = Vec::new();
    loop {
        let cut = match read_line(&mut from, &mut line, || STDERR_LINE_MAX) {
            Ok(Line::Whole | Line::Cut) => "",
            Ok(Line::TooLong) => " …",
            Ok(Line::End) | Err(_) => return,
        };
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end();
        if text.trim_start().is_empty() {
            continue;
        }
        let mut said = lock(&shared.said);
        said.last_words = format!("{text}{cut}");
        if said.stderr.len() < STDERR_MAX {
            let line = said.last_words.clone();
            said.stderr.push(line);
        } else {
            said.stderr_left_out += 1;
        }
    }
}
