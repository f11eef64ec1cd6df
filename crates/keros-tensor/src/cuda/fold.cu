// Images and filters of convolutions that step by more than one pixel, folded so that they step by one: the pixels of a
// step lie side by side as channels, [row of the step][column of the step][channel].
#include "values.cuh"
#include "window.cuh"

// The folded images, `channels` of them a pixel, a multiple of 4: four values are written at once. What no pixel and no
// channel is for is 0.
KERNELS(fold_images,
        (const T *images, Four<T> *folded, Window g, unsigned rows, unsigned columns, unsigned channels, unsigned n), {
    // A row of a step is a part of a row of the image.
    int run = g.stride_x * g.channels, width = g.width * g.channels;
    FOR_EACH_INDEX(i, n) {
        unsigned first = i % (channels / 4) * 4, pixel = i / (channels / 4);
        int column = pixel % columns;
        pixel /= columns;
        int row = pixel % rows, image = pixel / rows;
        int step = first / run, at = first % run;
        int x = (column * g.stride_x - g.left) * g.channels, y = row * g.stride_y - g.top;
        const T *pixels = images + (long long)image * g.height * width;
        Four<T> four;
        for (int j = 0; j < 4; j++) {
            bool is_inside = step < g.stride_y && y + step >= 0 && y + step < g.height && x + at >= 0 && x + at < width;
            four.at[j] = is_inside ? pixels[(y + step) * width + x + at] : T(0.0f);
            if (++at == run) {
                at = 0;
                step++;
            }
        }
        folded[i] = four;
    }
})

// Where the weight number `i` lies in the folded filter.
static __device__ unsigned folded_at(unsigned i, const Window &g, unsigned outputs, unsigned channels) {
    unsigned output = i % outputs;
    i /= outputs;
    unsigned channel = i % g.channels;
    i /= g.channels;
    unsigned column = i % g.window_width, row = i / g.window_width;
    unsigned columns = (g.window_width + g.stride_x - 1) / g.stride_x;
    unsigned cell = row / g.stride_y * columns + column / g.stride_x;
    unsigned place = (row % g.stride_y * g.stride_x + column % g.stride_x) * g.channels + channel;
    return (cell * channels + place) * outputs + output;
}

// The other places of the folded filter are 0.
KERNEL(fold_filter, (const float *w, float *folded, Window g, unsigned outputs, unsigned channels, unsigned n)) {
    FOR_EACH_INDEX(i, n) folded[folded_at(i, g, outputs, channels)] = w[i];
}

KERNEL(unfold_filter, (const float *folded, float *w, Window g, unsigned outputs, unsigned channels, unsigned n)) {
    FOR_EACH_INDEX(i, n) w[i] = folded[folded_at(i, g, outputs, channels)];
}
