//! What a plugin reaches beyond events and logs: the same closure is run linked in and across the C ABI,
//! and has to see and do the same.

use crate::build::{EXTENSIONS, c_plugin, odd};
use keros_callbacks::{
    ArrayInfo, BoxError, Callback, CallbackResult, Context, Decision, EpochLogs, Event, EventKind,
    EventSet, Level, Logs, Message, ParamInfo, QueueStats, RequestQueue, Requests, Run, RunError,
    RunInfo,
};
use keros_plugin::plugin_module;
use keros_plugin_host::{LoadedCallback, Plugin, PluginError};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

/// A run that offers everything, and writes down what was done to it.
struct Rich {
    info: RunInfo,
    logs: Logs,
    params: Vec<ParamInfo>,
    values: Vec<Vec<f32>>,
    requests: RequestQueue,
    learning_rate: f64,
    done: Vec<String>,
    queue: Option<QueueStats>,
}

impl Rich {
    fn new() -> Rich {
        let param = |name: &str, shape: &[usize], trainable| ParamInfo {
            name: name.to_owned(),
            shape: shape.to_vec(),
            trainable,
        };
        Rich {
            info: RunInfo::default(),
            logs: Logs::new(),
            params: vec![
                param("dense/kernel", &[2, 3], true),
                param("scale", &[], false),
                param("none", &[0, 4], true),
            ],
            values: vec![vec![1.0, 2.0, 3.0, 4.0, 5.0, f32::NAN], vec![0.5], vec![]],
            requests: RequestQueue::new(),
            learning_rate: 0.25,
            done: Vec::new(),
            queue: Some(QueueStats {
                ready: 3,
                capacity: 10,
                delivered: 7,
                consumer_wait: Duration::from_nanos(1_500_000_001),
                producer_wait: Duration::from_micros(8),
            }),
        }
    }
}

impl Run for Rich {
    fn info(&self) -> &RunInfo {
        &self.info
    }
    fn logs(&mut self) -> Result<&mut Logs, BoxError> {
        Ok(&mut self.logs)
    }
    fn learning_rate(&self) -> Option<f64> {
        Some(self.learning_rate)
    }
    fn data_wait(&self) -> Duration {
        Duration::ZERO
    }
    fn detail(&self) -> Option<&str> {
        Some("run/epoch-3.safetensors")
    }
    fn params(&self) -> &[ParamInfo] {
        &self.params
    }
    fn read_param(&mut self, index: usize, values: &mut Vec<f32>) -> Result<(), BoxError> {
        values.clone_from(&self.values[index]);
        Ok(())
    }
    fn read_gradient(&mut self, index: usize, values: &mut Vec<f32>) -> Result<(), BoxError> {
        if index == 1 {
            return Err("a frozen parameter has no gradient".into());
        }
        values.clear();
        values.extend(self.values[index].iter().map(|value| -value));
        Ok(())
    }
    fn write_param(&mut self, index: usize, values: &[f32]) -> Result<(), BoxError> {
        self.values[index] = values.to_vec();
        Ok(())
    }
    fn save_weights(&mut self, path: &Path) -> Result<(), BoxError> {
        self.done.push(format!("save weights {}", path.display()));
        Ok(())
    }
    fn load_weights(&mut self, path: &Path) -> Result<(), BoxError> {
        Err(format!("{} is of another network", path.display()).into())
    }
    fn save_model(&mut self, path: &Path) -> Result<(), BoxError> {
        self.done.push(format!("save model {}", path.display()));
        Ok(())
    }
    fn swap_averages(&mut self) -> Result<(), BoxError> {
        self.done.push("swap".to_owned());
        Ok(())
    }
    fn is_scheduled(&self) -> bool {
        true
    }
    fn optimizer_numbers(&self) -> Vec<(String, f64)> {
        vec![
            ("learning_rate".to_owned(), 0.25),
            ("beta_1".to_owned(), 0.9),
        ]
    }
    fn set_optimizer_number(&mut self, name: &str, value: f64) -> Result<(), BoxError> {
        self.done.push(format!("set {name} = {value}"));
        if name == "learning_rate" {
            self.learning_rate = value;
        }
        Ok(())
    }
    fn history(&self) -> Result<Vec<EpochLogs>, BoxError> {
        let row = |epoch, loss: f64| EpochLogs {
            epoch,
            logs: [("loss", loss), ("accuracy", 0.5)].into_iter().collect(),
        };
        Ok(vec![row(2, 0.75), row(3, 0.5)])
    }
    fn queue(&self) -> Option<QueueStats> {
        self.queue
    }
    fn inputs(&self) -> Vec<ArrayInfo> {
        vec![ArrayInfo {
            name: "image".to_owned(),
            shape: vec![2, 2, 1, 1],
        }]
    }
    fn read_input(&mut self, _: usize, values: &mut Vec<f32>) -> Result<(), BoxError> {
        values.clear();
        values.extend([0.0, 127.0, 255.0, 1.0]);
        Ok(())
    }
    fn facts(&self) -> Result<String, BoxError> {
        Ok(r#"{"version":"0.1.0","name":"κηρός"}"#.to_owned())
    }
    fn requests(&self) -> Option<&Requests> {
        Some(self.requests.requests())
    }
}

/// A run that offers nothing but what every run has.
struct Plain(RunInfo, Logs);

impl Run for Plain {
    fn info(&self) -> &RunInfo {
        &self.0
    }
    fn logs(&mut self) -> Result<&mut Logs, BoxError> {
        Ok(&mut self.1)
    }
    fn learning_rate(&self) -> Option<f64> {
        None
    }
    fn data_wait(&self) -> Duration {
        Duration::ZERO
    }
}

type Code = fn(&mut Context<'_>) -> CallbackResult;

/// Runs `code` at the event.
struct Runs(Code);

impl Callback for Runs {
    fn events(&self) -> EventSet {
        EventSet::ALL
    }
    fn on_event(&mut self, cx: &mut Context<'_>) -> CallbackResult {
        (self.0)(cx)
    }
}

/// What the plugin made next will run, and what its code has to say.
static CODE: Mutex<Option<Code>> = Mutex::new(None);
static SAID: Mutex<Vec<String>> = Mutex::new(Vec::new());
/// The tests of this file share these two.
static ALONE: Mutex<()> = Mutex::new(());

fn say(text: impl Into<String>) {
    SAID.lock().unwrap().push(text.into());
}

fn said() -> Vec<String> {
    std::mem::take(&mut *SAID.lock().unwrap())
}

/// A configuration without fields.
#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Nothing {}

fn loaded(code: Code) -> LoadedCallback {
    static MODULE: keros_abi::keros_plugin_module = plugin_module!(
        |_: Nothing| Ok::<_, BoxError>(Runs(CODE.lock().unwrap().take().expect("code"))),
        self_test: || Ok::<_, BoxError>(()),
        schema: Nothing,
    );
    *CODE.lock().unwrap() = Some(code);
    // SAFETY: made by the SDK.
    let plugin = unsafe { Plugin::from_module(&MODULE) }.unwrap();
    assert!(plugin.self_test().unwrap());
    let schema: serde_json::Value =
        serde_json::from_str(plugin.config_schema().unwrap().unwrap()).unwrap();
    assert_eq!(schema["additionalProperties"], false);
    plugin.callback("").unwrap()
}

fn send(callback: &mut dyn Callback, run: &mut dyn Run) -> CallbackResult {
    let event = Event {
        kind: EventKind::TrainBatchEnd,
        epoch: 3,
        batch: 4,
        step: 5,
        samples: 6,
        nested: false,
    };
    let mut messages = Vec::new();
    let decision = callback.on_event(&mut Context::new(&event, run, "test", &mut messages));
    assert_eq!(messages, []);
    decision
}

/// Runs `code` linked in and loaded; gives what it said and asked, and the runs, which are to be alike.
fn check_alike(code: Code) -> (Vec<String>, Decision, Rich) {
    let _alone = ALONE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let (mut first, mut second) = (Rich::new(), Rich::new());
    let linked_in = send(&mut Runs(code), &mut first).unwrap();
    let expected = said();
    let mut plugin = loaded(code);
    let across = send(&mut plugin, &mut second).unwrap();
    assert_eq!(said(), expected);
    assert_eq!(across, linked_in);
    assert_eq!(second.done, first.done);
    assert_eq!(
        format!("{:?}", second.values),
        format!("{:?}", first.values)
    );
    // A second event finds everything anew.
    let again = send(&mut plugin, &mut Rich::new()).unwrap();
    assert_eq!(again, linked_in);
    assert_eq!(said(), expected);
    (expected, across, second)
}

#[test]
fn parameters_and_gradients_are_read_and_set() {
    let (said, _, run) = check_alike(|cx| {
        let params = cx.params().to_vec();
        let mut values = Vec::new();
        for (index, param) in params.iter().enumerate() {
            cx.read_param(index, &mut values)?;
            say(format!("{param:?} {values:?}"));
        }
        cx.read_gradient(0, &mut values)?;
        say(format!("{values:?}"));
        let error = cx.read_gradient(1, &mut values).unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("a frozen parameter has no gradient"),
            "{error}"
        );
        cx.write_param(0, &[6.0, 5.0, 4.0, 3.0, 2.0, 1.0])?;
        cx.write_param(1, &[-1.0])?;
        cx.write_param(2, &[])?;
        let weights = cx.weights()?;
        say(format!("{weights:?}"));
        cx.set_weights(&weights)?;
        Ok(Decision::CONTINUE)
    });
    assert_eq!(said.len(), 5);
    assert_eq!(run.values[0], [6.0, 5.0, 4.0, 3.0, 2.0, 1.0]);
}

#[test]
fn what_is_lent_stays_when_more_is_lent() {
    // The SDK copies at once, so this is for C: see `extensions.c`.
    let (said, ..) = check_alike(|cx| {
        let (mut a, mut b) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            cx.read_param(0, &mut a)?;
            cx.read_gradient(0, &mut b)?;
            cx.read_input(0, &mut b)?;
        }
        say(format!("{a:?} {b:?}"));
        Ok(Decision::CONTINUE)
    });
    assert_eq!(said.len(), 1);
}

#[test]
fn what_is_lent_stays_when_the_training_panics() {
    let Some(library) = odd() else { return };
    let mut plugin = keros_plugin_host::load(library, "\"lent\"").unwrap();
    let mut run = Rich::new();
    // Reading any other parameter panics.
    run.values.truncate(1);
    let event = Event {
        kind: EventKind::TrainBatchEnd,
        epoch: 0,
        batch: 0,
        step: 0,
        samples: 0,
        nested: false,
    };
    let mut messages = Vec::new();
    let panic = catch_unwind(AssertUnwindSafe(|| {
        plugin.on_event(&mut Context::new(&event, &mut run, "test", &mut messages))
    }));
    assert!(panic.is_err());
    let texts: Vec<&str> = messages.iter().map(|said| said.text.as_str()).collect();
    assert_eq!(texts, ["created", "kept"]);
}

#[test]
fn the_optimizer_is_read_and_set() {
    let (said, _, run) = check_alike(|cx| {
        say(format!(
            "{:?} {}",
            cx.optimizer_numbers(),
            cx.is_scheduled()
        ));
        cx.set_optimizer_number("beta_1", 0.5)?;
        cx.swap_averages()?;
        Ok(Decision::CONTINUE)
    });
    assert_eq!(said, [r#"[("learning_rate", 0.25), ("beta_1", 0.9)] true"#]);
    assert_eq!(run.done, ["set beta_1 = 0.5", "swap"]);
}

#[test]
fn facts_detail_history_queue_and_inputs_are_read() {
    let (said, ..) = check_alike(|cx| {
        say(cx.facts()?);
        say(format!("{:?}", cx.detail()));
        say(format!("{:?}", cx.history()?));
        say(format!("{:?}", cx.queue()));
        say(format!("{:?}", cx.inputs()));
        let mut values = Vec::new();
        cx.read_input(0, &mut values)?;
        say(format!("{values:?}"));
        Ok(Decision::CONTINUE)
    });
    assert_eq!(said[0], r#"{"version":"0.1.0","name":"κηρός"}"#);
    assert_eq!(said[1], r#"Some("run/epoch-3.safetensors")"#);
    assert!(said[3].contains("1.500000001s"), "{}", said[3]);
    assert_eq!(said[5], "[0.0, 127.0, 255.0, 1.0]");
}

#[test]
fn files_are_written_and_checkpoints_asked_for() {
    let (said, decision, run) = check_alike(|cx| {
        cx.save_weights("a/w.npz")?;
        cx.save_model("m.safetensors")?;
        let error = cx.load_weights("other.npz").unwrap_err().to_string();
        say(error.rsplit(": ").next().unwrap_or_default());
        let mut decision = Decision::checkpoint("one.safetensors");
        decision.merge(Decision::checkpoint("two.safetensors"));
        decision.merge(Decision::resume("three.safetensors"));
        Ok(decision)
    });
    assert_eq!(said, ["other.npz is of another network"]);
    assert_eq!(
        run.done,
        ["save weights a/w.npz", "save model m.safetensors"]
    );
    assert_eq!(decision.checkpoints.len(), 2);
    assert!(decision.resume.is_some());
}

#[test]
fn a_plugins_thread_asks_the_run_and_is_refused_afterwards() {
    static KEPT: Mutex<Option<Requests>> = Mutex::new(None);
    let _alone = ALONE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut plugin = loaded(|cx| {
        let requests = cx.requests()?.clone();
        *KEPT.lock().unwrap() = Some(requests.clone());
        let thread = std::thread::spawn(move || {
            requests.stop("the button")?;
            requests.save("asked.safetensors")
        });
        thread.join().unwrap()?;
        Ok(Decision::CONTINUE)
    });
    let mut first = Rich::new();
    send(&mut plugin, &mut first).unwrap();
    let asked = first.requests.take();
    assert_eq!(asked.stop.as_deref(), Some("the button"));
    assert_eq!(asked.checkpoints, [Path::new("asked.safetensors")]);

    // Another run of the same instance gets its own requests, the one before gets none.
    let mut second = Rich::new();
    send(&mut plugin, &mut second).unwrap();
    assert!(second.requests.take().stop.is_some());
    assert!(first.requests.take().stop.is_none());

    let kept = KEPT.lock().unwrap().take().unwrap();
    kept.stop("again").unwrap();
    drop(second);
    assert!(matches!(kept.stop("after the run"), Err(RunError::Over)));
    drop(plugin);
    assert!(matches!(
        kept.stop("after the instance"),
        Err(RunError::Over)
    ));
}

#[test]
fn what_a_run_does_not_offer_is_refused_by_name() {
    let _alone = ALONE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut plugin = loaded(|cx| {
        assert!(cx.params().is_empty() && cx.inputs().is_empty() && cx.queue().is_none());
        assert!(cx.optimizer_numbers().is_empty() && !cx.is_scheduled() && cx.detail().is_none());
        let refused: [(Result<(), BoxError>, &str); 6] = [
            (cx.facts().map(drop), "reading how the run was set up"),
            (cx.history().map(drop), "reading the history"),
            (cx.save_weights("a.npz"), "saving the weights"),
            (cx.load_weights("a.npz"), "loading the weights"),
            (
                cx.swap_averages(),
                "exchanging the weights and their averages",
            ),
            (
                cx.set_optimizer_number("a", 1.0),
                "setting a number of the optimizer",
            ),
        ];
        for (result, asked) in refused {
            let error = result.unwrap_err();
            assert!(
                matches!(error.downcast_ref(), Some(RunError::Unsupported { .. })),
                "{error}"
            );
            assert_eq!(
                error.to_string(),
                format!("{asked}: this run does not offer it")
            );
        }
        let error = cx.requests().unwrap().stop("why").unwrap_err();
        assert!(matches!(error, RunError::Over), "{error}");
        // A failure that is returned reaches the user whole.
        cx.save_model("m.safetensors")?;
        Ok(Decision::CONTINUE)
    });
    let mut run = Plain(RunInfo::default(), Logs::new());
    let error = send(&mut plugin, &mut run).unwrap_err().to_string();
    assert!(
        error.contains("saving the model: this run does not offer it"),
        "{error}"
    );
}

/// Counts events, remembers the number, and notes what is said to the user.
#[derive(Default)]
struct Counts {
    events: u64,
    broken: bool,
}

impl Callback for Counts {
    fn on_event(&mut self, _: &mut Context<'_>) -> CallbackResult {
        self.events += 1;
        Ok(Decision::stop(self.events.to_string()))
    }
    fn on_message(&mut self, message: &Message) {
        assert_ne!(message.text, "panic");
        say(format!("{message:?}"));
    }
    fn save_state(&self) -> Result<Option<Vec<u8>>, BoxError> {
        match self.events {
            0 => Ok(None),
            _ if self.broken => Err("the disk is full".into()),
            events => keros_callbacks::state::to_bytes(&events).map(Some),
        }
    }
    fn load_state(&mut self, bytes: &[u8]) -> Result<(), BoxError> {
        self.events = keros_callbacks::state::from_bytes(bytes)?;
        Ok(())
    }
}

#[derive(serde::Deserialize)]
struct CountsConfig {
    broken: bool,
}

fn counts(config: &str) -> LoadedCallback {
    static MODULE: keros_abi::keros_plugin_module = plugin_module!(
        |config: CountsConfig| Ok::<_, BoxError>(Counts { events: 0, broken: config.broken }),
        id: "counts",
        self_test: || Err::<(), BoxError>("two and two is five".into()),
    );
    // SAFETY: made by the SDK.
    let plugin = unsafe { Plugin::from_module(&MODULE) }.unwrap();
    assert_eq!(plugin.config_schema().unwrap(), None);
    let error = plugin.self_test().unwrap_err();
    assert!(matches!(error, PluginError::SelfTest { .. }));
    assert_eq!(
        error.to_string(),
        "plugin `counts`: testing itself: KEROS_E_OTHER: two and two is five"
    );
    plugin.callback(config).unwrap()
}

#[test]
fn the_state_of_a_plugin_is_kept_and_loaded() {
    let mut first = counts(r#"{"broken": false}"#);
    let mut run = Plain(RunInfo::default(), Logs::new());
    assert_eq!(first.save_state().unwrap(), None);
    for _ in 0..3 {
        send(&mut first, &mut run).unwrap();
    }
    let state = first.save_state().unwrap().unwrap();
    let mut second = counts(r#"{"broken": false}"#);
    second.load_state(&state).unwrap();
    assert_eq!(
        send(&mut second, &mut run).unwrap().stop.as_deref(),
        Some("4")
    );

    let error = second.load_state(b"nonsense").unwrap_err().to_string();
    assert!(
        error.starts_with("plugin `counts`: loading its state: KEROS_E_OTHER: "),
        "{error}"
    );
    let mut broken = counts(r#"{"broken": true}"#);
    send(&mut broken, &mut run).unwrap();
    assert_eq!(
        broken.save_state().unwrap_err().to_string(),
        "plugin `counts`: telling its state: KEROS_E_OTHER: the disk is full"
    );
}

#[test]
fn a_plugin_hears_what_is_said_to_the_user_and_a_panic_ends_it() {
    let _alone = ALONE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut plugin = counts(r#"{"broken": false}"#);
    let message = |text: &str| Message {
        level: Level::Warning,
        source: "trainer".to_owned(),
        text: text.to_owned(),
    };
    plugin.on_message(&message("the data ran out"));
    assert_eq!(said(), [format!("{:?}", message("the data ran out"))]);
    plugin.on_message(&message("panic"));
    let mut run = Plain(RunInfo::default(), Logs::new());
    let error = send(&mut plugin, &mut run).unwrap_err().to_string();
    assert!(
        error.contains("gets no more events since it panicked"),
        "{error}"
    );
}

#[test]
fn every_extension_works_from_strict_c() {
    let Some((_folder, path)) = c_plugin(EXTENSIONS, &[]) else {
        return;
    };
    check_every_extension(&mut keros_plugin_host::load(&path, "").unwrap());
}

/// Has `extensions.c` do what it does, however it is run.
pub(crate) fn check_every_extension(plugin: &mut dyn Callback) {
    let mut run = Rich::new();
    let decision = send(plugin, &mut run).unwrap();
    assert_eq!(decision.checkpoints, [Path::new("one.safetensors")]);
    assert_eq!(run.values[0], [6.0, 5.0, 4.0, 3.0, 2.0, 1.0]);
    let done = [
        "set beta_1 = 0.5",
        "set learning_rate = 0.125",
        "swap",
        "save weights w.npz",
    ];
    assert_eq!(run.done, done);
    let asked = run.requests.take();
    assert_eq!(asked.stop.as_deref(), Some("the button"));
    assert_eq!(asked.checkpoints, [Path::new("asked.safetensors")]);
    assert_eq!(plugin.save_state().unwrap().as_deref(), Some(&b"abc"[..]));
    plugin.load_state(b"abc").unwrap();
    let error = plugin.load_state(b"abcd").unwrap_err().to_string();
    assert!(
        error.starts_with("plugin `extensions`: loading its state: KEROS_E_OTHER: len == 3"),
        "{error}"
    );
}
