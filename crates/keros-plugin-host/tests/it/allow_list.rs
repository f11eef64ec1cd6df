//! Only what is listed is loaded, and only with the bytes that are listed.

use crate::build::{self, ODD, c_plugin};
use keros_callbacks::Callback;
use keros_plugin_host::{AllowList, AllowListError};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

fn sha256(path: &Path) -> String {
    let digest = Sha256::digest(fs::read(path).unwrap());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn list(text: &str) -> (TempDir, Result<AllowList, AllowListError>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keros-plugins.toml");
    fs::write(&path, text).unwrap();
    (folder, AllowList::read(path))
}

fn entry(path: &Path, sha256: &str) -> String {
    format!("[[plugin]]\npath = {path:?}\nsha256 = \"{sha256}\"\n")
}

#[test]
fn the_plugins_come_in_the_order_of_the_list() {
    let Some(odd) = build::odd() else { return };
    let csv = build::csv_logger();
    let config = "config = { path = \"epochs.csv\" }\n";
    let text = entry(odd, &sha256(odd)) + &entry(csv, &sha256(csv).to_uppercase()) + config;
    let (_folder, list) = list(&text);
    let list = list.unwrap();
    assert_eq!(list.plugins()[1].config_json, r#"{"path":"epochs.csv"}"#);
    let callbacks = list.callbacks().unwrap();
    let names: Vec<_> = callbacks.iter().map(Callback::name).collect();
    assert_eq!(names, ["odd", "csv-logger"]);
    assert_eq!(callbacks[0].plugin().path(), odd);
}

#[test]
fn the_same_bytes_are_one_library_and_other_bytes_another() {
    let Some((folder, library)) = c_plugin(ODD, &[]) else {
        return;
    };
    let Some((_other_folder, other)) = c_plugin(ODD, &[r#"ID="other""#]) else {
        return;
    };
    let copy = folder.path().join("copy.so");
    fs::copy(&library, &copy).unwrap();
    let paths = [&library, &copy, &other];
    let text: String = paths.map(|path| entry(path, &sha256(path))).concat();
    let (_list_folder, list) = list(&text);
    let list = list.unwrap();
    let plugins = paths.map(|path| list.load(path).unwrap());
    let counters = plugins
        .each_ref()
        .map(|p| p.extension("test.counters/1").unwrap());
    assert_eq!(counters[0], counters[1]);
    assert_ne!(counters[0], counters[2]);
    assert_eq!(plugins[2].id(), "other");
    #[cfg(target_os = "linux")]
    {
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        assert!(maps.contains("/memfd:keros:plugin.so"), "{maps}");
        assert!(!maps.contains(copy.to_str().unwrap()));
    }
}

#[test]
fn what_is_not_listed_or_has_changed_is_refused() {
    let Some((folder, library)) = c_plugin(ODD, &[]) else {
        return;
    };
    let before = sha256(&library);
    let (list_folder, list) = list(&entry(&library, &before));
    let list = list.unwrap();
    let at = list_folder.path().join("keros-plugins.toml");
    let error = list.load(folder.path().join("other.so")).unwrap_err();
    let expected = format!(
        "plugin {}: not on the list {}",
        folder.path().join("other.so").display(),
        at.display()
    );
    assert_eq!(error.to_string(), expected);

    let mut bytes = fs::read(&library).unwrap();
    bytes.push(0);
    fs::write(&library, bytes).unwrap();
    let error = list.load(&library).unwrap_err();
    let after = sha256(&library);
    let expected = format!(
        "plugin {}: its SHA-256 is not that of the list {} (expected {before}, found {after})",
        library.display(),
        at.display()
    );
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_wrong_list_is_refused_with_the_line() {
    let check = |text: &str, line: usize, reason: &str| {
        let (folder, list) = list(text);
        let error = list.unwrap_err().to_string();
        let at = folder.path().join("keros-plugins.toml");
        let begin = format!(
            "reading the list of plugins {}, line {line}: ",
            at.display()
        );
        assert!(error.starts_with(&begin), "{error}");
        assert!(error.contains(reason), "{error}");
    };
    let hash = "0".repeat(64);
    check("[[plugin]]\npath = \n", 2, "");
    check(
        &(entry(Path::new("/a.so"), &hash) + "sha = 1\n"),
        4,
        "unknown field `sha`",
    );
    check(
        &entry(Path::new("a.so"), &hash),
        1,
        "expected an absolute path, found a.so",
    );
    check(
        &entry(Path::new("/a.so"), "12"),
        1,
        "expected 64 hexadecimal digits, found `12`",
    );
    let twice = entry(Path::new("/a.so"), &hash).repeat(2);
    check(&twice, 4, "/a.so is listed twice");
    let date = entry(Path::new("/a.so"), &hash) + "config = { day = 2020-01-01 }\n";
    check(&date, 1, "found the date 2020-01-01");
    let missing = AllowList::read("/no/such/list.toml").unwrap_err();
    assert!(matches!(missing, AllowListError::Read { .. }), "{missing}");
}
