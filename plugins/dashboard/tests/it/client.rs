//! A browser's side of HTTP, byte by byte.

use crate::training::TOKEN;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Longer than anything here takes on the busiest machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends a request with these header lines and reads the whole answer.
pub(crate) fn request(port: u16, method: &str, path: &str, headers: &[&str]) -> Answer {
    let mut stream = connect(port);
    let mut text = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
    for header in headers {
        text += &format!("{header}\r\n");
    }
    write!(stream, "{text}\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap();
    let headers = lines.filter_map(|line| line.split_once(": "));
    Answer {
        status: status.parse().unwrap(),
        headers: headers
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        body: body.to_owned(),
    }
}

/// What the page itself gets, with the token.
pub(crate) fn get(port: u16, route: &str) -> Answer {
    let host = format!("Host: 127.0.0.1:{port}");
    request(port, "GET", &format!("/{TOKEN}/{route}"), &[&host])
}

/// What a button of the page sends.
pub(crate) fn post(port: u16, route: &str) -> Answer {
    let host = format!("Host: 127.0.0.1:{port}");
    let origin = format!("Origin: http://127.0.0.1:{port}");
    let path = format!("/{TOKEN}/{route}");
    request(port, "POST", &path, &[&host, &origin, "Content-Length: 0"])
}

/// The live updates of one page.
pub(crate) struct Events(BufReader<TcpStream>);

impl Events {
    pub(crate) fn open(port: u16) -> Events {
        let mut stream = connect(port);
        write!(
            stream,
            "GET /{TOKEN}/events HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n"
        )
        .unwrap();
        Events(BufReader::new(stream))
    }

    /// The next update; `None` if the server has ended the stream.
    pub(crate) fn next(&mut self) -> Option<serde_json::Value> {
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            if let Some(json) = line.strip_prefix("data: ") {
                return Some(serde_json::from_str(json).unwrap());
            }
        }
    }

    /// The first update that is as told; those before are passed over.
    pub(crate) fn find(
        &mut self,
        wanted: impl Fn(&serde_json::Value) -> bool,
    ) -> serde_json::Value {
        loop {
            let update = self.next().expect("the stream goes on");
            if wanted(&update) {
                return update;
            }
        }
    }
}
