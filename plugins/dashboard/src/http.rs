//! Who may ask for what, and the answers: the page, its live updates, and the buttons.

use crate::board::Reader;
use crate::server::Shared;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use subtle::ConstantTimeEq;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::timeout;

/// A page hears something at least that often, so that connections that died are found.
const HEARTBEAT: Duration = Duration::from_secs(10);

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";
const EVENTS: &str = "text/event-stream";

/// Sent with every answer: nothing from elsewhere is loaded, nothing is kept, and the address with
/// its token is told to nobody.
const HEADERS: [(HeaderName, &str); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
];

/// Answers one request.
pub(crate) async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Response<Answer> {
    let route = match admitted(&shared.token, &request) {
        Ok(route) => route,
        Err(reason) => return plain(StatusCode::FORBIDDEN, reason),
    };
    match (request.method(), route) {
        (&Method::GET, "") => whole(StatusCode::OK, HTML, include_str!("page/index.html")),
        (&Method::GET, "style.css") => whole(StatusCode::OK, CSS, include_str!("page/style.css")),
        (&Method::GET, "chart.js") => whole(StatusCode::OK, SCRIPT, include_str!("page/chart.js")),
        (&Method::GET, "page.js") => whole(StatusCode::OK, SCRIPT, include_str!("page/page.js")),
        (&Method::GET, "events") => events(shared),
        (&Method::POST, "stop") => done(shared.ask_stop(), "the training is over"),
        (&Method::POST, "save") => done(
            shared.ask_save(),
            "the training is over, or no file for checkpoints is configured",
        ),
        (&Method::POST, "close") => done(shared.ask_close(), "the training is still running"),
        (_, "" | "style.css" | "chart.js" | "page.js" | "events" | "stop" | "save" | "close") => {
            plain(StatusCode::METHOD_NOT_ALLOWED, "not with this method")
        }
        _ => plain(StatusCode::NOT_FOUND, "there is no such page"),
    }
}

/// What is asked for, behind the token; or why it is not given.
fn admitted<'a>(token: &str, request: &'a Request<Incoming>) -> Result<&'a str, &'static str> {
    // A page of another site may have its name point to this machine; it cannot change what the
    // browser sends as host.
    let host = text(request.headers(), &header::HOST);
    if !host.is_some_and(is_loopback) {
        return Err("expected a host of the loopback interface");
    }
    let path = request.uri().path().trim_start_matches('/');
    let (given, route) = path.split_once('/').unwrap_or((path, "/"));
    if !bool::from(given.as_bytes().ct_eq(token.as_bytes())) {
        return Err("expected the address with its token, as the training told it");
    }
    // Actions come from our own page only.
    if request.method() == Method::POST {
        let origin = text(request.headers(), &header::ORIGIN);
        let own = origin.and_then(|origin| origin.strip_prefix("http://"));
        if own.is_none() || own != host {
            return Err("expected a request of the dashboard's own page");
        }
    }
    Ok(route)
}

/// Whether a `Host` names the loopback interface; its port may be that of a tunnel.
fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    matches!(name, "127.0.0.1" | "localhost" | "[::1]")
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// The state of the run, then every change of it; a page that is slow gets fewer and larger ones.
fn events(shared: Arc<Shared>) -> Response<Answer> {
    let Ok(place) = Arc::clone(&shared.pages).try_acquire_owned() else {
        return plain(
            StatusCode::SERVICE_UNAVAILABLE,
            "too many pages of this dashboard are open",
        );
    };
    // One update on its way, and no other until it has been taken.
    let (sender, updates) = mpsc::channel(1);
    tokio::spawn(tell(shared, sender, place));
    respond(StatusCode::OK, EVENTS, Answer::Live(updates))
}

async fn tell(shared: Arc<Shared>, page: mpsc::Sender<Bytes>, _place: OwnedSemaphorePermit) {
    let mut changes = shared.changes.subscribe();
    let mut reader = Reader::default();
    loop {
        changes.mark_unchanged();
        let (json, last) = shared.board().since(&mut reader, Instant::now());
        let update = Bytes::from(format!("data: {json}\n\n"));
        if page.send(update).await.is_err() || last {
            return;
        }
        loop {
            tokio::select! {
                () = page.closed() => return,
                changed = timeout(HEARTBEAT, changes.changed()) => match changed {
                    Ok(Ok(())) => break,
                    Ok(Err(_)) => return,
                    Err(_) => {}
                },
            }
            if page.send(Bytes::from_static(b":\n\n")).await.is_err() {
                return;
            }
        }
    }
}

fn done(possible: bool, otherwise: &'static str) -> Response<Answer> {
    if possible {
        plain(StatusCode::OK, "done")
    } else {
        plain(StatusCode::CONFLICT, otherwise)
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response<Answer> {
    whole(status, TEXT, text)
}

fn whole(status: StatusCode, kind: &'static str, content: &'static str) -> Response<Answer> {
    let content = Bytes::from_static(content.as_bytes());
    respond(status, kind, Answer::Whole(Some(content)))
}

fn respond(status: StatusCode, kind: &'static str, answer: Answer) -> Response<Answer> {
    let mut response = Response::new(answer);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// The body of an answer.
pub(crate) enum Answer {
    /// A file of the page, or a sentence.
    Whole(Option<Bytes>),
    /// Updates as they come.
    Live(mpsc::Receiver<Bytes>),
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let data = match self.get_mut() {
            Answer::Whole(content) => Poll::Ready(content.take()),
            Answer::Live(updates) => updates.poll_recv(cx),
        };
        data.map(|data| data.map(|data| Ok(Frame::data(data))))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Answer::Whole(content) => {
                SizeHint::with_exact(content.as_ref().map_or(0, |content| content.len() as u64))
            }
            Answer::Live(_) => SizeHint::default(),
        }
    }
}
