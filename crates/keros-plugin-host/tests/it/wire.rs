//! Programs that speak the wire format, well or badly.

use crate::isolated::{Messages, options};
use crate::run::FakeRun;
use keros_callbacks::{
    BoxError, Callback, CallbackError, CallbackList, Context, Decision, Event, EventKind,
    FailurePolicy, Level, LogValue, Logs, Message, ParamInfo, RequestQueue, Requests, Run, RunInfo,
};
use keros_plugin_host::{IsolateError, IsolateOptions, IsolatedCallback, external};
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

/// A program of the shell.
fn sh(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

const HELLO: &str = r#"echo '{"type":"hello","wire":{"major":1,"minor":0},"id":"shell","version":"1","events":["train_begin","train_batch_end"],"messages":false,"state":true}'"#;

/// A program that says hello, then does this.
fn after_hello(script: &str) -> Command {
    sh(&format!("read -r create\n{HELLO}\n{script}"))
}

fn start(command: Command, options: &IsolateOptions) -> IsolatedCallback {
    external(command, "", options).unwrap()
}

fn ping(callback: &mut IsolatedCallback, kind: EventKind) -> Result<Decision, CallbackError> {
    FakeRun::new().ping(&mut CallbackList::new().with(callback), kind)
}

/// What is wrong with a program that says hello and then does this.
fn check_ended(script: &str, options: &IsolateOptions, expected: &str) {
    let mut callback = start(after_hello(script), options);
    let error = ping(&mut callback, EventKind::TrainBatchEnd).unwrap_err();
    let error = error.to_string();
    assert!(error.contains(expected), "{script}: {error}");
    assert!(error.ends_with("it gets no more events"), "{error}");
    assert!(!callback.is_running());
    // Nothing more happens, until another run begins.
    let decision = ping(&mut callback, EventKind::TrainBatchEnd).unwrap();
    assert_eq!(decision, Decision::CONTINUE);
    assert_eq!(callback.save_state().unwrap(), None);
    let error = ping(&mut callback, EventKind::TrainBegin).unwrap_err();
    assert!(error.to_string().contains(expected), "{error}");
}

#[test]
fn a_program_that_breaks_the_rules_is_ended() {
    let options = options();
    for (script, expected) in [
        (
            "read -r e; echo hello",
            "sent what is no message of the wire format",
        ),
        ("read -r e; echo '{}'", "missing field `type`"),
        (
            "read -r e; echo '{\"type\":\"dance\"}'",
            "unknown variant `dance`",
        ),
        (
            "read -r e; echo '{\"type\":\"decision\",\"learningrate\":1}'",
            "unknown field `learningrate`",
        ),
        (
            "read -r e; echo '{\"type\":\"decision\",\"learning_rate\":\"fast\"}'",
            "expected a number",
        ),
        (
            "read -r e; printf '\\377\\n'",
            "sent what is no message of the wire format",
        ),
        (
            "read -r e; echo '{\"type\":\"loaded\"}'",
            "sent `loaded` out of turn",
        ),
        (
            "read -r e; printf '{\"type\":\"deci'; exit 4",
            "ended with exit status: 4",
        ),
        (
            "read -r e; head -c 9000000 /dev/zero | tr '\\0' a; sleep 100",
            "sent a line of more than 8388",
        ),
        ("read -r e; cat /dev/zero", "sent a line of more than 8388"),
        (
            "read -r e; yes '{\"type\":\"message\",\"level\":\"info\",\"text\":\"x\"}'",
            "sent more than 4096 messages at a time",
        ),
        (
            "read -r e; yes",
            "sent what is no message of the wire format",
        ),
        (
            "read -r e; exec >&-; sleep 100",
            "closed its stdout and was killed",
        ),
        (
            "read -r e; echo one >&2; echo two >&2; exit 7",
            "ended with exit status: 7, its last words: two",
        ),
        // What it has started keeps the pipe open.
        ("read -r e; sleep 100 & exit 8", "ended with exit status: 8"),
    ] {
        check_ended(script, &options, expected);
    }
}

#[test]
fn a_program_that_is_silent_or_deaf_is_ended() {
    let limits = IsolateOptions {
        event_limit: Duration::from_millis(300),
        end_limit: Duration::from_millis(300),
        ..options()
    };
    let begin = Instant::now();
    let late = "did not answer in time and was killed";
    check_ended("read -r e; sleep 100", &limits, late);
    check_ended("sleep 100", &limits, late);
    let ask = r#"while read -r e; do echo '{"type":"ask","what":"queue"}'; done"#;
    check_ended(ask, &limits, late);
    // It hears nothing of many long messages, which are for it.
    let hears = HELLO.replace("\"messages\":false", "\"messages\":true");
    let deaf = sh(&format!("read -r create\n{hears}\nsleep 100"));
    let mut callback = start(deaf, &limits);
    let message = Message {
        level: Level::Info,
        source: "trainer".to_owned(),
        text: "x".repeat(1000),
    };
    for _ in 0..3000 {
        callback.on_message(&message);
    }
    let error = ping(&mut callback, EventKind::TrainBatchEnd).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("did not read the last 1024 messages"),
        "{error}"
    );
    // Many lines on stderr are counted only.
    let flood = "yes words >&2";
    check_ended(flood, &limits, late);
    assert!(begin.elapsed() < Duration::from_secs(60));
}

#[test]
fn a_program_that_does_not_start_is_refused() {
    let limits = IsolateOptions {
        start_limit: Duration::from_millis(300),
        ..options()
    };
    let hello = |from: &str, to: &str| {
        let hello = HELLO.replace(from, to);
        assert_ne!(hello, HELLO);
        sh(&format!("read -r c; {hello}; read -r e"))
    };
    let failed = r#"read -r c; echo '{"type":"failed","text":"nothing suits me"}'"#;
    for (command, options, expected) in [
        (
            Command::new("/no/such/program"),
            options(),
            "starting `/no/such/program`: ",
        ),
        (
            sh("sleep 100"),
            limits,
            "its process did not answer in time and was killed",
        ),
        (
            sh("exit 5"),
            options(),
            "its process ended with exit status: 5",
        ),
        (
            sh("read -r c; echo nonsense; sleep 100"),
            options(),
            "no message of the wire format",
        ),
        (
            sh("read -r c; echo '{\"type\":\"decision\"}'; sleep 100"),
            options(),
            "sent `decision` out of turn",
        ),
        (sh(failed), options(), "starting `sh`: nothing suits me"),
        (
            hello("\"major\":1", "\"major\":2"),
            options(),
            "speaks another wire format (expected major version 1, found 2)",
        ),
        (
            hello("\"shell\"", "\"Shell\""),
            options(),
            "its id is wrong (expected lower-case letters, digits, `-`, `_` and `.`, found \"Shell\")",
        ),
        (
            hello("\"version\":\"1\"", "\"version\":\"\""),
            options(),
            "its version is wrong",
        ),
        (
            hello("train_begin", "train_begins"),
            options(),
            "its events is wrong (expected names of events, found \"train_begins\")",
        ),
    ] {
        let error = external(command, "", &options).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    // What a later version wants and this one lacks does not come.
    let later = HELLO
        .replace("\"minor\":0", "\"minor\":1,\"new\":[1]")
        .replace("train_begin", "coffee_break");
    let callback = start(sh(&format!("read -r c; {later}; read -r e")), &options());
    let only = keros_callbacks::EventSet::of(&[EventKind::TrainBatchEnd]);
    assert_eq!(callback.events(), only);
    // A program that cannot be started is no refusal.
    let error = external(sh(failed), "", &options()).unwrap_err();
    assert!(matches!(error, IsolateError::Refused { .. }));
}

#[test]
fn a_failure_goes_by_the_policy_and_the_program_goes_on() {
    let script = r#"n=0; while read -r e; do n=$((n+1)); echo "{\"type\":\"failed\",\"text\":\"failure $n\"}"; done"#;
    let mut messages = Messages::default();
    let mut callbacks = CallbackList::new();
    callbacks.push_with(start(after_hello(script), &options()), FailurePolicy::Log);
    callbacks.push(&mut messages);
    let mut run = FakeRun::new();
    for _ in 0..2 {
        run.ping(&mut callbacks, EventKind::TrainBatchEnd).unwrap();
    }
    drop(callbacks);
    let texts: Vec<_> = messages
        .0
        .iter()
        .map(|message| message.text.as_str())
        .collect();
    assert_eq!(texts.len(), 2);
    assert!(texts[0].ends_with("plugin `shell`: failure 1"), "{texts:?}");
    assert!(texts[1].ends_with("plugin `shell`: failure 2"), "{texts:?}");
}

#[test]
fn a_program_asks_for_what_is_not_there() {
    let script = r#"
        read -r e; echo '{"type":"ask","what":"tea"}'; read -r tea
        echo '{"type":"ask","what":"param","index":9}'; read -r nine
        echo '{"type":"ask","what":"facts"}'; read -r facts
        printf '%s\n' "$tea" "$nine" "$facts" > "$ANSWERS"
        echo '{"type":"failed","text":"see above"}'; read -r bye"#;
    let folder = tempfile::tempdir().unwrap();
    let answers = folder.path().join("answers.txt");
    let mut command = after_hello(script);
    command.env("ANSWERS", &answers);
    let mut callback = start(command, &options());
    let error = ping(&mut callback, EventKind::TrainBegin).unwrap_err();
    assert!(
        error.to_string().ends_with("plugin `shell`: see above"),
        "{error}"
    );
    let said = fs::read_to_string(answers).unwrap();
    for part in [
        "asking for what this host does not offer: unknown variant `tea`",
        "\"unsupported\":true",
        "expected the index of one of 0 parameters, found 9",
        "reading how the run was set up: this run does not offer it",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

/// The run of the transcript in docs/wire-format.md.
struct Told {
    info: RunInfo,
    logs: Logs,
    params: Vec<ParamInfo>,
    requests: RequestQueue,
}

impl Run for Told {
    fn info(&self) -> &RunInfo {
        &self.info
    }
    fn logs(&mut self) -> Result<&mut Logs, BoxError> {
        Ok(&mut self.logs)
    }
    fn learning_rate(&self) -> Option<f64> {
        Some(0.1)
    }
    fn data_wait(&self) -> Duration {
        Duration::from_micros(25)
    }
    fn params(&self) -> &[ParamInfo] {
        &self.params
    }
    fn read_param(&mut self, _: usize, values: &mut Vec<f32>) -> Result<(), BoxError> {
        *values = vec![1.0, -2.0];
        Ok(())
    }
    fn requests(&self) -> Option<&Requests> {
        Some(self.requests.requests())
    }
}

fn told() -> Told {
    Told {
        info: FakeRun::new().info,
        logs: Logs::new(),
        params: vec![ParamInfo {
            name: "dense/kernel".to_owned(),
            shape: vec![2],
            trainable: true,
        }],
        requests: RequestQueue::new(),
    }
}

fn send(
    callback: &mut IsolatedCallback,
    run: &mut Told,
    kind: EventKind,
) -> (Result<Decision, BoxError>, Vec<Message>) {
    let event = Event {
        kind,
        epoch: 0,
        batch: 0,
        step: 0,
        samples: 0,
        nested: false,
    };
    let mut messages = Vec::new();
    let decision = callback.on_event(&mut Context::new(&event, run, "example", &mut messages));
    (decision, messages)
}

#[test]
fn the_transcript_of_the_documentation_is_what_is_said() {
    let page = include_str!("../../../../docs/wire-format.md");
    let block = page.split("```text transcript\n").nth(1).unwrap();
    let transcript: Vec<&str> = block.split("```").next().unwrap().lines().collect();
    let folder = tempfile::tempdir().unwrap();
    let heard = folder.path().join("heard.txt");
    let mut script = String::new();
    for line in &transcript {
        script += &match line.split_at(2) {
            ("> ", _) => "read -r line; printf '%s\\n' \"$line\" >> \"$HEARD\"\n".to_owned(),
            ("< ", said) => format!("printf '%s\\n' '{said}'\n"),
            other => panic!("{other:?}"),
        };
    }
    let mut command = sh(&script);
    command.env("HEARD", &heard);
    let mut callback = external(command, r#"{"patience": 2}"#, &options()).unwrap();
    assert_eq!((callback.name(), callback.version()), ("example", "1.0.0"));
    let mut run = told();
    let (decision, messages) = send(&mut callback, &mut run, EventKind::TrainBegin);
    assert_eq!(decision.unwrap(), Decision::CONTINUE);
    assert_eq!(messages[0].text, "watching the loss");
    run.logs = [
        ("loss", LogValue::Float(0.75)),
        ("accuracy", LogValue::Float(f64::NAN)),
        ("batches", LogValue::Integer(3)),
        ("done", LogValue::Bool(false)),
        ("note", LogValue::Text("warm".to_owned())),
    ]
    .into_iter()
    .collect();
    let (decision, _) = send(&mut callback, &mut run, EventKind::EpochEnd);
    let expected = Decision {
        stop: Some("the loss is low enough".to_owned()),
        learning_rate: Some(0.05),
        checkpoints: vec!["best.safetensors".into()],
        ..Decision::CONTINUE
    };
    assert_eq!(decision.unwrap(), expected);
    assert_eq!(run.logs.number("norm"), Some(2.25));
    assert_eq!(callback.save_state().unwrap().as_deref(), Some(&[2, 1][..]));
    callback.load_state(&[2, 1]).unwrap();
    drop(callback);

    let heard = fs::read_to_string(heard).unwrap();
    let heard: Vec<&str> = heard.lines().collect();
    let written = transcript.iter().filter_map(|line| line.strip_prefix("> "));
    let written: Vec<String> = written
        .map(|line| line.replace("0.1.0", env!("CARGO_PKG_VERSION")))
        // The usual limit, and that of the tests.
        .map(|line| line.replace("5000000000", "60000000000"))
        .collect();
    assert_eq!(heard, written);
}

#[test]
fn a_program_makes_requests_at_any_time() {
    let folder = tempfile::tempdir().unwrap();
    let answers = folder.path().join("answers.txt");
    // Before, inside and after an event; the run is over in the end.
    let script = r#"
        echo '{"type":"request","id":1,"stop":"too early"}'; read -r first; echo "$first" > "$ANSWERS"
        read -r e
        echo '{"type":"request","id":2,"stop":"the button","save":"now.safetensors"}'; read -r second
        echo "$second" >> "$ANSWERS"
        echo '{"type":"decision"}'
        echo '{"type":"request","save":"later.safetensors"}'
        echo '{"type":"request","id":3,"save":"last.safetensors"}'; read -r third
        echo "$third" >> "$ANSWERS"; mv "$ANSWERS" "$ANSWERS.whole"; read -r bye"#;
    let mut command = after_hello(script);
    command.env("ANSWERS", &answers);
    // The first answer may come when the event is on its way already.
    let mut callback = start(command, &options());
    let begin = Instant::now();
    while !answers.exists() && begin.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut run = told();
    let (decision, _) = send(&mut callback, &mut run, EventKind::TrainBatchEnd);
    assert_eq!(decision.unwrap(), Decision::CONTINUE);
    let whole = folder.path().join("answers.txt.whole");
    while !whole.exists() && begin.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(5));
    }
    let asked = run.requests.take();
    assert_eq!(asked.stop.as_deref(), Some("the button"));
    let files = ["now.safetensors", "later.safetensors", "last.safetensors"];
    assert_eq!(asked.checkpoints, files.map(std::path::PathBuf::from));
    let answers = fs::read_to_string(whole).unwrap();
    let answers: Vec<&str> = answers.lines().collect();
    assert_eq!(
        answers,
        [
            r#"{"type":"requested","id":1,"refused":"asking the run: it is over","over":true}"#,
            r#"{"type":"requested","id":2,"over":false}"#,
            r#"{"type":"requested","id":3,"over":false}"#,
        ]
    );
}
