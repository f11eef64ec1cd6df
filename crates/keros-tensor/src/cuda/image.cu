// What cuDNN wants otherwise than keros has it: filters with outputs first, and borders of the same width on both
// sides.
#include "values.cuh"
#include "window.cuh"

// A square is read along its rows and written along its columns, by 8 rows of 32 threads; the padding keeps the
// threads of a warp on different banks of the shared memory.
#define SIDE 32

template <class X, class Y>
static __device__ __forceinline__ void transpose(const X *x, Y *y, unsigned rows, unsigned columns) {
    __shared__ float square[SIDE][SIDE + 1];
    unsigned squares = (columns + SIDE - 1) / SIDE;
    unsigned row = blockIdx.x / squares * SIDE, column = blockIdx.x % squares * SIDE;
    unsigned side = threadIdx.x % SIDE, first = threadIdx.x / SIDE;
    for (unsigned i = first; i < SIDE; i += BLOCK / SIDE)
        if (row + i < rows && column + side < columns)
            square[i][side] = x[(row + i) * columns + column + side];
    __syncthreads();
    for (unsigned i = first; i < SIDE; i += BLOCK / SIDE)
        if (column + i < columns && row + side < rows)
            y[(column + i) * rows + row + side] = square[side][i];
}

// Weights and their gradients are floats, whatever the type of the values.
KERNELS(transpose_filter, (const float *x, T *y, unsigned rows, unsigned columns), { transpose(x, y, rows, columns); })
KERNELS(transpose_gradient, (const T *x, float *y, unsigned rows, unsigned columns), { transpose(x, y, rows, columns); })

// Images of another size: what is at a place comes from `top` rows and `left` columns before, or is 0 where that is
// outside. Negative numbers cut.
template <class V>
static __device__ void shift(const V *x, V *y, int height, int width, int new_height, int new_width, int top, int left,
                             unsigned channels, unsigned n) {
    FOR_EACH_INDEX(i, n) {
        unsigned channel = i % channels, pixel = i / channels;
        int column = (int)(pixel % new_width) - left;
        pixel /= new_width;
        int row = (int)(pixel % new_height) - top;
        unsigned image = pixel / new_height;
        V value = {};
        if (row >= 0 && row < height && column >= 0 && column < width)
            value = x[((image * height + row) * width + column) * channels + channel];
        y[i] = value;
    }
}

KERNELS(shift, (const T *x, T *y, int height, int width, int new_height, int new_width, int top, int left,
                unsigned channels, unsigned n), {
    shift(x, y, height, width, new_height, new_width, top, left, channels, n);
})
KERNELS(shift_by_4, (const Four<T> *x, Four<T> *y, int height, int width, int new_height, int new_width, int top,
                     int left, unsigned channels, unsigned n), {
    shift(x, y, height, width, new_height, new_width, top, left, channels, n);
})
