// Threads that share a row, or another set of values that has sums of its own: as many as the row is worth.
#pragma once
#include "common.cuh"

// Which row a thread works for, and which of its threads it is. `size` is a power of two up to 32, so that rows of ten
// values do not keep a whole warp busy, or BLOCK. All threads of a block have a team, also where there are no more rows.
struct Team {
    unsigned size, rank;
    long long row;

    __device__ explicit Team(unsigned team)
        : size(team), rank(threadIdx.x % team), row((long long)blockIdx.x * (BLOCK / team) + threadIdx.x / team) {}

    // The values of all threads of the team together, as reduce_block does it for a block.
    template <class Op, class T> __device__ T reduce(T value, T neutral) const {
        if (size > 32)
            return reduce_block<Op>(value, neutral);
        for (unsigned distance = size / 2; distance > 0; distance /= 2)
            value = Op::of(value, __shfl_xor_sync(FULL_WARP, value, distance));
        return value;
    }
};

// The sum over the threads of a warp; all of them call it.
inline __device__ double sum_warp(double value) {
    for (int distance = 16; distance > 0; distance /= 2)
        value += __shfl_xor_sync(FULL_WARP, value, distance);
    return value;
}

// Walks through `[…, inner]`, `size` values at a time, without a division for each.
struct Walk {
    unsigned inner, i, step, steps_outer;
    long long outer;

    __device__ Walk(unsigned rank, unsigned size, unsigned length)
        : inner(length), i(rank % length), step(size % length), steps_outer(size / length), outer(rank / length) {}

    __device__ void next() {
        i += step;
        outer += steps_outer;
        if (i >= inner) {
            i -= inner;
            outer++;
        }
    }
};
