//! Which images an example works on, as its command line says.

use crate::fashion::{self, Fashion};
use anyhow::Result;
use clap::Args;
use std::path::PathBuf;

/// Which images, and the seed of everything random.
#[derive(Args)]
pub struct ImagesArg {
    /// Folder with the four IDX files, plain or .gz; the shipped subset unless given.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Use only the first N training images, and at most N test images.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Seed of everything random, such as the weights, the order of the images and their augmentation.
    #[arg(long, value_name = "N", default_value_t = 42)]
    pub seed: u64,
}

impl ImagesArg {
    /// The images.
    ///
    /// # Errors
    /// As [`Fashion::load`].
    pub fn load(&self) -> Result<Fashion> {
        Fashion::load(&self.folder(), self.limit)
    }

    /// The folder that they are read from.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.data.clone().unwrap_or_else(fashion::shipped)
    }
}
