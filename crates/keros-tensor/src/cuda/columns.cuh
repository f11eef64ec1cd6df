// Two sums for each column of a matrix at once, as normalizations need them.
//
// A block owns up to 32 neighbouring columns and a chunk of the rows: its threads read whole lines of memory, and enough
// blocks keep the memory busy however few columns there are. What the blocks found is added up in a second kernel, always
// in the same order. Sums are in double precision, so that those of squares do not cancel where means are large.
#pragma once
#include "teams.cuh"

// Writes to `sums` (`[2, columns]`) what `add(row, column, first, second)` adds for the rows from `begin` to `end`.
// `width` is how many columns a block owns, and `tile` is which of them.
template <class Add>
__device__ void sum_columns(long long begin, long long end, unsigned tile, unsigned columns, unsigned width,
                            double *sums, Add add) {
    __shared__ double firsts[BLOCK], seconds[BLOCK];
    unsigned at = threadIdx.x, lanes = BLOCK / width, lane = at / width, column = tile * width + at % width;
    double first = 0, second = 0;
    if (lane < lanes && column < columns) {
#pragma unroll 4
        for (long long row = begin + lane; row < end; row += lanes)
            add(row, column, first, second);
    }
    firsts[at] = first;
    seconds[at] = second;
    __syncthreads();
    unsigned half = 1;
    while (2 * half < lanes)
        half *= 2;
    for (; half > 0; half /= 2) {
        if (lane < half && lane + half < lanes) {
            firsts[at] += firsts[at + half * width];
            seconds[at] += seconds[at + half * width];
        }
        __syncthreads();
    }
    if (lane == 0 && column < columns) {
        sums[column] = firsts[at];
        sums[columns + column] = seconds[at];
    }
}

// The rows of a chunk, of which there are `chunks`.
struct Chunk {
    long long begin, end;

    __device__ Chunk(long long rows, unsigned chunk, unsigned chunks) {
        long long length = (rows + chunks - 1) / chunks;
        begin = chunk * length;
        end = min(rows, begin + length);
    }
};
