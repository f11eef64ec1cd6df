//! The example programs, run as a user runs them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod bad_input;
mod c_plugin;
mod fashion_mnist;
mod image_folder;
mod kills;
mod support;
mod three_methods;
mod two_inputs;
