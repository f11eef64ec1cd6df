// What follows a matrix product: bias and activation, and their gradients.
#include "window.cuh"

template <class V>
static __device__ void finish(V *y, const V *bias, unsigned n, unsigned channels, int relu) {
    FOR_EACH_INDEX(i, n) {
        V value = y[i];
        if (bias)
            add(value, bias[i % channels]);
        y[i] = activate(value, relu);
    }
}

KERNEL(finish_f32, (float *y, const float *bias, unsigned n, unsigned channels, int relu)) {
    finish(y, bias, n, channels, relu);
}
// `n` and `channels` in fours.
KERNEL(finish_by_4_f32, (float4 *y, const float4 *bias, unsigned n, unsigned channels, int relu)) {
    finish(y, bias, n, channels, relu);
}

// The sums of the columns of `dy`, each over `part` rows. With `y`, of its values where that is positive, which `dz`
// gets; without `sums`, only these.
//
// A block has `width` threads side by side (a power of two, 32 at most), so that a warp reads whole lines, and as many
// rows of them as there is room for; each thread adds up every so manyth row, and then they add up in pairs.
KERNEL(column_sums_f32,
       (const float *y, const float *dy, float *dz, float *sums, unsigned rows, unsigned columns, unsigned width,
        unsigned part)) {
    __shared__ float of_thread[BLOCK];
    unsigned thread = threadIdx.x, lanes = BLOCK / width;
    unsigned column = blockIdx.x * width + thread % width;
    unsigned first = blockIdx.y * part, last = min(rows, first + part);
    float sum = 0;
    if (column < columns) {
#pragma unroll 4
        for (unsigned row = first + thread / width; row < last; row += lanes) {
            unsigned at = row * columns + column;
            float value = dy[at];
            if (y) {
                value = y[at] > 0 ? value : 0;
                dz[at] = value;
            }
            sum += value;
        }
    }
    if (!sums)
        return;
    of_thread[thread] = sum;
    for (unsigned half = BLOCK / 2; half >= width; half /= 2) {
        __syncthreads();
        if (thread < half)
            of_thread[thread] += of_thread[thread + half];
    }
    if (thread < width && column < columns)
        sums[blockIdx.y * columns + column] = of_thread[thread];
}
