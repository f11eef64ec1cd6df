//! The command line, and files that are no plugins.

use crate::build::rust_plugin;
use crate::check;
use std::fs;

#[test]
fn a_bad_request_is_told_with_the_usage() {
    for (args, expected) in [
        (&[][..], "error: no file is given"),
        (&["a", "b"], "error: unexpected argument \"b\""),
        (&["--fast", "a"], "error: invalid option '--fast'"),
        (
            &["a", "--config", "{"],
            "error: `--config` is not JSON: EOF while parsing",
        ),
        (
            &["a", "--limit-s", "0"],
            "error: `--limit-s` is 0 (expected at least 1)",
        ),
        (
            &["a", "--inspect", "--config", "{}"],
            "error: `--inspect` runs nothing",
        ),
    ] {
        let (code, said) = check(args);
        assert_eq!(code, Some(2), "{args:?}: {said}");
        assert!(said.starts_with(expected), "{args:?}: {said}");
        assert!(
            said.ends_with("\n\nUsage: keros-plugin-check [OPTIONS] PATH\n"),
            "{said}"
        );
    }
    let (code, said) = check(["--help"]);
    assert_eq!(code, Some(0));
    assert!(said.contains("--limit-s N"), "{said}");
}

#[test]
fn what_is_no_plugin_is_not_run() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("plugin.so");
    for (content, expected) in [
        (None, "there is no such file"),
        (Some(""), "not a dynamic library (expected "),
        (
            Some("#!/bin/sh\nexit 0\n"),
            "not a dynamic library (expected ",
        ),
    ] {
        if let Some(content) = content {
            fs::write(&file, content).unwrap();
        }
        let (code, said) = check([&file]);
        assert_eq!(code, Some(1), "{said}");
        let path = file.display();
        let failure = format!("FAILED inspect: loading the plugin {path}: {expected}");
        assert!(said.starts_with(&failure), "{said}");
        assert!(
            said.ends_with(&format!("{path} is not a valid plugin\n")),
            "{said}"
        );
        let (code, said) = check([file.as_os_str(), "--inspect".as_ref()]);
        assert_eq!(code, Some(1), "{said}");
        assert!(
            said.starts_with("not a plugin: loading the plugin"),
            "{said}"
        );
    }
}

#[test]
fn a_record_is_shown() {
    let library = rust_plugin("csv-logger");
    let (code, said) = check([library.as_os_str(), "--inspect".as_ref()]);
    assert_eq!(code, Some(0), "{said}");
    let fields: Vec<&str> = said
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert_eq!(
        fields,
        [
            "id", "version", "vendor", "license", "summary", "abi", "build"
        ]
    );
    for expected in [
        "id       csv-logger\n",
        "license  MIT OR Apache-2.0\n",
        "abi      1.1, needs a host of 1.0 or later\n",
    ] {
        assert!(said.contains(expected), "{said}");
    }
}
