// Windows that slide over images: what convolutions and pools share.
#pragma once

#include "common.cuh"

// Runs what follows for each i below n, which is below 2^31: divisions of 64 bits are slow on GPUs.
#define FOR_EACH_INDEX(i, n)                                                                       \
    for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < (n); i += gridDim.x * blockDim.x)

// As in window.rs.
struct Window {
    int images, height, width, channels;
    int window_height, window_width;
    // Windows that lie below and beside each other.
    int rows, columns;
    int stride_y, stride_x, dilation_y, dilation_x;
    // Cells before the border.
    int top, left;
};

// The window of an axis whose cell number `cell` is at `at`; -1 if there is none.
static inline __device__ int window_at(int at, int before, int cell, int dilation, int stride, int windows) {
    int distance = at + before - cell * dilation;
    int window = distance / stride;
    return distance >= 0 && window < windows && window * stride == distance ? window : -1;
}

// Channels are handled one by one, or by four where their number allows.
static inline __device__ void add(float &sum, float x) { sum += x; }
static inline __device__ void add(float4 &sum, float4 x) {
    sum.x += x.x;
    sum.y += x.y;
    sum.z += x.z;
    sum.w += x.w;
}
static inline __device__ void add_product(float &sum, float a, float b) { sum = fmaf(a, b, sum); }
static inline __device__ void add_product(float4 &sum, float4 a, float4 b) {
    add_product(sum.x, a.x, b.x);
    add_product(sum.y, a.y, b.y);
    add_product(sum.z, a.z, b.z);
    add_product(sum.w, a.w, b.w);
}

// The activation of kernels/activation.rs, where it is fused; NaN stays.
static inline __device__ float activate(float x, int relu) { return relu && x < 0 ? 0 : x; }
static inline __device__ float4 activate(float4 x, int relu) {
    return make_float4(activate(x.x, relu), activate(x.y, relu), activate(x.z, relu), activate(x.w, relu));
}
