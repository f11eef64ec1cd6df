//! The record that is exported, and the configuration that comes in.

use crate::host::{Host, extension};
use keros_abi::*;
use keros_plugin::{BoxError, Callback, EventKind, EventSet, NoConfig, plugin_module};

struct Quiet;

impl Callback for Quiet {
    fn events(&self) -> EventSet {
        EventSet::of(&[EventKind::EpochEnd, EventKind::TrainBegin])
    }
}

fn check_text(bytes: &[u8], expected: &str) {
    assert!(bytes.starts_with(expected.as_bytes()), "{expected} is cut");
    assert!(bytes.len() > expected.len());
    assert!(bytes[expected.len()..].iter().all(|byte| *byte == 0));
}

#[test]
fn what_is_not_said_comes_from_the_package() {
    let module = plugin_module!(|_: NoConfig| Ok::<_, BoxError>(Quiet));
    assert_eq!(module.magic, KEROS_MAGIC);
    assert_eq!(
        module.struct_size as usize,
        size_of::<keros_plugin_module>()
    );
    assert_eq!(
        (module.abi_major, module.abi_minor),
        (KEROS_ABI_MAJOR, KEROS_ABI_MINOR)
    );
    assert_eq!(module.min_host_minor, 0);
    check_text(&module.id, "keros-plugin");
    check_text(&module.version, env!("CARGO_PKG_VERSION"));
    check_text(&module.vendor, env!("CARGO_PKG_AUTHORS"));
    check_text(&module.license, env!("CARGO_PKG_LICENSE"));
    check_text(&module.summary, env!("CARGO_PKG_DESCRIPTION"));
    assert!(module.build.starts_with(b"Rust, keros-plugin "));
    assert!(module.build.ends_with(&[0]));
}

#[test]
fn what_is_said_counts_in_any_order() {
    let module = plugin_module!(
        |_: NoConfig| Ok::<_, BoxError>(Quiet),
        summary: "Does nothing.",
        id: "quiet",
        license: "MIT",
        vendor: "Example Ltd",
        version: "2.0.0",
    );
    check_text(&module.id, "quiet");
    check_text(&module.version, "2.0.0");
    check_text(&module.vendor, "Example Ltd");
    check_text(&module.license, "MIT");
    check_text(&module.summary, "Does nothing.");
}

#[test]
fn the_callback_says_what_it_wants() {
    let module = plugin_module!(|_: NoConfig| Ok::<_, BoxError>(Quiet));
    let host = Host::new();
    let instance = host.create(&module, "").unwrap();
    assert_eq!(
        instance.callback.events,
        1 << KEROS_EPOCH_END | 1 << KEROS_TRAIN_BEGIN
    );
    assert!(extension(&instance, "org.example.thing/1").is_null());
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    below: f64,
}

struct Below;

impl Callback for Below {}

impl Below {
    fn new(config: Config) -> Result<Below, BoxError> {
        if config.below < 0.0 {
            return Err(format!("`below` is {}, expected at least 0", config.below).into());
        }
        Ok(Below)
    }
}

#[test]
fn a_wrong_config_is_refused_with_the_field() {
    let module = plugin_module!(Below::new);
    let host = Host::new();
    let refused = |config: &str| host.create(&module, config).err().unwrap();
    assert!(host.create(&module, r#"{"below": 0.5}"#).is_ok());

    let (status, text) = refused("");
    assert_eq!(status, KEROS_E_CONFIG);
    assert!(text.contains("missing field `below`"), "{text}");
    let (status, text) = refused(r#"{"below": "low"}"#);
    assert_eq!(status, KEROS_E_CONFIG);
    assert!(text.starts_with("config field `below`: "), "{text}");
    let (status, text) = refused(r#"{"below": -1}"#);
    assert_eq!(
        (status, text.as_str()),
        (KEROS_E_CONFIG, "`below` is -1, expected at least 0")
    );
}

#[test]
fn a_file_that_cannot_be_opened_is_an_io_failure() {
    let module = plugin_module!(|_: NoConfig| std::fs::File::open("/no/such/file").map(|_| Quiet));
    let (status, text) = Host::new().create(&module, "").err().unwrap();
    assert_eq!(status, KEROS_E_IO);
    assert!(text.contains("No such file"), "{text}");
}

#[test]
fn a_config_that_is_not_text_is_refused() {
    let module = plugin_module!(Below::new);
    let host = Host::new();
    let bad = keros_str {
        ptr: b"\xff\xfe".as_ptr(),
        len: 2,
    };
    let null = keros_str {
        ptr: std::ptr::null(),
        len: 2,
    };
    for config in [bad, null] {
        let mut out = keros_callback {
            struct_size: size_of::<keros_callback>() as u32,
            reserved: 0,
            events: 0,
            instance: std::ptr::null_mut(),
            on_event: None,
            destroy: None,
            extension: None,
        };
        // SAFETY: as keros.h asks, but for the text.
        let status = unsafe { module.create.unwrap()(&raw const host.host, config, &mut out) };
        assert_eq!(status, KEROS_E_CONFIG);
    }
}

#[test]
fn a_host_older_than_the_first_version_is_refused() {
    let module = plugin_module!(Below::new);
    let mut host = Host::new();
    host.host.struct_size -= 1;
    let (status, _) = host.create(&module, r#"{"below": 0.5}"#).err().unwrap();
    assert_eq!(status, KEROS_E_VERSION);
    // SAFETY: null pointers are answered.
    let status =
        unsafe { module.create.unwrap()(std::ptr::null(), keros_str::EMPTY, std::ptr::null_mut()) };
    assert_eq!(status, KEROS_E_VERSION);
}
