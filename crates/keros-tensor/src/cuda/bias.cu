// What follows a matrix product: bias and activation, and their gradients.
#include "values.cuh"
#include "window.cuh"

// A bias is a parameter, and so a float whatever the type of the values.
template <class T>
static __device__ __forceinline__ void finish(T &y, const float *bias, unsigned channel, int relu) {
    float value = y;
    y = activate(bias ? value + bias[channel] : value, relu);
}

KERNELS(finish, (T *y, const float *bias, unsigned n, unsigned channels, int relu), {
    FOR_EACH_INDEX(i, n) finish(y[i], bias, i % channels, relu);
})
// `n` and `channels` in fours.
KERNELS(finish_by_4, (T *y, const float *bias, unsigned n, unsigned channels, int relu), {
    FOR_EACH_INDEX(i, n) {
        Four<T> value = ((const Four<T> *)y)[i];
        unsigned channel = 4 * (i % channels);
        for (int k = 0; k < 4; k++)
            finish(value.at[k], bias, channel + k, relu);
        ((Four<T> *)y)[i] = value;
    }
})

// The sums of the columns of `dy`, each over `part` rows. With `y`, of its values where that is positive, which `dz`
// gets; without `sums`, only these.
//
// A block has `width` threads side by side (a power of two, 32 at most), so that a warp reads whole lines, and as many
// rows of them as there is room for; each thread adds up every so manyth row, and then they add up in pairs.
KERNELS(column_sums, (const T *y, const T *dy, T *dz, float *sums, unsigned rows, unsigned columns, unsigned width,
                      unsigned part), {
    __shared__ float of_thread[BLOCK];
    unsigned thread = threadIdx.x, lanes = BLOCK / width;
    unsigned column = blockIdx.x * width + thread % width;
    unsigned first = blockIdx.y * part, last = min(rows, first + part);
    float sum = 0;
    if (column < columns) {
        _Pragma("unroll 4")
        for (unsigned row = first + thread / width; row < last; row += lanes) {
            unsigned at = row * columns + column;
            float value = dy[at];
            if (y) {
                value = (float)y[at] > 0 ? value : 0;
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
})
