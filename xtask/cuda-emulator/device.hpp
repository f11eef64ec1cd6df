// CUDA C++ for a host compiler: what the kernels of keros use of the language. Included before each `.cu` file.
//
// A block runs alone, its threads one after the other, each until it ends or meets a barrier; there it waits on a
// stack of its own until the others have come. Blocks run in order, so a race between blocks does not show.
#pragma once

#include <algorithm>
#include <climits>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <functional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#define __device__
#define __global__
#define __host__
#define __forceinline__ inline
#define __shared__ static
#define __launch_bounds__(...)
#define __align__(n) alignas(n)
#define __ldg(address) (*(address))

struct Dim3 {
    unsigned x = 1, y = 1, z = 1;
};
extern Dim3 threadIdx, blockIdx, blockDim, gridDim;

// A kernel as the driver finds it: by name, with the sizes of its parameters.
struct Kernel {
    std::vector<size_t> sizes;
    std::function<void(void **)> run;

    template <class... A> Kernel(const char *name, void (*kernel)(A...));
};
void add_kernel(const char *name, const Kernel &kernel);

template <class... A, size_t... I>
void call_kernel(void (*kernel)(A...), void **parameters, std::index_sequence<I...>) {
    (void)parameters;
    kernel(*static_cast<std::remove_const_t<A> *>(parameters[I])...);
}
template <class... A> Kernel::Kernel(const char *name, void (*kernel)(A...)) : sizes{sizeof(A)...} {
    run = [kernel](void **parameters) {
        call_kernel(kernel, parameters, std::index_sequence_for<A...>());
    };
    add_kernel(name, *this);
}

#define KERNEL(name, parameters)                                                                   \
    static void name parameters;                                                                   \
    static Kernel kernel_##name(#name, name);                                                      \
    static void name parameters
#define KERNEL_OF(threads, name, parameters) KERNEL(name, parameters)

void __syncthreads();
void __syncwarp(unsigned mask = ~0u);
// The value that another thread of the warp has given to the same call.
uint64_t exchange(uint64_t value, unsigned lane);

inline unsigned lane_of_thread() { return threadIdx.x % 32; }
template <class T> T exchange_as(T value, unsigned lane) {
    static_assert(sizeof(T) <= 8, "wider than a register pair");
    uint64_t bits = 0;
    memcpy(&bits, &value, sizeof(T));
    bits = exchange(bits, lane);
    memcpy(&value, &bits, sizeof(T));
    return value;
}
template <class T> T __shfl_sync(unsigned, T value, int lane) { return exchange_as(value, lane % 32); }
template <class T> T __shfl_xor_sync(unsigned, T value, int mask) {
    return exchange_as(value, lane_of_thread() ^ mask);
}
template <class T> T __shfl_down_sync(unsigned, T value, unsigned distance) {
    unsigned lane = lane_of_thread() + distance;
    return exchange_as(value, lane < 32 ? lane : lane_of_thread());
}
template <class T> T __shfl_up_sync(unsigned, T value, unsigned distance) {
    unsigned lane = lane_of_thread();
    return exchange_as(value, lane >= distance ? lane - distance : lane);
}

inline unsigned __ballot_sync(unsigned, bool holds) {
    unsigned bits = holds ? 1u << lane_of_thread() : 0;
    for (int distance = 1; distance < 32; distance *= 2)
        bits |= exchange_as(bits, lane_of_thread() ^ distance);
    return bits;
}
inline int __ffs(int x) { return __builtin_ffs(x); }

using std::isfinite;
using std::max;
using std::min;
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline double rsqrt(double x) { return 1.0 / sqrt(x); }
inline float __expf(float x) { return expf(x); }
inline float __logf(float x) { return logf(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __saturatef(float x) { return x < 0 ? 0 : x > 1 ? 1 : x; }
inline float __uint_as_float(unsigned x) { float f; memcpy(&f, &x, 4); return f; }
inline unsigned __float_as_uint(float x) { unsigned u; memcpy(&u, &x, 4); return u; }
inline float __int_as_float(int x) { float f; memcpy(&f, &x, 4); return f; }
inline int __float_as_int(float x) { int i; memcpy(&i, &x, 4); return i; }
inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)(((uint64_t)a * b) >> 32); }
template <class T, class U> T atomicAdd(T *at, U value) { T old = *at; *at = old + (T)value; return old; }
template <class T> T atomicMax(T *at, T value) { T old = *at; *at = max(old, value); return old; }
template <class T> T atomicMin(T *at, T value) { T old = *at; *at = min(old, value); return old; }

struct alignas(16) float4 { float x, y, z, w; };
struct alignas(8) float2 { float x, y; };
struct alignas(4) uchar4 { unsigned char x, y, z, w; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline float2 make_float2(float x, float y) { return {x, y}; }
