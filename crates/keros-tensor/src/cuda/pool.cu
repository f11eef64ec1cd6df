// Max and average pools: a thread for each value, neighbouring threads have neighbouring channels.
#include "values.cuh"
#include "window.cuh"

namespace {

// The cells of the window at output pixel `pixel` that lie inside the image.
struct Cells {
    // Where the window begins.
    int y, x;
    int first_row, end_row, first_column, end_column;
    unsigned image;

    __device__ Cells(const Window &g, unsigned pixel) {
        x = pixel % g.columns * g.stride_x - g.left;
        pixel /= g.columns;
        y = pixel % g.rows * g.stride_y - g.top;
        image = pixel / g.rows;
        first_row = max(0, -y);
        end_row = min(g.window_height, g.height - y);
        first_column = max(0, -x);
        end_column = min(g.window_width, g.width - x);
    }
    __device__ unsigned pixel(const Window &g, int row, int column) const {
        return (image * g.height + y + row) * g.width + x + column;
    }
};

// The windows of an axis that have a cell at `at`.
struct Windows {
    int first, last;

    __device__ Windows(int at, int before, int window, int stride, int windows) {
        int beyond = at + before - window;
        first = beyond < 0 ? 0 : beyond / stride + 1;
        last = min(windows - 1, (at + before) / stride);
    }
};

// How many cells of a window that begins at `start` lie inside an axis.
__device__ int inside(int start, int window, int length) { return min(window, length - start) - max(start, 0) + start; }

} // namespace

// NaN wins, and otherwise the first of equals. `N` channels at once: `n` and those of `g` are in such units.
template <int N, class T, class Index>
static __device__ void max_pool(const T *images, T *out, Index *argmax, const Window &g, unsigned n) {
    auto *x = (const Pack<T, N> *)images;
    FOR_EACH_INDEX(i, n) {
        unsigned channel = i % g.channels;
        Cells cells(g, i / g.channels);
        float largest[N];
        int of[N];
        for (int k = 0; k < N; k++)
            of[k] = -1;
        for (int row = cells.first_row; row < cells.end_row; row++)
            for (int column = cells.first_column; column < cells.end_column; column++) {
                Pack<T, N> values = x[cells.pixel(g, row, column) * g.channels + channel];
                for (int k = 0; k < N; k++) {
                    float value = values.at[k];
                    if (of[k] < 0 || value > largest[k] || value != value) {
                        largest[k] = value;
                        of[k] = row * g.window_width + column;
                    }
                }
            }
        Pack<T, N> found;
        Pack<Index, N> at;
        for (int k = 0; k < N; k++) {
            found.at[k] = of[k] < 0 ? 0.0f : largest[k];
            at.at[k] = (Index)of[k];
        }
        ((Pack<T, N> *)out)[i] = found;
        ((Pack<Index, N> *)argmax)[i] = at;
    }
}

// Each input asks the windows that it is in, in their order.
template <int N, class T, class Index>
static __device__ void max_pool_gradient(const T *gradients, const Index *argmax, T *dx, const Window &g, unsigned n) {
    auto *dy = (const Pack<T, N> *)gradients;
    auto *winners = (const Pack<Index, N> *)argmax;
    FOR_EACH_INDEX(i, n) {
        unsigned channel = i % g.channels, pixel = i / g.channels;
        int x = pixel % g.width;
        pixel /= g.width;
        int y = pixel % g.height;
        unsigned image = pixel / g.height;
        Windows rows(y, g.top, g.window_height, g.stride_y, g.rows);
        Windows columns(x, g.left, g.window_width, g.stride_x, g.columns);
        float sums[N] = {};
        for (int row = rows.first; row <= rows.last; row++)
            for (int column = columns.first; column <= columns.last; column++) {
                unsigned at = ((image * g.rows + row) * g.columns + column) * g.channels + channel;
                unsigned cell_y = y + g.top - row * g.stride_y, cell_x = x + g.left - column * g.stride_x;
                Index cell = (Index)(cell_y * g.window_width + cell_x);
                Pack<Index, N> winner = winners[at];
                Pack<T, N> gradient = dy[at];
                for (int k = 0; k < N; k++)
                    if (winner.at[k] == cell)
                        sums[k] += gradient.at[k];
            }
        Pack<T, N> found;
        for (int k = 0; k < N; k++)
            found.at[k] = sums[k];
        ((Pack<T, N> *)dx)[i] = found;
    }
}

// By the type of the number of a cell in its window.
#define MAX_POOL(name, N, Index)                                                                   \
    KERNELS(max_pool_##name, (const T *x, T *y, Index *argmax, Window g, unsigned n), {            \
        max_pool<N>(x, y, argmax, g, n);                                                           \
    })                                                                                             \
    KERNELS(max_pool_gradient_##name, (const T *dy, const Index *argmax, T *dx, Window g, unsigned n), { \
        max_pool_gradient<N>(dy, argmax, dx, g, n);                                                \
    })

MAX_POOL(u8, 1, unsigned char)
MAX_POOL(u8_by_4, 4, unsigned char)
MAX_POOL(u32, 1, unsigned)

// A sum of sums of sums of 64: one of many thousands loses digits.
struct LongSum {
    float few = 0, some = 0, all = 0;
    unsigned count = 0;

    __device__ __forceinline__ void add(float value) {
        few += value;
        if (++count % 64)
            return;
        some += few;
        few = 0;
        if (count % (64 * 64))
            return;
        all += some;
        some = 0;
    }

    __device__ __forceinline__ float value() const {
        return all + some + few;
    }
};

KERNELS(average_pool, (const T *images, T *out, Window g, unsigned n), {
    FOR_EACH_INDEX(i, n) {
        unsigned channel = i % g.channels;
        Cells cells(g, i / g.channels);
        LongSum sum;
        for (int row = cells.first_row; row < cells.end_row; row++)
            for (int column = cells.first_column; column < cells.end_column; column++)
                sum.add(images[cells.pixel(g, row, column) * g.channels + channel]);
        out[i] = sum.value() / ((cells.end_row - cells.first_row) * (cells.end_column - cells.first_column));
    }
})
KERNELS(average_pool_gradient, (const T *dy, T *dx, Window g, unsigned n), {
    FOR_EACH_INDEX(i, n) {
        unsigned channel = i % g.channels, pixel = i / g.channels;
        int x = pixel % g.width;
        pixel /= g.width;
        int y = pixel % g.height;
        unsigned image = pixel / g.height;
        Windows rows(y, g.top, g.window_height, g.stride_y, g.rows);
        Windows columns(x, g.left, g.window_width, g.stride_x, g.columns);
        float sum = 0;
        for (int row = rows.first; row <= rows.last; row++) {
            int height = inside(row * g.stride_y - g.top, g.window_height, g.height);
            for (int column = columns.first; column <= columns.last; column++) {
                int cells = height * inside(column * g.stride_x - g.left, g.window_width, g.width);
                unsigned at = ((image * g.rows + row) * g.columns + column) * g.channels + channel;
                sum += dy[at] * (1.0f / cells);
            }
        }
        dx[i] = sum;
    }
})
