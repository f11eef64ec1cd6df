// Updates of all parameters in one start: networks have many small parameters, and a start for each would take longer
// than the update. The formulas are those of kernels/optimizer.rs and kernels/optimizer_common.rs.
#include "elementwise.cuh"

#define TENSORS 64
#define COLUMNS 5
// Elements that one block handles: 132 processors are busy from a few hundred thousand parameters on.
#define CHUNK 2048

// Groups of tensors of one length, which travel in the parameters of a kernel (at most 4096 bytes): those that an
// update changes and then the one that it reads. Block b has the chunk b - first_chunk of its group.
struct TensorTable {
    unsigned long long address[COLUMNS][TENSORS];
    long long length[TENSORS];
    unsigned first_chunk[TENSORS];
    int count;
};

// The group of this block: the last that begins at or before it.
__device__ __forceinline__ int group_of_block(const TensorTable &tensors) {
    int low = 0, high = tensors.count;
    while (high - low > 1) {
        int middle = (low + high) / 2;
        if (tensors.first_chunk[middle] <= blockIdx.x)
            low = middle;
        else
            high = middle;
    }
    return low;
}

// Applies a rule to the elements of this block: `rule(first, others, read)` changes the values of Rule::CHANGED
// tensors in one place, by that of the tensor behind them if Rule::READS.
template <class Rule> __device__ __forceinline__ void update(const TensorTable &tensors, const Rule &rule) {
    constexpr int N = Rule::CHANGED;
    int group = group_of_block(tensors);
    long long start = (long long)(blockIdx.x - tensors.first_chunk[group]) * CHUNK;
    int n = (int)min((long long)CHUNK, tensors.length[group] - start);
    float *changed[N];
    const float *read = nullptr;
    unsigned long long bits = 0;
    for (int k = 0; k < N; k++) {
        changed[k] = (float *)tensors.address[k][group] + start;
        bits |= tensors.address[k][group];
    }
    if (Rule::READS) {
        read = (const float *)tensors.address[N][group] + start;
        bits |= tensors.address[N][group];
    }
    int quads = bits % 16 == 0 ? n / 4 : 0;
    for (int i = threadIdx.x; i < quads; i += BLOCK) {
        float4 columns[N], of_read = {};
        for (int k = 0; k < N; k++)
            columns[k] = ((const float4 *)changed[k])[i];
        if (Rule::READS)
            of_read = ((const float4 *)read)[i];
        float x[N], y[N], z[N], w[N];
        for (int k = 0; k < N; k++) {
            x[k] = columns[k].x;
            y[k] = columns[k].y;
            z[k] = columns[k].z;
            w[k] = columns[k].w;
        }
        rule(x[0], x + 1, of_read.x);
        rule(y[0], y + 1, of_read.y);
        rule(z[0], z + 1, of_read.z);
        rule(w[0], w + 1, of_read.w);
        for (int k = 0; k < N; k++)
            ((float4 *)changed[k])[i] = make_float4(x[k], y[k], z[k], w[k]);
    }
    for (int i = 4 * quads + threadIdx.x; i < n; i += BLOCK) {
        float values[N];
        for (int k = 0; k < N; k++)
            values[k] = changed[k][i];
        rule(values[0], values + 1, Rule::READS ? read[i] : 0.0f);
        for (int k = 0; k < N; k++)
            changed[k][i] = values[k];
    }
}

// A rule and the kernel that applies it, which takes up to six numbers. The rule sees the value of the first changed
// tensor as `w`, those of the others as `s[0]` and so on, and that of the tensor that is read as `g`.
#define RULE(name, changed, reads, ...)                                                            \
    namespace {                                                                                    \
    struct rule_##name {                                                                           \
        enum { CHANGED = changed, READS = reads };                                                 \
        float a, b, c, d, e, f;                                                                    \
        __device__ __forceinline__ void operator()(float &w, float *s, float g) const __VA_ARGS__  \
    };                                                                                             \
    }                                                                                              \
    KERNEL(name, (TensorTable tensors, float a, float b, float c, float d, float e, float f)) {        \
        update(tensors, rule_##name{a, b, c, d, e, f});                                            \
    }

__device__ __forceinline__ float clipped(float x, float limit) {
    return x < -limit ? -limit : x > limit ? limit : x;
}

RULE(adam_f32, 3, 1, {
    float alpha = a, rate1 = b, rate2 = c, epsilon = d, &m = s[0], &v = s[1];
    m += rate1 * (g - m);
    v += rate2 * (g * g - v);
    w -= alpha * m / (sqrtf(v) + epsilon);
})

RULE(amsgrad_f32, 4, 1, {
    float alpha = a, rate1 = b, rate2 = c, epsilon = d, &m = s[0], &v = s[1], &v_hat = s[2];
    m += rate1 * (g - m);
    v += rate2 * (g * g - v);
    v_hat = v <= v_hat ? v_hat : v; // a NaN is handed on
    w -= alpha * m / (sqrtf(v_hat) + epsilon);
})

RULE(sgd_f32, 1, 1, { w -= a * g; })

RULE(sgd_momentum_f32, 2, 1, {
    float lr = a, mu = b, &u = s[0];
    u = mu * u - lr * g;
    w += u;
})

RULE(sgd_nesterov_f32, 2, 1, {
    float lr = a, mu = b, &u = s[0];
    u = mu * u - lr * g;
    w += mu * u - lr * g;
})

RULE(rmsprop_f32, 2, 1, {
    float lr = a, rho = b, rest = c, epsilon = d, &v = s[0];
    v = rho * v + rest * (g * g);
    w -= lr * g / sqrtf(v + epsilon);
})

RULE(rmsprop_momentum_f32, 3, 1, {
    float lr = a, rho = b, rest = c, epsilon = d, mu = e, &v = s[0], &m = s[1];
    v = rho * v + rest * (g * g);
    m = mu * m + lr * g / sqrtf(v + epsilon);
    w -= m;
})

RULE(rmsprop_centered_f32, 3, 1, {
    float lr = a, rho = b, rest = c, epsilon = d, &v = s[0], &average = s[1];
    v = rho * v + rest * (g * g);
    average = rho * average + rest * g;
    w -= lr * g / sqrtf(v - average * average + epsilon);
})

RULE(rmsprop_centered_momentum_f32, 4, 1, {
    float lr = a, rho = b, rest = c, epsilon = d, mu = e, &v = s[0], &average = s[1], &m = s[2];
    v = rho * v + rest * (g * g);
    average = rho * average + rest * g;
    m = mu * m + lr * g / sqrtf(v - average * average + epsilon);
    w -= m;
})

RULE(adagrad_f32, 2, 1, {
    float lr = a, epsilon = b, &sum = s[0];
    sum += g * g;
    w -= lr * g / sqrtf(sum + epsilon);
})

RULE(adadelta_f32, 3, 1, {
    float lr = a, rho = b, rest = c, epsilon = d, &of_g = s[0], &of_delta = s[1];
    of_g = rho * of_g + rest * (g * g);
    float delta = g * sqrtf(of_delta + epsilon) / sqrtf(of_g + epsilon);
    of_delta = rho * of_delta + rest * (delta * delta);
    w -= lr * delta;
})

RULE(adamax_f32, 3, 1, {
    float alpha = a, rate1 = b, beta2 = c, epsilon = d, &m = s[0], &u = s[1];
    m += rate1 * (g - m);
    u = fmaxf(beta2 * u, fabsf(g));
    w -= alpha * m / (u + epsilon);
})

RULE(nadam_f32, 3, 1, {
    float alpha_m = a, alpha_g = b, correction = c, rate1 = d, rate2 = e, epsilon = f, &m = s[0], &v = s[1];
    m += rate1 * (g - m);
    v += rate2 * (g * g - v);
    w -= (alpha_m * m + alpha_g * g) / (sqrtf(v * correction) + epsilon);
})

RULE(lion_f32, 2, 1, {
    float lr = a, beta1 = b, rest1 = c, beta2 = d, rest2 = e, &m = s[0];
    float direction = beta1 * m + rest1 * g;
    // Zero stays zero and NaN stays NaN.
    float sign = direction > 0 ? 1.0f : direction < 0 ? -1.0f : direction;
    w -= lr * sign;
    m = beta2 * m + rest2 * g;
})

RULE(ftrl_f32, 3, 1, {
    float lr = a, l1 = b, l2 = c, shrinkage = d, &sum = s[0], &z = s[1];
    float next = sum + g * g, root = sqrtf(next);
    z += g + shrinkage * w - (root - sqrtf(sum)) / lr * w;
    w = (clipped(z, l1) - z) / (root / lr + l2);
    sum = next;
})

RULE(ftrl_power_f32, 3, 1, {
    float lr = a, l1 = b, l2 = c, shrinkage = d, power = e, &sum = s[0], &z = s[1];
    float next = sum + g * g, root = powf(next, power);
    z += g + shrinkage * w - (root - powf(sum, power)) / lr * w;
    w = (clipped(z, l1) - z) / (root / lr + l2);
    sum = next;
})

// Directions in the places of gradients, which are then gone along.

RULE(lamb_f32, 3, 0, {
    float rate1 = a, rate2 = b, c1 = c, c2 = d, epsilon = e, &m = s[0], &v = s[1];
    m += rate1 * (w - m);
    v += rate2 * (w * w - v);
    w = m * c1 / (sqrtf(v * c2) + epsilon);
})

RULE(adafactor_f32, 2, 0, {
    float beta = a, rest = b, epsilon = c, &v = s[0];
    v = beta * v + rest * (w * w + epsilon);
    w /= sqrtf(v);
})

RULE(muon_f32, 2, 0, {
    float mu = a, &m = s[0];
    m = mu * m + w;
    w = m;
})

RULE(muon_nesterov_f32, 2, 0, {
    float mu = a, &m = s[0];
    m = mu * m + w;
    w += mu * m;
})

// What is done around an update.

RULE(accumulate_f32, 1, 1, { w += a * g; })

RULE(mean_of_accumulated_f32, 2, 0, {
    float count = a, &sum = s[0];
    w = (w + sum) / count;
    sum = 0;
})

RULE(moving_average_f32, 1, 1, { w = a * w + b * g; })

RULE(weight_decay_f32, 1, 0, { w -= a * w; })

RULE(scale_f32, 1, 0, { w *= a; })

RULE(clamp_f32, 1, 0, { w = clipped(w, a); })

// The gradient of l1 · |x| + l2 / 2 · x².
RULE(l1_l2_gradient_f32, 1, 1, {
    float l1 = a, l2 = b;
    float sign = g > 0 ? 1.0f : g < 0 ? -1.0f : g;
    w += l1 * sign + l2 * g;
})

RULE(non_negative_f32, 1, 0, { w = w < 0 ? 0.0f : w; })

// Norms: the sums of all chunks, then of all chunks of a tensor, and then what is made of them. Sums are in double
// precision, which costs nothing beside the memory.

// The sum of squares, or of sizes, of the elements of each chunk.
template <class F> __device__ __forceinline__ void sum_chunks(const TensorTable &tensors, double *sums, F f) {
    int group = group_of_block(tensors);
    long long start = (long long)(blockIdx.x - tensors.first_chunk[group]) * CHUNK;
    int n = (int)min((long long)CHUNK, tensors.length[group] - start);
    const float *x = (const float *)tensors.address[0][group] + start;
    double sum = 0;
    for (int i = threadIdx.x; i < n; i += BLOCK)
        sum += f((double)x[i]);
    sum = reduce_block<Sum>(sum, 0.0);
    if (threadIdx.x == 0)
        sums[blockIdx.x] = sum;
}
KERNEL(squares_of_chunks_f32, (TensorTable tensors, double *sums)) {
    sum_chunks(tensors, sums, [](double x) { return x * x; });
}
KERNEL(sizes_of_chunks_f32, (TensorTable tensors, double *sums)) {
    sum_chunks(tensors, sums, [](double x) { return fabs(x); });
}

__device__ __forceinline__ double sum_of(const double *values, unsigned n) {
    double sum = 0;
    for (unsigned i = threadIdx.x; i < n; i += BLOCK)
        sum += values[i];
    return reduce_block<Sum>(sum, 0.0);
}

// A block for each tensor: the sum of its chunks, which end where those of the next begin.
KERNEL(sums_of_tensors, (TensorTable tensors, unsigned chunks, const double *of_chunks, double *sums)) {
    unsigned first = tensors.first_chunk[blockIdx.x];
    unsigned end = (int)blockIdx.x + 1 < tensors.count ? tensors.first_chunk[blockIdx.x + 1] : chunks;
    double sum = sum_of(of_chunks + first, end - first);
    if (threadIdx.x == 0)
        sums[blockIdx.x] = sum;
}

// What each gradient is to be multiplied with, so that its norm is at most `limit`; 1 leaves it as it is.
KERNEL(clip_factors, (const double *squares, float *factors, unsigned n, double limit)) {
    FOR_EACH(i, n) {
        double norm = sqrt(squares[i]);
        factors[i] = norm > limit ? (float)(limit / norm) : 1.0f;
    }
}

// One block: the same for the norm of all together. One that is not finite makes everything NaN.
KERNEL(global_clip_factor, (const double *squares, float *factor, unsigned n, double limit)) {
    double norm = sqrt(sum_of(squares, n));
    if (threadIdx.x == 0)
        *factor = !isfinite(norm) ? __int_as_float(0x7fc00000) : norm > limit ? (float)(limit / norm) : 1.0f;
}

// Multiplies with the factors of the tensors, or with one for all. Nothing is read where that is 1.
KERNEL(clip_f32, (TensorTable tensors, const float *factors, int for_each)) {
    int group = group_of_block(tensors);
    float factor = factors[for_each ? group : 0];
    if (factor == 1)
        return;
    long long start = (long long)(blockIdx.x - tensors.first_chunk[group]) * CHUNK;
    int n = (int)min((long long)CHUNK, tensors.length[group] - start);
    float *x = (float *)tensors.address[0][group] + start;
    for (int i = threadIdx.x; i < n; i += BLOCK)
        x[i] *= factor;
}

// How far an update goes along a direction, by the sums of the squares of parameter and direction: the formulas of
// kernels/optimizer_norms.rs.
KERNEL(trust_factors, (TensorTable tensors, const double *of_w, const double *of_u, float *factors, double lr)) {
    FOR_EACH(i, tensors.count) {
        double w = of_w[i], u = of_u[i];
        factors[i] = (float)(w > 0 && u > 0 ? lr * (sqrt(w) / sqrt(u)) : lr);
    }
}

KERNEL(clipped_factors, (TensorTable tensors, const double *of_w, const double *of_u, float *factors, double rate,
                         double epsilon, double threshold)) {
    FOR_EACH(i, tensors.count) {
        double w = sqrt(of_w[i] / tensors.length[i]), u = sqrt(of_u[i] / tensors.length[i]) / threshold;
        // NaN stays.
        factors[i] = (float)(rate * (w < epsilon ? epsilon : w) / (u < 1 ? 1 : u));
    }
}

// What makes norms 1.
KERNEL(norm_factors, (const double *squares, float *factors, unsigned n, double epsilon)) {
    FOR_EACH(i, n) factors[i] = (float)(1 / (sqrt(squares[i]) + epsilon));
}

// Goes that far.
KERNEL(descend_f32, (TensorTable tensors, const float *factors)) {
    int group = group_of_block(tensors);
    float factor = factors[group];
    long long start = (long long)(blockIdx.x - tensors.first_chunk[group]) * CHUNK;
    int n = (int)min((long long)CHUNK, tensors.length[group] - start);
    float *w = (float *)tensors.address[0][group] + start;
    const float *u = (const float *)tensors.address[1][group] + start;
    for (int i = threadIdx.x; i < n; i += BLOCK)
        w[i] -= factor * u[i];
}

// g / (√(r / mean) √c), where r is of the row and c of the column; every matrix has a mean. Each root alone: of a row and
// a column without gradients, the product would be 0.
KERNEL(factored_direction_f32, (float *g, const float *r, const float *c, const float *means, long long n,
                                unsigned rows, unsigned columns)) {
    FOR_EACH(i, n) {
        long long row = i / columns, matrix = row / rows;
        float by_row = sqrtf(means[matrix]) / sqrtf(r[row]), of_column = c[matrix * columns + i % columns];
        g[i] = g[i] * by_row / sqrtf(of_column);
    }
}

// a I + b gram + c square in the place of a square matrix of this many rows.
KERNEL(muon_polynomial_f32, (float *square, const float *gram, long long n, unsigned size, float a, float b, float c)) {
    FOR_EACH(i, n)
        square[i] = b * gram[i] + c * square[i] + (i / size == i % size ? a : 0.0f);
}
