//! Every plugin of plugins/misbehaving is refused or contained, and what is said tells what is wrong.

use crate::build::{c_plugin, rust_plugin};
use crate::check;
use std::path::Path;
use std::thread;

/// Among what is said is `expected`. Only a hang waits for a limit that is short.
fn check_said(library: &Path, config: &str, valid: bool, expected: &str) {
    let args = [
        "--limit-s",
        if config.contains("hang") { "5" } else { "60" },
        "--config",
        config,
    ];
    let (code, said) = check(
        args.map(AsRef::as_ref)
            .into_iter()
            .chain([library.as_os_str()]),
    );
    assert_eq!(code, Some(i32::from(!valid)), "{config}: {said}");
    let expected = expected.replace("PATH", &library.display().to_string());
    assert!(
        said.contains(&expected),
        "{config}: no `{expected}` in\n{said}"
    );
}

/// What the C plugin does wrong by itself, and where that ends.
const FATAL: &[(&str, &str)] = &[
    (
        "segfault in create",
        "while creating an instance: killed by signal 11 (SIGSEGV)",
    ),
    (
        "segfault in on_event",
        "while sending train_begin: killed by signal 11 (SIGSEGV)",
    ),
    (
        "segfault in message",
        "while telling it a message: killed by signal 11 (SIGSEGV)",
    ),
    (
        "segfault in save",
        "while telling its state: killed by signal 11 (SIGSEGV)",
    ),
    (
        "segfault in load",
        "while loading its state: killed by signal 11 (SIGSEGV)",
    ),
    (
        "segfault in destroy",
        "while destroying the instance: killed by signal 11 (SIGSEGV)",
    ),
    (
        "abort in create",
        "while creating an instance: killed by signal 6 (SIGABRT)",
    ),
    (
        "abort in on_event",
        "while sending train_begin: killed by signal 6 (SIGABRT)",
    ),
    (
        "abort in destroy",
        "while destroying the instance: killed by signal 6 (SIGABRT)",
    ),
    (
        "abort at the end of the process",
        "while ending the process: killed by signal 6 (SIGABRT)",
    ),
    (
        "exit in create",
        "while creating an instance: the process ended with exit status: 0",
    ),
    (
        "exit in on_event",
        "while sending train_begin: the process ended with exit status: 0",
    ),
    (
        "exit in destroy",
        "while destroying the instance: the process ended with exit status: 0",
    ),
    (
        "hang in create",
        "while creating an instance: no end after 5 s",
    ),
    (
        "hang in on_event",
        "while sending train_begin: no end after 5 s",
    ),
    ("hang in save", "while telling its state: no end after 5 s"),
    (
        "hang in destroy",
        "while destroying the instance: no end after 5 s",
    ),
];

/// What it frees without owning it; how the system's allocator takes that is its own choice.
const FREED: &[(&str, &str)] = &[
    (
        "free the run",
        "while sending train_begin: killed by signal ",
    ),
    (
        "free the event",
        "while sending train_begin: killed by signal ",
    ),
];

/// What it answers wrong, and is told.
const ANSWERS: &[(&str, &str)] = &[
    (
        "refuse",
        "create: plugin `misbehaving-c` at PATH: creating an instance: KEROS_E_CONFIG: nothing suits me",
    ),
    (
        "null on_event",
        "create: plugin `misbehaving-c` at PATH: its function `on_event` is null",
    ),
    (
        "null destroy",
        "create: plugin `misbehaving-c` at PATH: its function `destroy` is null",
    ),
    (
        "panic",
        "events: callback `misbehaving-c` failed at train_begin: plugin `misbehaving-c`: KEROS_E_PANIC: panicked: in C",
    ),
    (
        "fail",
        "events: callback `misbehaving-c` failed at train_begin: plugin `misbehaving-c`: KEROS_E_IO: the cable is out",
    ),
    (
        "unknown status",
        "failed at train_begin: plugin `misbehaving-c`: -57 (no status of keros.h), without a reason",
    ),
    (
        "unknown actions",
        "asked for unknown actions (expected bits of 0xf, found 0x100000)",
    ),
    (
        "bad reason",
        "asked to stop with a wrong reason (expected UTF-8 text of at most 1048576 bytes, found bytes that are not UTF-8)",
    ),
    ("null reason", "found a null pointer with a length of 3)"),
    (
        "bad learning rate",
        "asked at train_begin to set the learning rate to NaN",
    ),
    (
        "bad words",
        "failed at train_begin: plugin `misbehaving-c`: KEROS_E_OTHER: no\u{fffd}",
    ),
    (
        "state from nowhere",
        "state: plugin `misbehaving-c`: telling its state: KEROS_E_ARG, without a reason",
    ),
    (
        "refuse its state",
        "state: plugin `misbehaving-c`: loading its state: KEROS_E_VERSION, without a reason",
    ),
];

#[test]
fn what_the_c_plugin_does_wrong() {
    let Some((_folder, library)) = c_plugin("misbehaving/misbehaving.c", &[]) else {
        return;
    };
    thread::scope(|scope| {
        for (how, expected) in FATAL.iter().chain(FREED).chain(ANSWERS) {
            let library = &library;
            scope.spawn(move || {
                check_said(library, &format!("\"{how}\""), false, expected);
            });
        }
    });
}

/// What does no harm, since the host sees to it.
#[test]
fn what_is_contained() {
    let Some((_folder, library)) = c_plugin("misbehaving/misbehaving.c", &[]) else {
        return;
    };
    check_said(
        &library,
        "\"\"",
        true,
        "ok     state: 5 bytes, and a training that went on from them",
    );
    // The plugin gets a status, and nobody hears it.
    check_said(&library, "\"bad message\"", true, "ok     events: ");
    // As if there were none.
    check_said(&library, "\"state cut off\"", true, "ok     destroy\n");
}

#[test]
fn what_is_wrong_with_the_file_or_its_record() {
    const RECORDS: &[(&str, &str)] = &[
        (
            "SYMBOL=another_name",
            "inspect: loading the plugin PATH: not a keros plugin (expected the symbol `keros_plugin_v1`, found none)",
        ),
        (
            "MAGIC=0x1234",
            "inspect: loading the plugin PATH: not a keros plugin (expected the magic number 0x4b45524f53504c31, found 0x0000000000001234)",
        ),
        (
            "MAJOR=2",
            "inspect: loading the plugin PATH: built for another keros ABI (expected major version 1, found 2)",
        ),
        (
            "STRUCT_SIZE=8",
            "inspect: loading the plugin PATH: its record is cut off (expected at least 520 bytes, found 8)",
        ),
        (
            "ID=\"Not An Id\"",
            "inspect: loading the plugin PATH: its id is wrong (expected lower-case letters, digits, `-`, `_` and `.`, found \"Not An Id\")",
        ),
        (
            "SUMMARY=\"no\\xff\"",
            "inspect: loading the plugin PATH: its summary is wrong (expected UTF-8, found invalid utf-8 sequence of 1 bytes from index 2)",
        ),
        (
            "MIN_HOST_MINOR=900",
            "load: loading the plugin PATH: needs a newer host (expected keros ABI 1.900 or later, found 1.",
        ),
        (
            "CREATE=NULL",
            "load: plugin `misbehaving-c` at PATH: its function `create` is null",
        ),
        ("MISSING", "load: loading the plugin PATH: "),
        (
            "WHEN_LOADED=0",
            "while loading the library: killed by signal 6 (SIGABRT)",
        ),
        (
            "WHEN_LOADED=1",
            "while loading the library: no end after 5 s",
        ),
        (
            "SCHEMA=\"{\"",
            "schema: EOF while parsing an object at line 1 column 1",
        ),
        ("SCHEMA=\"3\"", "schema: expected a JSON object, found 3"),
        (
            "SCHEMA=\"no\\xff\"",
            "schema: plugin `misbehaving-c`: its schema is wrong (expected UTF-8 text of at most ",
        ),
        (
            "SELF_TEST=0",
            "while testing itself: killed by signal 6 (SIGABRT)",
        ),
        ("SELF_TEST=1", "while testing itself: no end after 5 s"),
        (
            "SELF_TEST=2",
            "self-test: plugin `misbehaving-c`: testing itself: KEROS_E_OTHER: there is no such device",
        ),
    ];
    thread::scope(|scope| {
        for (define, expected) in RECORDS {
            scope.spawn(move || {
                let Some((_folder, library)) = c_plugin("misbehaving/misbehaving.c", &[define])
                else {
                    return;
                };
                // A word of the configuration that sets the limit.
                let hangs = matches!(*define, "WHEN_LOADED=1" | "SELF_TEST=1");
                let config = if hangs { "\"hang\"" } else { "\"\"" };
                check_said(&library, config, false, &format!("FAILED {expected}"));
            });
        }
    });
}

#[test]
fn what_the_rust_plugin_does_wrong() {
    let library = rust_plugin("misbehaving");
    for (place, expected) in [
        (
            "create",
            "create: plugin `misbehaving` at PATH: creating an instance: KEROS_E_PANIC: panicked: as it was told to",
        ),
        (
            "event",
            "events: callback `misbehaving` failed at train_batch_end: plugin `misbehaving`: KEROS_E_PANIC: panicked: as it was told to",
        ),
        (
            "save_state",
            "state: plugin `misbehaving`: telling its state: KEROS_E_PANIC: panicked: as it was told to",
        ),
        (
            "load_state",
            "state: plugin `misbehaving`: loading its state: KEROS_E_PANIC: panicked: as it was told to",
        ),
    ] {
        let config = format!(r#"{{"panic_in": "{place}"}}"#);
        check_said(&library, &config, false, &format!("FAILED {expected}"));
    }
    // The SDK catches it, and nobody is left who could be told.
    check_said(
        &library,
        r#"{"panic_in": "drop"}"#,
        true,
        "ok     destroy\n",
    );
}
