//! A keros callback plugin that writes event files for TensorBoard, laid out as Keras's callback of
//! that name does.

#![doc = include_str!("../README.md")]

mod config;
mod event_file;
mod files;
mod histogram;
mod picture;
mod proto;
mod record;
mod summary;
mod tensorboard;

pub use config::{Config, DataFormat, UpdateFreq};
pub use tensorboard::TensorBoard;

keros_plugin::export_plugin!(TensorBoard::new, schema: Config);
