//! The record a plugin exports, made from constants, and the function that makes instances.

use crate::config;
use crate::host::Host;
use crate::instance::{Failure, Instance, guard};
use keros_abi::{
    KEROS_ABI_MAJOR, KEROS_ABI_MINOR, KEROS_E_ARG, KEROS_E_CONFIG, KEROS_E_OTHER, KEROS_MAGIC,
    KEROS_OK, keros_callback, keros_host, keros_plugin_module, keros_self_test, keros_status,
    keros_str,
};
use keros_callbacks::{BoxError, Callback};
use serde_core::de::DeserializeOwned;
use std::ffi::c_void;
use std::mem::size_of;

/// What a plugin tells about itself, at most as many bytes as said; the compiler refuses more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Description {
    /// Identity, of lower-case letters, digits, `-`, `_` and `.`: 1 to 95 bytes. The package's name.
    pub id: &'static str,
    /// Version of the plugin: 1 to 31 bytes. The package's.
    pub version: &'static str,
    /// Who made it: 63 bytes. The package's authors.
    pub vendor: &'static str,
    /// SPDX expression: 31 bytes. The package's.
    pub license: &'static str,
    /// One sentence: 159 bytes. The package's description.
    pub summary: &'static str,
}

type Create =
    unsafe extern "C" fn(*const keros_host, keros_str, *mut keros_callback) -> keros_status;

type Extension = unsafe extern "C" fn(keros_str) -> *const c_void;

/// The exported record. `debug` tells whether the plugin is built without optimizations.
#[must_use]
pub const fn module(
    description: &Description,
    debug: bool,
    create: Create,
    extension: Extension,
) -> keros_plugin_module {
    let Description {
        id,
        version,
        vendor,
        license,
        summary,
    } = *description;
    assert!(
        is_id(id),
        "id: expected 1 to 95 lower-case letters, digits, `-`, `_` and `.`"
    );
    assert!(!version.is_empty(), "version: expected 1 to 31 bytes");
    assert!(version.len() < 32, "version: expected 1 to 31 bytes");
    assert!(
        vendor.len() < 64,
        "vendor: expected at most 63 bytes; name a shorter one"
    );
    assert!(
        license.len() < 32,
        "license: expected at most 31 bytes; name a shorter one"
    );
    assert!(
        summary.len() < 160,
        "summary: expected at most 159 bytes; name a shorter one"
    );
    keros_plugin_module {
        magic: KEROS_MAGIC,
        struct_size: size_of::<keros_plugin_module>() as u32,
        abi_major: KEROS_ABI_MAJOR,
        abi_minor: KEROS_ABI_MINOR,
        // Nothing newer than 1.0 is used without asking.
        min_host_minor: 0,
        id: inline(&[id]),
        version: inline(&[version]),
        vendor: inline(&[vendor]),
        license: inline(&[license]),
        summary: inline(&[summary]),
        build: inline(&[
            "Rust, keros-plugin ",
            env!("CARGO_PKG_VERSION"),
            if debug { ", debug, " } else { ", release, " },
            std::env::consts::ARCH,
            "-",
            std::env::consts::OS,
        ]),
        create: Some(create),
        extension: Some(extension),
    }
}

const fn is_id(id: &str) -> bool {
    let id = id.as_bytes();
    let mut i = 0;
    while i < id.len() {
        if !matches!(id[i], b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.') {
            return false;
        }
        i += 1;
    }
    !id.is_empty() && id.len() < 96
}

/// The parts one after another, cut to fit, then zeros, at least one.
const fn inline<const N: usize>(parts: &[&str]) -> [u8; N] {
    let mut bytes = [0; N];
    let mut end = 0;
    let mut part = 0;
    while part < parts.len() {
        let text = parts[part].as_bytes();
        let mut i = 0;
        while i < text.len() && end + 1 < N {
            bytes[end] = text[i];
            end += 1;
            i += 1;
        }
        part += 1;
    }
    bytes
}

/// [`keros_plugin_module::create`] for a constructor.
///
/// # Safety
/// The arguments are as keros.h tells.
pub unsafe fn create<C, K, E>(
    host: *const keros_host,
    config: keros_str,
    out: *mut keros_callback,
    constructor: impl FnOnce(C) -> Result<K, E>,
) -> keros_status
where
    C: DeserializeOwned,
    K: Callback + Send + 'static,
    E: Into<BoxError>,
{
    // SAFETY: the caller's promise.
    let host = match unsafe { Host::new(host) } {
        Ok(host) => host,
        Err(status) => return status,
    };
    let made = guard(|| {
        // SAFETY: null, or the host's memory, valid until we return.
        let out = match unsafe { out.as_mut() } {
            Some(out) if out.struct_size as usize >= size_of::<keros_callback>() => out,
            _ => {
                let text = "the host passed a null pointer or a struct older than version 1.0";
                return Err(Failure::new(KEROS_E_ARG, text));
            }
        };
        // SAFETY: valid until we return.
        let json = unsafe { config.text() }
            .ok_or_else(|| Failure::new(KEROS_E_CONFIG, "config: not UTF-8"))?;
        let config =
            config::parse(json).map_err(|error| Failure::new(KEROS_E_CONFIG, error.to_string()))?;
        let callback = constructor(config).map_err(|error| {
            let mut failure = Failure::from(error.into());
            if failure.status == KEROS_E_OTHER {
                // What a constructor refuses is what it was given.
                failure.status = KEROS_E_CONFIG;
            }
            failure
        })?;
        Instance::hand_over(callback, host, out);
        Ok(())
    });
    match made {
        Ok(()) => KEROS_OK,
        Err(failure) => {
            host.fail(&failure.text);
            failure.status
        }
    }
}

/// The table of a self-test.
#[must_use]
pub const fn self_test_table(
    run: unsafe extern "C" fn(*const keros_host) -> keros_status,
) -> keros_self_test {
    keros_self_test {
        struct_size: size_of::<keros_self_test>() as u32,
        reserved: 0,
        run: Some(run),
    }
}

/// [`keros_self_test::run`] for a test of the author's.
///
/// # Safety
/// The host is as keros.h tells.
pub unsafe fn self_test<E: Into<BoxError>>(
    host: *const keros_host,
    test: impl FnOnce() -> Result<(), E>,
) -> keros_status {
    // SAFETY: the caller's promise.
    let host = match unsafe { Host::new(host) } {
        Ok(host) => host,
        Err(status) => return status,
    };
    match guard(|| test().map_err(|error| Failure::from(error.into()))) {
        Ok(()) => KEROS_OK,
        Err(failure) => {
            host.fail(&failure.text);
            failure.status
        }
    }
}
