// Weight gradients of convolutions with few channels, by tensor cores in TF32: products of very long matrices whose
// result is small, over which the kernels of libraries lose most of their time. For GPUs from compute capability 8.0 on.
#include "values.cuh"
#include "window.cuh"

// Channels of inputs and of outputs that a warp handles.
#define SIDE 32
// Cells of a window that a warp handles, and warps of a block that handle other cells.
#define CELLS 3
#define GROUPS 3
// Warps of a block that handle other pixels, and pixels that each of them takes at once.
#define LANES 4
#define STEP 8
#define THREADS (32 * GROUPS * LANES)

namespace {

// TF32 has the exponent of a float and 10 bits of its mantissa: tensor cores cut off the others. Half of the last digit
// on average, 0.35 to 0.69 of it, is added first, so that what is cut off is nothing on average; what fits into TF32
// stays as it is.
__device__ __forceinline__ unsigned for_tf32(float x) { return __float_as_uint(x * 1.000338f); }

// Adds to 16×8 sums the products of 16 rows and 8 columns, 8 for each sum. Of lane 4 * g + t, `a` has rows g and g + 8
// at place t, then both at place t + 4, and `b` column g at places t and t + 4; `d` has columns 2 * t and 2 * t + 1 of
// row g, then of row g + 8.
__device__ __forceinline__ void add_products(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
#ifdef __CUDACC__
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
    // The emulated GPU has no tensor cores.
    unsigned lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    auto of_lane = [](unsigned word, unsigned from) {
        return __uint_as_float(__shfl_sync(FULL_WARP, word, from) & 0xffffe000);
    };
    for (unsigned k = 0; k < 8; k++) {
        unsigned half = k / 4, at = k % 4;
        float above = of_lane(a[2 * half], 4 * g + at), below = of_lane(a[2 * half + 1], 4 * g + at);
        float left = of_lane(b[half], 8 * t + at), right = of_lane(b[half], 8 * t + 4 + at);
        d[0] += above * left;
        d[1] += above * right;
        d[2] += below * left;
        d[3] += below * right;
    }
#endif
}

// Where a pixel of the output is.
struct Pixel {
    unsigned at, image;
    int row, column;

    __device__ Pixel(const Window &g, unsigned pixel) {
        at = pixel;
        column = pixel % g.columns;
        pixel /= g.columns;
        row = pixel % g.rows;
        image = pixel / g.rows;
    }
    __device__ __forceinline__ void advance(const Window &g) {
        at += LANES * STEP;
        for (column += LANES * STEP; column >= g.columns; column -= g.columns)
            if (++row == g.rows) {
                row = 0;
                image++;
            }
    }
};

// Some cells of the window, from where it begins.
struct Cells {
    int y[CELLS], x[CELLS], distance[CELLS];

    __device__ Cells(const Window &g, unsigned first) {
        unsigned count = g.window_height * g.window_width;
        for (int c = 0; c < CELLS; c++) {
            // What is no cell is far from every image.
            y[c] = first + c < count ? (int)((first + c) / g.window_width) * g.dilation_y - g.top : INT_MIN;
            x[c] = (int)((first + c) % g.window_width) * g.dilation_x - g.left;
            distance[c] = (int)(((unsigned)y[c] * g.width + x[c]) * g.channels);
        }
    }
};

// What a thread has of the factors: its four channels of two pixels, as the cells see them, and their gradients.
struct Factors {
    Four<float> inputs[CELLS][2], gradients[2];

    __device__ __forceinline__ void fetch(const float *x, const float *dy, const Window &g, unsigned outputs,
                                          const Cells &cells, const Pixel *pixels, unsigned last) {
        for (int i = 0; i < 2; i++) {
            const Pixel &pixel = pixels[i];
            bool counts = pixel.at < last;
            gradients[i] = {};
            if (counts)
                gradients[i] = *(const Four<float> *)(dy + pixel.at * outputs);
            int row = pixel.row * g.stride_y, column = pixel.column * g.stride_x;
            int window = ((pixel.image * g.height + row) * g.width + column) * g.channels;
            for (int c = 0; c < CELLS; c++) {
                inputs[c][i] = {};
                if (counts && (unsigned)(row + cells.y[c]) < (unsigned)g.height &&
                    (unsigned)(column + cells.x[c]) < (unsigned)g.width)
                    inputs[c][i] = *(const Four<float> *)(x + window + cells.distance[c]);
            }
        }
    }
};

} // namespace

// A block adds up `part` pixels for 32 channels of inputs and of outputs, and nine cells of the window. The sums of
// each part are laid out as the weights are. Channels come in steps of 32.
//
// Rows and columns of the small products are channels in an order in which a thread needs four neighbours.
KERNEL_OF(THREADS, weight_gradient,
          (const float *x, const float *dy, float *sums, Window g, unsigned outputs, unsigned pixels, unsigned part)) {
    __shared__ float of_others[GROUPS][CELLS * 32][32];
    unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32, row = lane / 4, column = lane % 4;
    unsigned group = warp % GROUPS, lane_of_pixels = warp / GROUPS;
    unsigned tiles = outputs / SIDE, first_input = blockIdx.x / tiles * SIDE, first_output = blockIdx.x % tiles * SIDE;
    unsigned first_cell = (blockIdx.z * GROUPS + group) * CELLS;
    unsigned first = blockIdx.y * part, last = min(pixels, first + part);
    first += lane_of_pixels * STEP;
    Cells cells(g, first_cell);
    Pixel mine[2] = {Pixel(g, first + column), Pixel(g, first + column + 4)};
    x += first_input + 4 * row;
    dy += first_output + 4 * row;

    float d[CELLS][2][4][4] = {};
    Factors factors;
    factors.fetch(x, dy, g, outputs, cells, mine, last);
    for (unsigned at = first; at < last; at += LANES * STEP) {
        mine[0].advance(g);
        mine[1].advance(g);
        // On their way while the last ones are multiplied.
        Factors next;
        next.fetch(x, dy, g, outputs, cells, mine, last);
        unsigned b[4][2];
        for (int n = 0; n < 4; n++)
            for (int half = 0; half < 2; half++)
                b[n][half] = for_tf32(factors.gradients[half].at[n]);
        for (int c = 0; c < CELLS; c++)
            for (int m = 0; m < 2; m++) {
                unsigned a[4];
                for (int k = 0; k < 4; k++)
                    a[k] = for_tf32(factors.inputs[c][k / 2].at[2 * m + k % 2]);
                for (int n = 0; n < 4; n++)
                    add_products(d[c][m][n], a, b[n]);
            }
        factors = next;
    }

    // The first warp of each group adds up what the others have.
    for (unsigned turn = 1; turn < LANES; turn++) {
        __syncthreads();
        if (lane_of_pixels == turn)
            for (int i = 0; i < CELLS * 32; i++)
                of_others[group][i][lane] = d[i / 32][i / 16 % 2][i / 4 % 4][i % 4];
        __syncthreads();
        if (lane_of_pixels == 0)
            for (int i = 0; i < CELLS * 32; i++)
                d[i / 32][i / 16 % 2][i / 4 % 4][i % 4] += of_others[group][i][lane];
    }
    if (lane_of_pixels > 0)
        return;
    unsigned count = g.window_height * g.window_width;
    for (int c = 0; c < CELLS; c++)
        for (int m = 0; m < 2; m++)
            for (int k = 0; k < 4; k++) {
                unsigned cell = first_cell + c, input = first_input + 4 * row + 2 * m + k / 2;
                unsigned output = first_output + 4 * (2 * column + k % 2);
                Four<float> four;
                for (int n = 0; n < 4; n++)
                    four.at[n] = d[c][m][n][k];
                unsigned at = ((blockIdx.y * count + cell) * g.channels + input) * outputs + output;
                if (cell < count)
                    *(Four<float> *)(sums + at) = four;
            }
}
