// ReLU with learned slopes; alpha has one number for each place of a sample.
#include "common.cuh"

KERNEL(prelu_f32, (const float *x, const float *alpha, float *y, unsigned n, unsigned sample)) {
    FOR_EACH(i, n) {
        float value = x[i];
        y[i] = value < 0 ? alpha[(unsigned)i % sample] * value : value;
    }
}

KERNEL(prelu_dx_f32,
       (const float *x, const float *alpha, const float *dy, float *dx, unsigned n, unsigned sample)) {
    FOR_EACH(i, n) {
        float value = x[i];
        float slope = value > 0 ? 1.0f : value < 0 ? alpha[(unsigned)i % sample] : 0.0f;
        dx[i] = slope * dy[i];
    }
}

// A block sums 32 neighbouring places over the batch: a row of 32 is one line of memory, and each of its warps takes
// every eighth row, so that a small sample with a large batch still has work for 256 threads.
KERNEL(prelu_dalpha_f32, (const float *x, const float *dy, float *dalpha, unsigned samples, unsigned sample)) {
    __shared__ float sums[BLOCK / 32][32];
    unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    unsigned place = blockIdx.x * 32 + lane;
    float sum = 0;
    if (place < sample)
        for (unsigned row = warp; row < samples; row += BLOCK / 32) {
            size_t i = (size_t)row * sample + place;
            sum += fminf(x[i], 0.0f) * dy[i];
        }
    sums[warp][lane] = sum;
    __syncthreads();
    if (warp == 0 && place < sample) {
        for (int i = 1; i < BLOCK / 32; i++)
            sum += sums[i][lane];
        dalpha[place] = sum;
    }
}
