// Pools over all positions of a sample: a block has a sample and `width` of its channels (a power of two, 32 at most);
// its rows of threads share the positions, and then come together in pairs.
#include "values.cuh"
#include "window.cuh"

namespace {

struct Place {
    unsigned channel, first, step, base;
    bool inside;

    __device__ Place(unsigned positions, unsigned channels, unsigned width) {
        channel = blockIdx.y * width + threadIdx.x % width;
        first = threadIdx.x / width;
        step = BLOCK / width;
        base = blockIdx.x * positions * channels + channel;
        inside = channel < channels;
    }
};

} // namespace

// The values of the threads that have the same channel together; each of them gets the result.
template <class Op> static __device__ float of_channel(float value, unsigned width) {
    __shared__ float of_thread[BLOCK];
    of_thread[threadIdx.x] = value;
    for (unsigned half = BLOCK / 2; half >= width; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half)
            of_thread[threadIdx.x] = Op::of(of_thread[threadIdx.x], of_thread[threadIdx.x + half]);
    }
    __syncthreads();
    return of_thread[threadIdx.x % width];
}

KERNELS(global_average_pool, (const T *x, T *y, unsigned positions, unsigned channels, unsigned width), {
    Place at(positions, channels, width);
    // In parts: a sum of many thousands loses digits.
    float sum = 0;
    for (unsigned p = at.first; at.inside && p < positions;) {
        float part = 0;
        for (int k = 0; k < 64 && p < positions; k++, p += at.step)
            part += x[at.base + p * channels];
        sum += part;
    }
    sum = of_channel<Sum>(sum, width);
    if (at.inside && at.first == 0)
        y[blockIdx.x * channels + at.channel] = sum / positions;
})

KERNELS(global_max_pool, (const T *x, T *y, unsigned positions, unsigned channels, unsigned width), {
    Place at(positions, channels, width);
    float largest = -INFINITY;
    if (at.inside)
        for (unsigned p = at.first; p < positions; p += at.step)
            largest = Max::of((float)x[at.base + p * channels], largest);
    largest = of_channel<Max>(largest, width);
    if (at.inside && at.first == 0)
        y[blockIdx.x * channels + at.channel] = largest;
})

// All positions get the same share: a thread for each.
KERNELS(global_average_pool_gradient, (const T *dy, T *dx, unsigned n, unsigned positions, unsigned channels), {
    float share = 1.0f / positions;
    FOR_EACH_INDEX(i, n)
        dx[i] = (float)dy[i / channels / positions * channels + i % channels] * share;
})

// Positions that have the maximum share its gradient.
KERNELS(global_max_pool_gradient, (const T *x, const T *y, const T *dy, T *dx, unsigned positions,
                                   unsigned channels, unsigned width), {
    Place at(positions, channels, width);
    unsigned sample = blockIdx.x * channels + at.channel;
    float largest = at.inside ? (float)y[sample] : 0, count = 0;
    if (at.inside)
        for (unsigned p = at.first; p < positions; p += at.step)
            count += (float)x[at.base + p * channels] == largest;
    count = of_channel<Sum>(count, width);
    if (!at.inside)
        return;
    float share = (float)dy[sample] / count;
    for (unsigned p = at.first; p < positions; p += at.step)
        dx[at.base + p * channels] = (float)x[at.base + p * channels] == largest ? share : 0;
})
