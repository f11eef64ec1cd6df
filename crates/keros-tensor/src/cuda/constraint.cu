// Norms of vectors along some axes of a tensor, moved within bounds.
#include "common.cuh"

// Axes, the fastest first.
#define AXES 8
struct NormAxes {
    unsigned count, length[AXES], step[AXES];
};

__device__ __forceinline__ size_t offset_in(unsigned index, const NormAxes &axes) {
    size_t offset = 0;
    // Unrolled, so that the compiler makes no copy of the parameter for each thread.
#pragma unroll
    for (unsigned axis = 0; axis < AXES; axis++) {
        if (axis >= axes.count)
            break;
        unsigned rest = index / axes.length[axis];
        offset += (size_t)(index - rest * axes.length[axis]) * axes.step[axis];
        index = rest;
    }
    return offset;
}

// A block has `across` neighbouring vectors (a power of 2): many if neighbours in memory belong to different vectors,
// and one if they belong to the same. So its threads read neighbours either way.
KERNEL(bound_norms_f32, (float *x, unsigned vectors, unsigned size, NormAxes between, NormAxes along, unsigned across,
                         double low, double high, int blends, double rate, double epsilon)) {
    __shared__ double sums[BLOCK];
    unsigned lane = threadIdx.x % across, part = threadIdx.x / across, parts = BLOCK / across;
    unsigned vector = blockIdx.x * across + lane;
    float *start = x + (vector < vectors ? offset_in(vector, between) : 0);
    unsigned end = vector < vectors ? size : 0;
    double sum = 0;
    for (unsigned i = part; i < end; i += parts) {
        double value = start[offset_in(i, along)];
        sum += value * value;
    }
    sums[threadIdx.x] = sum;
    __syncthreads();
    sum = 0;
    for (unsigned i = 0; i < parts; i++)
        sum += sums[i * across + lane];
    double norm = sqrt(sum);
    // NaN stays.
    double desired = norm < low ? low : norm > high ? high : norm;
    if (blends)
        desired = rate * desired + (1 - rate) * norm;
    double factor = desired / (epsilon + norm);
    for (unsigned i = part; i < end; i += parts) {
        float *value = start + offset_in(i, along);
        *value = (float)(*value * factor);
    }
}
