// cuDNN, as far as keros calls it: convolutions with plain loops, channels last, summed in single precision.
//
// With KEROS_EMULATOR_NO_CONVOLUTIONS it has a way for none. Otherwise it offers five algorithms, of which only the
// last two fit all that keros asks for; another one does not run. The last takes less memory.
#include "driver.hpp"
#include "values.hpp"

namespace {

enum { OK = 0, BAD = 2000, NULL_POINTER = 2002, TOO_SMALL = 2006, UNSUPPORTED = 3000, FAILED = 5000 };
enum { FLOAT = 0, HALF = 2, BFLOAT16 = 9, CHANNELS_LAST = 1, CROSS_CORRELATION = 1, FMA = 3 };

struct Handle {
    void *stream = nullptr;
};
struct Tensor {
    int format, type, n, c, h, w;
};
struct Filter {
    int type, format, k, c, h, w;
};
struct Convolution {
    int pad_h, pad_w, stride_h, stride_w, dilation_h, dilation_w, mode, type, groups = 1, math = 0;
};

// cudnnConvolutionFwdAlgoPerf_t, and the same for the other directions.
struct Answer {
    int algorithm, status;
    float milliseconds;
    size_t bytes;
    int deterministic, math, reserved[3];
};

constexpr int LARGER = 4, SMALLER = 5;
constexpr size_t BYTES = 64 << 10, MORE_BYTES = 1 << 20;

int outputs(int length, int pad, int window, int stride, int dilation) {
    return (length + 2 * pad - ((window - 1) * dilation + 1)) / stride + 1;
}

int check(const Tensor *x, const Filter *w, const Convolution *c, const Tensor *y) {
    if (!x || !w || !c || !y)
        return NULL_POINTER;
    bool known = x->type == FLOAT || x->type == HALF || x->type == BFLOAT16;
    bool right_kinds = known && y->type == x->type && w->type == x->type && c->type == FLOAT &&
                       x->format == CHANNELS_LAST && y->format == CHANNELS_LAST && w->format == CHANNELS_LAST &&
                       c->mode == CROSS_CORRELATION;
    bool right_sizes = c->groups > 0 && x->n == y->n && x->c == w->c * c->groups && y->c == w->k &&
                       w->k % c->groups == 0 &&
                       y->h == outputs(x->h, c->pad_h, w->h, c->stride_h, c->dilation_h) &&
                       y->w == outputs(x->w, c->pad_w, w->w, c->stride_w, c->dilation_w);
    if (!right_kinds || !right_sizes)
        return BAD;
    return getenv("KEROS_EMULATOR_NO_CONVOLUTIONS") ? UNSUPPORTED : OK;
}

int answer(int status, const Convolution *c, int most, int *count, Answer *answers) {
    if (status)
        return status;
    Answer all[] = {
        {1, OK, 1, BYTES, 0, c->math, {}},            // not the same numbers each time
        {2, UNSUPPORTED, 2, BYTES, 1, c->math, {}},   // not there
        {3, OK, 3, size_t(1) << 40, 1, c->math, {}},  // too large
        {LARGER, OK, 4, MORE_BYTES, 1, c->math, {}},
        {SMALLER, OK, 5, BYTES, 1, c->math, {}},
    };
    *count = std::min(most, 5);
    std::copy(all, all + *count, answers);
    return OK;
}

int workspace(int status, int algorithm, size_t *bytes) {
    *bytes = algorithm == 3 ? size_t(1) << 40 : algorithm == LARGER ? MORE_BYTES : BYTES;
    return status;
}

// Calls `visit` with the places in x, w and y of each product.
template <class F>
void products(const Tensor &x, const Filter &w, const Convolution &c, const Tensor &y, F visit) {
    int of_group = w.k / c.groups;
    for (int n = 0; n < y.n; n++)
        for (int row = 0; row < y.h; row++)
            for (int column = 0; column < y.w; column++)
                for (int ky = 0; ky < w.h; ky++)
                    for (int kx = 0; kx < w.w; kx++) {
                        int from_y = row * c.stride_h + ky * c.dilation_h - c.pad_h;
                        int from_x = column * c.stride_w + kx * c.dilation_w - c.pad_w;
                        if (from_y < 0 || from_y >= x.h || from_x < 0 || from_x >= x.w)
                            continue;
                        size_t input = ((size_t)n * x.h + from_y) * x.w + from_x;
                        size_t output = ((size_t)n * y.h + row) * y.w + column;
                        for (int k = 0; k < w.k; k++) {
                            size_t filter = (((size_t)k * w.h + ky) * w.w + kx) * w.c;
                            for (int i = 0; i < w.c; i++)
                                visit(input * x.c + k / of_group * w.c + i, filter + i, output * y.c + k);
                        }
                    }
}

size_t elements(const Tensor &t) { return (size_t)t.n * t.c * t.h * t.w; }
size_t elements(const Filter &w) { return (size_t)w.k * w.c * w.h * w.w; }

// Which of the three is computed.
enum Result { X, W, Y };

int run(Handle *handle, const void *alpha, const Tensor *x, const void *x_data, const Filter *w, const void *w_data,
        const Convolution *c, const Tensor *y, const void *y_data, int algorithm, void *memory, size_t bytes,
        const void *beta, Result result) {
    std::lock_guard<std::recursive_mutex> lock(driver_mutex());
    if (int status = check(x, w, c, y))
        return status;
    if (!x_data || !w_data || !y_data || !memory)
        return NULL_POINTER;
    if (bytes < (algorithm == LARGER ? MORE_BYTES : BYTES))
        return TOO_SMALL;
    if ((algorithm != LARGER && algorithm != SMALLER) || *(const float *)alpha != 1 || *(const float *)beta != 0)
        return FAILED;
    stream_of(handle->stream).add([=, x = *x, w = *w, c = *c, y = *y] {
        memset(memory, 0xff, bytes);
        Values::Type type = x.type == FLOAT ? Values::FLOAT : x.type == HALF ? Values::HALF : Values::BFLOAT16;
        Values of_x{(void *)x_data, type}, of_w{(void *)w_data, type}, of_y{(void *)y_data, type};
        std::vector<float> sums(result == X ? elements(x) : result == W ? elements(w) : elements(y));
        products(x, w, c, y, [&](size_t i, size_t j, size_t k) {
            if (result == X)
                sums[i] += of_w.get(j) * of_y.get(k);
            else if (result == W)
                sums[j] += of_x.get(i) * of_y.get(k);
            else
                sums[k] += of_x.get(i) * of_w.get(j);
        });
        const Values &to = result == X ? of_x : result == W ? of_w : of_y;
        for (size_t i = 0; i < sums.size(); i++)
            to.set(i, sums[i]);
    });
    return OK;
}

template <class T> int destroy(T *it) {
    delete it;
    return OK;
}

} // namespace

extern "C" {

int cudnnCreate(Handle **handle) { *handle = new Handle(); return OK; }
int cudnnDestroy(Handle *handle) { return destroy(handle); }
int cudnnSetStream(Handle *handle, void *stream) { handle->stream = stream; return OK; }
const char *cudnnGetErrorString(int status) {
    return status == BAD            ? "CUDNN_STATUS_BAD_PARAM"
           : status == NULL_POINTER ? "CUDNN_STATUS_BAD_PARAM_NULL_POINTER"
           : status == TOO_SMALL    ? "CUDNN_STATUS_BAD_PARAM_SIZE_INSUFFICIENT"
           : status == UNSUPPORTED  ? "CUDNN_STATUS_NOT_SUPPORTED"
                                    : "CUDNN_STATUS_EXECUTION_FAILED";
}

int cudnnCreateTensorDescriptor(Tensor **tensor) { *tensor = new Tensor(); return OK; }
int cudnnDestroyTensorDescriptor(Tensor *tensor) { return destroy(tensor); }
int cudnnSetTensor4dDescriptor(Tensor *tensor, int format, int type, int n, int c, int h, int w) {
    *tensor = {format, type, n, c, h, w};
    return n > 0 && c > 0 && h > 0 && w > 0 ? OK : BAD;
}
int cudnnCreateFilterDescriptor(Filter **filter) { *filter = new Filter(); return OK; }
int cudnnDestroyFilterDescriptor(Filter *filter) { return destroy(filter); }
int cudnnSetFilter4dDescriptor(Filter *filter, int type, int format, int k, int c, int h, int w) {
    *filter = {type, format, k, c, h, w};
    return k > 0 && c > 0 && h > 0 && w > 0 ? OK : BAD;
}
int cudnnCreateConvolutionDescriptor(Convolution **convolution) { *convolution = new Convolution(); return OK; }
int cudnnDestroyConvolutionDescriptor(Convolution *convolution) { return destroy(convolution); }
int cudnnSetConvolution2dDescriptor(Convolution *it, int pad_h, int pad_w, int stride_h, int stride_w, int dilation_h,
                                    int dilation_w, int mode, int type) {
    *it = {pad_h, pad_w, stride_h, stride_w, dilation_h, dilation_w, mode, type};
    return pad_h >= 0 && pad_w >= 0 && stride_h > 0 && stride_w > 0 && dilation_h > 0 && dilation_w > 0 ? OK : BAD;
}
int cudnnSetConvolutionGroupCount(Convolution *convolution, int groups) { convolution->groups = groups; return OK; }
int cudnnSetConvolutionMathType(Convolution *convolution, int math) {
    convolution->math = math;
    return math >= 0 && math <= FMA ? OK : BAD;
}

int cudnnGetConvolutionForwardAlgorithm_v7(Handle *, Tensor *x, Filter *w, Convolution *c, Tensor *y, int most,
                                           int *count, Answer *answers) {
    return answer(check(x, w, c, y), c, most, count, answers);
}
int cudnnGetConvolutionBackwardDataAlgorithm_v7(Handle *, Filter *w, Tensor *y, Convolution *c, Tensor *x, int most,
                                                int *count, Answer *answers) {
    return answer(check(x, w, c, y), c, most, count, answers);
}
int cudnnGetConvolutionBackwardFilterAlgorithm_v7(Handle *, Tensor *x, Tensor *y, Convolution *c, Filter *w, int most,
                                                  int *count, Answer *answers) {
    return answer(check(x, w, c, y), c, most, count, answers);
}
int cudnnGetConvolutionForwardWorkspaceSize(Handle *, Tensor *x, Filter *w, Convolution *c, Tensor *y, int algorithm,
                                            size_t *bytes) {
    return workspace(check(x, w, c, y), algorithm, bytes);
}
int cudnnGetConvolutionBackwardDataWorkspaceSize(Handle *, Filter *w, Tensor *y, Convolution *c, Tensor *x,
                                                 int algorithm, size_t *bytes) {
    return workspace(check(x, w, c, y), algorithm, bytes);
}
int cudnnGetConvolutionBackwardFilterWorkspaceSize(Handle *, Tensor *x, Tensor *y, Convolution *c, Filter *w,
                                                   int algorithm, size_t *bytes) {
    return workspace(check(x, w, c, y), algorithm, bytes);
}

int cudnnConvolutionForward(Handle *handle, const void *alpha, Tensor *x, const void *x_data, Filter *w,
                            const void *w_data, Convolution *c, int algorithm, void *memory, size_t bytes,
                            const void *beta, Tensor *y, void *y_data) {
    return run(handle, alpha, x, x_data, w, w_data, c, y, y_data, algorithm, memory, bytes, beta, Y);
}
int cudnnConvolutionBackwardData(Handle *handle, const void *alpha, Filter *w, const void *w_data, Tensor *y,
                                 const void *y_data, Convolution *c, int algorithm, void *memory, size_t bytes,
                                 const void *beta, Tensor *x, void *x_data) {
    return run(handle, alpha, x, x_data, w, w_data, c, y, y_data, algorithm, memory, bytes, beta, X);
}
int cudnnConvolutionBackwardFilter(Handle *handle, const void *alpha, Tensor *x, const void *x_data, Tensor *y,
                                   const void *y_data, Convolution *c, int algorithm, void *memory, size_t bytes,
                                   const void *beta, Filter *w, void *w_data) {
    return run(handle, alpha, x, x_data, w, w_data, c, y, y_data, algorithm, memory, bytes, beta, W);
}
}
