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

// Adds ROWS values, which are `step` apart, to a sum: all are read before the first is written.
template <int ROWS, int N, class T>
static __device__ __forceinline__ void add_rows(const Pack<T, N> *y, const Pack<T, N> *dy, Pack<T, N> *dz, unsigned at,
                                                unsigned step, Pack<float, N> &sum) {
    Pack<T, N> value[ROWS], output[ROWS];
    for (int i = 0; i < ROWS; i++)
        value[i] = dy[at + i * step];
    if (y) {
        for (int i = 0; i < ROWS; i++)
            output[i] = y[at + i * step];
        for (int i = 0; i < ROWS; i++) {
            for (int k = 0; k < N; k++)
                value[i].at[k] = (float)output[i].at[k] > 0 ? (float)value[i].at[k] : 0.0f;
            dz[at + i * step] = value[i];
        }
    }
    for (int i = 0; i < ROWS; i++)
        for (int k = 0; k < N; k++)
            sum.at[k] += (float)value[i].at[k];
}

// The sums of the columns of `dy`, each over `part` rows. With `y`, of its values where that is positive, which `dz`
// gets; without `sums`, only these.
//
// A block has `width` threads side by side (a power of two, 32 at most), so that a warp reads whole lines, and as many
// rows of them as there is room for; each thread adds up every so manyth row, and then they add up in pairs.
template <int N, class T>
static __device__ __forceinline__ void sum_columns(const Pack<T, N> *y, const Pack<T, N> *dy, Pack<T, N> *dz,
                                                   Pack<float, N> *sums, Pack<float, N> *of_thread, unsigned rows,
                                                   unsigned columns, unsigned width, unsigned part) {
    unsigned thread = threadIdx.x, lanes = BLOCK / width;
    unsigned column = blockIdx.x * width + thread % width;
    unsigned first = blockIdx.y * part, last = min(rows, first + part);
    Pack<float, N> sum = {};
    if (column < columns) {
        unsigned row = first + thread / width;
        for (; row + 3 * lanes < last; row += 4 * lanes)
            add_rows<4>(y, dy, dz, row * columns + column, lanes * columns, sum);
        for (; row < last; row += lanes)
            add_rows<1>(y, dy, dz, row * columns + column, lanes * columns, sum);
    }
    if (!sums)
        return;
    of_thread[thread] = sum;
    for (unsigned half = BLOCK / 2; half >= width; half /= 2) {
        __syncthreads();
        if (thread < half)
            for (int k = 0; k < N; k++)
                of_thread[thread].at[k] += of_thread[thread + half].at[k];
    }
    if (thread < width && column < columns)
        sums[blockIdx.y * columns + column] = of_thread[thread];
}

#define PACKS(N) (const Pack<T, N> *)y, (const Pack<T, N> *)dy, (Pack<T, N> *)dz, (Pack<float, N> *)sums
KERNELS(column_sums, (const T *y, const T *dy, T *dz, float *sums, unsigned rows, unsigned columns, unsigned width,
                      unsigned part), {
    __shared__ Pack<float, 1> of_thread[BLOCK];
    sum_columns<1, T>(PACKS(1), of_thread, rows, columns, width, part);
})
// `columns` and `width` in fours.
KERNELS(column_sums_by_4, (const T *y, const T *dy, T *dz, float *sums, unsigned rows, unsigned columns, unsigned width,
                           unsigned part), {
    __shared__ Four<float> of_thread[BLOCK];
    sum_columns<4, T>(PACKS(4), of_thread, rows, columns, width, part);
})
