// Depthwise convolution: no sums over channels, so each thread has a channel (or four) of a pixel, and neighbouring
// threads read neighbouring channels. The weights of all pixels stay in the first-level cache.
#include "window.cuh"

// `multiplier` outputs come of each input; it is 1 where V is more than a float.
template <class V>
static __device__ void forward(const V *images, const V *w, const V *bias, V *out, const Window &g,
                               unsigned multiplier, int relu, unsigned n) {
    unsigned outputs = g.channels * multiplier;
    FOR_EACH_INDEX(i, n) {
        unsigned output = i % outputs, pixel = i / outputs;
        int left = pixel % g.columns * g.stride_x - g.left;
        pixel /= g.columns;
        int top = pixel % g.rows * g.stride_y - g.top;
        unsigned image = pixel / g.rows;
        V sum = {};
        for (int ky = 0; ky < g.window_height; ky++) {
            int y = top + ky * g.dilation_y;
            if (y < 0 || y >= g.height)
                continue;
            for (int kx = 0; kx < g.window_width; kx++) {
                int x = left + kx * g.dilation_x;
                if (x < 0 || x >= g.width)
                    continue;
                unsigned at = (image * g.height + y) * g.width + x;
                add_product(sum, images[at * g.channels + output / multiplier],
                            w[(ky * g.window_width + kx) * outputs + output]);
            }
        }
        if (bias)
            add(sum, bias[output]);
        out[i] = activate(sum, relu);
    }
}

template <class V>
static __device__ void input_gradient(const V *dz, const V *w, V *dx, const Window &g, unsigned multiplier,
                                      unsigned n) {
    unsigned outputs = g.channels * multiplier;
    FOR_EACH_INDEX(i, n) {
        unsigned first = i % g.channels * multiplier, pixel = i / g.channels;
        int x = pixel % g.width;
        pixel /= g.width;
        int y = pixel % g.height;
        unsigned image = pixel / g.height;
        V sum = {};
        for (int ky = 0; ky < g.window_height; ky++) {
            int row = window_at(y, g.top, ky, g.dilation_y, g.stride_y, g.rows);
            if (row < 0)
                continue;
            for (int kx = 0; kx < g.window_width; kx++) {
                int column = window_at(x, g.left, kx, g.dilation_x, g.stride_x, g.columns);
                if (column < 0)
                    continue;
                unsigned at = ((image * g.rows + row) * g.columns + column) * outputs + first;
                unsigned cell = (ky * g.window_width + kx) * outputs + first;
                for (unsigned m = 0; m < multiplier; m++)
                    add_product(sum, dz[at + m], w[cell + m]);
            }
        }
        dx[i] = sum;
    }
}

KERNEL(depthwise_f32, (const float *x, const float *w, const float *bias, float *y, Window g, unsigned multiplier,
                       int relu, unsigned n)) {
    forward(x, w, bias, y, g, multiplier, relu, n);
}
KERNEL(depthwise_by_4_f32, (const float4 *x, const float4 *w, const float4 *bias, float4 *y, Window g,
                            unsigned multiplier, int relu, unsigned n)) {
    forward(x, w, bias, y, g, multiplier, relu, n);
}
KERNEL(depthwise_input_f32,
       (const float *dz, const float *w, float *dx, Window g, unsigned multiplier, unsigned n)) {
    input_gradient(dz, w, dx, g, multiplier, n);
}
KERNEL(depthwise_input_by_4_f32,
       (const float4 *dz, const float4 *w, float4 *dx, Window g, unsigned multiplier, unsigned n)) {
    input_gradient(dz, w, dx, g, multiplier, n);
}

// The weight gradient, as sums each over `part` output pixels: [part][kernel cell][output].
//
// A block has one cell of the kernel and `width` outputs (a power of two, 32 at most); its rows of threads share the
// pixels and then add up in pairs. What several cells read comes from the second-level cache.
KERNEL(depthwise_weights_f32, (const float *images, const float *dz, float *sums, Window g, unsigned multiplier,
                               unsigned width, unsigned part)) {
    __shared__ float of_thread[BLOCK];
    unsigned thread = threadIdx.x, lanes = BLOCK / width;
    unsigned outputs = g.channels * multiplier, tiles = (outputs + width - 1) / width;
    unsigned output = blockIdx.x % tiles * width + thread % width, cell = blockIdx.x / tiles;
    int ky = cell / g.window_width, kx = cell % g.window_width;
    unsigned pixels = (unsigned)g.images * g.rows * g.columns;
    unsigned first = blockIdx.y * part, last = min(pixels, first + part);
    float sum = 0;
    if (output < outputs) {
        for (unsigned pixel = first + thread / width; pixel < last; pixel += lanes) {
            int x = pixel % g.columns * g.stride_x + kx * g.dilation_x - g.left;
            unsigned rest = pixel / g.columns;
            int y = rest % g.rows * g.stride_y + ky * g.dilation_y - g.top;
            if (y < 0 || y >= g.height || x < 0 || x >= g.width)
                continue;
            unsigned at = (rest / g.rows * g.height + y) * g.width + x;
            sum += images[at * g.channels + output / multiplier] * dz[pixel * outputs + output];
        }
    }
    of_thread[thread] = sum;
    for (unsigned half = BLOCK / 2; half >= width; half /= 2) {
        __syncthreads();
        if (thread < half)
            of_thread[thread] += of_thread[thread + half];
    }
    if (thread < width && output < outputs) {
        unsigned cells = g.window_height * g.window_width;
        sums[(blockIdx.y * cells + cell) * outputs + output] = of_thread[thread];
    }
}
