// Weight gradients of convolutions whose windows hold few values, as those of a first layer do: matrix products with so
// few rows that libraries leave most of the GPU idle.
#include "values.cuh"
#include "window.cuh"

// Cells of a window, with the one for the bias, and channels that a block handles; lanes of a warp.
#define SIDE 32
#define WARPS (BLOCK / SIDE)
// Output pixels that a warp handles at once.
#define PIXELS 4

namespace {

struct Tile {
    // Of each warp and pixel: what its window sees, and its gradient. Read in fours.
    __align__(16) float cells[WARPS][PIXELS][SIDE];
    __align__(16) float gradient[WARPS][PIXELS][SIDE];
};

} // namespace

// A block adds up `part` pixels for the channels of its column of the grid. Each warp takes every so manyth pixel: a
// lane fetches one cell and one channel of it, and then adds products of eight cells and four channels. After the cells
// of a window there is a one, whose products are the gradient of the bias.
//
// With `y`, gradients count where that is positive.
template <bool MASKED, class T>
static __device__ __forceinline__ void sum_products(const T *x, const T *y, const T *dy, float *weights, float *bias,
                                                    const Window &g, unsigned outputs, unsigned pixels, unsigned part,
                                                    Tile &tile) {
    unsigned lane = threadIdx.x % SIDE, warp = threadIdx.x / SIDE;
    unsigned cells = g.window_height * g.window_width * g.channels, output = blockIdx.x * SIDE + lane;
    // Where this lane's cell is, from where a window begins; what is no cell is far from every image.
    int cell_y = lane < cells ? (int)(lane / g.channels / g.window_width) * g.dilation_y - g.top : INT_MIN;
    int cell_x = (int)(lane / g.channels % g.window_width) * g.dilation_x - g.left;
    int cell = (int)(((unsigned)cell_y * g.width + cell_x) * g.channels + lane % g.channels);
    float otherwise = lane == cells ? 1.0f : 0.0f;
    unsigned first = blockIdx.y * part, last = min(pixels, first + part), pixel = first + warp;
    int column = pixel % g.columns, row = pixel / g.columns % g.rows;
    unsigned image = pixel / g.columns / g.rows;
    unsigned my_cells = lane / 8 * 8, my_outputs = lane % 8 * 4;
    float sums[8][4] = {};
    while (pixel < last) {
        // All is read before any of it is used, and what is not there is read elsewhere: nothing waits in between.
        T seen[PIXELS], above[PIXELS], result[PIXELS];
        unsigned is_seen = 0, is_there = 0;
#pragma unroll
        for (int i = 0; i < PIXELS; i++) {
            int y_of_window = row * g.stride_y, x_of_window = column * g.stride_x;
            bool counts = pixel < last;
            bool sees = counts && (unsigned)(y_of_window + cell_y) < (unsigned)g.height &&
                        (unsigned)(x_of_window + cell_x) < (unsigned)g.width;
            bool has = counts && output < outputs;
            int window = ((image * g.height + y_of_window) * g.width + x_of_window) * g.channels;
            seen[i] = x[sees ? window + cell : 0];
            unsigned at = has ? pixel * outputs + output : 0;
            above[i] = dy[at];
            if (MASKED)
                result[i] = y[at];
            is_seen |= (unsigned)sees << i;
            is_there |= (unsigned)has << i;
            pixel += WARPS;
            for (column += WARPS; column >= g.columns; column -= g.columns)
                if (++row == g.rows) {
                    row = 0;
                    image++;
                }
        }
        __syncwarp();
#pragma unroll
        for (int i = 0; i < PIXELS; i++) {
            bool counts = is_there >> i & 1 && (!MASKED || (float)result[i] > 0);
            tile.cells[warp][i][lane] = is_seen >> i & 1 ? (float)seen[i] : otherwise;
            tile.gradient[warp][i][lane] = counts ? (float)above[i] : 0.0f;
        }
        __syncwarp();
#pragma unroll
        for (int i = 0; i < PIXELS; i++) {
            Four<float> a[2], b = *(const Four<float> *)&tile.gradient[warp][i][my_outputs];
            for (int half = 0; half < 2; half++)
                a[half] = *(const Four<float> *)&tile.cells[warp][i][my_cells + 4 * half];
            for (int j = 0; j < 8; j++)
                for (int k = 0; k < 4; k++)
                    sums[j][k] = fmaf(a[j / 4].at[j % 4], b.at[k], sums[j][k]);
        }
    }
    // The warps add up one after the other.
    static_assert(WARPS * PIXELS >= SIDE, "the sums of all need as much room as the cells");
    auto *total = (float (*)[SIDE])tile.cells;
    for (unsigned turn = 0; turn < WARPS; turn++) {
        __syncthreads();
        if (turn == warp)
            for (int j = 0; j < 8; j++)
                for (int k = 0; k < 4; k++) {
                    float &sum = total[my_cells + j][my_outputs + k];
                    sum = turn ? sum + sums[j][k] : sums[j][k];
                }
    }
    __syncthreads();
    if (output < outputs)
        for (unsigned cell = warp; cell <= cells; cell += WARPS) {
            if (cell < cells)
                weights[(blockIdx.y * cells + cell) * outputs + output] = total[cell][lane];
            else if (bias)
                bias[blockIdx.y * outputs + output] = total[cell][lane];
        }
}

KERNELS(small_window_gradient, (const T *x, const T *y, const T *dy, float *weights, float *bias, Window g,
                                unsigned outputs, unsigned pixels, unsigned part), {
    __shared__ Tile tile;
    if (y)
        sum_products<true, T>(x, y, dy, weights, bias, g, outputs, pixels, part, tile);
    else
        sum_products<false, T>(x, y, dy, weights, bias, g, outputs, pixels, part, tile);
})
