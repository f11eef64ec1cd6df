// The loss of sequences whose labels are known, but not when each begins: kernels/ctc_loss.rs, in double precision as
// there.
#include "common.cuh"

namespace {

#define NEVER (-(double)INFINITY)

__device__ __forceinline__ double log_add(double a, double b) {
    double low = a < b ? a : b, high = a < b ? b : a;
    return low == NEVER ? high : high + log1p(exp(low - high));
}

// The states that a sequence goes through: its labels with a blank, class 0, before, between and behind them.
struct States {
    const unsigned *labels;
    unsigned count;

    __device__ unsigned label(unsigned state) const { return state % 2 ? labels[state / 2] : 0; }
    // Whether a sequence comes here over the blank before without being there.
    __device__ bool skips(unsigned state) const {
        return state % 2 && state > 1 && label(state) != label(state - 2);
    }
};

} // namespace

// A block for each sample: `logits` [N, steps, classes], `labels` [N, length]. `totals` [N, steps], `before`
// [N, steps, 2 length + 1] and `after` [N, 2, 2 length + 1] are to work in. Labels that cannot be make loss and gradient
// NaN.
KERNEL(ctc_loss, (const float *__restrict__ logits, const unsigned *__restrict__ labels, const float *weights,
                  float scale, unsigned steps, unsigned classes, unsigned length, double *totals, double *before,
                  double *after, float *losses, float *grads)) {
    long long sample = blockIdx.x, most = 2 * (long long)length + 1;
    const float *z = logits + sample * steps * classes;
    labels += sample * length;
    totals += sample * steps;
    before += sample * steps * most;
    after += sample * 2 * most;
    grads += sample * steps * classes;

    unsigned known = 0;
    while (known < length && labels[known])
        known++;
    bool right = true;
    for (unsigned i = 0; i < length; i++)
        right = right && labels[i] < classes && (i < known || !labels[i]);
    States states{labels, right ? 2 * known + 1 : 1};

    for (unsigned step = threadIdx.x; step < steps; step += BLOCK) {
        const float *row = z + (long long)step * classes;
        double highest = row[0], sum = 0;
        for (unsigned i = 1; i < classes; i++)
            highest = Max::of(highest, (double)row[i]);
        for (unsigned i = 0; i < classes; i++)
            sum += exp(row[i] - highest);
        totals[step] = highest + log(sum);
    }
    __syncthreads();
    auto log_p = [&](unsigned step, unsigned state) {
        return z[(long long)step * classes + states.label(state)] - totals[step];
    };

    // Of all ways to be in a state after a step.
    for (unsigned state = threadIdx.x; state < states.count; state += BLOCK)
        before[state] = state < 2 ? log_p(0, state) : NEVER;
    __syncthreads();
    for (unsigned step = 1; step < steps; step++) {
        const double *last = before + (step - 1) * most;
        for (unsigned state = threadIdx.x; state < states.count; state += BLOCK) {
            double sum = last[state];
            if (state > 0)
                sum = log_add(sum, last[state - 1]);
            if (states.skips(state))
                sum = log_add(sum, last[state - 2]);
            before[step * most + state] = sum + log_p(step, state);
        }
        __syncthreads();
    }
    const double *ends = before + (steps - 1) * most;
    double total = ends[states.count - 1];
    if (states.count > 1)
        total = log_add(total, ends[states.count - 2]);
    // No way at all is no number either.
    if (!right || total == NEVER)
        total = NAN;

    // Of all ways to go on from a state; `before` becomes the share of the ways that are in it, once everybody has read
    // its ends.
    for (unsigned state = threadIdx.x; state < states.count; state += BLOCK)
        after[(steps - 1) % 2 * most + state] = state + 2 >= states.count ? 0 : NEVER;
    __syncthreads();
    for (unsigned step = steps; step-- > 0;) {
        const double *here = after + step % 2 * most;
        double *to = after + (step + 1) % 2 * most;
        for (unsigned state = threadIdx.x; state < states.count; state += BLOCK) {
            double *share = before + step * most + state;
            *share = exp(*share + here[state] - total);
            double sum = here[state] + log_p(step, state);
            if (state + 1 < states.count)
                sum = log_add(sum, here[state + 1] + log_p(step, state + 1));
            if (state + 2 < states.count && states.skips(state + 2))
                sum = log_add(sum, here[state + 2] + log_p(step, state + 2));
            to[state] = sum;
        }
        __syncthreads();
    }

    float factor = weights ? scale * weights[sample] : scale;
    for (long long i = threadIdx.x; i < (long long)steps * classes; i += BLOCK) {
        unsigned step = i / classes, label = i % classes;
        double share = 0;
        for (unsigned state = 0; state < states.count; state++)
            share += states.label(state) == label ? before[step * most + state] : 0;
        grads[i] = total != total ? NAN : (float)(exp(z[i] - totals[step]) - share) * factor;
    }
    if (threadIdx.x == 0)
        losses[sample] = (float)-total;
}
