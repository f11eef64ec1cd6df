//! The server: one thread on the loopback interface, from its start to its end.

use crate::board::Board;
use crate::config::Config;
use crate::http;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use keros_plugin::{BoxError, Level, Requests};
use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tokio::runtime;
use tokio::sync::{Semaphore, watch};

/// Connections at a time; more wait.
const MAX_CONNECTIONS: usize = 64;
/// Pages that get live updates at a time; more are refused. Each browser window is one.
const MAX_PAGES: usize = 16;
/// How long a browser may take to send a request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How long browsers have to take what they are still to get when the server ends.
const FAREWELL: Duration = Duration::from_secs(1);
/// How long to wait when the system has no socket for one more connection.
const PAUSE: Duration = Duration::from_millis(100);
/// Most bytes that wait to be sent to one browser, besides one update.
const BUFFER_BYTES: usize = 64 * 1024;

/// What the training and the server share.
pub(crate) struct Shared {
    pub(crate) token: String,
    board: Mutex<Board>,
    /// Counts the changes of the board.
    pub(crate) changes: watch::Sender<u64>,
    /// The places for pages that get live updates.
    pub(crate) pages: Arc<Semaphore>,
    stop: AtomicBool,
    /// Takes the request to save a checkpoint, and the file to save it to.
    saver: Mutex<Option<(Requests, PathBuf)>>,
    /// Wakes whoever waits for the end of the server.
    close: mpsc::SyncSender<()>,
}

impl Shared {
    pub(crate) fn board(&self) -> MutexGuard<'_, Board> {
        // Every change leaves the board whole.
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the board and has it shown.
    pub(crate) fn update<T>(&self, change: impl FnOnce(&mut Board) -> T) -> T {
        let result = change(&mut self.board());
        self.changes.send_modify(|count| *count += 1);
        result
    }

    pub(crate) fn ask_stop(&self) -> bool {
        let possible = self.update(Board::ask_stop);
        self.stop.fetch_or(possible, Ordering::Relaxed);
        possible
    }

    pub(crate) fn ask_save(&self) -> bool {
        let saver = self.saver.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((requests, path)) = &*saver else {
            return false;
        };
        if !self.update(Board::ask_save) {
            return false;
        }
        let asked = requests.save(path);
        if let Err(error) = &asked {
            self.update(|board| {
                board.saved();
                board.say(
                    Level::Warning,
                    "dashboard",
                    &error.to_string(),
                    Instant::now(),
                );
            });
        }
        asked.is_ok()
    }

    pub(crate) fn ask_close(&self) -> bool {
        let possible = self.board().is_over();
        if possible {
            // If it is full, it has been asked for already.
            let _ = self.close.try_send(());
        }
        possible
    }

    /// Whether somebody asked for it since the last call.
    pub(crate) fn take_stop(&self) -> bool {
        self.stop.load(Ordering::Relaxed) && self.stop.swap(false, Ordering::Relaxed)
    }

    /// Who takes requests to save in the run that begins.
    pub(crate) fn set_saver(&self, saver: Option<(Requests, PathBuf)>) {
        *self.saver.lock().unwrap_or_else(PoisonError::into_inner) = saver;
    }
}

/// A running server. Dropping it gives pages their last update and ends the thread.
pub(crate) struct Server {
    shared: Arc<Shared>,
    port: u16,
    closed: mpsc::Receiver<()>,
    thread: Option<JoinHandle<()>>,
    /// Dropped to end the thread.
    ending: Option<watch::Sender<()>>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the token.
        f.debug_struct("Server")
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

impl Server {
    pub(crate) fn start(config: &Config) -> Result<Server, BoxError> {
        let failed = |error: io::Error| {
            let doing = format!(
                "starting the dashboard on port {} of 127.0.0.1",
                config.port
            );
            io::Error::new(error.kind(), format!("{doing}: {error}"))
        };
        let token = match &config.token {
            Some(token) => token.clone(),
            None => random_token()?,
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, config.port)).map_err(failed)?;
        let port = listener.local_addr().map_err(failed)?.port();
        listener.set_nonblocking(true).map_err(failed)?;
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(failed)?;
        let listener = {
            let _inside = runtime.enter();
            tokio::net::TcpListener::from_std(listener).map_err(failed)?
        };
        let (close, closed) = mpsc::sync_channel(1);
        let shared = Arc::new(Shared {
            token,
            board: Mutex::new(Board::new(config.linger_s > 0.0)),
            changes: watch::Sender::new(0),
            pages: Arc::new(Semaphore::new(MAX_PAGES)),
            stop: AtomicBool::new(false),
            saver: Mutex::new(None),
            close,
        });
        let (ending, end) = watch::channel(());
        let served = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("keros-dashboard".to_owned())
            .spawn(move || runtime.block_on(serve(listener, served, end)))
            .map_err(failed)?;
        Ok(Server {
            shared,
            port,
            closed,
            thread: Some(thread),
            ending: Some(ending),
        })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/{}/", self.port, self.shared.token)
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Takes back that somebody closed the dashboard.
    pub(crate) fn forget_close(&self) {
        let _ = self.closed.try_recv();
    }

    /// Waits until somebody closes the dashboard in the page, or until then.
    pub(crate) fn wait(&self, until: Instant) {
        let left = until.saturating_duration_since(Instant::now());
        let _ = self.closed.recv_timeout(left);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.update(Board::close);
        self.ending = None;
        if let Some(thread) = self.thread.take() {
            // A panic over there has nothing to tell here.
            let _ = thread.join();
        }
    }
}

/// 128 random bits in hexadecimal.
fn random_token() -> Result<String, BoxError> {
    let low = getrandom::u64();
    let high = getrandom::u64();
    match (low, high) {
        (Ok(low), Ok(high)) => Ok(format!("{high:016x}{low:016x}")),
        (Err(error), _) | (_, Err(error)) => {
            Err(format!("making the dashboard's random token: {error}").into())
        }
    }
}

async fn serve(
    listener: tokio::net::TcpListener,
    shared: Arc<Shared>,
    mut end: watch::Receiver<()>,
) {
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = async {
            // Never closed.
            let place = Arc::clone(&connections).acquire_owned().await.ok();
            (place, listener.accept().await)
        };
        let (place, stream) = tokio::select! {
            _ = end.changed() => break,
            (place, accepted) = accepted => match accepted {
                Ok((stream, _)) => (place, stream),
                Err(_) => {
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            },
        };
        let shared = Arc::clone(&shared);
        let service = service_fn(move |request| {
            let shared = Arc::clone(&shared);
            async move { Ok::<_, Infallible>(http::answer(shared, request).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(REQUEST_TIMEOUT)
            .max_buf_size(BUFFER_BYTES)
            .serve_connection(TokioIo::new(stream), service);
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            // A browser that went away is no concern of the training.
            let _ = connection.await;
            drop(place);
        });
    }
    drop(listener);
    // Pages learn from the board that it is the end; whoever does not listen is left behind.
    let _ = tokio::time::timeout(FAREWELL, graceful.shutdown()).await;
}
