//! Networks, losses, metrics and optimizers through the public interface.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod autograd;
mod config;
mod conv_layers;
mod data_layers;
mod errors;
mod fused_relu;
mod gradient_properties;
mod gradients;
mod graph;
mod include;
#[cfg(feature = "keras-files")]
mod keras_weights;
mod label_losses;
mod layer_gradients;
#[cfg(feature = "keras-files")]
mod load_weights;
mod loss_scale;
mod losses_and_metrics;
mod losses_on_gpu;
mod metric_states;
mod metrics_of_keras;
mod mixed;
mod networks;
mod noise_layers;
mod optimizers;
mod optimizers_of_keras;
mod penalties;
mod rules;
mod sequence_layers;
mod shape_errors;
mod summary;
mod test_device;
