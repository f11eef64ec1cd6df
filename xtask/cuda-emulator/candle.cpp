// The kernels of candle that tests rely on to make and to compare tensors.
#include "device.hpp"

namespace {

// `info` holds the lengths of the axes and then their strides; it is null for a contiguous tensor.
size_t place(size_t i, size_t axes, const size_t *info) {
    if (!info)
        return i;
    size_t at = 0;
    for (size_t axis = axes; axis-- > 0; i /= info[axis])
        at += i % info[axis] * info[axes + axis];
    return at;
}

template <class From, class To>
void convert(size_t n, size_t axes, const size_t *info, const From *x, To *y) {
    for (size_t i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
        y[i] = (To)x[place(i, axes, info)];
}
template <class T> void affine(size_t n, size_t axes, const size_t *info, const T *x, T *y, T mul, T add) {
    for (size_t i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
        y[i] = (x ? x : y)[place(i, axes, info)] * mul + add;
}
void round_each(size_t n, size_t axes, const size_t *info, const float *x, float *y) {
    for (size_t i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
        y[i] = roundf(x[place(i, axes, info)]);
}
template <class T> void const_set(size_t n, size_t axes, const size_t *info, T value, T *y) {
    for (size_t i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
        y[place(i, axes, info)] = value;
}
template <class T> void copy2d(const T *x, T *y, uint32_t rows, uint32_t columns, uint32_t from, uint32_t to) {
    uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < rows * columns)
        y[i / columns * to + i % columns] = x[i / columns * from + i % columns];
}

#define OF_TYPE(T, name)                                                                           \
    Kernel copy_##name("ucopy_" #name, convert<T, T>), set_##name("const_set_" #name, const_set<T>), \
        copy2d_##name("copy2d_" #name, copy2d<T>), affine_##name("affine_" #name, affine<T>),      \
        to_f32_##name("cast_" #name "_f32", convert<T, float>),                                    \
        to_f64_##name("cast_" #name "_f64", convert<T, double>),                                   \
        to_u8_##name("cast_" #name "_u8", convert<T, uint8_t>),                                    \
        to_u32_##name("cast_" #name "_u32", convert<T, uint32_t>),                                 \
        to_i64_##name("cast_" #name "_i64", convert<T, int64_t>);
Kernel round_f32("uround_f32", round_each);
OF_TYPE(float, f32)
OF_TYPE(double, f64)
OF_TYPE(uint8_t, u8)
OF_TYPE(uint32_t, u32)
OF_TYPE(int64_t, i64)

} // namespace
