// Enlarging along an axis, and the reverse of it. Which positions count with which weights follows from the formulas
// of kernels/resample.rs, so nothing has to be brought to the GPU.
#include "window.cuh"

namespace {

// Output `i` of a linear enlargement is `weight` of input `high` and the rest of input `low`.
struct Linear {
    int low, high;
    float weight;

    __device__ Linear(int i, int factor, int inputs) {
        float source = (i + 0.5f) / factor - 0.5f;
        float below = floorf(source);
        low = min(max((int)below, 0), inputs - 1);
        high = min(max((int)below + 1, 0), inputs - 1);
        weight = source - below;
    }
};

} // namespace

// Tensors are [outer, length, inner]; `length` is that before the enlargement by `factor`.
KERNEL(enlarge_f32, (const float *x, float *y, int length, unsigned inner, int factor, int linear,
                     unsigned n)) {
    FOR_EACH_INDEX(i, n) {
        unsigned at = i % inner, row = i / inner, outputs = length * factor;
        unsigned output = row % outputs;
        const float *of = x + row / outputs * length * inner + at;
        if (linear) {
            Linear taps(output, factor, length);
            float low = (1 - taps.weight) * of[(unsigned)taps.low * inner];
            // A weight of 0 meets no infinity.
            y[i] = taps.weight == 0 ? low : low + taps.weight * of[(unsigned)taps.high * inner];
        } else {
            y[i] = of[output / factor * inner];
        }
    }
}

KERNEL(enlarge_gradient_f32, (const float *dy, float *dx, int length, unsigned inner, int factor, int linear,
                     unsigned n)) {
    FOR_EACH_INDEX(i, n) {
        unsigned at = i % inner, row = i / inner, outputs = length * factor;
        int input = row % length;
        const float *of = dy + row / length * outputs * inner + at;
        // With interpolation, outputs up to one and a half inputs away have a share of this one.
        int reach = linear ? factor : 0;
        int first = max(input * factor - reach, 0), end = min((input + 1) * factor + reach, (int)outputs);
        float sum = 0;
        for (int output = first; output < end; output++) {
            float value = of[(unsigned)output * inner];
            if (!linear) {
                sum += value;
                continue;
            }
            Linear taps(output, factor, length);
            if (taps.low == input)
                sum += (1 - taps.weight) * value;
            if (taps.high == input && taps.weight != 0)
                sum += taps.weight * value;
        }
        dx[i] = sum;
    }
}
