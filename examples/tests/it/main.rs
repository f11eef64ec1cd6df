//! The example programs, run as a user runs them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod bad_input;
mod c_plugin;
mod confusion;
mod custom_layer;
mod custom_loop;
mod fashion_mnist;
mod image_folder;
mod kills;
mod readme;
mod resnet;
mod resume;
mod segmentation;
mod support;
mod three_methods;
mod transfer;
mod two_inputs;
