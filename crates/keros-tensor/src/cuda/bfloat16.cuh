// The upper half of a float, in which mixed precision keeps what layers hand on to each other. Kernels compute in floats
// and round what they write, half-way cases to the even one.
#pragma once
#include "common.cuh"

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

// Neighbouring values, which are read and written at once.
template <class T, int N> struct __align__(N * sizeof(T)) Pack {
    T at[N];
};
template <class T> using Four = Pack<T, 4>;

// A kernel for each type `T` of values that layers hand on: `name_f32` and `name_bf16`.
#define KERNELS(name, parameters, ...)                                                             \
    namespace of_f32 {                                                                             \
    typedef float T;                                                                               \
    KERNEL(name##_f32, parameters) __VA_ARGS__                                                     \
    }                                                                                              \
    namespace of_bf16 {                                                                            \
    typedef bfloat16 T;                                                                            \
    KERNEL(name##_bf16, parameters) __VA_ARGS__                                                    \
    }
