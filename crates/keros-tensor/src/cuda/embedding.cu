// Rows of a table by index.
#include "common.cuh"

KERNEL(embedding_fill, (unsigned *x, unsigned n, unsigned value)) {
    FOR_EACH(i, n) x[i] = value;
}

// What is no index: a kernel has no other way to tell than a row that is no number.
#define NO_INDEX 0xffffffffu

// Whole numbers as indices.
KERNEL(embedding_indices, (const float *x, unsigned *indices, unsigned n, unsigned rows)) {
    FOR_EACH(i, n) {
        float value = x[i];
        bool is_index = value >= 0 && value < (float)rows && truncf(value) == value;
        indices[i] = is_index ? (unsigned)value : NO_INDEX;
    }
}

KERNEL(embedding_rows, (const unsigned *indices, const float *table, float *y, unsigned n, unsigned width)) {
    FOR_EACH(i, n) {
        unsigned row = (unsigned)i / width, column = (unsigned)i - row * width;
        unsigned index = indices[row];
        y[i] = index == NO_INDEX ? NAN : table[(size_t)index * width + column];
    }
}

// The first place of each index that occurs. The smallest number does not depend on the order of the threads.
KERNEL(embedding_firsts, (const unsigned *indices, unsigned n, unsigned *first)) {
    FOR_EACH(i, n) {
        if (indices[i] != NO_INDEX)
            atomicMin(&first[indices[i]], (unsigned)i);
    }
}

// Columns that a block adds up: four for each lane of a warp.
#define COLUMNS 128

// The gradient of the rows that occur, without sorting and without atomic additions. A block belongs to a place and to
// COLUMNS columns, and ends at once unless its index occurs there for the first time. Then its eight warps look through
// an eighth each of the places from there on, 32 at a time, and add up the gradients of those with this index; the
// eight sums are added in order.
KERNEL(embedding_gradient, (const unsigned *indices, const unsigned *first, const float *dy, float *dtable, unsigned n,
                            unsigned width)) {
    __shared__ float sums[BLOCK / 32][COLUMNS];
    unsigned chunks = (width + COLUMNS - 1) / COLUMNS;
    unsigned place = blockIdx.x / chunks, start = (blockIdx.x - place * chunks) * COLUMNS;
    unsigned index = indices[place];
    if (index == NO_INDEX || first[index] != place)
        return;
    unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    unsigned part = (n - place + 255) / 256 * 32;
    unsigned from = place + warp * part, to = min(from + part, n);
    float sum[COLUMNS / 32] = {};
    for (unsigned at = from; at < to; at += 32) {
        unsigned here = at + lane;
        unsigned found = __ballot_sync(FULL_WARP, here < to && indices[here] == index);
        while (found) {
            unsigned row = at + __ffs(found) - 1;
            found &= found - 1;
            const float *values = dy + (size_t)row * width + start;
            for (unsigned k = 0; k < COLUMNS / 32; k++)
                if (start + k * 32 + lane < width)
                    sum[k] += values[k * 32 + lane];
        }
    }
    for (unsigned k = 0; k < COLUMNS / 32; k++)
        sums[warp][k * 32 + lane] = sum[k];
    __syncthreads();
    unsigned column = threadIdx.x;
    if (column < COLUMNS && start + column < width) {
        float total = 0;
        for (unsigned i = 0; i < BLOCK / 32; i++)
            total += sums[i][column];
        dtable[(size_t)index * width + start + column] = total;
    }
}
