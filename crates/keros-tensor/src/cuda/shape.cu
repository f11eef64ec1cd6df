// Values that only move: parts of axes, borders, orders of axes. The same code moves single values and, where all
// lengths and addresses allow it, four at once; lengths are then in units of four.
#include "values.cuh"

// Rows of `width` between two tensors whose rows are so far apart.
template <class T>
__device__ __forceinline__ void copy_rows(const T *x, T *y, unsigned n, unsigned width, unsigned x_step,
                                          unsigned y_step) {
    FOR_EACH(i, n) {
        unsigned row = (unsigned)i / width, column = (unsigned)i - row * width;
        y[(size_t)row * y_step + column] = x[(size_t)row * x_step + column];
    }
}
#define ROWS unsigned n, unsigned width, unsigned x_step, unsigned y_step
KERNELS(copy_rows_x1, (const T *x, T *y, ROWS), { copy_rows(x, y, n, width, x_step, y_step); })
KERNELS(copy_rows_x4, (const Four<T> *x, Four<T> *y, ROWS), { copy_rows(x, y, n, width, x_step, y_step); })

// An image of `height` rows of `width` inside of one with a border; a row is all its pixels' channels.
struct BorderedImage {
    unsigned height, width, top, left, whole_height, whole_width;
};

template <class T>
__device__ __forceinline__ void pad(const T *x, T *y, unsigned n, const BorderedImage &border) {
    FOR_EACH(i, n) {
        unsigned row = (unsigned)i / border.whole_width, column = (unsigned)i - row * border.whole_width;
        unsigned image = row / border.whole_height, line = row - image * border.whole_height;
        // Before the first, the difference is a large number.
        line -= border.top;
        column -= border.left;
        bool inside = line < border.height && column < border.width;
        y[i] = inside ? x[((size_t)image * border.height + line) * border.width + column] : T{};
    }
}
template <class T>
__device__ __forceinline__ void crop(const T *x, T *y, unsigned n, const BorderedImage &border) {
    FOR_EACH(i, n) {
        unsigned row = (unsigned)i / border.width, column = (unsigned)i - row * border.width;
        unsigned image = row / border.height, line = row - image * border.height;
        size_t from = (size_t)image * border.whole_height + border.top + line;
        y[i] = x[from * border.whole_width + border.left + column];
    }
}
KERNELS(pad_x1, (const T *x, T *y, unsigned n, BorderedImage border), { pad(x, y, n, border); })
KERNELS(pad_x4, (const Four<T> *x, Four<T> *y, unsigned n, BorderedImage border), { pad(x, y, n, border); })
KERNELS(crop_x1, (const T *x, T *y, unsigned n, BorderedImage border), { crop(x, y, n, border); })
KERNELS(crop_x4, (const Four<T> *x, Four<T> *y, unsigned n, BorderedImage border), { crop(x, y, n, border); })

// PermutedAxes with the distances of neighbours in two tensors, the fastest first.
#define AXES 8
struct PermutedAxes {
    unsigned count, length[AXES], x_step[AXES], y_step[AXES];
};

__device__ __forceinline__ void place(unsigned index, const PermutedAxes &axes, size_t *x, size_t *y) {
    *x = *y = 0;
    // Unrolled, so that the compiler makes no copy of the parameter for each thread.
#pragma unroll
    for (unsigned axis = 0; axis < AXES; axis++) {
        if (axis >= axes.count)
            break;
        unsigned rest = index / axes.length[axis], at = index - rest * axes.length[axis];
        *x += (size_t)at * axes.x_step[axis];
        *y += (size_t)at * axes.y_step[axis];
        index = rest;
    }
}

// The last axis stays the last: rows move as they are.
template <class T>
__device__ __forceinline__ void permute_rows(const T *x, T *y, unsigned n, unsigned width, const PermutedAxes &axes) {
    FOR_EACH(i, n) {
        unsigned row = (unsigned)i / width, column = (unsigned)i - row * width;
        size_t from, to;
        place(row, axes, &from, &to);
        y[to + column] = x[from + column];
    }
}
KERNEL(permute_rows_x1, (const void *x, void *y, unsigned n, unsigned width, PermutedAxes axes)) {
    permute_rows((const float *)x, (float *)y, n, width, axes);
}
KERNEL(permute_rows_x4, (const void *x, void *y, unsigned n, unsigned width, PermutedAxes axes)) {
    permute_rows((const float4 *)x, (float4 *)y, n, width, axes);
}

// Another axis becomes the last. A block moves tiles of 32 × 32, rows of x in and rows of y out, so that both are
// whole lines of memory. `rows` is the length of the axis that is the last of y, `columns` of the last of x.
KERNEL(transpose_f32, (const float *x, float *y, unsigned rows, unsigned columns, unsigned x_step, unsigned y_step,
                       unsigned tiles, PermutedAxes axes)) {
    // One more column, so that the 32 elements of a column lie in as many banks.
    __shared__ float tile[32][33];
    unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    unsigned across = (columns + 31) / 32, down = (rows + 31) / 32;
    for (unsigned i = blockIdx.x; i < tiles; i += gridDim.x) {
        unsigned rest = i / across, column = (i - rest * across) * 32;
        unsigned matrix = rest / down, row = (rest - matrix * down) * 32;
        size_t from, to;
        place(matrix, axes, &from, &to);
        for (unsigned k = warp; k < 32; k += BLOCK / 32)
            if (row + k < rows && column + lane < columns)
                tile[k][lane] = x[from + (size_t)(row + k) * x_step + column + lane];
        __syncthreads();
        for (unsigned k = warp; k < 32; k += BLOCK / 32)
            if (column + k < columns && row + lane < rows)
                y[to + (size_t)(column + k) * y_step + row + lane] = tile[lane][k];
        __syncthreads();
    }
}
