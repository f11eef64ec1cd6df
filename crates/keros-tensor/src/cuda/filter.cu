// What cuDNN wants otherwise than keros has it: filters with outputs first.
#include "values.cuh"

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
