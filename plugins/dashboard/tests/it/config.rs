//! Configurations: what is taken, and what is refused with the name of the field.

use dashboard::{Config, Dashboard};
use keros_plugin::Callback;

fn check_refused(config: Config, expected: &str) {
    let error = Dashboard::new(config).unwrap_err().to_string();
    assert!(error.starts_with(expected), "{error}");
}

#[test]
fn impossible_values_are_refused() {
    for token in [
        "short",
        "0123456789 abcdef",
        "0123456789/abcdef",
        &"x".repeat(129),
    ] {
        let config = Config {
            token: Some(token.to_owned()),
            ..Config::default()
        };
        check_refused(config, "config field `token`: expected 16 to 128 letters, ");
    }
    for interval_ms in [0, 19, 60_001] {
        let config = Config {
            interval_ms,
            ..Config::default()
        };
        check_refused(
            config,
            "config field `interval_ms`: expected 20 to 60000, found ",
        );
    }
    for linger_s in [-1.0, f64::NAN, 1e9] {
        let config = Config {
            linger_s,
            ..Config::default()
        };
        check_refused(
            config,
            "config field `linger_s`: expected 0 to 86400, found ",
        );
    }
    let config = Config {
        checkpoint: Some("".into()),
        ..Config::default()
    };
    check_refused(
        config,
        "config field `checkpoint`: expected a file that ends in .safetensors, ",
    );
}

#[test]
fn nothing_is_required_and_unknown_fields_are_refused() {
    let config: Config = serde_json::from_str("{}").unwrap();
    assert_eq!(config, Config::default());
    let error = serde_json::from_str::<Config>(r#"{"prot": 1}"#).unwrap_err();
    assert!(
        error.to_string().starts_with("unknown field `prot`"),
        "{error}"
    );
}

#[test]
fn there_is_no_address_before_the_training() {
    let dashboard = Dashboard::new(Config::default()).unwrap();
    assert_eq!(dashboard.name(), "dashboard");
    assert_eq!(dashboard.url(), None);
}
