//! The plugin loaded from its library does what it does linked in.

use crate::library::library;
use crate::reader::read_run;
use crate::scalars::writing_to;
use crate::training::Training;
use keros_callbacks::CallbackList;
use keros_plugin_host::{Plugin, PluginError};
use std::path::Path;

fn loaded(folder: &Path, mut fields: serde_json::Value) -> CallbackList<'static> {
    fields["log_dir"] = serde_json::json!(folder);
    let plugin = keros_plugin_host::load(library(), &fields.to_string()).unwrap();
    CallbackList::new().with(plugin)
}

#[test]
fn the_library_writes_what_the_linked_in_callback_writes() {
    let fields = serde_json::json!({
        "update_freq": "batch",
        "histogram_freq": 1,
        "write_images": true,
        "write_gradients": true,
        "images": 2,
    });
    let runs = [loaded, writing_to].map(|make| {
        let folder = tempfile::tempdir().unwrap();
        let mut callbacks = make(folder.path(), fields.clone());
        let facts = serde_json::json!({ "seed": 7, "network": { "class_name": "Sequential" } });
        let mut training = Training {
            rate: Some(0.25),
            facts: Some(facts.to_string()),
            ..Training::default()
        };
        training = training
            .with_param("dense/kernel", &[2, 2], &[-1.0, 0.0, 1.0, 2.0])
            .with_input("photo", &[3, 2, 1, 3], &[0.5; 18]);
        training.fit(&mut callbacks, &[&[3.0, 2.0], &[1.0]]);
        ["train", "validation"].map(|run| read_run(&folder.path().join(run)))
    });
    assert_eq!(runs[0], runs[1]);
    assert_eq!(runs[0].each_ref().map(Vec::len), [17, 4]);
}

#[test]
fn the_library_tells_what_it_is_and_refuses_with_the_field() {
    let plugin = Plugin::load(library()).unwrap();
    assert_eq!(plugin.id(), "tensorboard");
    let error = plugin.callback(r#"{"update_freq": "often"}"#).unwrap_err();
    let PluginError::Create { text, .. } = &error else {
        unreachable!("{error}")
    };
    assert!(
        text.starts_with("config field `update_freq`: expected \"epoch\", \"batch\" or a number of batches from 1"),
        "{text}"
    );
}
