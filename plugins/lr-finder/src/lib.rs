//! A keros callback plugin that finds a learning rate: it sweeps the rate over a few updates, writes
//! the curve of the loss, suggests a rate, and leaves the model as it was.

#![doc = include_str!("../README.md")]

mod config;
mod curve;
mod finder;
mod loss;
mod sweep;

pub use config::Config;
pub use finder::LrFinder;

keros_plugin::export_plugin!(LrFinder::new, schema: Config);
