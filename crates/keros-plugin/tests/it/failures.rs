//! Errors and panics become a status and words; nothing unwinds into the host.

use crate::host::Host;
use keros_abi::*;
use keros_plugin::{BoxError, Callback, CallbackResult, Context, Level, NoConfig, plugin_module};
use std::sync::atomic::{AtomicU32, Ordering};

/// A module whose callback does `$body` at any event.
macro_rules! always {
    ($cx:ident => $body:expr) => {{
        struct Probe;
        impl Callback for Probe {
            fn on_event(&mut self, $cx: &mut Context<'_>) -> CallbackResult {
                $body
            }
        }
        plugin_module!(|_: NoConfig| Ok::<_, BoxError>(Probe))
    }};
}

fn check_failure(module: &keros_plugin_module, status: keros_status, text: &str) {
    let host = Host::new();
    let instance = host.create(module, "").unwrap();
    assert_eq!(instance.send(KEROS_EPOCH_END).0, status);
    assert_eq!(host.failure().unwrap(), text);
}

#[test]
fn an_error_is_told() {
    check_failure(
        &always!(cx => { let _ = cx; Err("the disk is full".into()) }),
        KEROS_E_OTHER,
        "the disk is full",
    );
    let io = always!(cx => {
        let _ = cx;
        Err(std::io::Error::other("no cable").into())
    });
    check_failure(&io, KEROS_E_IO, "no cable");
}

#[test]
fn the_causes_of_an_error_are_told_once() {
    #[derive(Debug)]
    struct Writing(std::io::Error, bool);
    impl std::fmt::Display for Writing {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            match self.1 {
                true => write!(f, "writing the report: {}", self.0),
                false => f.write_str("writing the report"),
            }
        }
    }
    impl std::error::Error for Writing {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&self.0)
        }
    }
    let silent = always!(cx => {
        let _ = cx;
        Err(Writing(std::io::Error::other("no cable"), false).into())
    });
    let telling = always!(cx => {
        let _ = cx;
        Err(Writing(std::io::Error::other("no cable"), true).into())
    });
    for module in [&silent, &telling] {
        check_failure(module, KEROS_E_OTHER, "writing the report: no cable");
    }
}

#[test]
fn a_panic_is_told_with_its_message() {
    check_failure(
        &always!(cx => { let _ = cx; panic!("fixed words") }),
        KEROS_E_PANIC,
        "panicked: fixed words",
    );
    let formatted = always!(cx => panic!("at epoch {}", cx.event().epoch));
    check_failure(&formatted, KEROS_E_PANIC, "panicked: at epoch 1");
    let value = always!(cx => { let _ = cx; std::panic::panic_any(7) });
    check_failure(
        &value,
        KEROS_E_PANIC,
        "panicked: with a value that is not text",
    );
}

#[test]
fn after_a_panic_there_are_no_more_events() {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    let module = always!(cx => {
        CALLS.fetch_add(1, Ordering::Relaxed);
        cx.message(Level::Error, "last words");
        panic!("out of wax")
    });
    let host = Host::new();
    let instance = host.create(&module, "").unwrap();
    assert_eq!(instance.send(KEROS_EPOCH_END).0, KEROS_E_PANIC);
    assert_eq!(host.take_calls(), ["message 2: last words"]);
    host.failure();
    assert_eq!(instance.send(KEROS_EPOCH_END).0, KEROS_E_PANIC);
    assert_eq!(
        host.failure().unwrap(),
        "gets no more events since it panicked: out of wax"
    );
    assert_eq!(CALLS.load(Ordering::Relaxed), 1);
}

#[test]
fn a_panic_in_the_constructor_is_told() {
    struct Never;
    impl Callback for Never {}
    let module = plugin_module!(|_: NoConfig| -> Result<Never, BoxError> { panic!("not today") });
    let (status, text) = Host::new().create(&module, "").err().unwrap();
    assert_eq!(
        (status, text.as_str()),
        (KEROS_E_PANIC, "panicked: not today")
    );
}

#[test]
fn a_panic_in_drop_stays_inside() {
    static DROPS: AtomicU32 = AtomicU32::new(0);
    struct Sour;
    impl Callback for Sour {}
    impl Drop for Sour {
        fn drop(&mut self) {
            DROPS.fetch_add(1, Ordering::Relaxed);
            panic!("sour");
        }
    }
    let module = plugin_module!(|_: NoConfig| Ok::<_, BoxError>(Sour));
    drop(Host::new().create(&module, "").unwrap());
    assert_eq!(DROPS.load(Ordering::Relaxed), 1);
}

#[test]
fn what_the_host_refuses_is_an_error_of_the_hook() {
    let reads = always!(cx => cx.logs().map(|_| Default::default()));
    let host = Host::new();
    host.notes().status = KEROS_E_OTHER;
    let instance = host.create(&reads, "").unwrap();
    assert_eq!(instance.send(KEROS_EPOCH_END).0, KEROS_E_OTHER);
    assert_eq!(
        host.failure().unwrap(),
        "reading the logs: the host answered KEROS_E_OTHER"
    );

    let sets = always!(cx => cx.set_log("key", 1.0).map(|()| Default::default()));
    host.notes().status = -57;
    let instance = host.create(&sets, "").unwrap();
    assert_eq!(instance.send(KEROS_EPOCH_END).0, KEROS_E_OTHER);
    assert_eq!(
        host.failure().unwrap(),
        "setting a log: the host answered the unknown status -57"
    );
}

#[test]
fn a_host_without_a_function_is_an_error_of_the_hook() {
    let module = always!(cx => {
        assert_eq!(cx.learning_rate(), None);
        assert!(cx.data_wait().is_zero());
        assert_eq!(cx.info().epochs, 0);
        cx.logs().map(|_| Default::default())
    });
    let mut host = Host::new();
    host.run.logs = None;
    host.run.info = None;
    host.run.learning_rate = None;
    host.run.data_wait_ns = None;
    let instance = host.create(&module, "").unwrap();
    assert_eq!(instance.send(KEROS_EPOCH_END).0, KEROS_E_OTHER);
    assert_eq!(
        host.failure().unwrap(),
        "reading the logs: the host answered with a null function, against keros.h"
    );
}

#[test]
fn wrong_arguments_are_answered() {
    let module = always!(cx => { let _ = cx; Ok(Default::default()) });
    let host = Host::new();
    let instance = host.create(&module, "").unwrap();
    assert_eq!(
        instance
            .send_sized(KEROS_EPOCH_END, size_of::<keros_event>() - 1)
            .0,
        KEROS_E_ARG
    );
    let on_event = instance.callback.on_event.unwrap();
    let null = std::ptr::null_mut::<std::ffi::c_void>();
    // SAFETY: null pointers are answered.
    unsafe {
        assert_eq!(
            on_event(instance.callback.instance, null.cast(), null.cast()),
            KEROS_E_ARG
        );
        assert_eq!(on_event(null, null.cast(), null.cast()), KEROS_E_ARG);
        instance.callback.destroy.unwrap()(null);
    }
}
