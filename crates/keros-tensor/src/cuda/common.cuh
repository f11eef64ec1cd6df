// What all kernels share. A file includes this first; a kernel is written
//
//     KERNEL(name, (float *x, long long n)) { FOR_EACH(i, n) x[i] *= 2; }
//
// so that the same source is compiled for the GPU and, in the tests, for an emulated one.
#pragma once

// A kernel whose blocks have more or less than BLOCK threads is a KERNEL_OF so many.
#ifndef KERNEL
#define KERNEL(name, parameters) extern "C" __global__ void name parameters
#define KERNEL_OF(threads, name, parameters) extern "C" __global__ void __launch_bounds__(threads) name parameters
#endif

// Runs what follows for each i below n, spread over all threads.
#define FOR_EACH(i, n)                                                                             \
    for (long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x; i < (n);                  \
         i += (long long)gridDim.x * blockDim.x)

// Threads of a block that sums.
#define BLOCK 256
#define FULL_WARP 0xffffffffu

struct Sum {
    template <class T> static __device__ T of(T a, T b) { return a + b; }
};
// NaN is larger than everything.
struct Max {
    template <class T> static __device__ T of(T a, T b) { return a > b || a != a ? a : b; }
};

// x, or the bound that it is below; NaN stays, which fmax would drop.
static inline __device__ double at_least(double x, double low) { return x < low ? low : x; }

// The values of all threads of a block together, in an order that does not change; every thread gets the result, and
// every thread must call it. `neutral` changes nothing.
template <class Op, class T> __device__ T reduce_block(T value, T neutral) {
    __shared__ T of_warp[32];
    for (int distance = 16; distance > 0; distance /= 2)
        value = Op::of(value, __shfl_xor_sync(FULL_WARP, value, distance));
    int warp = threadIdx.x / 32, warps = (blockDim.x + 31) / 32;
    // Not before everybody has read the result of the call before.
    __syncthreads();
    if (threadIdx.x % 32 == 0)
        of_warp[warp] = value;
    __syncthreads();
    T result = neutral;
    for (int i = 0; i < warps; i++)
        result = Op::of(result, of_warp[i]);
    return result;
}
