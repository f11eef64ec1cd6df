//! The header compiles without a word in strict C99 and in C++, and a plugin needs nothing else.

use crate::{cc, compilers, complaint};
use std::ffi::OsString;
use std::fs;
use std::io::Write as _;

/// As small as a plugin can be.
const MINIMAL: &str = r#"
#include "keros.h"

static keros_status on_event(void *instance, const keros_event *event, keros_decision *decision) {
    keros_logs logs;
    uint64_t i;
    (void)instance;
    logs.struct_size = sizeof logs;
    if (KEROS_HAS(event->run, keros_run, logs) && event->run->logs(event->run, &logs) == KEROS_OK) {
        for (i = 0; i < logs.count; i++) {
            const keros_log *log = keros_log_at(&logs, i);
            if (keros_text_is(log->key, "loss") && log->value.kind == KEROS_F64 && log->value.as.f < 0.1) {
                decision->actions = KEROS_STOP;
                decision->reason = keros_text("good enough");
            }
        }
    }
    return KEROS_OK;
}

static void destroy(void *instance) { (void)instance; }

static keros_status create(const keros_host *host, keros_str config, keros_callback *out) {
    (void)host;
    (void)config;
    out->events = KEROS_BIT(KEROS_TRAIN_BATCH_END);
    out->on_event = on_event;
    out->destroy = destroy;
    return KEROS_OK;
}

const keros_plugin_module keros_plugin_v1 = {
    KEROS_MAGIC, sizeof(keros_plugin_module), KEROS_ABI_MAJOR, KEROS_ABI_MINOR, 0,
    "minimal", "1.0.0", "", "", "", "", create, 0
};
"#;

fn check_compiles(file: &str, arguments: &[&str]) {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join(file), MINIMAL).expect("the source is written");
    let strict = [
        "-Wall",
        "-Wextra",
        "-pedantic",
        "-Werror",
        "-fPIC",
        "-c",
        file,
        "-o",
        "out.o",
    ];
    for compiler in compilers() {
        let output = cc(&compiler, folder.path(), &[arguments, &strict].concat());
        assert_eq!(complaint(&output), "", "{compiler:?}");
    }
}

#[test]
fn a_plugin_compiles_as_strict_c99() {
    check_compiles(
        "minimal.c",
        &["-std=c99", "-Wstrict-prototypes", "-Wmissing-declarations"],
    );
}

#[test]
fn a_plugin_compiles_as_c11_and_c23() {
    check_compiles("minimal.c", &["-std=c11"]);
    check_compiles("minimal.c", &["-std=c2x"]);
}

#[test]
fn a_plugin_compiles_as_cpp() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("empty.cc"), "").expect("the source is written");
    // A C compiler alone is enough for keros; one for C++ may be missing.
    let compiles = |compiler: &OsString| {
        let arguments = ["-c", "empty.cc", "-o", "empty.o"];
        cc(compiler, folder.path(), &arguments).status.success()
    };
    match compilers().iter().all(compiles) {
        true => check_compiles("minimal.cc", &["-std=c++11"]),
        false => {
            let _ = writeln!(
                std::io::stderr(),
                "not run: a plugin in C++, since there is no C++ compiler; see CONTRIBUTING.md"
            );
        }
    }
}
