//! The Keras way of training for candle: fit, fit_generator, train_on_batch, data generators, callbacks and plugins.
