//! Data generators, worker threads and the ordered bounded queue that feeds a training.
