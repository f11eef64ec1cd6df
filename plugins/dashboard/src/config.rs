//! What a user may choose.

use keros_plugin::BoxError;
use schemars::JsonSchema;
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;

/// Longest time the page may stay after the training: a day.
const MAX_LINGER_S: f64 = 86_400.0;

/// Bounds of [`Config::interval_ms`].
const INTERVALS_MS: std::ops::RangeInclusive<u64> = 20..=60_000;

/// The configuration of a [`Dashboard`](crate::Dashboard).
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The port on the loopback interface; 0, the default, takes a free one.
    pub port: u16,
    /// The secret part of the address: 16 to 128 letters, digits, `-` and `_`. Random unless given;
    /// give one to have the same address in every run.
    #[schemars(regex(pattern = "^[A-Za-z0-9_-]{16,128}$"))]
    pub token: Option<String>,
    /// The least time between two points of the batch curves, and between two looks of the page, in
    /// milliseconds: 20 to 60000, 250 unless given. Logs are read no more often.
    #[schemars(range(min = 20, max = 60_000))]
    pub interval_ms: u64,
    /// How long the page can still be loaded when the training is over, in seconds: 0, the default,
    /// to 86400. The program waits for that long when it lets go of the callback, unless somebody
    /// closes the dashboard in the page.
    #[schemars(range(min = 0, max = 86_400))]
    pub linger_s: f64,
    /// The file that the button "Save checkpoint" writes, which ends in `.safetensors`; no button unless given.
    pub checkpoint: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            port: 0,
            token: None,
            interval_ms: 250,
            linger_s: 0.0,
            checkpoint: None,
        }
    }
}

impl Config {
    /// Refuses what cannot be meant.
    pub(crate) fn check(&self) -> Result<(), BoxError> {
        if let Some(token) = &self.token {
            let usable = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            if !(16..=128).contains(&token.len()) || !token.bytes().all(usable) {
                // The token itself is a secret, and errors end up in logs.
                return Err(format!(
                    "config field `token`: expected 16 to 128 letters, digits, `-` and `_`, found {} bytes{}",
                    token.len(),
                    if token.bytes().all(usable) { "" } else { " with others among them" }
                )
                .into());
            }
        }
        if !INTERVALS_MS.contains(&self.interval_ms) {
            return Err(format!(
                "config field `interval_ms`: expected {} to {}, found {}",
                INTERVALS_MS.start(),
                INTERVALS_MS.end(),
                self.interval_ms
            )
            .into());
        }
        if !(0.0..=MAX_LINGER_S).contains(&self.linger_s) {
            return Err(format!(
                "config field `linger_s`: expected 0 to {MAX_LINGER_S}, found {}",
                self.linger_s
            )
            .into());
        }
        if let Some(path) = &self.checkpoint
            && path
                .extension()
                .is_none_or(|ending| ending != "safetensors")
        {
            return Err(format!(
                "config field `checkpoint`: expected a file that ends in .safetensors, found {}",
                path.display()
            )
            .into());
        }
        Ok(())
    }

    /// Whether the checkpoint can be written where a training runs now.
    pub(crate) fn check_folder(&self) -> Result<(), BoxError> {
        let folder = self.checkpoint.as_ref().and_then(|path| path.parent());
        match folder.filter(|folder| !folder.as_os_str().is_empty()) {
            Some(folder) if !folder.is_dir() => Err(format!(
                "config field `checkpoint`: expected a file in a folder that is there, found none at {}",
                folder.display()
            )
            .into()),
            _ => Ok(()),
        }
    }

    pub(crate) fn interval(&self) -> Duration {
        Duration::from_millis(self.interval_ms)
    }

    pub(crate) fn linger(&self) -> Duration {
        Duration::from_secs_f64(self.linger_s)
    }
}
