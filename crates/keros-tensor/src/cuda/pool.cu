// Max and average pools: a thread for each value, neighbouring threads have neighbouring channels.
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

// NaN wins, and otherwise the first of equals.
template <class Index>
static __device__ void max_pool(const float *images, float *out, Index *argmax, const Window &g, unsigned n) {
    FOR_EACH_INDEX(i, n) {
        unsigned channel = i % g.channels;
        Cells cells(g, i / g.channels);
        float largest = 0;
        int of = -1;
        for (int row = cells.first_row; row < cells.end_row; row++)
            for (int column = cells.first_column; column < cells.end_column; column++) {
                float value = images[cells.pixel(g, row, column) * g.channels + channel];
                if (of < 0 || value > largest || value != value) {
                    largest = value;
                    of = row * g.window_width + column;
                }
            }
        out[i] = largest;
        argmax[i] = of;
    }
}

// Each input asks the windows that it is in, in their order.
template <class Index>
static __device__ void max_pool_gradient(const float *dy, const Index *argmax, float *dx, const Window &g,
                                         unsigned n) {
    FOR_EACH_INDEX(i, n) {
        unsigned channel = i % g.channels, pixel = i / g.channels;
        int x = pixel % g.width;
        pixel /= g.width;
        int y = pixel % g.height;
        unsigned image = pixel / g.height;
        Windows rows(y, g.top, g.window_height, g.stride_y, g.rows);
        Windows columns(x, g.left, g.window_width, g.stride_x, g.columns);
        float sum = 0;
        for (int row = rows.first; row <= rows.last; row++)
            for (int column = columns.first; column <= columns.last; column++) {
                unsigned at = ((image * g.rows + row) * g.columns + column) * g.channels + channel;
                unsigned cell_y = y + g.top - row * g.stride_y, cell_x = x + g.left - column * g.stride_x;
                if (argmax[at] == (Index)(cell_y * g.window_width + cell_x))
                    sum += dy[at];
            }
        dx[i] = sum;
    }
}

KERNEL(max_pool_u8, (const float *x, float *y, unsigned char *argmax, Window g, unsigned n)) {
    max_pool(x, y, argmax, g, n);
}
KERNEL(max_pool_u32, (const float *x, float *y, unsigned *argmax, Window g, unsigned n)) { max_pool(x, y, argmax, g, n); }
KERNEL(max_pool_gradient_u8, (const float *dy, const unsigned char *argmax, float *dx, Window g, unsigned n)) {
    max_pool_gradient(dy, argmax, dx, g, n);
}
KERNEL(max_pool_gradient_u32, (const float *dy, const unsigned *argmax, float *dx, Window g, unsigned n)) {
    max_pool_gradient(dy, argmax, dx, g, n);
}

KERNEL(average_pool_f32, (const float *images, float *out, Window g, unsigned n)) {
    FOR_EACH_INDEX(i, n) {
        unsigned channel = i % g.channels;
        Cells cells(g, i / g.channels);
        float sum = 0;
        for (int row = cells.first_row; row < cells.end_row; row++)
            for (int column = cells.first_column; column < cells.end_column; column++)
                sum += images[cells.pixel(g, row, column) * g.channels + channel];
        out[i] = sum / ((cells.end_row - cells.first_row) * (cells.end_column - cells.first_column));
    }
}
KERNEL(average_pool_gradient_f32, (const float *dy, float *dx, Window g, unsigned n)) {
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
}
