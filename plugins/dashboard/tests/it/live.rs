//! What a page hears while the training runs, and how it all ends.

use crate::client::{Events, PATIENCE, get, post};
use crate::training::{Training, config};
use dashboard::Config;
use keros_plugin::{Callback, EpochLogs, EventKind, Level, Message, QueueStats};
use std::net::TcpStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn a_page_hears_of_every_epoch_and_of_the_end() {
    let mut training = Training::begun(config());
    let mut events = Events::open(training.port());
    let first = events.next().unwrap();
    assert_eq!(first["info"]["epochs"], 3);
    assert_eq!(
        first["info"]["metrics"],
        serde_json::json!(["loss", "accuracy"])
    );
    assert_eq!(
        (&first["phase"], &first["done"]),
        (&"training".into(), &0.into())
    );

    training.send(EventKind::EpochBegin, [0; 3]).unwrap();
    training.batch(0, 0, 2.0);
    let batch = events.find(|update| update["done"] == 1);
    assert!(batch["info"].is_null());
    assert_eq!(
        batch["batches"]["keys"],
        serde_json::json!(["loss", "accuracy", "learning_rate"])
    );
    assert_eq!(
        batch["batches"]["rows"],
        serde_json::json!([[0, 1, [2.0, 1.0 - 2.0 / 3.0, 1e-3]]])
    );
    training.send(EventKind::TestBegin, [0; 3]).unwrap();
    events.find(|update| update["phase"] == "validating");
    training.end_epoch(0, 1.5);
    let epoch = events.find(|update| update["epochs"]["rows"] != serde_json::json!([]));
    assert_eq!(epoch["epochs"]["rows"][0][2][0], 1.5);
    assert!(epoch["to_go_s"].as_f64().unwrap() > 0.0);
    assert_eq!(epoch["latest"][3][0], "val_loss");

    training.send(EventKind::TrainEnd, [0; 3]).unwrap();
    let last = events.find(|update| update["closing"] == true);
    assert_eq!(last["phase"], "ended");
    assert_eq!(events.next(), None);
    // The server is gone.
    assert_eq!(training.dashboard.url(), None);
}

#[test]
fn a_page_that_comes_late_gets_the_whole_story() {
    let mut training = Training::begun(config());
    for epoch in 0..3 {
        training.send(EventKind::EpochBegin, [epoch, 0, 0]).unwrap();
        training.batch(epoch, 0, 1.0);
        training.end_epoch(epoch, 1.0);
    }
    let warning = Message {
        level: Level::Warning,
        source: "other".to_owned(),
        text: "mind <b>this</b>".to_owned(),
    };
    training.dashboard.on_message(&warning);
    let all = Events::open(training.port()).next().unwrap();
    assert_eq!(all["epochs"]["rows"].as_array().unwrap().len(), 3);
    assert_eq!(all["messages"][0]["text"], "mind <b>this</b>");
    assert_eq!(all["messages"][0]["level"], "warning");
}

#[test]
fn numbers_that_are_none_are_told() {
    let mut training = Training::begun(config());
    training.send(EventKind::EpochBegin, [0; 3]).unwrap();
    training.run.logs.set("note", "warm");
    training.batch(0, 0, f64::NAN);
    let update = Events::open(training.port()).next().unwrap();
    assert_eq!(update["latest"][0], serde_json::json!(["note", "warm"]));
    assert_eq!(update["latest"][1], serde_json::json!(["loss", "NaN"]));
    assert!(update["batches"]["rows"][0][2][0].is_null());
}

#[test]
fn a_stop_is_obeyed_once_and_told_to_everybody() {
    let mut training = Training::begun(config());
    let mut events = Events::open(training.port());
    assert_eq!(post(training.port(), "stop").status, 200);
    events.find(|update| update["stop_asked"] == true);
    assert!(training.batch(0, 0, 1.0).stop.is_some());
    assert!(training.batch(0, 1, 1.0).stop.is_none());
    events.find(|update| update["messages"][0]["text"] == "stopped in the dashboard");
    assert_eq!(
        training.messages.last().unwrap().text,
        "stopped in the dashboard"
    );
    // The next training is another one.
    training.send(EventKind::TrainEnd, [0; 3]).unwrap();
    training.send(EventKind::TrainBegin, [0; 3]).unwrap();
    let next = Events::open(training.port()).next().unwrap();
    assert_eq!(next["stop_asked"], false);
    assert!(training.end_epoch(0, 1.0).stop.is_none());
}

#[test]
fn a_checkpoint_is_asked_of_the_run() {
    let config = Config {
        checkpoint: Some("kept.safetensors".into()),
        ..config()
    };
    let mut training = Training::begun(config);
    let mut events = Events::open(training.port());
    assert_eq!(events.next().unwrap()["can_save"], true);
    assert_eq!(post(training.port(), "save").status, 200);
    events.find(|update| update["save_asked"] == true);
    let asked = training.run.requests.as_ref().unwrap().take();
    assert_eq!(asked.checkpoints, [Path::new("kept.safetensors")]);
    // Another callback's is not the one that was asked for.
    for (file, waiting) in [("other.safetensors", true), ("kept.safetensors", false)] {
        training.run.detail = Some(file.to_owned());
        training.send(EventKind::CheckpointSaved, [0; 3]).unwrap();
        let text = format!("saved the checkpoint {file}");
        let update = events.find(|update| update["messages"][0]["text"] == *text);
        assert_eq!(update["save_asked"], waiting);
    }
    // The run is over before its end is told.
    training.run.requests = None;
    assert_eq!(post(training.port(), "save").status, 409);
    events.find(|update| update["messages"][0]["text"] == "asking the run: it is over");
}

#[test]
fn a_checkpoint_that_could_not_be_written_can_be_asked_for_again() {
    let config = Config {
        checkpoint: Some("kept.safetensors".into()),
        ..config()
    };
    let mut training = Training::begun(config);
    let mut events = Events::open(training.port());
    assert_eq!(post(training.port(), "save").status, 200);
    events.find(|update| update["save_asked"] == true);
    // The run writes it after the first of these, and tells of it before the second.
    training.batch(0, 0, 1.0);
    training.batch(0, 1, 1.0);
    events.find(|update| update["save_asked"] == false);
}

#[test]
fn a_folder_that_is_not_there_is_told_at_once() {
    let config = Config {
        checkpoint: Some("no/such/folder/kept.safetensors".into()),
        ..config()
    };
    let mut training = Training::new(config, 1, 1);
    let error = training.send(EventKind::TrainBegin, [0; 3]).unwrap_err();
    let expected = "expected a file in a folder that is there, found none at no/such/folder";
    assert!(error.to_string().contains(expected), "{error}");
}

#[test]
fn without_a_file_or_requests_there_is_nothing_to_save() {
    let training = Training::begun(config());
    assert_eq!(post(training.port(), "save").status, 409);
    let config = Config {
        checkpoint: Some("kept.safetensors".into()),
        ..config()
    };
    let mut training = Training::new(config, 1, 1);
    training.run.requests = None;
    training.send(EventKind::TrainBegin, [0; 3]).unwrap();
    let first = Events::open(training.port()).next().unwrap();
    assert_eq!(first["can_save"], false);
    assert_eq!(post(training.port(), "save").status, 409);
}

#[test]
fn facts_queue_and_earlier_epochs_are_shown() {
    let mut training = Training::begun(config());
    training.run.queue = Some(QueueStats {
        ready: 3,
        capacity: 10,
        producer_wait: Duration::from_millis(1500),
        ..QueueStats::default()
    });
    let logs = [("loss", 0.5)].into_iter().collect();
    training.run.history = vec![EpochLogs { epoch: 0, logs }];
    for epoch in 1..3 {
        training.send(EventKind::EpochBegin, [epoch, 0, 0]).unwrap();
        training.batch(epoch, 0, 1.0);
        training.end_epoch(epoch, 1.0);
    }
    let all = Events::open(training.port()).next().unwrap();
    assert_eq!(all["facts"]["optimizer"]["beta_1"], 0.9);
    let queue = serde_json::json!({ "ready": 3, "capacity": 10, "workers_s": 1.5 });
    assert_eq!(all["waits"]["queue"], queue);
    let epochs: Vec<_> = all["epochs"]["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| &row[0])
        .collect();
    assert_eq!(epochs, [0, 1, 2]);
    assert_eq!(all["epochs"]["rows"][0], serde_json::json!([0, 4, [0.5]]));
}

#[test]
fn a_run_that_goes_on_inside_an_epoch_is_shown_where_it_is() {
    let logs: keros_plugin::Logs = [("loss", 0.5)].into_iter().collect();
    let history = vec![EpochLogs { epoch: 0, logs }];
    let rows = |curve: &serde_json::Value| {
        let rows = curve["rows"].as_array().unwrap().iter();
        let places = rows.map(|row| (row[0].as_u64().unwrap(), row[1].as_u64().unwrap()));
        places.collect::<Vec<_>>()
    };
    let mut training = Training::begun(config());
    training.run.history = history.clone();
    training.batch(1, 2, 1.0);
    let first = Events::open(training.port()).next().unwrap();
    assert_eq!((&first["epoch"], &first["done"]), (&1.into(), &3.into()));
    assert_eq!(rows(&first["batches"]), [(1, 3)]);
    // It has seen one batch.
    let seen =
        first["batches_per_s"].as_f64().unwrap() * first["waits"]["epoch_s"].as_f64().unwrap();
    assert!((seen - 1.0).abs() < 1e-9, "{seen}");
    training.batch(1, 3, 1.0);
    training.end_epoch(1, 1.0);
    training.send(EventKind::EpochBegin, [2, 0, 0]).unwrap();
    training.end_epoch(2, 1.0);
    let all = Events::open(training.port()).next().unwrap();
    assert_eq!(rows(&all["epochs"]), [(0, 4), (1, 4), (2, 0)]);

    // After the last batch of an epoch, and after the last epoch.
    let mut training = Training::begun(config());
    training.run.history = history.clone();
    training.send(EventKind::TestBegin, [1, 0, 0]).unwrap();
    let first = Events::open(training.port()).next().unwrap();
    assert_eq!((&first["epoch"], &first["done"]), (&1.into(), &4.into()));
    training.end_epoch(1, 1.0);
    let all = Events::open(training.port()).next().unwrap();
    assert_eq!(rows(&all["epochs"]), [(0, 4), (1, 4)]);
    let mut training = Training::begun(config());
    training.run.history = history;
    let mut events = Events::open(training.port());
    events.next().unwrap();
    training.send(EventKind::TrainEnd, [0; 3]).unwrap();
    events.find(|update| rows(&update["epochs"]) == [(0, 4)]);
}

#[test]
fn an_error_is_shown() {
    let mut training = Training::begun(config());
    let mut events = Events::open(training.port());
    events.next().unwrap();
    training.run.detail = Some("the disk is full".to_owned());
    training.send(EventKind::Error, [0; 3]).unwrap();
    let last = events.find(|update| update["closing"] == true);
    assert_eq!(last["phase"], "failed");
    // A training that fails before it begins has nothing to show.
    let mut other = Training::new(config(), 1, 1);
    other.send(EventKind::Error, [0; 3]).unwrap();
}

#[test]
fn pages_that_do_not_listen_hold_up_nobody() {
    let mut training = Training::begun(config());
    let port = training.port();
    // One that never reads, and one that sends half a request.
    let deaf = Events::open(port);
    let dumb = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let mut events = Events::open(port);
    let keys: Vec<String> = (0..60).map(|number| format!("metric_{number}")).collect();
    for epoch in 0..3000 {
        training.send(EventKind::EpochBegin, [epoch, 0, 0]).unwrap();
        for key in &keys {
            training.run.logs.set(key, epoch as f64 + 0.123_456_789);
        }
        training.end_epoch(epoch, 1.0);
    }
    // Far more was said than a socket holds, and who listens has it, thinned out.
    events.find(|update| update["epoch"] == 2999);
    let all = Events::open(port).next().unwrap();
    let rows = all["epochs"]["rows"].as_array().unwrap();
    assert!((1000..=2048).contains(&rows.len()), "{}", rows.len());
    let begin = Instant::now();
    training.send(EventKind::TrainEnd, [0; 3]).unwrap();
    assert!(begin.elapsed() < PATIENCE / 2);
    drop((deaf, dumb));
}

#[test]
fn pages_are_bounded() {
    let training = Training::begun(config());
    let pages: Vec<Events> = (0..16)
        .map(|_| {
            let mut events = Events::open(training.port());
            events.next().unwrap();
            events
        })
        .collect();
    assert_eq!(get(training.port(), "events").status, 503);
    assert_eq!(get(training.port(), "").status, 200);
    drop(pages);
}

#[test]
fn the_page_lingers_until_somebody_closes_it() {
    let config = Config {
        linger_s: 3600.0,
        ..config()
    };
    let mut training = Training::begun(config);
    let port = training.port();
    assert_eq!(post(port, "close").status, 409);
    training.send(EventKind::TrainEnd, [0; 3]).unwrap();
    assert_eq!(post(port, "stop").status, 409);
    assert_eq!(get(port, "").status, 200);
    assert_eq!(
        training.messages.last().unwrap().text,
        "the dashboard stays for 3600 s, or until it is closed in the page"
    );
    let mut events = Events::open(port);
    assert_eq!(events.next().unwrap()["phase"], "ended");
    let waiting = thread::spawn(move || drop(training));
    assert_eq!(post(port, "close").status, 200);
    events.find(|update| update["closing"] == true);
    waiting.join().unwrap();
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
}

#[test]
fn lingering_ends_by_itself_and_the_next_training_has_the_same_address() {
    let config = Config {
        linger_s: 0.3,
        ..config()
    };
    let mut training = Training::begun(config);
    let port = training.port();
    training.send(EventKind::TrainEnd, [0; 3]).unwrap();
    // This closes no later training.
    assert_eq!(post(port, "close").status, 200);
    training.send(EventKind::TrainBegin, [0; 3]).unwrap();
    assert_eq!(training.port(), port);
    training.send(EventKind::TrainEnd, [0; 3]).unwrap();
    let begin = Instant::now();
    drop(training);
    assert!(begin.elapsed() >= Duration::from_millis(200));
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
}

#[test]
fn a_dashboard_that_is_dropped_in_mid_training_ends() {
    let training = Training::begun(config());
    let port = training.port();
    drop(training);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
}
