//! The JSON Schema of a configuration, made when the host first asks.

use keros_abi::{keros_schema, keros_str};
use std::ffi::c_void;
use std::mem::size_of;
use std::ptr;
use std::sync::OnceLock;

/// The schema of one plugin.
pub struct Schema(OnceLock<Told>);

/// What the host reads.
struct Told {
    table: keros_schema,
    /// Kept: the table points to it.
    _json: Box<str>,
}

// SAFETY: it points to the text beside it, which nobody changes.
unsafe impl Send for Told {}
// SAFETY: as above.
unsafe impl Sync for Told {}

impl Schema {
    /// Nothing yet.
    #[must_use]
    pub const fn new() -> Schema {
        Schema(OnceLock::new())
    }

    /// The extension's table for the schema that `json` makes, the same at each call; null if `json` panics.
    pub fn of(&'static self, json: impl FnOnce() -> String) -> *const c_void {
        let made = crate::instance::guard(|| {
            Ok(self.0.get_or_init(|| {
                let json = json().into_boxed_str();
                Told {
                    table: keros_schema {
                        struct_size: size_of::<keros_schema>() as u32,
                        reserved: 0,
                        json: keros_str::new(&json),
                    },
                    _json: json,
                }
            }))
        });
        made.map_or(ptr::null(), |told| ptr::from_ref(&told.table).cast())
    }
}

impl Default for Schema {
    fn default() -> Self {
        Schema::new()
    }
}
