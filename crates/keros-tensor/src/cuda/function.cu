// Activations, element by element; the formulas are those of kernels/function.rs.
#include "common.cuh"

KERNEL(relu_f32, (const float *x, float *y, long long n, float max_value, float slope, float threshold)) {
    FOR_EACH(i, n) {
        float value = x[i];
        float above = value > max_value ? max_value : value;
        // Neither NaN nor minus infinity may meet the slope 0.
        float below = slope == 0 ? 0 : slope * (value - threshold);
        y[i] = value > threshold ? above : value <= threshold || slope != 0 ? below : value;
    }
}
