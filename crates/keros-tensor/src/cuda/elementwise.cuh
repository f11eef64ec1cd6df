// Loops over the elements of tensors. They are bound by memory: where all addresses allow it, a thread takes four
// elements at once, so that fewer instructions keep more bytes on their way. The host starts a thread for each four.
#pragma once
#include "bfloat16.cuh"

template <class... T> __device__ __forceinline__ bool four_at_once(const T *...addresses) {
    return (... && ((unsigned long long)addresses % (4 * sizeof(T)) == 0));
}

// y[i] = f(x[i])
template <class X, class Y, class F> __device__ __forceinline__ void map(const X *x, Y *y, long long n, F f) {
    long long quads = four_at_once(x, y) ? n / 4 : 0;
    FOR_EACH(i, quads) {
        Four<X> v = ((const Four<X> *)x)[i];
        ((Four<Y> *)y)[i] = {f(v.at[0]), f(v.at[1]), f(v.at[2]), f(v.at[3])};
    }
    FOR_EACH(i, n - 4 * quads) y[4 * quads + i] = f(x[4 * quads + i]);
}

// y[i] = f(a[i], b[i])
template <class T, class F>
__device__ __forceinline__ void zip(const T *a, const T *b, T *y, long long n, F f) {
    long long quads = four_at_once(a, b, y) ? n / 4 : 0;
    FOR_EACH(i, quads) {
        Four<T> v = ((const Four<T> *)a)[i], w = ((const Four<T> *)b)[i];
        ((Four<T> *)y)[i] = {f(v.at[0], w.at[0]), f(v.at[1], w.at[1]), f(v.at[2], w.at[2]), f(v.at[3], w.at[3])};
    }
    FOR_EACH(i, n - 4 * quads) y[4 * quads + i] = f(a[4 * quads + i], b[4 * quads + i]);
}
