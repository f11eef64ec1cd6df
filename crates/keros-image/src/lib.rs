//! Image augmentation on pixel buffers: draw parameters, then apply them.
