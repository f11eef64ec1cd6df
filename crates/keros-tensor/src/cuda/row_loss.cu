// Losses of whole rows with their gradients: the formulas are those of kernels/row_loss.rs, in double precision as there.
#include "teams.cuh"

// f32's 1e-7 and 1 - 1e-7.
#define FUZZ ((double)1e-7f)
#define BELOW_ONE ((double)(1.0f - 1e-7f))

namespace {

__device__ __forceinline__ double clipped(double x, double low, double high) {
    return x < low ? low : x > high ? high : x;
}

// A row, and the team that works on it. All threads of a block take all sums, those without a row of nothing.
struct Row {
    Team team;
    unsigned width;
    float factor;
    const float *p;
    float *grads;

    // The sum, or the maximum, of what `f` is for each place.
    template <class F> __device__ double sum(F f) const {
        double sum = 0;
        for (unsigned i = team.rank; i < width; i += team.size)
            sum += f(i);
        return team.reduce<Sum>(sum, 0.0);
    }
    template <class F> __device__ double max(F f) const {
        double most = -INFINITY;
        for (unsigned i = team.rank; i < width; i += team.size)
            most = Max::of(most, f(i));
        return team.reduce<Max>(most, (double)-INFINITY);
    }
    template <class F> __device__ void gradients(F f) const {
        for (unsigned i = team.rank; i < width; i += team.size)
            grads[i] = (float)f(i) * factor;
    }
    __device__ double log_sum_exp() const {
        double most = max([&](unsigned i) { return (double)p[i]; });
        return most + log(sum([&](unsigned i) { return exp(p[i] - most); }));
    }
};

struct CategoricalHinge {
    __device__ double operator()(const Row &row, const float *y) const {
        auto wrong = [&](unsigned i) { return (1 - (double)y[i]) * row.p[i]; };
        double right = row.sum([&](unsigned i) { return (double)y[i] * row.p[i]; });
        double highest = row.max(wrong), loss = highest - right + 1;
        double equals = row.sum([&](unsigned i) { return wrong(i) == highest ? 1.0 : 0.0; });
        row.gradients([&](unsigned i) {
            double of_highest = wrong(i) == highest ? (1 - (double)y[i]) / equals : 0;
            return loss <= 0 ? 0 : of_highest - y[i];
        });
        return loss <= 0 ? 0 : loss;
    }
};

struct KlDivergence {
    __device__ double operator()(const Row &row, const float *y) const {
        auto target = [&](unsigned i) { return clipped(y[i], FUZZ, 1); };
        auto prediction = [&](unsigned i) { return clipped(row.p[i], FUZZ, 1); };
        row.gradients([&](unsigned i) { return row.p[i] == prediction(i) ? -target(i) / row.p[i] : 0; });
        return row.sum([&](unsigned i) { return target(i) * log(target(i) / prediction(i)); });
    }
};

struct CosineSimilarity {
    __device__ double operator()(const Row &row, const float *y) const {
        double length = sqrt(row.sum([&](unsigned i) { return (double)row.p[i] * row.p[i]; }));
        double of_y = fmax(sqrt(row.sum([&](unsigned i) { return (double)y[i] * y[i]; })), FUZZ);
        double of_p = fmax(length, FUZZ);
        double cosine = row.sum([&](unsigned i) { return (double)y[i] * row.p[i]; }) / (of_y * of_p);
        double shrink = length >= FUZZ ? cosine : 0;
        row.gradients([&](unsigned i) { return -(y[i] / of_y - shrink * row.p[i] / of_p) / of_p; });
        return -cosine;
    }
};

// The part of a class in a loss that is a sum over classes, and its derivative by log p.
struct Term {
    double loss, slope;
};
struct Crossentropy {
    __device__ Term operator()(double y, double log_p) const {
        // A class without weight is not asked for its logarithm, which may be infinite.
        if (y == 0)
            return {0, 0};
        return {-y * log_p, -y};
    }
};
struct FocalCrossentropy {
    double alpha, gamma;
    __device__ Term operator()(double y, double log_p) const {
        if (y == 0)
            return {0, 0};
        double given = exp(log_p), p = clipped(given, FUZZ, BELOW_ONE);
        double base = fmax(1 - p, 0.0), focus = pow(base, gamma), factor = alpha * y;
        // At 0 an infinite slope counts as 0, because the cross-entropy beside it is 0.
        double slope = base == 0 && gamma < 1 ? 0 : gamma * pow(base, gamma - 1);
        if (p != given)
            return {-factor * focus * log(p), 0};
        return {-factor * focus * log_p, factor * (slope * p * log_p - focus)};
    }
};
template <class F> struct OverClasses {
    bool logits;
    double smoothing;
    F term;

    __device__ double operator()(const Row &row, const float *y) const {
        double share_of_all = smoothing / row.width;
        auto target = [&](unsigned i) { return (double)y[i] * (1 - smoothing) + share_of_all; };
        if (logits) {
            double total = row.log_sum_exp();
            auto at = [&](unsigned i) { return term(target(i), row.p[i] - total); };
            double slopes = row.sum([&](unsigned i) { return at(i).slope; });
            row.gradients([&](unsigned i) { return at(i).slope - exp(row.p[i] - total) * slopes; });
            return row.sum([&](unsigned i) { return at(i).loss; });
        }
        double total = row.sum([&](unsigned i) { return (double)row.p[i]; });
        auto at = [&](unsigned i) {
            double share = row.p[i] / total, inside = clipped(share, FUZZ, BELOW_ONE);
            Term found = term(target(i), log(inside));
            found.slope = share == inside ? found.slope / share : 0;
            return found;
        };
        double common = row.sum([&](unsigned i) { return at(i).slope * (row.p[i] / total); });
        row.gradients([&](unsigned i) { return (at(i).slope - common) / total; });
        return row.sum([&](unsigned i) { return at(i).loss; });
    }
};

// A label that names no class makes loss and gradient of its row NaN: a kernel has no other way to tell.
struct SparseCrossentropy {
    bool logits;
    double ignored; // -1: none

    __device__ double operator()(Row &row, const unsigned *labels) const {
        unsigned label = row.width > 0 ? labels[row.team.row] : 0;
        bool counts = label != ignored, known = label < row.width;
        row.factor = counts && !known ? NAN : row.factor;
        if (logits) {
            double total = row.log_sum_exp();
            row.gradients([&](unsigned i) { return counts ? exp(row.p[i] - total) - (i == label) : 0; });
            return !counts ? 0 : known ? total - row.p[label] : NAN;
        }
        auto inside = [&](unsigned i) { return clipped(row.p[i], FUZZ, BELOW_ONE); };
        double total = row.sum(inside);
        row.gradients([&](unsigned i) {
            double truth = i == label ? 1 / inside(i) : 0;
            return counts && row.p[i] == inside(i) ? 1 / total - truth : 0;
        });
        return !counts ? 0 : known ? log(total) - log(inside(label)) : NAN;
    }
};

struct GeneralizedCrossentropy {
    bool logits;
    double q;

    __device__ double operator()(Row &row, const unsigned *labels) const {
        unsigned label = row.width > 0 ? labels[row.team.row] : 0;
        bool known = label < row.width;
        row.factor = known ? row.factor : NAN;
        if (logits) {
            double total = row.log_sum_exp(), power = known ? exp(q * (row.p[label] - total)) : NAN;
            row.gradients([&](unsigned i) { return power * (exp(row.p[i] - total) - (i == label)); });
            return (1 - power) / q;
        }
        // A sum as in Keras, so that NaN of any class is NaN of the row.
        double of_label = row.sum([&](unsigned i) { return (i == label) * (double)row.p[i]; });
        double p = known ? at_least(of_label, 0) : NAN;
        row.gradients([&](unsigned i) { return i == label && p != 0 ? -pow(p, q - 1) : 0; });
        return (1 - pow(p, q)) / q;
    }
};

// The row of a sample has its similarities to all samples.
struct Circle {
    double gamma, margin;
    bool remove_diagonal;

    struct Exponent {
        double value, by_distance;
    };
    __device__ Exponent exponent(bool same, double distance) const {
        if (same)
            return {gamma * (distance * distance - margin * margin), 2 * gamma * distance};
        double weight = 1 + margin - distance;
        return {gamma * fmax(weight, 0.0) * (1 - margin - distance), weight > 0 ? 2 * gamma * (distance - 1) : 0};
    }
    __device__ double operator()(const Row &row, const unsigned *labels) const {
        long long sample = row.width > 0 ? row.team.row : 0;
        auto counts = [&](unsigned i, bool same) {
            return (labels[i] == labels[sample]) == same && !(same && remove_diagonal && i == sample);
        };
        auto at = [&](unsigned i, bool same) { return exponent(same, at_least(1 - (double)row.p[i], 0)); };
        // The logarithm of a sum of exponentials; without pairs that of 0.
        auto total = [&](bool same) {
            double most = row.max([&](unsigned i) { return counts(i, same) ? at(i, same).value : -INFINITY; });
            double sum = row.sum([&](unsigned i) { return counts(i, same) ? exp(at(i, same).value - most) : 0; });
            return sum == 0 ? -INFINITY : most + log(sum);
        };
        double of_same = total(true), of_others = total(false), sum = of_same + of_others;
        bool has_pairs = of_same != -INFINITY && of_others != -INFINITY;
        double slope = 1 / (1 + exp(-sum));
        row.gradients([&](unsigned i) {
            bool same = labels[i] == labels[sample];
            if (!has_pairs || !counts(i, same) || row.p[i] > 1)
                return 0.0;
            Exponent found = at(i, same);
            return -slope * exp(found.value - (same ? of_same : of_others)) * found.by_distance;
        });
        return has_pairs ? fmax(sum, 0.0) + log1p(exp(-fabs(sum))) : 0;
    }
};

} // namespace

// Of `[samples, rows_of_sample, width]`; `losses` are those of the rows.
#define INPUTS                                                                                                         \
    const float *predictions, const float *weights, float scale, long long rows, unsigned rows_of_sample,              \
        unsigned width, unsigned team_size, double *losses, float *grads

template <class Loss, class Truth>
__device__ void row_loss(Loss loss, const Truth *truth, unsigned step, INPUTS) {
    Team team(team_size);
    bool there = team.row < rows;
    long long at = there ? team.row : 0;
    float factor = (weights && there ? scale * weights[at / rows_of_sample] : scale) / rows_of_sample;
    Row row{team, there ? width : 0, factor, predictions + at * width, grads + at * width};
    double found = loss(row, truth + at * step);
    if (there && team.rank == 0)
        losses[at] = found;
}

#define ROW_LOSS(name, ...)                                                                                            \
    KERNEL(name, (const float *targets, INPUTS, double a, double b, double c)) {                                       \
        row_loss(__VA_ARGS__, targets, width, predictions, weights, scale, rows, rows_of_sample, width, team_size,     \
                 losses, grads);                                                                                       \
    }
ROW_LOSS(categorical_hinge, CategoricalHinge{})
ROW_LOSS(kl_divergence, KlDivergence{})
ROW_LOSS(cosine_similarity, CosineSimilarity{})
ROW_LOSS(categorical_crossentropy, OverClasses<Crossentropy>{false, a, {}})
ROW_LOSS(categorical_crossentropy_of_logits, OverClasses<Crossentropy>{true, a, {}})
ROW_LOSS(categorical_focal_crossentropy, OverClasses<FocalCrossentropy>{false, a, {b, c}})
ROW_LOSS(categorical_focal_crossentropy_of_logits, OverClasses<FocalCrossentropy>{true, a, {b, c}})

// Of labels, which a loss finds by the number of its row.
#define LABEL_LOSS(name, ...)                                                                                          \
    KERNEL(name, (const unsigned *labels, INPUTS, double a, double b, double c)) {                                     \
        row_loss(__VA_ARGS__, labels, 0, predictions, weights, scale, rows, rows_of_sample, width, team_size, losses,  \
                 grads);                                                                                               \
    }
LABEL_LOSS(sparse_crossentropy, SparseCrossentropy{a != 0, b})
LABEL_LOSS(generalized_crossentropy, GeneralizedCrossentropy{a != 0, b})
LABEL_LOSS(circle, Circle{a, b, c != 0})
