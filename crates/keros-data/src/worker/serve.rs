//! A worker process's life: make the sequence, then batches, until the process that asked is gone.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufReader, Write};
use std::path::Path;
use std::process;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread;

use super::arrays::Outbox;
use super::protocol::{ARGUMENT, PLACES, Reply, Request, VERSION, receive, send};
use super::{Registry, shared, status};
use crate::loader::prepare;
use crate::{DataError, Recycling, Sequence, passed_over};

/// Whether this process was started as a worker. By an argument: unlike a variable of the
/// environment, programs that are started by a worker do not inherit it, and a program that does not
/// know it refuses it.
pub(super) fn is_asked() -> bool {
    std::env::args_os()
        .nth(1)
        .is_some_and(|argument| argument == ARGUMENT)
}

pub(super) fn serve(registry: &Registry) -> ! {
    // Whatever fails here, there is nobody to tell but the other side, which sees the end.
    let code = match run(registry) {
        Ok(()) => 0,
        Err(_) => 1,
    };
    process::exit(code)
}

fn run(registry: &Registry) -> io::Result<()> {
    let (input, mut output) = pipes()?;
    let hello = Reply::Hello {
        version: VERSION.to_owned(),
    };
    send(&mut output, &hello)?;
    let requests = requests(input)?;
    let Ok(Request::Start {
        name,
        description,
        status,
        places,
    }) = requests.recv()
    else {
        return Ok(());
    };
    let started = start(registry, &name, &description, &status, places);
    let (sequence, mut places) = match started {
        Ok(started) => started,
        Err(error) => return send(&mut output, &failed(&error)),
    };
    send(&mut output, &Reply::Ready)?;
    let recycling = Recycling::start();
    while let Ok(Request::Batch {
        epoch,
        index,
        place,
    }) = requests.recv()
    {
        let made = prepare(sequence.as_ref(), epoch, index).and_then(|batch| {
            let place = places.get_mut(place);
            let none = || DataError::shared_memory(io::Error::other("there is no such place"));
            let parts = place.ok_or_else(none)?.put(&batch)?;
            recycling.give(batch);
            Ok(parts)
        });
        let reply = match made {
            Ok(parts) => Reply::Batch(parts, passed_over::take()),
            Err(error) => failed(&error),
        };
        send(&mut output, &reply)?;
    }
    Ok(())
}

fn start(
    registry: &Registry,
    name: &str,
    description: &OsString,
    status: &OsString,
    places: [OsString; PLACES],
) -> Result<(Arc<dyn Sequence>, Vec<Outbox>), DataError> {
    let open = |path: &OsString| shared::open(Path::new(path)).map_err(DataError::shared_memory);
    status::keep_in(&open(status)?).map_err(DataError::shared_memory)?;
    let places = places.iter().map(|path| Ok(Outbox::new(open(path)?)));
    let places = places.collect::<Result<Vec<_>, DataError>>()?;
    let Some(make) = registry.find(name) else {
        let what = "the worker's registry is not that of the program";
        return Err(DataError::description(what));
    };
    let mut file = BufReader::with_capacity(1 << 16, open(description)?);
    let sequence = crate::loader::guard(|| make(&mut file))?;
    Ok((sequence, places))
}

fn failed(error: &DataError) -> Reply {
    match error {
        DataError::Panicked { message, .. } => Reply::Panicked(message.to_string()),
        other => Reply::Failed(other.to_string()),
    }
}

/// Reads requests beside the work, so that the end of the other side ends this process in the middle
/// of a batch too.
fn requests(mut input: impl io::Read + Send + 'static) -> io::Result<Receiver<Request>> {
    let (sender, requests) = mpsc::channel();
    let read = move || {
        while let Ok(request) = receive(&mut input) {
            if sender.send(request).is_err() {
                return;
            }
        }
        process::exit(0);
    };
    let name = "keros-worker-requests".to_owned();
    thread::Builder::new().name(name).spawn(read)?;
    Ok(requests)
}

/// The pipes, which were standard input and output. These two are made harmless: code that prints
/// does so among the errors, and programs that it starts do not inherit the pipes.
#[cfg(unix)]
fn pipes() -> io::Result<(File, impl Write)> {
    use rustix::io::fcntl_dupfd_cloexec;
    use rustix::stdio::{dup2_stdin, dup2_stdout, stderr, stdin, stdout};

    // Above the standard three.
    let input = fcntl_dupfd_cloexec(stdin(), 3)?;
    let output = fcntl_dupfd_cloexec(stdout(), 3)?;
    dup2_stdin(File::open("/dev/null")?)?;
    dup2_stdout(stderr())?;
    Ok((File::from(input), File::from(output)))
}

/// The pipes, which are standard input and output: code that prints disturbs them.
#[cfg(not(unix))]
fn pipes() -> io::Result<(io::Stdin, impl Write)> {
    Ok((io::stdin(), io::stdout()))
}
