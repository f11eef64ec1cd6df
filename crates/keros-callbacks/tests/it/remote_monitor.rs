//! What a server receives, and what its silence costs.

use crate::support::FakeRun;
use keros_callbacks::{
    Callback, CallbackList, CallbackResult, Context, EventKind, Message, RemoteMonitor,
};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::thread;

/// Answers one request; its lines and body.
fn serve(status: &'static str) -> (String, thread::JoinHandle<(Vec<String>, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let root = format!("http://{}", listener.local_addr().unwrap());
    let server = thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream);
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            match line.trim_end() {
                "" => break,
                line => head.push(line.to_lowercase()),
            }
        }
        let length = head
            .iter()
            .find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.unwrap().parse().unwrap()];
        reader.read_exact(&mut body).unwrap();
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        reader.get_mut().write_all(answer.as_bytes()).unwrap();
        (head, String::from_utf8(body).unwrap())
    });
    (root, server)
}

#[derive(Default)]
struct Messages(Vec<String>);

impl Callback for Messages {
    fn on_epoch_end(&mut self, _: &mut Context<'_>) -> CallbackResult {
        Ok(keros_callbacks::Decision::CONTINUE)
    }
    fn on_message(&mut self, message: &Message) {
        self.0.push(message.text.clone());
    }
}

/// Ends an epoch with two logs; what was said.
fn end_epoch(monitor: RemoteMonitor) -> Vec<String> {
    let mut messages = Messages::default();
    let mut list = CallbackList::new().with(monitor).with(&mut messages);
    let mut run = FakeRun::default();
    run.logs.set("loss", 0.25);
    run.logs.set("val_loss", f64::NAN);
    run.send(&mut list, EventKind::EpochEnd, 3, 0);
    drop(list);
    messages.0
}

#[test]
fn logs_arrive_as_a_field_of_a_form() {
    let (root, server) = serve("200 OK");
    assert!(end_epoch(RemoteMonitor::new(root).unwrap()).is_empty());
    let (head, body) = server.join().unwrap();
    assert_eq!(head[0], "post /publish/epoch/end/ http/1.1");
    assert!(head.contains(&"content-type: application/x-www-form-urlencoded".to_owned()));
    assert!(body.starts_with("data=%7B%22epoch%22"), "{body}");
}

#[test]
fn logs_arrive_as_json_with_the_headers_below_a_path_of_the_root() {
    let (root, server) = serve("204 No Content");
    let monitor = RemoteMonitor::new(format!("{root}/team"))
        .unwrap()
        .path("/logs")
        .header("x-token", "abc")
        .send_as_json(true);
    assert!(end_epoch(monitor).is_empty());
    let (head, body) = server.join().unwrap();
    assert_eq!(head[0], "post /team/logs http/1.1");
    assert!(head.contains(&"x-token: abc".to_owned()), "{head:?}");
    assert!(head.contains(&"content-type: application/json".to_owned()));
    assert_eq!(body, r#"{"epoch":3,"loss":0.25,"val_loss":null}"#);
}

#[test]
fn a_server_that_refuses_or_is_not_there_costs_a_warning() {
    let (root, server) = serve("500 Internal Server Error");
    let said = end_epoch(RemoteMonitor::new(root.clone()).unwrap());
    server.join().unwrap();
    assert!(
        said[0].contains("500") && said[0].contains(&root),
        "{said:?}"
    );
    let said = end_epoch(RemoteMonitor::new(root).unwrap());
    assert!(
        said[0].starts_with("posting the logs to http://127.0.0.1"),
        "{said:?}"
    );
    assert!(RemoteMonitor::new("https://example.org").is_err());
}
