//! Who gets an answer.

use crate::client::{get, post, request};
use crate::training::{TOKEN, Training, config};
use dashboard::Config;
use keros_plugin::EventKind;
use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpStream, UdpSocket};

#[test]
fn the_page_and_its_parts_are_served_to_who_knows_the_token() {
    let training = Training::begun(config());
    let port = training.port();
    for (route, kind, part) in [
        ("", "text/html; charset=utf-8", "<!doctype html>"),
        (
            "style.css",
            "text/css; charset=utf-8",
            "prefers-color-scheme",
        ),
        ("chart.js", "text/javascript; charset=utf-8", "class Chart"),
        ("page.js", "text/javascript; charset=utf-8", "EventSource"),
    ] {
        let answer = get(port, route);
        assert_eq!(answer.status, 200, "{route}");
        assert_eq!(answer.header("content-type"), Some(kind));
        assert!(answer.body.contains(part));
        // Nothing is loaded from anywhere else.
        assert!(!answer.body.contains("https://"), "{route}");
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'"));
    }
    assert_eq!(get(port, "other").status, 404);
    assert_eq!(get(port, "stop").status, 405);
    assert_eq!(post(port, "").status, 405);
}

#[test]
fn without_the_token_everything_is_forbidden() {
    let training = Training::begun(config());
    let port = training.port();
    let host = format!("Host: 127.0.0.1:{port}");
    let wrong = format!("/{}/", TOKEN.replace('0', "1"));
    let long = format!("/{TOKEN}0/");
    for path in [
        "/",
        "/events",
        "/style.css",
        &wrong,
        &long,
        "//",
        "/favicon.ico",
    ] {
        let answer = request(port, "GET", path, &[&host]);
        assert_eq!(answer.status, 403, "{path}");
        assert!(!answer.body.contains(TOKEN));
    }
    let origin = format!("Origin: http://127.0.0.1:{port}");
    assert_eq!(
        request(port, "POST", "/stop", &[&host, &origin]).status,
        403
    );
}

#[test]
fn other_hosts_are_forbidden() {
    let training = Training::begun(config());
    let port = training.port();
    let path = format!("/{TOKEN}/");
    let status = |headers: &[&str]| request(port, "GET", &path, headers).status;
    for host in [
        "evil.example",
        "127.0.0.1.evil.example",
        "127.0.0.2",
        "localhost:x",
        "",
        "[::1]x:1",
    ] {
        assert_eq!(status(&[&format!("Host: {host}")]), 403, "{host}");
    }
    assert_eq!(status(&[]), 403);
    // The port may be that of a tunnel.
    for host in [
        "127.0.0.1:1",
        "localhost",
        "localhost:8080",
        "[::1]:8080",
        "[::1]",
    ] {
        assert_eq!(status(&[&format!("Host: {host}")]), 200, "{host}");
    }
}

#[test]
fn actions_are_taken_from_the_own_page_only() {
    let mut training = Training::begun(config());
    let port = training.port();
    let path = format!("/{TOKEN}/stop");
    let host = format!("Host: 127.0.0.1:{port}");
    for origin in [
        "http://evil.example",
        "null",
        "http://localhost",
        "https://127.0.0.1",
    ] {
        let origin = format!("Origin: {origin}");
        assert_eq!(
            request(port, "POST", &path, &[&host, &origin]).status,
            403,
            "{origin}"
        );
    }
    assert_eq!(request(port, "POST", &path, &[&host]).status, 403);
    assert_eq!(training.batch(0, 0, 1.0).stop, None);
    assert_eq!(post(port, "stop").status, 200);
    assert_eq!(
        training.batch(0, 1, 1.0).stop.as_deref(),
        Some("stopped in the dashboard")
    );
}

#[test]
fn the_server_is_on_the_loopback_interface_only() {
    let training = Training::begun(config());
    // The address this machine has towards others, if it has one; nothing is sent.
    let towards = UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        socket.connect("192.0.2.1:9")?;
        socket.local_addr()
    });
    if let Ok(address) = towards
        && !address.ip().is_loopback()
        && !address.ip().is_unspecified()
    {
        let outside = SocketAddr::new(address.ip(), training.port());
        assert!(TcpStream::connect(outside).is_err(), "{outside}");
    }
}

#[test]
fn tokens_are_random_and_told_in_a_message() {
    let mut addresses = BTreeSet::new();
    for _ in 0..8 {
        let training = Training::begun(Config::default());
        let url = training.dashboard.url().unwrap();
        let token = url
            .trim_end_matches('/')
            .rsplit('/')
            .next()
            .unwrap()
            .to_owned();
        assert_eq!(token.len(), 32);
        assert_eq!(
            training.messages[0].text,
            format!("the dashboard is at {url}")
        );
        assert!(!format!("{:?}", training.dashboard).contains(&token));
        addresses.insert(token);
    }
    assert_eq!(addresses.len(), 8);
}

#[test]
fn a_port_in_use_is_an_error_when_the_training_begins() {
    let first = Training::begun(config());
    let mut second = Training::new(
        Config {
            port: first.port(),
            ..config()
        },
        1,
        1,
    );
    let error = second.send(EventKind::TrainBegin, [0; 3]).unwrap_err();
    assert!(error.is::<std::io::Error>());
    let expected = format!(
        "starting the dashboard on port {} of 127.0.0.1: ",
        first.port()
    );
    assert!(error.to_string().starts_with(&expected), "{error}");
}
