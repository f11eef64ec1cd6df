// Loops over the elements of tensors. They are bound by memory: where all addresses allow it, a thread takes neighbouring
// elements at once, 16 bytes of the widest type, so that fewer instructions keep more bytes on their way. The host starts
// a thread for each four.
#pragma once
#include "values.cuh"

// Whether packs of N of the type begin there.
template <int N, class... T> __device__ __forceinline__ bool in_packs(const T *...addresses) {
    return (... && ((unsigned long long)addresses % (N * sizeof(T)) == 0));
}

// y[i] = f(x[i])
template <class X, class Y, class F> __device__ __forceinline__ void map(const X *x, Y *y, long long n, F f) {
    constexpr int N = 16 / (sizeof(X) > sizeof(Y) ? sizeof(X) : sizeof(Y));
    long long packs = in_packs<N>(x, y) ? n / N : 0;
    FOR_EACH(i, packs) {
        Pack<X, N> of_x = ((const Pack<X, N> *)x)[i];
        Pack<Y, N> of_y;
        for (int k = 0; k < N; k++)
            of_y.at[k] = f(of_x.at[k]);
        ((Pack<Y, N> *)y)[i] = of_y;
    }
    FOR_EACH(i, n - N * packs) y[N * packs + i] = f(x[N * packs + i]);
}

// y[i] = f(a[i], b[i])
template <class T, class F>
__device__ __forceinline__ void zip(const T *a, const T *b, T *y, long long n, F f) {
    constexpr int N = 16 / sizeof(T);
    long long packs = in_packs<N>(a, b, y) ? n / N : 0;
    FOR_EACH(i, packs) {
        Pack<T, N> of_a = ((const Pack<T, N> *)a)[i], of_b = ((const Pack<T, N> *)b)[i], of_y;
        for (int k = 0; k < N; k++)
            of_y.at[k] = f(of_a.at[k], of_b.at[k]);
        ((Pack<T, N> *)y)[i] = of_y;
    }
    FOR_EACH(i, n - N * packs) y[N * packs + i] = f(a[N * packs + i], b[N * packs + i]);
}
