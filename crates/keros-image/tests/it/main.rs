//! Tests of the public interface of keros-image.

// clippy.toml covers `#[test]` functions only, not their helpers.
#![allow(clippy::unwrap_used, clippy::panic)]

mod cases;
mod decode;
mod encode;
mod fuzz;
mod noise;
mod pixel_ops;
mod properties;
mod resize;
mod spline;
