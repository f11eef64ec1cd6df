// Exponentials and what follows from them, as in kernels/math.rs, where the formulas and bounds are explained: so the
// same bounds hold on every device.
#pragma once
#include "common.cuh"

namespace math {

__device__ __forceinline__ float linear(float x, float c0, float c1) { return c0 + c1 * x; }
__device__ __forceinline__ float cubic(float x, float square, float c0, float c1, float c2, float c3) {
    return linear(x, c0, c1) + linear(x, c2, c3) * square;
}

// x, or the bound that it is beyond; NaN stays.
__device__ __forceinline__ float between(float x, float low, float high) {
    x = x < low ? low : x;
    return x > high ? high : x;
}

// 1.5 · 2^23
#define ROUND 12582912.0f
#define LOG2_E 1.44269504088896340736f

// exp(r) - 1, where high + low = n · ln 2 + r; n goes to `exponent`.
__device__ __forceinline__ float split_exp(float high, float low, int *exponent) {
    float shifted = high * LOG2_E + ROUND;
    float n = shifted - ROUND;
    float r = (high - n * (355.0f / 512.0f)) - n * -2.1219444e-4f + low;
    float square = r * r;
    float p = cubic(r, square, 0.5f, 0.16666667f, 0.041666232f, 0.008333248f) +
              linear(r, 0.0013950745f, 0.0001992829f) * (square * square);
    *exponent = __float_as_int(shifted) - __float_as_int(ROUND);
    return r + square * p;
}

__device__ __forceinline__ float power_of_2(int n) { return __int_as_float((int)((unsigned)(n + 127) << 23)); }

// exp(high + low) for a small `low`.
__device__ __forceinline__ float exp_of_sum(float high, float low) {
    int n;
    float rest = split_exp(between(high, -104.5f, 89.0f), low, &n);
    int half = n >> 1;
    return (1.0f + rest) * power_of_2(half) * power_of_2(n - half);
}

__device__ __forceinline__ float exp(float x) { return exp_of_sum(x, 0.0f); }

// exp(x) - 1 for x below 0.
__device__ __forceinline__ float exp_m1_below_0(float x) {
    int n;
    float rest = split_exp(between(x, -20.0f, 0.0f), 0.0f, &n);
    float scale = power_of_2(n);
    return scale * rest + (scale - 1.0f);
}

__device__ __forceinline__ float tanh(float x) {
    float size = fabsf(x), square = size * size, fourth = square * square;
    float p = cubic(square, fourth, -0.3333329f, 0.13331604f, -0.05375116f, 0.020671848f) -
              0.005737788f * (fourth * fourth);
    float near = size + size * square * p;
    float far = 1.0f - 2.0f / (exp(2.0f * size) + 1.0f);
    return copysignf(size < 0.625f ? near : far, x);
}

// exp(-|x|)
__device__ __forceinline__ float decay(float x) { return exp(-fabsf(x)); }

__device__ __forceinline__ float sigmoid(float x) {
    float e = decay(x);
    return (x < 0 ? e : 1.0f) / (1.0f + e);
}

// ln(1 + e) for e from 0 to 1.
__device__ __forceinline__ float ln_1p(float e) {
    float s = e / (2.0f + e), square = s * s;
    float p = cubic(square, square * square, 0.66666424f, 0.40021098f, 0.28007582f, 0.27987564f);
    float half = 0.5f * e * e;
    return e - (half - s * (half + square * p));
}

__device__ __forceinline__ float softplus(float x) { return (x > 0 ? x : 0.0f) + ln_1p(decay(x)); }

// q, where q · e is the part of the standard normal distribution beyond |x|; exp(-x² / 2) goes to `e`.
__device__ __forceinline__ float normal_tail(float x, float *e) {
    float size = between(fabsf(x), 0.0f, 15.0f);
    float rough = __uint_as_float((__float_as_uint(size) + 0x800) & ~0xfffu);
    *e = exp_of_sum(-0.5f * rough * rough, -0.5f * (size - rough) * (size + rough));
    float inverse = 1.0f / (size + 2.0f);
    float place = size * inverse, square = place * place, fourth = square * square;
    float high = linear(place, -0.72590786f, 0.3870795f) - 0.07397295f * square;
    float p = cubic(place, square, 1.0f, -0.59576553f, -0.19171809f, 0.08811361f) +
              cubic(place, square, 0.079663776f, 0.16989538f, -0.38065657f, 0.64223063f) * fourth +
              high * (fourth * fourth);
    return p * inverse;
}

// The number below which the part (word + 0.5) / 2^32 of the standard normal distribution lies.
__device__ __forceinline__ float normal(unsigned word) {
    const float unit = 1.0f / 2147483648.0f;
    bool below = word >> 31 == 0;
    int steps = (int)(below ? word : ~word);
    float outside = ((float)steps + 0.5f) * unit;
    float inside = ((float)(0x7fffffff - steps) + 0.5f) * unit;
    float left = outside * (1.0f + inside);
    int bits = __float_as_int(left);
    float mantissa = __int_as_float((bits & 0x7fffff) | 0x3f800000);
    float w = -((float)((bits >> 23) - 127) * 0.693147180559945309417f + ln_1p(mantissa - 1.0f));
    float p;
    if (w < 5) {
        float x = w - 2.5f, square = x * x;
        p = cubic(x, square, 2.1233132f, 0.34880364f, -0.005906122f, -0.0017743169f) +
            cubic(x, square, 0.00030735956f, -5.790058e-6f, -4.505518e-6f, 4.4637176e-7f) * (square * square);
    } else {
        float x = sqrtf(w) - 3.5f, square = x * x;
        p = cubic(x, square, 4.7170877f, 1.4246265f, 0.0046697757f, -0.0028504108f) +
            cubic(x, square, 0.0014099854f, -0.0010968283f, 0.0007999532f, -0.0002388237f) * (square * square);
    }
    return below ? -(inside * p) : inside * p;
}

} // namespace math
