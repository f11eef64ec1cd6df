//! What a plugin tells about itself: the constants at the beginning of its record, checked.

use crate::error::PluginError;
use keros_abi::{KEROS_ABI_MAJOR, KEROS_ABI_MINOR, KEROS_MAGIC, keros_plugin_module};
use std::mem::{offset_of, size_of};
use std::path::Path;

/// What a plugin tells about itself, read from its file or from the loaded library.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PluginInfo {
    /// Its identity, such as `csv-logger`.
    pub id: String,
    /// Its own version.
    pub version: String,
    /// Who made it; may be empty.
    pub vendor: String,
    /// Its licence, as an SPDX expression; may be empty.
    pub license: String,
    /// What it does; may be empty.
    pub summary: String,
    /// How it was built; may be empty.
    pub build: String,
    /// Major and minor version of the ABI it was built for.
    pub abi: (u32, u32),
    /// The oldest minor version of a host it works with.
    pub min_host_minor: u32,
}

/// The fields that every version of the record begins with.
pub(crate) struct Head {
    magic: u64,
    struct_size: u32,
    major: u32,
}

/// Bytes at an offset of the record's first version.
fn at<'a, const N: usize>(
    path: &Path,
    record: &'a [u8],
    offset: usize,
) -> Result<&'a [u8; N], PluginError> {
    record
        .get(offset..)
        .and_then(<[u8]>::first_chunk)
        .ok_or_else(|| PluginError::Record {
            path: path.to_owned(),
            expected: PluginInfo::RECORD_BYTES,
            found: u32::try_from(record.len()).unwrap_or(u32::MAX),
        })
}

macro_rules! number {
    ($type:ty, $path:ident, $record:ident, $field:ident) => {
        <$type>::from_ne_bytes(*at(
            $path,
            $record,
            offset_of!(keros_plugin_module, $field),
        )?)
    };
}

impl Head {
    pub(crate) const BYTES: usize = offset_of!(keros_plugin_module, abi_minor);

    pub(crate) fn read(path: &Path, record: &[u8]) -> Result<Head, PluginError> {
        Ok(Head {
            magic: number!(u64, path, record, magic),
            struct_size: number!(u32, path, record, struct_size),
            major: number!(u32, path, record, abi_major),
        })
    }

    /// Refuses what is no record, and one whose other fields may be different ones.
    pub(crate) fn check(&self, path: &Path) -> Result<(), PluginError> {
        let path = path.to_owned();
        let expected = PluginInfo::RECORD_BYTES;
        if self.magic != KEROS_MAGIC {
            let found = self.magic;
            return Err(PluginError::Magic { path, found });
        }
        if self.major != KEROS_ABI_MAJOR {
            let found = self.major;
            return Err(PluginError::Major { path, found });
        }
        if (self.struct_size as usize) < expected {
            let found = self.struct_size;
            return Err(PluginError::Record {
                path,
                expected,
                found,
            });
        }
        Ok(())
    }
}

impl PluginInfo {
    /// Size of the record in version 1.0.
    pub(crate) const RECORD_BYTES: usize = size_of::<keros_plugin_module>();

    /// Reads a record whose [`Head`] is good.
    pub(crate) fn read(path: &Path, record: &[u8]) -> Result<PluginInfo, PluginError> {
        macro_rules! text {
            ($field:ident) => {{
                const BYTES: usize = {
                    const fn length<const N: usize>(
                        _: fn(&keros_plugin_module) -> &[u8; N],
                    ) -> usize {
                        N
                    }
                    length(|module| &module.$field)
                };
                let bytes: &[u8; BYTES] =
                    at(path, record, offset_of!(keros_plugin_module, $field))?;
                text(path, stringify!($field), bytes)?
            }};
        }
        let info = PluginInfo {
            id: text!(id),
            version: text!(version),
            vendor: text!(vendor),
            license: text!(license),
            summary: text!(summary),
            build: text!(build),
            abi: (
                number!(u32, path, record, abi_major),
                number!(u32, path, record, abi_minor),
            ),
            min_host_minor: number!(u32, path, record, min_host_minor),
        };
        if !is_id(&info.id) {
            let expected = "lower-case letters, digits, `-`, `_` and `.`";
            let found = format!("{:?}", info.id);
            return Err(wrong(path, "id", expected, found));
        }
        if info.version.is_empty() {
            return Err(wrong(path, "version", "a text", "none".to_owned()));
        }
        Ok(info)
    }

    /// Refuses a plugin that says it does not work with a host as old as this one.
    pub(crate) fn check_host(&self, path: &Path) -> Result<(), PluginError> {
        if self.min_host_minor > KEROS_ABI_MINOR {
            return Err(PluginError::NeedsNewerHost {
                path: path.to_owned(),
                found: self.min_host_minor,
            });
        }
        Ok(())
    }
}

fn wrong(path: &Path, field: &'static str, expected: &'static str, found: String) -> PluginError {
    PluginError::Text {
        path: path.to_owned(),
        field,
        expected,
        found,
    }
}

fn text(path: &Path, field: &'static str, bytes: &[u8]) -> Result<String, PluginError> {
    let Some(end) = bytes.iter().position(|byte| *byte == 0) else {
        let found = format!("{} bytes without one", bytes.len());
        return Err(wrong(path, field, "a zero at the end", found));
    };
    match std::str::from_utf8(&bytes[..end]) {
        Ok(text) => Ok(text.to_owned()),
        Err(error) => Err(wrong(path, field, "UTF-8", error.to_string())),
    }
}

/// Whether a text can be the identity of a plugin.
pub(crate) fn is_id(text: &str) -> bool {
    let in_id = |c| matches!(c, 'a'..='z' | '0'..='9' | '-' | '_' | '.');
    !text.is_empty() && text.chars().all(in_id)
}
