//! The trainer of keros: fit, fit_generator and train_on_batch over one loop.
