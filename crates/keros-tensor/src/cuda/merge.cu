// Several tensors of one shape as one, element by element, as in kernels/merge.rs.
#include "elementwise.cuh"

// As many tensors as fit into the parameters of a kernel.
#define INPUTS 480
template <class T> struct MergeInputs {
    const T *at[INPUTS];
};

enum Op { ADD, SUBTRACT, MULTIPLY, AVERAGE, MAXIMUM, MINIMUM };

// Whether `best` stays the extreme when `next` comes.
__device__ __forceinline__ bool keeps(float best, float next, int op) {
    return best != best || (op == MAXIMUM ? best >= next : best <= next);
}

// The inputs from `first` on, one after the other, on top of `value`. All threads take one way.
template <class T>
__device__ __forceinline__ float fold(float value, const MergeInputs<T> &inputs, int first, int last, long long i,
                                      int op) {
    for (int k = first; k < last; k++) {
        float next = inputs.at[k][i];
        switch (op) {
        case ADD:
        case AVERAGE:
            value += next;
            break;
        case SUBTRACT:
            value -= next;
            break;
        case MULTIPLY:
            value *= next;
            break;
        default:
            value = keeps(value, next, op) ? value : next;
        }
    }
    return value;
}

KERNELS(merge, (MergeInputs<T> inputs, int count, T *y, long long n, int op, int relu), {
    FOR_EACH(i, n) {
        float value = fold(inputs.at[0][i], inputs, 1, count, i, op);
        value = op == AVERAGE ? value / count : value;
        y[i] = relu && value < 0 ? 0.0f : value;
    }
})

// The sum of two, the merge of residual networks.
KERNELS(add, (const T *a, const T *b, T *y, long long n, int relu), {
    zip(a, b, y, n, [=](float a, float b) {
        float value = a + b;
        return relu && value < 0 ? 0.0f : value;
    });
})

KERNELS(merge_backward, (MergeInputs<T> inputs, int count, const T *dy, int index, T *dx, long long n, int op), {
    FOR_EACH(i, n) {
        float value = dy[i];
        switch (op) {
        case ADD:
            break;
        case SUBTRACT:
            value = index == 0 ? value : -value;
            break;
        case AVERAGE:
            value /= count;
            break;
        case MULTIPLY:
            value = fold(value, inputs, 0, index, i, op);
            value = fold(value, inputs, index + 1, count, i, op);
            break;
        default: {
            int winner = 0;
            float best = inputs.at[0][i];
            for (int k = 1; k < count; k++) {
                float next = inputs.at[k][i];
                if (!keeps(best, next, op)) {
                    best = next;
                    winner = k;
                }
            }
            value = winner == index ? value : 0.0f;
        }
        }
        dx[i] = value;
    }
})
