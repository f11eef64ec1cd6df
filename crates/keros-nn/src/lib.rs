//! Layers, networks, losses, metrics and optimizers with Keras's semantics on candle tensors.
