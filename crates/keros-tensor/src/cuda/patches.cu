// Convolutions as matrix products: a row of patches for each output pixel, [group][row][column][channel] of what it
// sees, and back.
#include "window.cuh"

// Neighbouring threads copy neighbouring channels. All counts of channels are those of V.
template <class V>
static __device__ void gather(const V *images, V *patches, const Window &g, unsigned groups, unsigned n) {
    unsigned channels = g.channels / groups;
    FOR_EACH_INDEX(i, n) {
        unsigned channel = i % channels, rest = i / channels;
        int kx = rest % g.window_width;
        rest /= g.window_width;
        int ky = rest % g.window_height;
        rest /= g.window_height;
        unsigned group = rest % groups, pixel = rest / groups;
        int x = pixel % g.columns * g.stride_x + kx * g.dilation_x - g.left;
        pixel /= g.columns;
        int y = pixel % g.rows * g.stride_y + ky * g.dilation_y - g.top;
        unsigned image = pixel / g.rows;
        V value = {};
        if (y >= 0 && y < g.height && x >= 0 && x < g.width)
            value = images[((image * g.height + y) * g.width + x) * g.channels + group * channels + channel];
        patches[i] = value;
    }
}

// Each input collects what it has in all patches: no two threads write to one place, and the order is fixed.
template <class V>
static __device__ void collect(const V *patches, V *images, const Window &g, unsigned groups, unsigned n) {
    unsigned channels = g.channels / groups;
    FOR_EACH_INDEX(i, n) {
        unsigned channel = i % g.channels, pixel = i / g.channels;
        unsigned group = channel / channels;
        channel %= channels;
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
                unsigned patch = ((image * g.rows + row) * g.columns + column) * groups + group;
                unsigned cell = (patch * g.window_height + ky) * g.window_width + kx;
                add(sum, patches[cell * channels + channel]);
            }
        }
        images[i] = sum;
    }
}

KERNEL(gather_patches_f32, (const float *images, float *patches, Window g, unsigned groups, unsigned n)) {
    gather(images, patches, g, groups, n);
}
KERNEL(gather_patches_by_4_f32, (const float4 *images, float4 *patches, Window g, unsigned groups, unsigned n)) {
    gather(images, patches, g, groups, n);
}
KERNEL(collect_patches_f32, (const float *patches, float *images, Window g, unsigned groups, unsigned n)) {
    collect(patches, images, g, groups, n);
}
KERNEL(collect_patches_by_4_f32, (const float4 *patches, float4 *images, Window g, unsigned groups, unsigned n)) {
    collect(patches, images, g, groups, n);
}
