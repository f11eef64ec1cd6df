//! The C ABI of keros callback plugins: `keros.h` and its `repr(C)` mirror.
//!
//! **`include/keros.h` is the law.** Ownership, lifetimes, threads, units and errors are written there
//! and only there; this crate repeats names and layout for Rust code, under the names of the header,
//! and a test compares every field and constant with what a C compiler sees. Only the texts differ in
//! type, not in layout: `char` is `u8` here.
//!
//! Plugin authors want the crate `keros-plugin`, programs that load plugins `keros-plugin-host`.
//!
//! ```
//! use keros_abi::{KEROS_E_IO, status_name};
//!
//! assert_eq!(status_name(KEROS_E_IO), Some("KEROS_E_IO"));
//! assert!(keros_abi::HEADER.contains("keros_plugin_v1"));
//! ```
#![no_std]
#![allow(
    non_camel_case_types,
    reason = "types have the names of the header, so that the two can be read side by side"
)]

mod constants;
mod extensions;
mod types;

pub use constants::*;
pub use extensions::*;
pub use types::*;

#[cfg(not(target_pointer_width = "64"))]
compile_error!("keros plugins need a 64-bit target");

/// The text of `keros.h`, for tools that write it next to a C plugin.
pub const HEADER: &str = include_str!("../include/keros.h");

/// Name of the one symbol a plugin exports, of type [`keros_plugin_module`].
pub const SYMBOL: &str = "keros_plugin_v1";

/// The code of the README, so that it compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
