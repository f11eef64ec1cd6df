//! The list of the plugins a user allows, with the SHA-256 of each.

use crate::callback::LoadedCallback;
use crate::error::PluginError;
use crate::file;
use crate::plugin::Plugin;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The plugins a user allows, read from a TOML file that is best called `keros-plugins.toml`:
///
/// ```toml
/// [[plugin]]
/// path = "/opt/keros/libcsv_logger.so"
/// sha256 = "8f434346648f6b96df89dda901c5176b10a6d83961dd3c1ac88b59b2dc327aa4"
/// config = { path = "epochs.csv" }
/// ```
///
/// `path` is absolute, `config` may be left out. The hash is that of the very bytes that are loaded:
/// the file is read once, and what was read is loaded from a private copy, so that nobody can put
/// another file in its place in between. On Linux the copy is in memory and sealed; the file's name is
/// seen in `/proc/PID/maps` as `memfd:keros:NAME`. A plugin that looks for other libraries beside its
/// own file does not find them there.
///
/// The order of the list is the order in which [`callbacks`](Self::callbacks) gives the plugins.
#[derive(Clone, Debug, PartialEq)]
pub struct AllowList {
    path: PathBuf,
    entries: Vec<AllowedPlugin>,
}

/// A plugin that an [`AllowList`] allows.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct AllowedPlugin {
    /// The absolute path of its file.
    pub path: PathBuf,
    /// SHA-256 of the file, as 64 lower-case hexadecimal digits.
    pub sha256: String,
    /// Its configuration as a JSON text; empty if the list gives none.
    pub config_json: String,
}

/// An [`AllowList`] cannot be used, or does not allow what was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AllowListError {
    /// The list cannot be read.
    #[error("reading the list of plugins {}: {source}", path.display())]
    Read {
        /// The list.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The list is not as it should be.
    #[error("reading the list of plugins {}, line {line}: {reason}", path.display())]
    Syntax {
        /// The list.
        path: PathBuf,
        /// The line, counted from one.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// The plugin is not on the list.
    #[error("plugin {}: not on the list {}", plugin.display(), list.display())]
    NotListed {
        /// The plugin.
        plugin: PathBuf,
        /// The list.
        list: PathBuf,
    },
    /// The file is another one than the list allows.
    #[error(
        "plugin {}: its SHA-256 is not that of the list {} (expected {expected}, found {found})",
        plugin.display(),
        list.display()
    )]
    Hash {
        /// The plugin.
        plugin: PathBuf,
        /// The list.
        list: PathBuf,
        /// The hash of the list.
        expected: String,
        /// The hash of the file.
        found: String,
    },
    /// The plugin cannot be loaded.
    #[error(transparent)]
    Plugin(#[from] PluginError),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    plugin: Vec<toml::Spanned<Entry>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    path: PathBuf,
    sha256: String,
    config: Option<toml::Table>,
}

impl AllowList {
    /// Reads a list.
    ///
    /// # Errors
    /// [`AllowListError::Read`] and [`AllowListError::Syntax`]: a key that is not known, a path that is
    /// not absolute or is listed twice, a hash that is not 64 hexadecimal digits.
    pub fn read(path: impl AsRef<Path>) -> Result<AllowList, AllowListError> {
        let path = path.as_ref().to_owned();
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(source) => return Err(AllowListError::Read { path, source }),
        };
        let wrong = |at: usize, reason: String| AllowListError::Syntax {
            path: path.clone(),
            line: 1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count(),
            reason,
        };
        let file: File = toml::from_str(&text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            wrong(at, error.message().to_owned())
        })?;
        let mut entries: Vec<AllowedPlugin> = Vec::with_capacity(file.plugin.len());
        for entry in file.plugin {
            let at = entry.span().start;
            let entry = entry.into_inner();
            let shown = entry.path.display();
            if !entry.path.is_absolute() {
                return Err(wrong(
                    at,
                    format!("expected an absolute path, found {shown}"),
                ));
            }
            if entries.iter().any(|known| known.path == entry.path) {
                return Err(wrong(at, format!("{shown} is listed twice")));
            }
            let sha256 = entry.sha256.to_ascii_lowercase();
            if sha256.len() != 64 || !sha256.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                let found = &entry.sha256;
                let reason = format!("sha256: expected 64 hexadecimal digits, found `{found}`");
                return Err(wrong(at, reason));
            }
            let config_json = match entry.config {
                None => String::new(),
                Some(config) => match json(toml::Value::Table(config)) {
                    Ok(config) => config.to_string(),
                    Err(found) => {
                        let reason = format!("config: expected what JSON has, found {found}");
                        return Err(wrong(at, reason));
                    }
                },
            };
            entries.push(AllowedPlugin {
                path: entry.path,
                sha256,
                config_json,
            });
        }
        Ok(AllowList { path, entries })
    }

    /// What is allowed, in the order of the list.
    #[must_use]
    pub fn plugins(&self) -> &[AllowedPlugin] {
        &self.entries
    }

    /// Loads a plugin of the list, which is asked for by the path that is written there.
    ///
    /// # Errors
    /// [`AllowListError::NotListed`], [`AllowListError::Hash`], and those of [`Plugin::load`]. No code
    /// of the file has been run then, unless the dynamic linker refused it.
    pub fn load(&self, path: impl AsRef<Path>) -> Result<Arc<Plugin>, AllowListError> {
        let path = path.as_ref();
        let entry = self.entries.iter().find(|entry| entry.path == path);
        let entry = entry.ok_or_else(|| AllowListError::NotListed {
            plugin: path.to_owned(),
            list: self.path.clone(),
        })?;
        self.load_entry(entry)
    }

    /// Loads every plugin of the list and makes an instance of each, configured as the list says.
    ///
    /// # Errors
    /// Those of [`load`](Self::load) and [`Plugin::callback`], for the first plugin that fails.
    pub fn callbacks(&self) -> Result<Vec<LoadedCallback>, AllowListError> {
        let load = |entry: &AllowedPlugin| {
            let plugin = self.load_entry(entry)?;
            Ok(plugin.callback(&entry.config_json)?)
        };
        self.entries.iter().map(load).collect()
    }

    fn load_entry(&self, entry: &AllowedPlugin) -> Result<Arc<Plugin>, AllowListError> {
        let bytes = file::read(&entry.path)?;
        let digest: [u8; 32] = Sha256::digest(&bytes).into();
        let found: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        if found != entry.sha256 {
            return Err(AllowListError::Hash {
                plugin: entry.path.clone(),
                list: self.path.clone(),
                expected: entry.sha256.clone(),
                found,
            });
        }
        Ok(Plugin::load_bytes(&entry.path, &bytes, digest)?)
    }
}

/// The same value in JSON, or what it is that JSON does not have.
fn json(value: toml::Value) -> Result<serde_json::Value, String> {
    Ok(match value {
        toml::Value::String(text) => text.into(),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Float(number) if number.is_finite() => number.into(),
        toml::Value::Float(number) => return Err(format!("the number {number}")),
        toml::Value::Boolean(flag) => flag.into(),
        toml::Value::Datetime(date) => return Err(format!("the date {date}")),
        toml::Value::Array(items) => items.into_iter().map(json).collect::<Result<_, _>>()?,
        toml::Value::Table(table) => {
            let entries = table.into_iter();
            let entries = entries.map(|(key, value)| Ok((key, json(value)?)));
            serde_json::Value::Object(entries.collect::<Result<_, String>>()?)
        }
    })
}
