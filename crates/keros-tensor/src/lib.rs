//! Devices, named parameters, recycled buffers and training kernels on candle tensors.
