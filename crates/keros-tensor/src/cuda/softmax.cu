// Softmax and its logarithm over rows, as kernels/softmax.rs and kernels/log_softmax.rs. A team has a row, and finds it
// in a cache when it reads it again.
#include "teams.cuh"

// The largest of a row, and Σ exp(x - largest).
struct Exponentials {
    float largest, sum;

    __device__ Exponentials(const Team &team, const float *x, long long rows, unsigned classes) {
        unsigned end = team.row < rows ? classes : 0;
        x += team.row * classes;
        largest = -INFINITY;
        for (unsigned i = team.rank; i < end; i += team.size)
            largest = Max::of(largest, x[i]);
        largest = team.reduce<Max>(largest, -INFINITY);
        sum = 0;
        for (unsigned i = team.rank; i < end; i += team.size)
            sum += expf(x[i] - largest);
        sum = team.reduce<Sum>(sum, 0.0f);
    }
};

#define ROWS long long rows, unsigned classes, unsigned team_size

KERNEL(softmax_f32, (const float *__restrict__ x, ROWS, float *__restrict__ y)) {
    Team team(team_size);
    Exponentials row(team, x, rows, classes);
    if (team.row >= rows)
        return;
    long long first = team.row * classes;
    for (unsigned i = team.rank; i < classes; i += team.size)
        y[first + i] = expf(x[first + i] - row.largest) / row.sum;
}

KERNEL(softmax_backward_f32,
       (const float *__restrict__ y, const float *__restrict__ dy, ROWS, float *__restrict__ dx)) {
    Team team(team_size);
    unsigned end = team.row < rows ? classes : 0;
    long long first = team.row * classes;
    float dot = 0;
    for (unsigned i = team.rank; i < end; i += team.size)
        dot += y[first + i] * dy[first + i];
    dot = team.reduce<Sum>(dot, 0.0f);
    for (unsigned i = team.rank; i < end; i += team.size)
        dx[first + i] = y[first + i] * (dy[first + i] - dot);
}

KERNEL(log_softmax_f32, (const float *__restrict__ x, ROWS, float *__restrict__ y)) {
    Team team(team_size);
    Exponentials row(team, x, rows, classes);
    if (team.row >= rows)
        return;
    float log_sum = logf(row.sum);
    long long first = team.row * classes;
    for (unsigned i = team.rank; i < classes; i += team.size)
        y[first + i] = x[first + i] - row.largest - log_sum;
}

KERNEL(log_softmax_backward_f32,
       (const float *__restrict__ y, const float *__restrict__ dy, ROWS, float *__restrict__ dx)) {
    Team team(team_size);
    unsigned end = team.row < rows ? classes : 0;
    long long first = team.row * classes;
    float sum = 0;
    for (unsigned i = team.rank; i < end; i += team.size)
        sum += dy[first + i];
    sum = team.reduce<Sum>(sum, 0.0f);
    for (unsigned i = team.rank; i < end; i += team.size)
        dx[first + i] = dy[first + i] - expf(y[first + i]) * sum;
}

// ---- Cross-entropy of a softmax with its gradient, and right predictions, as kernels/loss.rs -----------------------

// The gradient's factor of a row; `rows_of_sample` rows have a weight in common.
static inline __device__ float factor_of(const Team &team, long long rows, const float *weights, float scale,
                                         unsigned rows_of_sample) {
    return weights && team.row < rows ? scale * weights[team.row / rows_of_sample] : scale;
}

// A label that names no class makes loss and gradient of its row NaN: a kernel has no other way to tell.
KERNEL(softmax_cross_entropy_f32,
       (const float *__restrict__ x, const unsigned *labels, const float *weights, float scale,
        unsigned rows_of_sample, ROWS, float *losses, float *__restrict__ grads)) {
    Team team(team_size);
    Exponentials row(team, x, rows, classes);
    float factor = factor_of(team, rows, weights, scale, rows_of_sample);
    if (team.row >= rows)
        return;
    long long first = team.row * classes;
    unsigned label = labels[team.row];
    if (label >= classes)
        factor = NAN;
    if (team.rank == 0)
        losses[team.row] = label < classes ? logf(row.sum) - (x[first + label] - row.largest) : NAN;
    for (unsigned i = team.rank; i < classes; i += team.size) {
        float share = expf(x[first + i] - row.largest) / row.sum;
        grads[first + i] = (i == label ? share - 1 : share) * factor;
    }
}

KERNEL(categorical_cross_entropy_f32,
       (const float *__restrict__ x, const float *__restrict__ targets, const float *weights, float scale,
        unsigned rows_of_sample, ROWS, float *losses, float *__restrict__ grads)) {
    Team team(team_size);
    Exponentials row(team, x, rows, classes);
    float factor = factor_of(team, rows, weights, scale, rows_of_sample);
    unsigned end = team.row < rows ? classes : 0;
    long long first = team.row * classes;
    float log_sum = logf(row.sum), loss = 0, total = 0;
    for (unsigned i = team.rank; i < end; i += team.size) {
        float target = targets[first + i];
        total += target;
        // A class without weight is not asked for its logarithm, which may be infinite.
        if (target != 0)
            loss += target * (log_sum - (x[first + i] - row.largest));
    }
    total = team.reduce<Sum>(total, 0.0f);
    loss = team.reduce<Sum>(loss, 0.0f);
    if (team.rank == 0 && team.row < rows)
        losses[team.row] = loss;
    float share = total / row.sum;
    for (unsigned i = team.rank; i < end; i += team.size)
        grads[first + i] = (expf(x[first + i] - row.largest) * share - targets[first + i]) * factor;
}

// Whether the first of the largest values is that of the label; NaN counts only where it is the first value.
KERNEL(correct_f32, (const float *__restrict__ x, const unsigned *labels, ROWS, float *hits)) {
    Team team(team_size);
    unsigned end = team.row < rows ? classes : 0;
    long long first = team.row * classes;
    // Numbers whose order is that of the values, and then the index, the first being the largest.
    unsigned long long best = 0;
    for (unsigned i = team.rank; i < end; i += team.size) {
        float value = x[first + i];
        if (value != value)
            value = i == 0 ? INFINITY : -INFINITY;
        if (value == 0)
            value = 0; // not -0
        unsigned bits = __float_as_uint(value);
        bits = bits >> 31 ? ~bits : bits | 0x80000000u;
        best = Max::of(best, (unsigned long long)bits << 32 | (unsigned)~i);
    }
    best = team.reduce<Max>(best, 0ull);
    if (team.rank == 0 && team.row < rows) {
        unsigned label = labels[team.row];
        hits[team.row] = label < classes ? ~(unsigned)best == label : NAN;
    }
}

// The mean of the losses of each sample's rows.
KERNEL(row_means_f32, (const float *losses, unsigned rows_of_sample, unsigned team_size, long long samples,
                       float *means)) {
    Team team(team_size);
    double sum = 0;
    for (unsigned i = team.rank; i < rows_of_sample && team.row < samples; i += team.size)
        sum += losses[team.row * rows_of_sample + i];
    sum = team.reduce<Sum>(sum, 0.0);
    if (team.rank == 0 && team.row < samples)
        means[team.row] = (float)(sum / rows_of_sample);
}
