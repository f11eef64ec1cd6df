//! Shared parts of the examples: the data, the network, the reports and the pictures.

pub mod confusion;
pub mod fashion;
pub mod files;
pub mod images_arg;
pub mod memory;
pub mod meter;
pub mod pictures;
pub mod plugin_arg;
pub mod report;
pub mod table;
pub mod training;
