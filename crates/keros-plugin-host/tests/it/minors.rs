//! Plugins of other minor versions of the ABI: an older one works unchanged, a newer one says what it
//! misses.

use crate::build::{ODD, RECORDER, c_plugin};
use crate::run::FakeRun;
use keros_callbacks::CallbackList;
use keros_plugin_host::{Plugin, PluginError};

/// The header of version 1.0, as it was.
const HEADER_1_0: &str = include_str!("c/keros-1.0.h");

/// A source that brings the old header with it; the guard keeps out the one beside it.
fn old(source: &str) -> String {
    format!("{HEADER_1_0}\n{source}")
}

#[test]
fn a_plugin_built_against_1_0_works_unchanged() {
    let source = old(RECORDER);
    let Some((folder, library)) = c_plugin(&source, &[]) else {
        return;
    };
    let plugin = Plugin::load(&library).unwrap();
    assert_eq!(plugin.abi(), (1, 0));
    let traces = ["old.txt", "new.txt"].map(|name| folder.path().join(name));
    let (_folder, today) = c_plugin(RECORDER, &[]).unwrap();
    let [old, new] = [(&library, &traces[0]), (&today, &traces[1])].map(|(library, trace)| {
        let config = serde_json::to_string(&trace).unwrap();
        let callback = keros_plugin_host::load(library, &config).unwrap();
        let mut callbacks = CallbackList::new().with(callback);
        FakeRun::new().fit_evaluate_predict(&mut callbacks).unwrap();
        drop(callbacks);
        std::fs::read_to_string(trace).unwrap()
    });
    assert!(old.lines().count() > 20, "{old}");
    assert_eq!(old, new);
}

#[test]
fn a_plugin_of_a_newer_minor_loads_unless_it_needs_that() {
    let Some((_folder, library)) = c_plugin(ODD, &["MINOR=900"]) else {
        return;
    };
    assert_eq!(Plugin::load(&library).unwrap().abi(), (1, 900));
    let Some((_folder, library)) = c_plugin(ODD, &["MINOR=900", "MIN_HOST_MINOR=900"]) else {
        return;
    };
    let error = Plugin::load(&library).unwrap_err();
    assert!(
        matches!(error, PluginError::NeedsNewerHost { found: 900, .. }),
        "{error}"
    );
    assert!(
        error
            .to_string()
            .contains("expected keros ABI 1.900 or later"),
        "{error}"
    );
}
