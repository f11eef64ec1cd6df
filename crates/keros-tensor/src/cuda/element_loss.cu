// Losses that are a function of target and prediction, with their gradients: the formulas are those of
// kernels/element_loss.rs, in double precision as there.
#include "teams.cuh"

// A loss and its derivative by the prediction.
struct Point {
    double loss, slope;
};

// f32's 1e-7 and 1 - 1e-7.
#define FUZZ ((double)1e-7f)
#define BELOW_ONE ((double)(1.0f - 1e-7f))

static inline __device__ double sign_of(double x) { return x > 0 ? 1 : x < 0 ? -1 : x; }

struct SquaredError {
    __device__ Point operator()(double y, double p) const { return {(p - y) * (p - y), 2 * (p - y)}; }
};
struct AbsoluteError {
    __device__ Point operator()(double y, double p) const { return {fabs(p - y), sign_of(p - y)}; }
};
struct AbsolutePercentageError {
    __device__ Point operator()(double y, double p) const {
        double percent = 100 / fmax(fabs(y), FUZZ);
        return {percent * fabs(p - y), percent * sign_of(p - y)};
    }
};
struct SquaredLogarithmicError {
    __device__ Point operator()(double y, double p) const {
        double floor = at_least(p, FUZZ), error = log1p(floor) - log1p(at_least(y, FUZZ));
        return {error * error, p < FUZZ ? 0 : 2 * error / (floor + 1)};
    }
};
struct Huber {
    double delta;
    __device__ Point operator()(double y, double p) const {
        double error = p - y;
        if (fabs(error) <= delta)
            return {0.5 * error * error, error};
        return {delta * fabs(error) - 0.5 * delta * delta, delta * sign_of(error)};
    }
};
struct LogCosh {
    __device__ Point operator()(double y, double p) const {
        double far = fabs(p - y);
        return {far + log1p(exp(-2 * far)) - 0.69314718055994530942, tanh(p - y)};
    }
};
struct Poisson {
    __device__ Point operator()(double y, double p) const {
        return {p - y * log(p + FUZZ), 1 - y / (p + FUZZ)};
    }
};
struct Hinge {
    __device__ Point operator()(double y, double p) const {
        double margin = 1 - y * p;
        return margin <= 0 ? Point{0, 0} : Point{margin, -y};
    }
};
struct SquaredHinge {
    __device__ Point operator()(double y, double p) const {
        double margin = at_least(1 - y * p, 0.0);
        return {margin * margin, -2 * y * margin};
    }
};

// The prediction as a probability with its derivative, and the cross-entropy.
struct Binary {
    double probability, slope;
    Point crossentropy;

    __device__ Binary(bool logits, double y, double p) {
        if (logits) {
            probability = 1 / (1 + exp(-p));
            slope = probability * (1 - probability);
            crossentropy = {fmax(p, 0.0) - p * y + log1p(exp(-fabs(p))), probability - y};
        } else {
            double clipped = p < FUZZ ? FUZZ : p > BELOW_ONE ? BELOW_ONE : p;
            probability = p;
            slope = 1;
            crossentropy = {-(y * log(clipped) + (1 - y) * log(1 - clipped)),
                            p == clipped ? (p - y) / (p * (1 - p)) : 0};
        }
    }
};
struct BinaryCrossentropy {
    bool logits;
    double smoothing;
    __device__ Point operator()(double y, double p) const {
        return Binary(logits, y * (1 - smoothing) + smoothing / 2, p).crossentropy;
    }
};
struct BinaryFocalCrossentropy {
    bool logits;
    double smoothing, gamma, alpha; // alpha below 0: classes are not balanced
    __device__ Point operator()(double y, double p) const {
        y = y * (1 - smoothing) + smoothing / 2;
        Binary point(logits, y, p);
        double base = fmax(1 - (y * point.probability + (1 - y) * (1 - point.probability)), 0.0);
        double balance = alpha < 0 ? 1 : y * alpha + (1 - y) * (1 - alpha);
        double focus = pow(base, gamma);
        // At 0 an infinite slope counts as 0, because the cross-entropy beside it is 0.
        double focus_slope = base == 0 && gamma < 1 ? 0 : gamma * pow(base, gamma - 1);
        focus_slope *= -(2 * y - 1) * point.slope;
        Point entropy = point.crossentropy;
        return {balance * focus * entropy.loss, balance * (focus_slope * entropy.loss + focus * entropy.slope)};
    }
};

// A team has a part of a sample. Where a sample is one part its loss is ready; otherwise `partials` (`[samples, parts]`)
// takes what each part has found.
#define INPUTS                                                                                                         \
    const float *__restrict__ targets, const float *__restrict__ predictions, const float *weights, float scale,       \
        long long samples, unsigned size, unsigned parts, unsigned team_size, float *losses, double *partials,         \
        float *__restrict__ grads

template <class Loss> __device__ void element_loss(Loss loss, INPUTS) {
    Team team(team_size);
    long long sample = team.row / parts;
    bool there = sample < samples;
    unsigned length = (size + parts - 1) / parts, begin = (unsigned)(team.row - sample * parts) * length;
    unsigned end = there ? min(size, begin + length) : 0;
    float factor = there && weights ? scale * weights[sample] : scale;
    double share = 1.0 / size, sum = 0;
    for (unsigned i = begin + team.rank; i < end; i += team.size) {
        long long at = sample * size + i;
        Point point = loss((double)targets[at], (double)predictions[at]);
        sum += point.loss;
        grads[at] = (float)(point.slope * share) * factor;
    }
    sum = team.reduce<Sum>(sum, 0.0);
    if (team.rank == 0 && there) {
        if (parts > 1)
            partials[team.row] = sum;
        else
            losses[sample] = (float)(sum * share);
    }
}

#define ELEMENT_LOSS(name, ...)                                                                                        \
    KERNEL(name, (INPUTS, double a, double b, double c)) {                                                             \
        element_loss(__VA_ARGS__, targets, predictions, weights, scale, samples, size, parts, team_size, losses,       \
                     partials, grads);                                                                                 \
    }

ELEMENT_LOSS(squared_error_f32, SquaredError{})
ELEMENT_LOSS(absolute_error_f32, AbsoluteError{})
ELEMENT_LOSS(absolute_percentage_error_f32, AbsolutePercentageError{})
ELEMENT_LOSS(squared_logarithmic_error_f32, SquaredLogarithmicError{})
ELEMENT_LOSS(huber_f32, Huber{a})
ELEMENT_LOSS(log_cosh_f32, LogCosh{})
ELEMENT_LOSS(poisson_f32, Poisson{})
ELEMENT_LOSS(hinge_f32, Hinge{})
ELEMENT_LOSS(squared_hinge_f32, SquaredHinge{})
ELEMENT_LOSS(binary_crossentropy_f32, BinaryCrossentropy{false, a})
ELEMENT_LOSS(binary_crossentropy_of_logits_f32, BinaryCrossentropy{true, a})
ELEMENT_LOSS(binary_focal_crossentropy_f32, BinaryFocalCrossentropy{false, a, b, c})
ELEMENT_LOSS(binary_focal_crossentropy_of_logits_f32, BinaryFocalCrossentropy{true, a, b, c})

// A team adds up the parts of a sample, whose loss is a mean over `size` of them.
KERNEL(element_losses_f32, (const double *partials, unsigned parts, unsigned size, unsigned team_size,
                            long long samples, float *losses)) {
    Team team(team_size);
    double sum = 0;
    for (unsigned i = team.rank; i < parts && team.row < samples; i += team.size)
        sum += partials[team.row * parts + i];
    sum = team.reduce<Sum>(sum, 0.0);
    if (team.rank == 0 && team.row < samples)
        losses[team.row] = (float)(sum / size);
}

// Targets of a hinge: -1 and 1 where all are 0 or 1. `other`, which is 0 before, tells that one is neither.
KERNEL(find_other_targets_f32, (const float *y, long long n, float *other)) {
    FOR_EACH(i, n) {
        if (y[i] != 0 && y[i] != 1)
            *other = 1;
    }
}
KERNEL(hinge_targets_f32, (const float *y, const float *other, long long n, float *targets)) {
    FOR_EACH(i, n) targets[i] = *other != 0 ? y[i] : 2 * y[i] - 1;
}
