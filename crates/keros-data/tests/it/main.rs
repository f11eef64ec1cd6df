//! Tests of the public interface of keros-data.

// clippy.toml covers `#[test]` functions only, not their helpers.
#![allow(clippy::unwrap_used, clippy::panic)]

mod adapters;
mod array_sequence;
mod arrays;
mod augmentation;
mod bad_files;
mod bounds;
mod failures;
mod fuzz;
mod generator_adapters;
mod generators;
mod idx;
mod image_files;
mod order;
mod standardization;
mod support;
