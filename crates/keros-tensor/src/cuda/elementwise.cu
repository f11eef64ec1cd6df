// What is done to each element by itself: copies, constants, bytes to floats, factors of channels, dropout, noise.
#include "elementwise.cuh"
#include "math.cuh"

KERNELS(copy, (const T *x, T *y, long long n), {
    map(x, y, n, [](float x) { return x; });
})

// From floats and back.
KERNELS_OF_16_BITS(narrow, (const float *x, T *y, long long n), {
    map(x, y, n, [](float x) { return x; });
})
KERNELS_OF_16_BITS(widen, (const T *x, float *y, long long n), {
    map(x, y, n, [](float x) { return x; });
})

KERNEL(fill_f32, (float *x, long long n, float value)) {
    map(x, x, n, [=](float) { return value; });
}

// The gradient of a ReLU whose output is y.
KERNELS(unapply_relu, (const T *y, const T *dy, T *dx, long long n), {
    zip(y, dy, dx, n, [](float y, float dy) { return y > 0 ? dy : 0.0f; });
})

// max(x, 0) that keeps NaN.
KERNELS(apply_relu, (const T *x, T *y, long long n), {
    map(x, y, n, [](float x) { return x < 0 ? 0.0f : x; });
})

KERNEL(u8_to_f32, (const unsigned char *x, float *y, long long n, float scale)) {
    map(x, y, n, [=](unsigned char x) { return scale * x; });
}

KERNEL(scale_and_offset_f32, (const float *x, float *y, long long n, float scale, float offset)) {
    map(x, y, n, [=](float x) { return scale * x + offset; });
}

// As many numbers as fit into the parameters of a kernel.
#define NUMBERS 960
struct HostNumbers {
    float at[NUMBERS];
};
// Numbers of the host into memory of the GPU. They travel with the start of the kernel, which nobody waits for.
KERNEL(numbers_f32, (HostNumbers numbers, float *to, int n)) {
    FOR_EACH(i, n) to[i] = numbers.at[i];
}

KERNEL(scale_and_offset_channels_f32,
       (const float *x, const float *scales, const float *offsets, float *y, unsigned n, unsigned channels)) {
    FOR_EACH(i, n) {
        unsigned channel = (unsigned)i % channels;
        y[i] = scales[channel] * x[i] + offsets[channel];
    }
}

// One block of Philox4x32-10, as in rng.rs.
__device__ __forceinline__ void philox(unsigned counter[4], unsigned key0, unsigned key1) {
    for (int round = 0; round < 10; round++) {
        unsigned high0 = __umulhi(0xD2511F53u, counter[0]), low0 = 0xD2511F53u * counter[0];
        unsigned high1 = __umulhi(0xCD9E8D57u, counter[2]), low1 = 0xCD9E8D57u * counter[2];
        counter[0] = high1 ^ counter[1] ^ key0;
        counter[2] = high0 ^ counter[3] ^ key1;
        counter[1] = low1;
        counter[3] = low0;
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
}

// Number 64 g + 16 w + l of a stream is word w of its block 16 g + l. So a thread makes one block and has one element
// in each quarter of a group of 64, and a warp reads and writes eight runs of 16 elements.
// y[i] = f(x[i], number i of the stream)
template <class T, class F>
__device__ __forceinline__ void map_random(const T *x, T *y, long long n, unsigned long long seed,
                                           unsigned long long stream, F f) {
    FOR_EACH(block, (n + 63) / 64 * 16) {
        unsigned words[4] = {(unsigned)block, (unsigned)(block >> 32), (unsigned)stream, (unsigned)(stream >> 32)};
        philox(words, (unsigned)seed, (unsigned)(seed >> 32));
        long long first = block / 16 * 64 + block % 16;
        for (int w = 0; w < 4; w++) {
            long long i = first + 16 * w;
            if (i < n)
                y[i] = f((float)x[i], words[w]);
        }
    }
}

KERNELS(dropout, (const T *x, T *y, long long n, unsigned long long seed, unsigned long long stream,
                  unsigned threshold, float scale), {
    map_random(x, y, n, seed, stream, [=](float x, unsigned word) { return word >= threshold ? x * scale : 0.0f; });
})

// Noise that is added, and noise around 1 that is multiplied with.
KERNELS(add_noise, (const T *x, T *y, long long n, unsigned long long seed, unsigned long long stream, float stddev), {
    map_random(x, y, n, seed, stream, [=](float x, unsigned word) { return x + stddev * math::normal(word); });
})
KERNELS(multiply_noise, (const T *x, T *y, long long n, unsigned long long seed, unsigned long long stream,
                         float stddev), {
    map_random(x, y, n, seed, stream, [=](float x, unsigned word) { return x * (1.0f + stddev * math::normal(word)); });
})
