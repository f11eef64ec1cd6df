//! What a user may choose.

use keros_plugin::BoxError;
use schemars::JsonSchema;
use serde::Deserialize;
use std::num::NonZeroU64;
use std::path::PathBuf;

/// The configuration of a [`TensorBoard`](crate::TensorBoard). Fields that Keras's callback has are
/// called as there and have the same defaults.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The folder to write to; `logs` unless given.
    pub log_dir: PathBuf,
    /// Write histograms of the parameters at the end of every epoch whose number, from zero, this
    /// divides; 0, the default, writes none.
    pub histogram_freq: u64,
    /// Write the network, to be shown as a graph of its layers; on unless switched off.
    pub write_graph: bool,
    /// Write the parameters as pictures too, when their histograms are written.
    pub write_images: bool,
    /// Write how many updates were made per second.
    pub write_steps_per_second: bool,
    /// How often losses and metrics are written in an epoch; not at all unless given.
    pub update_freq: UpdateFreq,
    /// Write histograms of the gradients too, when those of the parameters are written. Keras has no
    /// such field, nor the following.
    pub write_gradients: bool,
    /// Write this many images of the first batch of each epoch, as the model gets them; none unless
    /// given.
    pub images: usize,
    /// Where the channels of the images are; last unless given.
    pub data_format: DataFormat,
    /// Write how the run was set up, as a text; on unless switched off.
    pub write_facts: bool,
}

/// How often losses and metrics are written in an epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(from = "Given")]
pub enum UpdateFreq {
    /// Not at all, only when the epoch ends: `"epoch"`.
    #[default]
    Epoch,
    /// After every so many updates of the optimizer: a number, or `"batch"` for 1.
    Batches(NonZeroU64),
}

/// Where the channels of an image are, in Keras's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DataFormat {
    /// Rows, columns, channels.
    #[default]
    ChannelsLast,
    /// Channels, rows, columns.
    ChannelsFirst,
}

/// An [`UpdateFreq`] in a configuration.
#[derive(Deserialize, JsonSchema)]
#[serde(
    untagged,
    expecting = "expected \"epoch\", \"batch\" or a number of batches from 1"
)]
enum Given {
    Number(NonZeroU64),
    Word(Word),
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Word {
    Epoch,
    Batch,
}

impl From<Given> for UpdateFreq {
    fn from(given: Given) -> UpdateFreq {
        match given {
            Given::Word(Word::Epoch) => UpdateFreq::Epoch,
            Given::Word(Word::Batch) => UpdateFreq::Batches(NonZeroU64::MIN),
            Given::Number(number) => UpdateFreq::Batches(number),
        }
    }
}

impl Default for Config {
    fn default() -> Config {
        Config {
            log_dir: PathBuf::from("logs"),
            histogram_freq: 0,
            write_graph: true,
            write_images: false,
            write_steps_per_second: false,
            update_freq: UpdateFreq::Epoch,
            write_gradients: false,
            images: 0,
            data_format: DataFormat::ChannelsLast,
            write_facts: true,
        }
    }
}

impl Config {
    /// Refuses what would be ignored.
    pub(crate) fn check(&self) -> Result<(), BoxError> {
        if self.log_dir.as_os_str().is_empty() {
            return Err("config field `log_dir`: expected a folder, found an empty text".into());
        }
        for (name, asked) in [
            ("write_images", self.write_images),
            ("write_gradients", self.write_gradients),
        ] {
            if asked && self.histogram_freq == 0 {
                return Err(format!(
                    "config field `{name}`: expected a `histogram_freq` from 1 beside it, found 0, \
                     with which nothing of the parameters is written"
                )
                .into());
            }
        }
        Ok(())
    }
}
