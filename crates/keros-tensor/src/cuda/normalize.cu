// Layer, group and unit normalization, as kernels/normalize.rs: a tensor `[outer, before, kept, after]` with statistics
// over `before` and `after`.
//
// Where the values of a set lie side by side, as those of layer normalization do, a team has the set. Those of a group
// lie in short pieces, a piece at each position: there columns are summed as in batch_norm.cu, sample by sample.
#include "columns.cuh"

// Sizes of `[outer, before, kept, after]` but for the first, the number of sets, and the threads that have one.
struct Sets {
    unsigned before, kept, after, team_size;
    long long count;

    __device__ double values() const { return (double)before * after; }
};

// The set of a team: `at` leads through its values.
struct Set {
    Walk walk;
    long long first, stride;
    unsigned before, kept_index;

    // Teams without a set find no values.
    __device__ Set(const Team &team, const Sets &sets)
        : walk(team.rank, team.size, sets.after), stride((long long)sets.kept * sets.after),
          before(team.row < sets.count ? sets.before : 0) {
        long long outer = sets.kept == 1 ? team.row : team.row / sets.kept;
        kept_index = (unsigned)(team.row - outer * sets.kept);
        first = outer * sets.before * stride + (long long)kept_index * sets.after;
    }

    __device__ bool more() const { return walk.outer < before; }
    __device__ long long at() const { return first + walk.outer * stride + walk.i; }
    __device__ long long param(int trailing) const {
        return (trailing ? kept_index : walk.outer) * walk.inner + walk.i;
    }
};

// What a set is normalized with.
struct Statistics {
    float mean, root;

    __device__ Statistics(double sum, double squares, double count, float epsilon) {
        double center = sum / count, spread = squares / count - center * center;
        // Rounding can make a variance of zero negative; NaN stays.
        mean = (float)center;
        root = (float)(1.0 / sqrt((spread < 0 ? 0.0 : spread) + epsilon));
    }
    __device__ Statistics(const float *statistics, long long set)
        : mean(statistics[2 * set]), root(statistics[2 * set + 1]) {}

    __device__ void store(float *statistics, long long set) const {
        statistics[2 * set] = mean;
        statistics[2 * set + 1] = root;
    }
};

KERNEL(normalize_f32, (const float *__restrict__ x, const float *gamma, const float *beta, Sets sets, int trailing,
                       float epsilon, float *__restrict__ y, float *statistics)) {
    Team team(sets.team_size);
    double sum = 0, squares = 0;
    for (Set set(team, sets); set.more(); set.walk.next()) {
        double value = x[set.at()];
        sum += value;
        squares += value * value;
    }
    sum = team.reduce<Sum>(sum, 0.0);
    squares = team.reduce<Sum>(squares, 0.0);
    Statistics found(sum, squares, sets.values(), epsilon);
    if (team.rank == 0 && team.row < sets.count)
        found.store(statistics, team.row);
    for (Set set(team, sets); set.more(); set.walk.next()) {
        long long param = set.param(trailing);
        float value = (x[set.at()] - found.mean) * found.root;
        if (gamma)
            value *= gamma[param];
        y[set.at()] = beta ? value + beta[param] : value;
    }
}

KERNEL(normalize_backward_f32,
       (const float *__restrict__ x, const float *__restrict__ dy, const float *gamma, const float *statistics, Sets sets,
        int trailing, float *__restrict__ dx)) {
    Team team(sets.team_size);
    // A team without a set has the statistics of the last one.
    Statistics of(statistics, min(team.row, sets.count - 1));
    double sum = 0, product = 0;
    for (Set set(team, sets); set.more(); set.walk.next()) {
        float d = gamma ? dy[set.at()] * gamma[set.param(trailing)] : dy[set.at()];
        sum += d;
        product += d * (double)(x[set.at()] - of.mean);
    }
    sum = team.reduce<Sum>(sum, 0.0) / sets.values();
    product = team.reduce<Sum>(product, 0.0) / sets.values();
    float by_mean = (float)sum, slope = (float)(product * of.root * of.root);
    for (Set set(team, sets); set.more(); set.walk.next()) {
        float d = gamma ? dy[set.at()] * gamma[set.param(trailing)] : dy[set.at()];
        dx[set.at()] = of.root * (d - by_mean - (x[set.at()] - of.mean) * slope);
    }
}

// Partial sums of the parameters' gradients, `[chunks, 2, params]`. Parameters are columns; the rows are the sets, or
// with trailing parameters, of which each set has its own, the outer indices.
KERNEL(norm_param_sums_f32, (const float *__restrict__ x, const float *__restrict__ dy, const float *statistics,
                             Sets sets, int trailing, long long rows, unsigned params, unsigned width,
                             unsigned tiles, unsigned chunks, double *partials)) {
    unsigned tile = blockIdx.x % tiles, part = blockIdx.x / tiles;
    Chunk chunk(rows, part, chunks);
    long long stride = (long long)sets.kept * sets.after, sample = sets.before * stride;
    sum_columns(chunk.begin, chunk.end, tile, params, width, partials + part * 2ll * params,
                [=](long long row, unsigned param, double &of_gamma, double &of_beta) {
                    // Not by 64 bits, which would be slow.
                    long long outer = trailing || sets.kept == 1 ? row : (unsigned)row / sets.kept, at = outer * sample, set = row;
                    if (trailing) {
                        at += param;
                        set = row * sets.kept + param / sets.after;
                    } else {
                        at += param / sets.after * stride + (row - outer * sets.kept) * sets.after + param % sets.after;
                    }
                    Statistics of(statistics, set);
                    float d = dy[at];
                    of_gamma += d * ((x[at] - of.mean) * of.root);
                    of_beta += d;
                });
}

// A warp for each parameter adds up its partial sums.
KERNEL(norm_params_f32,
       (const double *partials, unsigned chunks, unsigned params, float *dgamma, float *dbeta)) {
    unsigned param = (blockIdx.x * BLOCK + threadIdx.x) / 32;
    if (param >= params)
        return;
    double of_gamma = 0, of_beta = 0;
    for (unsigned chunk = threadIdx.x % 32; chunk < chunks; chunk += 32) {
        const double *sums = partials + chunk * 2ll * params + param;
        of_gamma += sums[0];
        of_beta += sums[params];
    }
    of_gamma = sum_warp(of_gamma);
    of_beta = sum_warp(of_beta);
    if (threadIdx.x % 32 == 0) {
        if (dgamma)
            dgamma[param] = (float)of_gamma;
        if (dbeta)
            dbeta[param] = (float)of_beta;
    }
}

// ---- Groups: from the partial sums of columns, `[outer, chunks, 2, kept · after]` ----------------------------------

// A warp for each set.
struct SetOfWarp {
    long long index, outer;
    unsigned kept_index;

    __device__ explicit SetOfWarp(const Sets &sets)
        : index(((long long)blockIdx.x * BLOCK + threadIdx.x) / 32), outer(index / sets.kept),
          kept_index((unsigned)(index - outer * sets.kept)) {}

    // Calls `add(column, first, second)` for all partial sums of the set.
    template <class Add>
    __device__ void each(const double *partials, unsigned chunks, const Sets &sets, Add add) const {
        unsigned columns = sets.kept * sets.after;
        for (Walk walk(threadIdx.x % 32, 32, sets.after); walk.outer < chunks; walk.next()) {
            unsigned column = kept_index * sets.after + walk.i;
            const double *sums = partials + (outer * chunks + walk.outer) * 2 * columns + column;
            add(column, sums[0], sums[columns]);
        }
    }
};

KERNEL(group_statistics_f32,
       (const double *partials, unsigned chunks, Sets sets, float epsilon, float *statistics)) {
    SetOfWarp set(sets);
    if (set.index >= sets.count)
        return;
    double sum = 0, squares = 0;
    set.each(partials, chunks, sets, [&](unsigned, double first, double second) {
        sum += first;
        squares += second;
    });
    sum = sum_warp(sum);
    squares = sum_warp(squares);
    if (threadIdx.x % 32 == 0)
        Statistics(sum, squares, sets.values(), epsilon).store(statistics, set.index);
}

// From the sums of dy and of dy · x to what the gradient of the input needs, a shift and a slope for each set.
KERNEL(group_terms_f32, (const double *partials, unsigned chunks, Sets sets, const float *statistics,
                         const float *gamma, float *terms)) {
    SetOfWarp set(sets);
    if (set.index >= sets.count)
        return;
    Statistics of(statistics, set.index);
    double sum = 0, product = 0;
    set.each(partials, chunks, sets, [&](unsigned column, double first, double second) {
        double scale = gamma ? gamma[column] : 1;
        sum += scale * first;
        product += scale * (second - of.mean * first);
    });
    sum = sum_warp(sum);
    product = sum_warp(product);
    if (threadIdx.x % 32 == 0) {
        double root = of.root, values = sets.values();
        terms[2 * set.index] = (float)(sum / values * root);
        terms[2 * set.index + 1] = (float)(product / values * root * root * root);
    }
}

// The gradients of the parameters, a warp for each column.
KERNEL(group_params_f32, (const double *partials, long long outer, unsigned chunks, Sets sets, const float *statistics,
                          float *dgamma, float *dbeta)) {
    unsigned columns = sets.kept * sets.after, column = (blockIdx.x * BLOCK + threadIdx.x) / 32;
    if (column >= columns)
        return;
    double of_gamma = 0, of_beta = 0;
    for (Walk walk(threadIdx.x % 32, 32, chunks); walk.outer < outer; walk.next()) {
        Statistics of(statistics, walk.outer * sets.kept + column / sets.after);
        const double *sums = partials + (walk.outer * chunks + walk.i) * 2 * columns + column;
        of_gamma += (sums[columns] - of.mean * sums[0]) * of.root;
        of_beta += sums[0];
    }
    of_gamma = sum_warp(of_gamma);
    of_beta = sum_warp(of_beta);
    if (threadIdx.x % 32 == 0) {
        if (dgamma)
            dgamma[column] = (float)of_gamma;
        if (dbeta)
            dbeta[column] = (float)of_beta;
    }
}

// Some blocks for each sample, with a number of threads that is a multiple of the columns: each has one column.
struct OfColumn {
    unsigned outer, thread, column;

    __device__ OfColumn(unsigned blocks, unsigned columns)
        : outer(blockIdx.x / blocks), thread(blockIdx.x % blocks * BLOCK + threadIdx.x), column(thread % columns) {}
};

KERNEL(group_norm_f32, (const float *__restrict__ x, const float *statistics, const float *gamma, const float *beta,
                        Sets sets, unsigned blocks, unsigned threads, long long sample,
                        float *__restrict__ y)) {
    OfColumn of(blocks, sets.kept * sets.after);
    if (of.thread >= threads)
        return;
    Statistics set(statistics, (long long)of.outer * sets.kept + of.column / sets.after);
    float scale = gamma ? set.root * gamma[of.column] : set.root, shift = beta ? beta[of.column] : 0;
    x += of.outer * sample;
    y += of.outer * sample;
#pragma unroll 4
    for (long long i = of.thread; i < sample; i += threads)
        y[i] = (x[i] - set.mean) * scale + shift;
}

KERNEL(group_norm_backward_f32, (const float *__restrict__ x, const float *__restrict__ dy, const float *statistics,
                                 const float *terms, const float *gamma, Sets sets, unsigned blocks,
                                 unsigned threads, long long sample, float *__restrict__ dx)) {
    OfColumn of(blocks, sets.kept * sets.after);
    if (of.thread >= threads)
        return;
    long long index = (long long)of.outer * sets.kept + of.column / sets.after;
    Statistics set(statistics, index);
    float scale = gamma ? set.root * gamma[of.column] : set.root;
    float shift = terms[2 * index], slope = terms[2 * index + 1];
    x += of.outer * sample;
    dy += of.outer * sample;
    dx += of.outer * sample;
#pragma unroll 4
    for (long long i = of.thread; i < sample; i += threads)
        dx[i] = scale * dy[i] - shift - (x[i] - set.mean) * slope;
}

// ---- Unit length ---------------------------------------------------------------------------------------------------

KERNEL(unit_normalize_f32, (const float *__restrict__ x, Sets sets, float *__restrict__ y, float *factors)) {
    Team team(sets.team_size);
    double squares = 0;
    for (Set set(team, sets); set.more(); set.walk.next()) {
        double value = x[set.at()];
        squares += value * value;
    }
    squares = team.reduce<Sum>(squares, 0.0);
    float factor = (float)(1.0 / sqrt(squares < 1e-24 ? 1e-24 : squares));
    if (team.rank == 0 && team.row < sets.count)
        factors[team.row] = factor;
    for (Set set(team, sets); set.more(); set.walk.next())
        y[set.at()] = x[set.at()] * factor;
}

KERNEL(unit_normalize_backward_f32, (const float *__restrict__ y, const float *__restrict__ dy, const float *factors,
                                     Sets sets, float *__restrict__ dx)) {
    Team team(sets.team_size);
    double product = 0, squares = 0;
    for (Set set(team, sets); set.more(); set.walk.next()) {
        double value = y[set.at()];
        product += value * dy[set.at()];
        squares += value * value;
    }
    product = team.reduce<Sum>(product, 0.0);
    squares = team.reduce<Sum>(squares, 0.0);
    // An output shorter than 1 was divided by the least length, which is a constant.
    float slope = squares < 0.99 ? 0 : (float)product;
    float factor = factors[min(team.row, sets.count - 1)];
    for (Set set(team, sets); set.more(); set.walk.next())
        dx[set.at()] = factor * (dy[set.at()] - y[set.at()] * slope);
}
