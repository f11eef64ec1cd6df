//! Tests of the public interface of keros-data.

// clippy.toml covers `#[test]` functions only, not their helpers.
#![allow(clippy::unwrap_used, clippy::panic)]

mod array_sequence;
mod arrays;
mod augmentation;
mod bounds;
mod failures;
mod generators;
mod idx;
mod image_files;
mod order;
mod standardization;
mod support;
