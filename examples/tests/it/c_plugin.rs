//! A plugin in C, compiled against keros.h alone and loaded by `fashion_mnist --plugin`, sees what a
//! linked-in callback sees of the same training, and steers it the same.

use crate::support::{path, succeed};
use keros::callbacks::{CallbackResult, Context};
use keros::prelude::*;
use keros_abi::HEADER;
use keros_examples::fashion::{self, Fashion};
use keros_examples::training::{Method, Settings, train};
use std::env;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// `None`, with a word on stderr, if there is no C compiler; CONTRIBUTING.md asks for one.
fn compiled(folder: &Path) -> Option<PathBuf> {
    fs::write(folder.join("keros.h"), HEADER).unwrap();
    fs::write(folder.join("steer.c"), include_str!("c/steer.c")).unwrap();
    let library = folder.join(format!("steer{}", env::consts::DLL_SUFFIX));
    let compiler = env::var_os("CC").unwrap_or_else(|| OsString::from("cc"));
    let output = Command::new(&compiler)
        .current_dir(folder)
        .args([
            "-std=c99",
            "-Wall",
            "-Wextra",
            "-pedantic",
            "-Werror",
            "-shared",
            "-fPIC",
        ])
        .args(["steer.c", "-o"])
        .arg(&library)
        .output();
    match output {
        Ok(output) => {
            let complaint = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{complaint}");
            Some(library)
        }
        Err(error) => {
            let _ = writeln!(
                std::io::stderr(),
                "not run: no C compiler {compiler:?} can be started ({error}); see CONTRIBUTING.md"
            );
            None
        }
    }
}

/// Does in Rust what `steer.c` does in C.
#[derive(Default)]
struct Steer {
    lines: String,
}

impl Callback for Steer {
    fn on_event(&mut self, cx: &mut Context<'_>) -> CallbackResult {
        let event = cx.event();
        write!(
            self.lines,
            "{} {} {} {} {} {}",
            event.kind as u32,
            event.epoch,
            event.batch,
            event.step,
            event.samples,
            u8::from(event.nested)
        )?;
        if let Some(rate) = cx.learning_rate() {
            write!(self.lines, " {:x}", rate.to_bits())?;
        }
        for (key, value) in cx.logs()?.iter() {
            let value = value.as_number().unwrap();
            write!(self.lines, " {key}={:x}", value.to_bits())?;
        }
        self.lines.push('\n');
        Ok(match (event.kind, event.epoch, event.batch) {
            (EventKind::EpochBegin, epoch, _) => {
                Decision::set_learning_rate(0.001 / (epoch + 1) as f64)
            }
            (EventKind::TrainBatchEnd, 1, 2) => Decision::stop("enough"),
            _ => Decision::CONTINUE,
        })
    }
}

#[test]
fn a_c_plugin_sees_every_event_and_steers_the_run_by_each_method() {
    let folder = tempfile::tempdir().unwrap();
    let Some(library) = compiled(folder.path()) else {
        return;
    };
    let trace = folder.path().join("trace");
    let config = serde_json::json!({ "path": trace });
    let plugin = format!("{}={config}", library.display());
    let mut traces = Vec::new();
    for method in [Method::FitGenerator, Method::TrainOnBatch] {
        let out = folder.path().join(method.name());
        succeed(&[
            "--method",
            method.name(),
            "--limit",
            "160",
            "--epochs",
            "5",
            "--batch-size",
            "32",
            "--plugin",
            &plugin,
            "--out",
            path(&out),
        ]);
        let loaded = fs::read_to_string(&trace).unwrap();
        fs::remove_file(&trace).unwrap();

        let data = Fashion::load(&fashion::shipped(), Some(160)).unwrap();
        let mut trainer = fashion::trainer(&Device::Cpu, 42).unwrap();
        let settings = Settings {
            method,
            epochs: 5,
            batch_size: 32,
            augment: true,
            workers: 1,
            processes: false,
            max_queue_size: 10,
            seed: 42,
            verbose: Verbose::Silent,
        };
        let mut steer = Steer::default();
        let list = CallbackList::new().with(&mut steer);
        let (history, _) = train(&mut trainer, &data, &settings, list).unwrap();
        assert_eq!(loaded, steer.lines);
        assert_eq!(history.epochs().len(), 2);
        traces.push(loaded);
    }
    let loaded = &traces[0];
    assert_eq!(loaded, &traces[1], "the methods tell the same");

    // Two epochs of five and three batches, each validated, between train begin and end.
    let count = |kind: EventKind| {
        let kind = format!("{} ", kind as u32);
        loaded
            .lines()
            .filter(|line| line.starts_with(&kind))
            .count()
    };
    assert_eq!(count(EventKind::TrainBatchEnd), 5 + 3);
    assert_eq!(count(EventKind::TestEnd), 2);
    assert_eq!(
        (count(EventKind::TrainBegin), count(EventKind::TrainEnd)),
        (1, 1)
    );
    let rate = (0.001_f64 / 2.0).to_bits();
    let last = loaded.lines().last().unwrap();
    assert!(last.contains(&format!("{rate:x}")), "{last}");
}
