//! Records of plugins that this host cannot use, and of later ones that it can.

use crate::build::{ODD, c_plugin};
use keros_plugin_host::{Plugin, PluginError};

/// Loads `odd.c` compiled with these macros.
fn load(defines: &[&str]) -> Option<(String, Result<std::sync::Arc<Plugin>, PluginError>)> {
    let (_folder, library) = c_plugin(ODD, defines)?;
    Some((library.display().to_string(), Plugin::load(&library)))
}

fn check_refused(defines: &[&str], expected: &str) {
    if let Some((path, result)) = load(defines) {
        let error = result.expect_err("the record is wrong");
        assert_eq!(
            error.to_string(),
            format!("loading the plugin {path}: {expected}")
        );
    }
}

fn check_loaded(defines: &[&str]) {
    if let Some((_, result)) = load(defines) {
        let plugin = result.expect("the record is good");
        assert!(plugin.callback("").is_ok());
    }
}

#[test]
fn wrong_magic() {
    check_refused(
        &["MAGIC=0x1234"],
        "not a keros plugin (expected the magic number 0x4b45524f53504c31, found 0x0000000000001234)",
    );
}

#[test]
fn another_major() {
    for major in [0, 2] {
        check_refused(
            &[&format!("MAJOR={major}")],
            &format!("built for another keros ABI (expected major version 1, found {major})"),
        );
    }
}

#[test]
fn a_record_that_is_cut_off() {
    check_refused(
        &["SIZE=(sizeof(keros_plugin_module)-1)"],
        "its record is cut off (expected at least 520 bytes, found 519)",
    );
}

#[test]
fn a_later_record_is_good() {
    check_loaded(&["SIZE=(sizeof(keros_plugin_module)+64)", "MINOR=7"]);
}

#[test]
fn a_plugin_that_needs_a_later_host() {
    check_refused(
        &["MINOR=7", "MIN_HOST_MINOR=7"],
        "needs a newer host (expected keros ABI 1.7 or later, found 1.1)",
    );
}

#[test]
fn texts_that_are_wrong() {
    let expected = "its id is wrong (expected lower-case letters, digits, `-`, `_` and `.`, found";
    check_refused(&[r#"ID="""#], &format!("{expected} \"\")"));
    check_refused(&[r#"ID="Odd""#], &format!("{expected} \"Odd\")"));
    check_refused(&[r#"ID="a b""#], &format!("{expected} \"a b\")"));
    check_refused(
        &[r#"VERSION="""#],
        "its version is wrong (expected a text, found none)",
    );
    check_refused(
        &[r#"VERSION="1\xff""#],
        "its version is wrong (expected UTF-8, found invalid utf-8 sequence of 1 bytes from index 1)",
    );
    let unended = format!("LICENSE={{{}}}", ["'x'"; 32].join(","));
    check_refused(
        &[&unended],
        "its license is wrong (expected a zero at the end, found 32 bytes without one)",
    );
}

#[test]
fn functions_that_are_null() {
    let check = |define: &str, function: &str| {
        let Some((path, result)) = load(&[define]) else {
            return;
        };
        let error = result.and_then(|plugin| plugin.callback("")).unwrap_err();
        let expected = format!("plugin `odd` at {path}: its function `{function}` is null");
        assert_eq!(error.to_string(), expected);
    };
    check("CREATE=NULL", "create");
    check("ON_EVENT=NULL", "on_event");
    check("DESTROY=NULL", "destroy");
}
