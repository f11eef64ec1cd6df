//! A worker process as seen by the one that started it.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, after, bounded, never, select_biased};

use super::Segment;
use super::arrays::{Inbox, Parts};
use super::protocol::{ARGUMENT, PLACES, Reply, Request, VERSION, receive, send};
use super::status::{self, WorkedOn};
use crate::{Batch, DataError};

/// Time from the start of a program to its call of `serve_if_asked`.
const HELLO_TIMEOUT: Duration = Duration::from_secs(30);

/// A worker process that has made its sequence. Dropping it kills it.
pub(crate) struct Process {
    running: Running,
    inboxes: [Inbox; PLACES],
    /// The place of the next batch.
    place: usize,
    /// Where the worker notes what it works on.
    status: File,
    /// Where files that are open cannot be deleted, they are when the process is gone.
    _segments: Vec<Segment>,
}

/// The process, its pipes, and the thread that reads what it tells.
struct Running {
    child: Child,
    requests: Option<ChildStdin>,
    replies: Receiver<Reply>,
    reader: Option<JoinHandle<()>>,
    /// Disconnected when nobody waits any more.
    cancelled: Receiver<()>,
}

/// A batch in a place.
pub(crate) struct Answer {
    parts: Parts,
    place: usize,
    /// Samples that were passed over in it.
    pub(crate) passed_over: u64,
}

/// Why there is no batch.
pub(crate) enum Failure {
    /// Nobody waits for it any more.
    Cancelled,
    /// The process is gone or has to be ended: how that looks.
    Died(String),
    /// The sequence could not be made, or not the batch.
    Error(DataError),
}

impl Process {
    /// Starts this program as a worker and waits until it has made the sequence.
    pub(crate) fn start(
        name: &'static str,
        description: &Segment,
        cancelled: Receiver<()>,
    ) -> Result<Self, Failure> {
        let shared = |error| Failure::Error(DataError::shared_memory(error));
        let segments = (0..=PLACES).map(|_| Segment::new());
        let mut segments = segments.collect::<io::Result<Vec<_>>>().map_err(shared)?;
        let file = |index: usize| segments[index].file().try_clone().map_err(shared);
        let inboxes = [Inbox::new(file(0)?), Inbox::new(file(1)?)];
        let status = file(PLACES)?;
        let mut running = Running::start(cancelled).map_err(|source| {
            let what = format!("starting the program again failed: {source}").into();
            Failure::Error(DataError::WorkerStart { what })
        })?;
        let path = |segment: &Segment| segment.path().as_os_str().to_owned();
        let paths: Vec<_> = segments.iter().map(path).collect();
        let request = Request::Start {
            name: name.to_owned(),
            description: path(description),
            status: paths[PLACES].clone(),
            places: [paths[0].clone(), paths[1].clone()],
        };
        // What goes wrong here is told by the answers.
        let _ = running.ask(&request);
        let no_worker = |what: String| {
            Failure::Error(DataError::WorkerStart {
                what: format!(
                    "the program, started again, {what} (expected: it calls \
                     keros_data::worker::serve_if_asked first thing in main)"
                )
                .into(),
            })
        };
        match running.answer(Some(HELLO_TIMEOUT)) {
            Ok(Reply::Hello { version }) if version == VERSION => {}
            Ok(_) => return Err(no_worker("is of another version".to_owned())),
            Err(Failure::Died(how)) => return Err(no_worker(how)),
            Err(other) => return Err(other),
        }
        match running.answer(None)? {
            Reply::Ready => {
                // The worker has opened them.
                if cfg!(unix) {
                    segments.clear();
                }
                Ok(Self {
                    running,
                    inboxes,
                    place: 0,
                    status,
                    _segments: segments,
                })
            }
            reply => Err(Failure::Error(error(reply, WorkedOn::default()))),
        }
    }

    /// Asks for a batch; the answer to the last question has to have come.
    pub(crate) fn ask(&mut self, epoch: u64, index: usize) -> io::Result<()> {
        self.running.ask(&Request::Batch {
            epoch,
            index,
            place: self.place,
        })
    }

    /// Waits for what was asked for, at most so long.
    pub(crate) fn answer(&mut self, limit: Option<Duration>) -> Result<Answer, Failure> {
        match self.running.answer(limit)? {
            Reply::Batch(parts, passed_over) => {
                let place = self.place;
                self.place = (place + 1) % PLACES;
                Ok(Answer {
                    parts,
                    place,
                    passed_over,
                })
            }
            reply => Err(Failure::Error(error(reply, self.worked_on()))),
        }
    }

    /// Copies a batch; before the second next question.
    pub(crate) fn take(&mut self, answer: Answer) -> Result<Batch, DataError> {
        self.inboxes[answer.place].take(answer.parts)
    }

    /// What the worker was working on when it answered or died.
    pub(crate) fn worked_on(&self) -> WorkedOn {
        status::read(&self.status)
    }
}

/// The error that a reply is where it is not the expected one.
fn error(reply: Reply, WorkedOn { sample, file }: WorkedOn) -> DataError {
    match reply {
        Reply::Panicked(message) => DataError::Panicked {
            message: message.into(),
            sample,
            path: file,
        },
        Reply::Failed(message) => DataError::InWorker {
            message: message.into(),
            sample,
            path: file,
        },
        other => DataError::WorkerStart {
            what: format!("it answered out of turn: {other:?}").into(),
        },
    }
}

impl Running {
    fn start(cancelled: Receiver<()>) -> io::Result<Self> {
        let mut child = command()?
            .arg(ARGUMENT)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (requests, output) = (child.stdin.take(), child.stdout.take());
        let (sender, replies) = bounded(PLACES);
        let mut running = Self {
            child,
            requests,
            replies,
            reader: None,
            cancelled,
        };
        let read = move || read(output, &sender);
        let name = "keros-loader-replies".to_owned();
        running.reader = Some(thread::Builder::new().name(name).spawn(read)?);
        Ok(running)
    }

    fn ask(&mut self, request: &Request) -> io::Result<()> {
        match &mut self.requests {
            Some(requests) => send(requests, request),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// The next reply. A process that does not give it in time is ended.
    fn answer(&mut self, limit: Option<Duration>) -> Result<Reply, Failure> {
        let late = match limit {
            Some(limit) => after(limit),
            None => never(),
        };
        // Cloned because ending the process borrows all of it.
        let (replies, cancelled) = (self.replies.clone(), self.cancelled.clone());
        select_biased! {
            recv(cancelled) -> _ => Err(Failure::Cancelled),
            recv(replies) -> reply => reply.map_err(|_| Failure::Died(self.ended())),
            recv(late) -> _ => {
                self.end();
                let limit = limit.unwrap_or_default();
                Err(Failure::Died(format!("did not answer within {limit:?}")))
            }
        }
    }

    /// How the process ended that has closed its pipe.
    fn ended(&mut self) -> String {
        // It has ended or is about to.
        let patience = Instant::now() + Duration::from_secs(1);
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return format!("ended with {status}"),
                Ok(None) if Instant::now() < patience => thread::sleep(Duration::from_millis(1)),
                Ok(None) => return "closed its pipe".to_owned(),
                Err(error) => return format!("ended unseen: {error}"),
            }
        }
    }

    fn end(&mut self) {
        // Fails if it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
        // The reader ends with the pipe, unless a program that inherited it keeps it open.
        let patience = Instant::now() + Duration::from_secs(1);
        while self.replies.recv_deadline(patience).is_ok() {}
        if let Some(reader) = self.reader.take()
            && Instant::now() < patience
        {
            let _ = reader.join();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// Hands on what a worker tells until it is gone.
fn read(output: Option<ChildStdout>, replies: &Sender<Reply>) {
    let Some(mut output) = output else { return };
    while let Ok(reply) = receive(&mut output) {
        if replies.send(reply).is_err() {
            return;
        }
    }
}

/// This program. On Linux also if its file has been replaced by a newer one since it was started.
fn command() -> io::Result<Command> {
    let program: PathBuf = std::env::current_exe()?;
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::process::CommandExt;

        let mut command = Command::new("/proc/self/exe");
        command.arg0(program);
        Ok(command)
    }
    #[cfg(not(target_os = "linux"))]
    Ok(Command::new(program))
}
