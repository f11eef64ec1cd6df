//! What a configuration may be.

use lr_finder::{Config, LrFinder};

fn check_refused(fields: serde_json::Value, expected: &str) {
    let mut config = serde_json::json!({ "path": "a.csv" });
    config
        .as_object_mut()
        .unwrap()
        .extend(fields.as_object().unwrap().clone());
    let config: Config = serde_json::from_value(config).unwrap();
    assert_eq!(LrFinder::new(config).unwrap_err().to_string(), expected);
}

#[test]
fn defaults_are_those_of_the_field() {
    let config: Config = serde_json::from_str(r#"{"path": "a.csv"}"#).unwrap();
    assert_eq!(config, Config::new("a.csv"));
    assert_eq!((config.min, config.max, config.steps), (1e-7, 10.0, 100));
    assert_eq!((config.smoothing, config.stop_factor), (0.98, Some(4.0)));
    assert_eq!((config.skip_begin, config.skip_end), (10, 1));
    let unlimited: Config = serde_json::from_str(r#"{"path": "a", "stop_factor": null}"#).unwrap();
    assert_eq!(unlimited.stop_factor, None);
    assert!(serde_json::from_str::<Config>("{}").is_err());
    assert!(serde_json::from_str::<Config>(r#"{"path": "a", "mode": "linear"}"#).is_err());
}

#[test]
fn what_allows_no_sweep_is_refused() {
    for (fields, expected) in [
        (
            serde_json::json!({ "path": "" }),
            "config field `path`: expected a file, found an empty text",
        ),
        (
            serde_json::json!({ "svg": "" }),
            "config field `svg`: expected a file, found an empty text",
        ),
        (
            serde_json::json!({ "min": 0.0 }),
            "config field `min`: expected a number above 0, found 0",
        ),
        (
            serde_json::json!({ "min": 0.5, "max": 0.5 }),
            "config field `max`: expected a number above `min`, which is 0.5, found 0.5",
        ),
        (
            serde_json::json!({ "steps": 1 }),
            "config field `steps`: expected at least 2, found 1",
        ),
        (
            serde_json::json!({ "smoothing": 1.0 }),
            "config field `smoothing`: expected a number from 0 to below 1, found 1",
        ),
        (
            serde_json::json!({ "stop_factor": 1.0 }),
            "config field `stop_factor`: expected a number above 1, or null, found 1",
        ),
        (
            serde_json::json!({ "steps": 12 }),
            "config field `skip_begin`: expected at most 10 together with `skip_end`, so that 2 of 12 steps \
             are left, found 11",
        ),
    ] {
        check_refused(fields, expected);
    }
}
