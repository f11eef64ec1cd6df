// The types of 16 bits in which mixed precision keeps what layers hand on to each other. Kernels compute in floats and
// round what they write, half-way cases to the even one.
#pragma once
#include <cuda_fp16.h>

#include "common.cuh"

// The upper half of a float.
struct bfloat16 {
    unsigned short bits;

    bfloat16() = default;
    __device__ __forceinline__ bfloat16(float value) {
        unsigned whole = __float_as_uint(value);
        // A NaN stays one whatever its lower half is.
        bits = value != value ? 0x7fff : (whole + 0x7fff + (whole >> 16 & 1)) >> 16;
    }
    __device__ __forceinline__ operator float() const { return __uint_as_float((unsigned)bits << 16); }
};

// IEEE's half precision. What is too large for it becomes infinite.
struct float16 {
    unsigned short bits;

    float16() = default;
    __device__ __forceinline__ float16(float value) : bits(__half_as_ushort(__float2half_rn(value))) {}
    __device__ __forceinline__ operator float() const { return __half2float(__ushort_as_half(bits)); }
};

// Neighbouring values, which are read and written at once.
template <class T, int N> struct __align__(N * sizeof(T)) Pack {
    T at[N];
};
template <class T> using Four = Pack<T, 4>;

// A kernel for each type `T` of values that layers hand on: `name_f32`, `name_bf16` and `name_f16`.
#define KERNELS(name, parameters, ...)                                                             \
    namespace of_f32 {                                                                             \
    typedef float T;                                                                               \
    KERNEL(name##_f32, parameters) __VA_ARGS__                                                     \
    }                                                                                              \
    KERNELS_OF_16_BITS(name, parameters, __VA_ARGS__)

// A kernel for each of those that are shorter than a float.
#define KERNELS_OF_16_BITS(name, parameters, ...)                                                  \
    namespace of_bf16 {                                                                            \
    typedef bfloat16 T;                                                                            \
    KERNEL(name##_bf16, parameters) __VA_ARGS__                                                    \
    }                                                                                              \
    namespace of_f16 {                                                                             \
    typedef float16 T;                                                                             \
    KERNEL(name##_f16, parameters) __VA_ARGS__                                                     \
    }
