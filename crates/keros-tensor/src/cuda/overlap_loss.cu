// The loss of overlapping masks, as kernels/overlap_loss.rs.
#include "common.cuh"

struct OverlapSums {
    double common, missed, excess;
};

__device__ __forceinline__ OverlapSums over_block(OverlapSums sums) {
    return {reduce_block<Sum>(sums.common, 0.0), reduce_block<Sum>(sums.missed, 0.0),
            reduce_block<Sum>(sums.excess, 0.0)};
}

// A block sums up a part of a group of `size` values: `[groups, parts]`.
KERNEL(overlap_sums, (const float *__restrict__ targets, const float *__restrict__ predictions, long long size,
                      unsigned parts, OverlapSums *sums)) {
    long long group = blockIdx.x / parts, length = (size + parts - 1) / parts;
    long long begin = (blockIdx.x % parts) * length, end = min(size, begin + length);
    OverlapSums of_thread = {0, 0, 0};
    for (long long i = begin + threadIdx.x; i < end; i += BLOCK) {
        double y = targets[group * size + i], p = predictions[group * size + i];
        of_thread.common += y * p;
        of_thread.missed += y * (1 - p);
        of_thread.excess += p * (1 - y);
    }
    OverlapSums found = over_block(of_thread);
    if (threadIdx.x == 0)
        sums[blockIdx.x] = found;
}

// A block for each group of `samples`: their loss, and `terms` (`[groups, 3]`) for the gradients.
KERNEL(overlap_losses, (const OverlapSums *sums, unsigned parts, const float *weights, float scale, long long samples,
                        double missed, double excess, double fuzz, float *losses, double *terms)) {
    long long group = blockIdx.x;
    OverlapSums of_thread = {0, 0, 0};
    for (unsigned i = threadIdx.x; i < parts; i += BLOCK) {
        OverlapSums part = sums[group * parts + i];
        of_thread.common += part.common;
        of_thread.missed += part.missed;
        of_thread.excess += part.excess;
    }
    OverlapSums found = over_block(of_thread);
    double total = found.common + missed * found.missed + excess * found.excess + fuzz, weight = 0;
    for (long long i = threadIdx.x; i < samples; i += BLOCK) {
        weight += weights ? weights[group * samples + i] : 1;
        losses[group * samples + i] = (float)(1 - found.common / total);
    }
    weight = reduce_block<Sum>(weight, 0.0);
    if (threadIdx.x == 0) {
        terms[3 * group] = found.common;
        terms[3 * group + 1] = total;
        terms[3 * group + 2] = scale * (float)weight;
    }
}

KERNEL(overlap_gradients, (const float *__restrict__ targets, const double *terms, long long size, long long n,
                           double missed, double excess, float *__restrict__ grads)) {
    FOR_EACH(i, n) {
        const double *of_group = terms + 3 * (i / size);
        double common = of_group[0], total = of_group[1], y = targets[i];
        double slope = y - missed * y + excess * (1 - y);
        grads[i] = (float)((common * slope - y * total) / (total * total)) * (float)of_group[2];
    }
}
