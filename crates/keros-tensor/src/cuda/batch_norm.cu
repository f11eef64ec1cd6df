// Batch normalization, as kernels/batch_norm.rs, and the sums that group normalization shares with it.
#include "values.cuh"
#include "columns.cuh"

static inline __device__ float inverse_root(float variance, float epsilon) { return 1.0f / sqrtf(variance + epsilon); }

// What normalizes: numbers of each channel, where those of `gamma` and `beta` may be missing, and whether a ReLU follows.
struct Normalization {
    const float *mean, *variance, *gamma, *beta;
    float epsilon;
    int relu;
};

// The same for one channel.
struct Normal {
    float center, scale, shift;

    Normal() = default;
    __device__ Normal(const Normalization &norm, unsigned channel) {
        center = norm.mean[channel];
        scale = (norm.gamma ? norm.gamma[channel] : 1) * inverse_root(norm.variance[channel], norm.epsilon);
        shift = norm.beta ? norm.beta[channel] : 0;
    }
    __device__ __forceinline__ float of(float x) const { return (x - center) * scale + shift; }
    // Whether a ReLU that follows passes a gradient on. What it sees is rounded.
    template <class T> __device__ __forceinline__ bool is_positive(float x) const { return (float)T(of(x)) > 0; }
};

// Of `[outer, rows, columns]` the partial sums of `a` and of `a · b`: `[outer, chunks, 2, columns]`.
KERNELS(partial_column_sums, (const T *__restrict__ a, const T *__restrict__ b, long long rows, unsigned columns,
                              unsigned width, unsigned tiles, unsigned chunks, double *partials), {
    unsigned tile = blockIdx.x % tiles, part = blockIdx.x / tiles;
    Chunk chunk(rows, part % chunks, chunks);
    long long outer = part / chunks * rows * columns;
    a += outer;
    b += outer;
    sum_columns(chunk.begin, chunk.end, tile, columns, width, partials + part * 2ll * columns,
                [=](long long row, unsigned column, double &sum, double &product) {
                    long long at = row * columns + column;
                    double value = (float)a[at];
                    sum += value;
                    product = fma(value, (double)(float)b[at], product);
                });
})

// The same where a ReLU after the normalization of `b` passes the gradient `a` on, for one matrix.
KERNELS(partial_column_sums_relu, (const T *__restrict__ a, const T *__restrict__ b, Normalization norm,
                                   long long rows, unsigned columns, unsigned width, unsigned tiles, unsigned chunks,
                                   double *partials), {
    unsigned tile = blockIdx.x % tiles, part = blockIdx.x / tiles;
    Chunk chunk(rows, part, chunks);
    Normal normal(norm, min(tile * width + threadIdx.x % width, columns - 1));
    sum_columns(chunk.begin, chunk.end, tile, columns, width, partials + part * 2ll * columns,
                [=](long long row, unsigned column, double &sum, double &product) {
                    long long at = row * columns + column;
                    float x = b[at];
                    double value = normal.is_positive<T>(x) ? (float)a[at] : 0.0f;
                    sum += value;
                    product = fma(value, (double)x, product);
                });
})

// The same for the channels of `[rows, channels, inner]`, where memory runs along `inner`: a block for each channel and
// chunk.
template <class T, class Passes>
static __device__ __forceinline__ void sum_channel(const T *__restrict__ a, const T *__restrict__ b, long long rows,
                                                   unsigned channels, unsigned inner, unsigned chunks,
                                                   double *partials, Passes passes) {
    unsigned channel = blockIdx.x % channels, part = blockIdx.x / channels;
    Chunk chunk(rows, part, chunks);
    double sum = 0, product = 0;
    for (Walk walk(threadIdx.x, BLOCK, inner); chunk.begin + walk.outer < chunk.end; walk.next()) {
        long long at = ((chunk.begin + walk.outer) * channels + channel) * inner + walk.i;
        float x = b[at];
        double value = passes(x) ? (float)a[at] : 0.0f;
        sum += value;
        product = fma(value, (double)x, product);
    }
    sum = reduce_block<Sum>(sum, 0.0);
    product = reduce_block<Sum>(product, 0.0);
    if (threadIdx.x == 0) {
        double *sums = partials + part * 2ll * channels + channel;
        sums[0] = sum;
        sums[channels] = product;
    }
}
KERNELS(channel_sums, (const T *__restrict__ a, const T *__restrict__ b, long long rows, unsigned channels,
                       unsigned inner, unsigned chunks, double *partials), {
    sum_channel(a, b, rows, channels, inner, chunks, partials, [](float) { return true; });
})
KERNELS(channel_sums_relu, (const T *__restrict__ a, const T *__restrict__ b, Normalization norm,
                            long long rows, unsigned channels, unsigned inner, unsigned chunks, double *partials), {
    Normal normal(norm, blockIdx.x % channels);
    sum_channel(a, b, rows, channels, inner, chunks, partials,
                [=](float x) { return normal.is_positive<T>(x); });
})

// The sums of a channel over all chunks, for each thread of the warp that calls it.
struct ChannelSums {
    double sum = 0, product = 0;

    __device__ ChannelSums(const double *partials, unsigned chunks, unsigned channels, unsigned channel) {
        for (unsigned chunk = threadIdx.x % 32; chunk < chunks; chunk += 32) {
            const double *sums = partials + chunk * 2ll * channels + channel;
            sum += sums[0];
            product += sums[channels];
        }
        sum = sum_warp(sum);
        product = sum_warp(product);
    }
};

// A warp for each channel.
KERNEL(channel_statistics_f32,
       (const double *partials, unsigned chunks, unsigned channels, double count, float *mean, float *variance)) {
    unsigned channel = (blockIdx.x * BLOCK + threadIdx.x) / 32;
    if (channel >= channels)
        return;
    ChannelSums sums(partials, chunks, channels, channel);
    if (threadIdx.x % 32 == 0) {
        double center = sums.sum / count, spread = sums.product / count - center * center;
        mean[channel] = (float)center;
        // Rounding can make a variance of zero negative; NaN stays.
        variance[channel] = spread < 0 ? 0 : (float)spread;
    }
}

// The number of threads is a multiple of the length after which channels repeat: so each has one channel, and there is
// no division in the loop. With N at once, `threads` and `n` are in such units, and `channels` too, which are the last
// axis.
template <int N, class T>
static __device__ __forceinline__ void normalize(const T *__restrict__ x, const Normalization &norm, unsigned channels,
                                                 unsigned inner, unsigned threads, long long n, T *__restrict__ y) {
    unsigned thread = blockIdx.x * BLOCK + threadIdx.x;
    if (thread >= threads)
        return;
    Normal normals[N];
    for (int k = 0; k < N; k++)
        normals[k] = Normal(norm, N * (thread / inner % channels) + k);
#pragma unroll 4
    for (long long i = thread; i < n; i += threads) {
        Pack<T, N> pack = ((const Pack<T, N> *)x)[i];
        for (int k = 0; k < N; k++) {
            float value = normals[k].of(pack.at[k]);
            pack.at[k] = norm.relu && value < 0 ? 0.0f : value;
        }
        ((Pack<T, N> *)y)[i] = pack;
    }
}

#define BATCH_NORM (const T *__restrict__ x, Normalization norm, unsigned channels, unsigned inner, unsigned threads, \
                    long long n, T *__restrict__ y)
KERNELS(batch_norm, BATCH_NORM, { normalize<1>(x, norm, channels, inner, threads, n, y); })
KERNELS(batch_norm_by_4, BATCH_NORM, { normalize<4>(x, norm, channels, inner, threads, n, y); })

// From the sums of dy and of dy · x to the gradients of the parameters, and to what the gradient of the input needs:
// `terms` is `[2, channels]`. Each of the three may be missing. A warp for each channel.
KERNEL(batch_norm_sums_f32, (const double *partials, unsigned chunks, unsigned channels, double count,
                             Normalization norm, int of_batch, float *dgamma, float *dbeta, float *terms)) {
    unsigned channel = (blockIdx.x * BLOCK + threadIdx.x) / 32;
    if (channel >= channels)
        return;
    ChannelSums sums(partials, chunks, channels, channel);
    if (threadIdx.x % 32 != 0)
        return;
    double root = inverse_root(norm.variance[channel], norm.epsilon);
    double product = (sums.product - norm.mean[channel] * sums.sum) * root;
    if (dgamma)
        dgamma[channel] = (float)product;
    if (dbeta)
        dbeta[channel] = (float)sums.sum;
    if (terms) {
        terms[channel] = of_batch ? (float)(sums.sum / count) : 0;
        terms[channels + channel] = of_batch ? (float)(product / count * root) : 0;
    }
}

// Threads as in `normalize`.
template <int N, class T>
static __device__ __forceinline__ void gradient(const T *__restrict__ x, const T *__restrict__ dy,
                                                const Normalization &norm, const float *terms, unsigned channels,
                                                unsigned inner, unsigned threads, long long n, T *__restrict__ dx) {
    unsigned thread = blockIdx.x * BLOCK + threadIdx.x;
    if (thread >= threads)
        return;
    Normal normals[N];
    float by_mean[N], slope[N];
    for (int k = 0; k < N; k++) {
        unsigned channel = N * (thread / inner % channels) + k;
        normals[k] = Normal(norm, channel);
        by_mean[k] = terms[channel];
        slope[k] = terms[N * channels + channel];
    }
#pragma unroll 4
    for (long long i = thread; i < n; i += threads) {
        Pack<T, N> pack = ((const Pack<T, N> *)x)[i], dys = ((const Pack<T, N> *)dy)[i];
        for (int k = 0; k < N; k++) {
            const Normal &normal = normals[k];
            float value = pack.at[k], grad = dys.at[k];
            grad = norm.relu && !normal.is_positive<T>(value) ? 0.0f : grad;
            pack.at[k] = normal.scale * (grad - by_mean[k] - (value - normal.center) * slope[k]);
        }
        ((Pack<T, N> *)dx)[i] = pack;
    }
}

#define BATCH_NORM_GRADIENT (const T *__restrict__ x, const T *__restrict__ dy, Normalization norm, const float *terms, \
                             unsigned channels, unsigned inner, unsigned threads, long long n, T *__restrict__ dx)
KERNELS(batch_norm_backward, BATCH_NORM_GRADIENT, {
    gradient<1>(x, dy, norm, terms, channels, inner, threads, n, dx);
})
KERNELS(batch_norm_backward_by_4, BATCH_NORM_GRADIENT, {
    gradient<4>(x, dy, norm, terms, channels, inner, threads, n, dx);
})
