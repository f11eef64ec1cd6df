//! Making instances and ending them.

use crate::build::{ODD, c_plugin};
use keros_callbacks::CallbackList;
use keros_plugin_host::{Plugin, PluginError};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};
use tempfile::TempDir;

/// The tests of this file count the instances of one plugin,
static COUNTING: Mutex<()> = Mutex::new(());

/// which is theirs alone.
fn odd() -> Option<&'static Path> {
    static LIBRARY: OnceLock<Option<(TempDir, PathBuf)>> = OnceLock::new();
    let library = LIBRARY.get_or_init(|| c_plugin(ODD, &[]));
    library.as_ref().map(|(_, path)| path.as_path())
}

/// Created and destroyed so far.
fn counters(plugin: &Plugin) -> [i64; 2] {
    let found = plugin.extension("test.counters/1").expect("the extension");
    // SAFETY: `odd.c` says that it is this; nobody else changes it now.
    unsafe { found.cast::<[i64; 2]>().read() }
}

#[test]
fn destroy_is_called_once_for_each_instance() {
    let Some(path) = odd() else { return };
    let _alone = COUNTING.lock().unwrap_or_else(PoisonError::into_inner);
    let plugin = Plugin::load(path).unwrap();
    let before = counters(&plugin);
    let change = || {
        let now = counters(&plugin);
        [now[0] - before[0], now[1] - before[1]]
    };
    let first = plugin.callback("").unwrap();
    let second = Plugin::load(path).unwrap().callback("").unwrap();
    assert_eq!(change(), [2, 0]);
    drop(first);
    assert_eq!(change(), [2, 1]);
    drop(CallbackList::new().with(second));
    assert_eq!(change(), [2, 2]);
}

#[test]
fn an_instance_has_its_own_state_and_extensions() {
    let Some(path) = odd() else { return };
    let _alone = COUNTING.lock().unwrap_or_else(PoisonError::into_inner);
    let plugin = Plugin::load(path).unwrap();
    let [a, b] = [plugin.callback("").unwrap(), plugin.callback("").unwrap()];
    // SAFETY: `odd.c` says that it is an int64_t of the instance.
    let tags = [&a, &b].map(|x| unsafe { x.extension("test.tag/1").unwrap().cast::<i64>().read() });
    assert_ne!(tags[0], tags[1]);
    assert_eq!(a.extension("no.such/1"), None);
    assert_eq!(a.plugin().id(), "odd");
}

#[test]
fn a_refusal_is_told_with_its_reason() {
    let Some(path) = odd() else { return };
    let _alone = COUNTING.lock().unwrap_or_else(PoisonError::into_inner);
    let plugin = Plugin::load(path).unwrap();
    let before = counters(&plugin);
    let error = plugin.callback("\"refused\"").unwrap_err();
    assert!(matches!(error, PluginError::Create { .. }));
    let expected = format!("plugin `odd` at {}: creating an instance: ", path.display());
    assert_eq!(
        error.to_string(),
        format!("{expected}KEROS_E_CONFIG: config: nothing suits me")
    );
    let error = plugin.callback("\"refused silently\"").unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("{expected}-4000 (no status of keros.h), without a reason")
    );
    assert_eq!(counters(&plugin), before);
}

#[test]
fn a_callback_may_change_threads() {
    let Some(path) = odd() else { return };
    let _alone = COUNTING.lock().unwrap_or_else(PoisonError::into_inner);
    let callback = keros_plugin_host::load(path, "\"thread check\"").unwrap();
    std::thread::spawn(move || {
        let mut callbacks = CallbackList::new().with(callback);
        let mut run = crate::run::FakeRun::new();
        run.ping(&mut callbacks, keros_callbacks::EventKind::EpochEnd)
            .unwrap();
    })
    .join()
    .unwrap();
}
