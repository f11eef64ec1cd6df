//! Whole sweeps: the rates that are tried, the files, the suggestion, and what is left behind.

use crate::library::library;
use crate::training::{Told, Training};
use keros_callbacks::{
    Callback, CallbackList, CallbackResult, Context, Decision, EventKind, EventSet, Level,
};
use lr_finder::{Config, LrFinder};
use std::fs;
use std::path::Path;

fn config(folder: &Path) -> Config {
    Config {
        svg: Some(folder.join("curve.svg")),
        min: 1e-3,
        steps: 40,
        smoothing: 0.5,
        skip_begin: 0,
        skip_end: 0,
        ..Config::new(folder.join("curve.csv"))
    }
}

/// The rows of the file: step, learning rate, loss, smoothed loss.
fn rows(folder: &Path) -> Vec<[f64; 4]> {
    let text = fs::read_to_string(folder.join("curve.csv")).unwrap();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("step,learning_rate,loss,smoothed_loss"));
    let rows = lines.map(|line| {
        let numbers: Vec<f64> = line
            .split(',')
            .map(|number| number.parse().unwrap())
            .collect();
        numbers.try_into().unwrap()
    });
    rows.collect()
}

/// How a finder is made of a configuration: linked in, or loaded.
type Make = fn(&Config) -> CallbackList<'static>;

fn linked_in(config: &Config) -> CallbackList<'static> {
    CallbackList::new().with(LrFinder::new(config.clone()).unwrap())
}

fn loaded(config: &Config) -> CallbackList<'static> {
    let config = serde_json::json!({
        "path": config.path,
        "svg": config.svg,
        "min": config.min,
        "steps": config.steps,
        "smoothing": config.smoothing,
        "skip_begin": config.skip_begin,
        "skip_end": config.skip_end,
    });
    let plugin = keros_plugin_host::load(library(), &config.to_string()).unwrap();
    CallbackList::new().with(plugin)
}

#[test]
fn a_sweep_ends_when_the_loss_diverges_and_leaves_the_model_as_it_was() {
    for make in [linked_in as Make, loaded] {
        let folder = tempfile::tempdir().unwrap();
        let mut callbacks = make(&config(folder.path()));
        let mut training = Training::new();
        let ended = training.fit(&mut callbacks, 10, 7).unwrap();
        assert_eq!(
            (training.weights.as_slice(), training.rate),
            (&[1.0, -2.0, 3.0][..], 0.125)
        );

        let rows = rows(folder.path());
        let reason = ended.stop.unwrap();
        let last = rows.last().unwrap();
        assert_eq!(
            reason,
            format!("the loss diverged at the learning rate {:.2e}", last[1])
        );
        // It diverges above 0.25, and it takes some updates until that shows.
        assert!(last[1] > 0.25 && rows.len() < 40, "{reason}");
        let factor = 1e4_f64.powf(1.0 / 39.0);
        for (i, row) in rows.iter().enumerate() {
            assert_eq!(row[0], i as f64);
            assert!(
                (row[1] / (1e-3 * factor.powi(i as i32)) - 1.0).abs() < 1e-9,
                "{row:?}"
            );
            // The loss of the batch, not the mean of the epoch.
            assert!((row[2] / training.losses[i] - 1.0).abs() < 1e-9, "{row:?}");
        }

        let suggested = ended
            .epochs
            .last()
            .unwrap()
            .number("suggested_learning_rate")
            .unwrap();
        assert!(rows.iter().any(|row| row[1] == suggested));
        assert!((0.005..0.25).contains(&suggested), "{suggested}");
        let svg = fs::read_to_string(folder.path().join("curve.svg")).unwrap();
        assert!(
            svg.contains("learning rate") && svg.contains("polyline"),
            "{svg}"
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}

#[test]
fn a_sweep_without_divergence_ends_after_its_steps() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config {
        max: 0.2,
        ..config(folder.path())
    };
    let mut told = Told::default();
    let mut callbacks = linked_in(&config);
    callbacks.push(&mut told);
    let mut training = Training::new();
    let ended = training.fit(&mut callbacks, 10, 7).unwrap();
    drop(callbacks);
    assert_eq!(ended.stop.as_deref(), Some("the learning rate is swept"));
    let rows = rows(folder.path());
    assert_eq!((rows.len(), rows[0][1], rows[39][1]), (40, 1e-3, 0.2));
    let [(Level::Info, text)] = &told.0[..] else {
        unreachable!("{:?}", told.0)
    };
    assert!(text.starts_with("suggested learning rate: "), "{text}");
}

#[test]
fn a_step_is_an_update_of_the_optimizer() {
    let folder = tempfile::tempdir().unwrap();
    let mut training = Training::new();
    training.accumulated = 3;
    training
        .fit(&mut linked_in(&config(folder.path())), 50, 6)
        .unwrap();
    let rows = rows(folder.path());
    for (row, losses) in rows.iter().zip(training.losses.chunks(3)) {
        // Nothing changes between updates, so all three are equal.
        assert!(
            (row[2] / losses[0] - 1.0).abs() < 1e-9,
            "{row:?} {losses:?}"
        );
    }
    assert_eq!(training.losses.len(), rows.len() * 3);
}

#[test]
fn a_second_fit_is_swept_too() {
    let folder = tempfile::tempdir().unwrap();
    let mut callbacks = linked_in(&config(folder.path()));
    let mut training = Training::new();
    training.fit(&mut callbacks, 10, 7).unwrap();
    let first = rows(folder.path());
    fs::remove_file(folder.path().join("curve.csv")).unwrap();
    training.fit(&mut callbacks, 10, 7).unwrap();
    assert_eq!(rows(folder.path()).len(), first.len());
}

#[test]
fn a_run_that_goes_on_inside_an_epoch_is_swept_from_the_next_one_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut training = Training::new();
    (training.batches_before, training.rate) = (3, 0.01);
    let mut callbacks = linked_in(&config(folder.path()));
    let ended = training.fit(&mut callbacks, 10, 7).unwrap();
    assert!(ended.stop.is_some());
    for (row, loss) in rows(folder.path()).iter().zip(&training.losses[4..]) {
        assert!((row[2] / loss - 1.0).abs() < 1e-9, "{row:?} {loss}");
    }
    assert_eq!(training.losses.len(), 4 + rows(folder.path()).len());
    assert_eq!(training.rate, 0.01);

    let folder = tempfile::tempdir().unwrap();
    let mut told = Told::default();
    let mut callbacks = linked_in(&config(folder.path()));
    callbacks.push(&mut told);
    training.fit(&mut callbacks, 1, 7).unwrap();
    drop(callbacks);
    let expected =
        "the training ended before an epoch began that the learning rate could be swept in";
    assert_eq!(told.0, [(Level::Warning, expected.to_owned())]);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_training_that_is_too_short_is_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let mut told = Told::default();
    let mut callbacks = linked_in(&config(folder.path()));
    callbacks.push(&mut told);
    let mut training = Training::new();
    let ended = training.fit(&mut callbacks, 2, 7).unwrap();
    drop(callbacks);
    assert!(ended.stop.is_none());
    assert_eq!(rows(folder.path()).len(), 14);
    assert_eq!(
        (training.weights.as_slice(), training.rate),
        (&[1.0, -2.0, 3.0][..], 0.125)
    );
    let (level, text) = &told.0[0];
    assert_eq!(*level, Level::Warning);
    assert!(
        text.starts_with("the training ended after 14 of 40 steps, at "),
        "{text}"
    );
}

#[test]
fn parameters_that_are_not_shown_are_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let mut told = Told::default();
    let mut callbacks = linked_in(&config(folder.path()));
    callbacks.push(&mut told);
    let mut training = Training::without_params();
    training.fit(&mut callbacks, 10, 7).unwrap();
    drop(callbacks);
    let expected =
        "this run does not show its parameters, so they will stay as the sweep leaves them";
    assert_eq!(told.0[0], (Level::Warning, expected.to_owned()));
    assert_eq!(training.rate, 0.125);
    assert_ne!(training.weights, [1.0, -2.0, 3.0]);
}

#[test]
fn a_loss_that_never_falls_gives_no_suggestion() {
    let folder = tempfile::tempdir().unwrap();
    let mut told = Told::default();
    let config = Config {
        min: 3.0,
        ..config(folder.path())
    };
    let mut callbacks = linked_in(&config);
    callbacks.push(&mut told);
    let ended = Training::new().fit(&mut callbacks, 10, 7).unwrap();
    drop(callbacks);
    assert_eq!(ended.epochs[0].get("suggested_learning_rate"), None);
    let (level, text) = told.0.last().unwrap();
    assert_eq!(*level, Level::Warning);
    assert!(
        text.starts_with("no learning rate to suggest: the loss never falls (see "),
        "{text}"
    );
}

#[test]
fn a_scheduled_rate_is_not_swept() {
    let folder = tempfile::tempdir().unwrap();
    let mut training = Training::new();
    training.scheduled = true;
    let error = training
        .fit(&mut linked_in(&config(folder.path())), 1, 1)
        .unwrap_err();
    let expected = "sweeping the learning rate: expected one that can be set, found one that follows a schedule";
    assert!(error.to_string().ends_with(expected), "{error}");
}

/// Sets a learning rate of its own.
struct Setter;

impl Callback for Setter {
    fn events(&self) -> EventSet {
        EventSet::of(&[EventKind::TrainBatchBegin])
    }

    fn on_train_batch_begin(&mut self, _: &mut Context<'_>) -> CallbackResult {
        Ok(Decision::set_learning_rate(0.5))
    }
}

#[test]
fn another_callback_that_sets_the_rate_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let mut callbacks = linked_in(&config(folder.path())).with(Setter);
    let error = Training::new().fit(&mut callbacks, 1, 1).unwrap_err();
    let expected = "expected 1e-3 as set, found 5e-1; somebody else sets it too";
    assert!(error.to_string().ends_with(expected), "{error}");
}

#[test]
fn a_file_that_cannot_be_written_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config {
        path: folder.path().join("missing/curve.csv"),
        ..config(folder.path())
    };
    let error = Training::new()
        .fit(&mut linked_in(&config), 10, 7)
        .unwrap_err()
        .to_string();
    let expected = format!("writing {}: ", config.path.display());
    assert!(error.contains(&expected), "{error}");
}
