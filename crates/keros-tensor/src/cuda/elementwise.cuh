// Loops over the elements of tensors. They are bound by memory: where all addresses allow it, a thread takes four
// elements at once, so that fewer instructions keep more bytes on their way. The host starts a thread for each four.
#pragma once
#include "common.cuh"

template <class... T> __device__ __forceinline__ bool four_at_once(const T *...addresses) {
    return ((... | (unsigned long long)addresses) & 15) == 0;
}

// y[i] = f(x[i])
template <class F> __device__ __forceinline__ void map(const float *x, float *y, long long n, F f) {
    long long quads = four_at_once(x, y) ? n / 4 : 0;
    FOR_EACH(i, quads) {
        float4 v = ((const float4 *)x)[i];
        ((float4 *)y)[i] = make_float4(f(v.x), f(v.y), f(v.z), f(v.w));
    }
    FOR_EACH(i, n - 4 * quads) y[4 * quads + i] = f(x[4 * quads + i]);
}

// y[i] = f(a[i], b[i])
template <class F>
__device__ __forceinline__ void zip(const float *a, const float *b, float *y, long long n, F f) {
    long long quads = four_at_once(a, b, y) ? n / 4 : 0;
    FOR_EACH(i, quads) {
        float4 v = ((const float4 *)a)[i], w = ((const float4 *)b)[i];
        ((float4 *)y)[i] = make_float4(f(v.x, w.x), f(v.y, w.y), f(v.z, w.z), f(v.w, w.w));
    }
    FOR_EACH(i, n - 4 * quads) y[4 * quads + i] = f(a[4 * quads + i], b[4 * quads + i]);
}
