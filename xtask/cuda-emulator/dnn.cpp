// cuDNN, as far as keros calls it: graphs of a convolution that a bias and a ReLU may follow, with plain loops, channels
// last, summed in single precision.
//
// With KEROS_EMULATOR_NO_CONVOLUTIONS it has a way for none, and with KEROS_EMULATOR_SLOW_ENGINE the first that fits is slow
// and can be started as often as is needed to measure that. Otherwise it offers eight engines, for gradients another one
// without tensor cores, of which only the last two fit all that keros asks for; another one does not run. The last takes
// less memory. For values of 16 bits, what follows a convolution is done by engines that have to be compiled first, as on
// an H100, and a gradient is followed by nothing.
#include "driver.hpp"
#include "values.hpp"
#include <chrono>
#include <map>
#include <thread>

namespace {

enum { OK = 0, BAD = 2000, NULL_POINTER = 2002, MISALIGNED = 2003, UNSUPPORTED = 3000, UNSUPPORTED_PATTERN = 3001, FAILED = 5000 };
enum { FLOAT = 0, HALF = 2, BFLOAT16 = 9, CROSS_CORRELATION = 1, ADD = 0, RELU = 100 };

// cudnnBackendDescriptorType_t.
enum Kind {
    POINTWISE = 0, CONVOLUTION = 1, ENGINE = 2, CHOICE = 3, HEURISTIC = 4, PLAN = 5,
    FORWARD = 10, BACKWARD_FILTER = 11, BACKWARD_DATA = 12, FUNCTION = 13, GRAPH = 15, PACK = 16, TENSOR = 17
};

// cudnnBackendAttributeType_t, and the bytes of each.
enum Type { T_HANDLE, T_DATA, T_BOOL, T_INT64, T_FLOAT, T_DOUBLE, T_POINTER, T_CONVOLUTION, T_HEURISTIC, T_NAN = 10,
            T_NUMERICAL, T_POINTWISE = 14, T_DESCRIPTOR, T_BEHAVIOR = 19 };
size_t bytes_of(int type) {
    switch (type) {
    case T_BOOL: return 1;
    case T_HANDLE: case T_INT64: case T_DOUBLE: case T_POINTER: case T_DESCRIPTOR: return 8;
    default: return 4;
    }
}

// cudnnBackendAttributeName_t, with the type of each and the kind that has it.
enum Name {
    POINTWISE_MODE = 0, POINTWISE_PRECISION = 1, POINTWISE_NAN = 2,
    COMPUTE_TYPE = 100, CONVOLUTION_MODE, DILATIONS, STRIDES, AFTER, BEFORE, DIMENSIONS_OF_SPACE,
    HEURISTIC_MODE = 200, HEURISTIC_GRAPH, HEURISTIC_RESULTS,
    CHOICE_ENGINE = 300, PLAN_HANDLE = 400, PLAN_CHOICE, PLAN_WORKSPACE,
    FORWARD_ALPHA = 700, FORWARD_BETA, FORWARD_CONVOLUTION, FORWARD_W, FORWARD_X, FORWARD_Y,
    DATA_ALPHA, DATA_BETA, DATA_CONVOLUTION, DATA_W, DATA_X, DATA_Y,
    FILTER_ALPHA, FILTER_BETA, FILTER_CONVOLUTION, FILTER_W, FILTER_X, FILTER_Y,
    FUNCTION_DESCRIPTOR = 750, FUNCTION_X, FUNCTION_B, FUNCTION_Y,
    GRAPH_HANDLE = 800, GRAPH_OPERATIONS,
    ALIGNMENT = 900, DATA_TYPE, DIMENSIONS, STEPS, UNIQUE_ID = 906, IS_VIRTUAL,
    PACK_IDS = 1000, PACK_POINTERS, PACK_WORKSPACE = 1003,
    ENGINE_NUMERICAL = 1303, ENGINE_BEHAVIOR = 1305
};
const std::map<int, std::pair<Kind, Type>> ATTRIBUTES = {
    {POINTWISE_MODE, {POINTWISE, T_POINTWISE}}, {POINTWISE_PRECISION, {POINTWISE, T_DATA}},
    {POINTWISE_NAN, {POINTWISE, T_NAN}},
    {COMPUTE_TYPE, {CONVOLUTION, T_DATA}}, {CONVOLUTION_MODE, {CONVOLUTION, T_CONVOLUTION}},
    {DILATIONS, {CONVOLUTION, T_INT64}}, {STRIDES, {CONVOLUTION, T_INT64}}, {AFTER, {CONVOLUTION, T_INT64}},
    {BEFORE, {CONVOLUTION, T_INT64}}, {DIMENSIONS_OF_SPACE, {CONVOLUTION, T_INT64}},
    {HEURISTIC_MODE, {HEURISTIC, T_HEURISTIC}}, {HEURISTIC_GRAPH, {HEURISTIC, T_DESCRIPTOR}},
    {PLAN_HANDLE, {PLAN, T_HANDLE}}, {PLAN_CHOICE, {PLAN, T_DESCRIPTOR}},
    {FORWARD_ALPHA, {FORWARD, T_FLOAT}}, {FORWARD_BETA, {FORWARD, T_FLOAT}},
    {FORWARD_CONVOLUTION, {FORWARD, T_DESCRIPTOR}}, {FORWARD_W, {FORWARD, T_DESCRIPTOR}},
    {FORWARD_X, {FORWARD, T_DESCRIPTOR}}, {FORWARD_Y, {FORWARD, T_DESCRIPTOR}},
    {DATA_ALPHA, {BACKWARD_DATA, T_FLOAT}}, {DATA_BETA, {BACKWARD_DATA, T_FLOAT}},
    {DATA_CONVOLUTION, {BACKWARD_DATA, T_DESCRIPTOR}}, {DATA_W, {BACKWARD_DATA, T_DESCRIPTOR}},
    {DATA_X, {BACKWARD_DATA, T_DESCRIPTOR}}, {DATA_Y, {BACKWARD_DATA, T_DESCRIPTOR}},
    {FILTER_ALPHA, {BACKWARD_FILTER, T_FLOAT}}, {FILTER_BETA, {BACKWARD_FILTER, T_FLOAT}},
    {FILTER_CONVOLUTION, {BACKWARD_FILTER, T_DESCRIPTOR}}, {FILTER_W, {BACKWARD_FILTER, T_DESCRIPTOR}},
    {FILTER_X, {BACKWARD_FILTER, T_DESCRIPTOR}}, {FILTER_Y, {BACKWARD_FILTER, T_DESCRIPTOR}},
    {FUNCTION_DESCRIPTOR, {FUNCTION, T_DESCRIPTOR}}, {FUNCTION_X, {FUNCTION, T_DESCRIPTOR}},
    {FUNCTION_B, {FUNCTION, T_DESCRIPTOR}}, {FUNCTION_Y, {FUNCTION, T_DESCRIPTOR}},
    {GRAPH_HANDLE, {GRAPH, T_HANDLE}}, {GRAPH_OPERATIONS, {GRAPH, T_DESCRIPTOR}},
    {ALIGNMENT, {TENSOR, T_INT64}}, {DATA_TYPE, {TENSOR, T_DATA}}, {DIMENSIONS, {TENSOR, T_INT64}},
    {STEPS, {TENSOR, T_INT64}}, {UNIQUE_ID, {TENSOR, T_INT64}}, {IS_VIRTUAL, {TENSOR, T_BOOL}},
    {PACK_IDS, {PACK, T_INT64}}, {PACK_POINTERS, {PACK, T_POINTER}}, {PACK_WORKSPACE, {PACK, T_POINTER}},
};

enum Engine { CHANGING, COMPILED, ROUNDING, IMPRECISE, PLAIN, MISSING, LARGE, LARGER, SMALLER };
constexpr size_t BYTES = 64 << 10, MORE_BYTES = 1 << 20, MOST_BYTES = size_t(1) << 40;
constexpr int STARTS = 4;
size_t workspace_of(int engine) { return engine == LARGE ? MOST_BYTES : engine == LARGER ? MORE_BYTES : BYTES; }

struct Handle {
    void *stream = nullptr;
};

struct Tensor {
    int type;
    int64_t id;
    bool is_virtual;
    int64_t n, c, h, w;

    size_t elements() const { return n * c * h * w; }
};

// Which of the three is computed.
enum Result { X, W, Y };

// What a graph says.
struct Problem {
    Tensor x, w, y;
    Result result;
    std::vector<int64_t> before, after, strides, dilations;
    bool has_bias = false, relu = false, nan_stays = false;
    int64_t bias = 0, to = 0;
    // Of the result.
    int type;
};

struct Descriptor {
    int kind;
    bool is_final = false;
    std::map<int, std::vector<uint8_t>> values;
    // Of an engine, a choice of one and a plan for it.
    int engine = -1;
    // Of a plan.
    int starts = 0;
    // Of a graph, and of what is made for it.
    Problem problem;

    template <class T> std::vector<T> all(int name) const {
        auto found = values.find(name);
        if (found == values.end())
            return {};
        std::vector<T> list(found->second.size() / sizeof(T));
        memcpy(list.data(), found->second.data(), list.size() * sizeof(T));
        return list;
    }
    template <class T> T one(int name, T otherwise = T()) const {
        auto list = all<T>(name);
        return list.size() == 1 ? list[0] : otherwise;
    }
    const Descriptor *part(int name) const {
        auto *found = one<Descriptor *>(name);
        return found && found->is_final ? found : nullptr;
    }
};

bool read_tensor(const Descriptor *d, Tensor *to) {
    if (!d || d->kind != TENSOR)
        return false;
    auto size = d->all<int64_t>(DIMENSIONS);
    *to = {d->one<int>(DATA_TYPE, -1), d->one<int64_t>(UNIQUE_ID), d->one<uint8_t>(IS_VIRTUAL) != 0, size[0], size[1], size[2],
           size[3]};
    return true;
}

int outputs(int64_t length, int64_t pads, int64_t window, int64_t stride, int64_t dilation) {
    return (length + pads - ((window - 1) * dilation + 1)) / stride + 1;
}

int finish_tensor(const Descriptor &d) {
    auto size = d.all<int64_t>(DIMENSIONS), steps = d.all<int64_t>(STEPS);
    int type = d.one<int>(DATA_TYPE, -1);
    bool known = type == FLOAT || type == HALF || type == BFLOAT16;
    if (size.size() != 4 || !known || d.one<int64_t>(ALIGNMENT) != 16)
        return BAD;
    for (int64_t length : size)
        if (length <= 0)
            return BAD;
    std::vector<int64_t> channels_last = {size[1] * size[2] * size[3], 1, size[3] * size[1], size[1]};
    return steps == channels_last ? OK : UNSUPPORTED;
}

int finish_convolution(const Descriptor &d) {
    for (int name : {BEFORE, AFTER, STRIDES, DILATIONS}) {
        auto list = d.all<int64_t>(name);
        int64_t least = name == STRIDES || name == DILATIONS ? 1 : 0;
        if (list.size() != 2 || list[0] < least || list[1] < least)
            return BAD;
    }
    bool right = d.one<int>(CONVOLUTION_MODE) == CROSS_CORRELATION && d.one<int>(COMPUTE_TYPE, -1) == FLOAT &&
                 d.one<int64_t>(DIMENSIONS_OF_SPACE) == 2;
    return right ? OK : BAD;
}

// Reads the operations, each of which takes the result of the one before.
int finish_graph(Descriptor &d) {
    auto operations = d.all<Descriptor *>(GRAPH_OPERATIONS);
    if (operations.empty() || !d.one<Handle *>(GRAPH_HANDLE))
        return BAD;
    Problem &p = d.problem;
    const Descriptor *first = operations[0];
    int names = first->kind == FORWARD ? FORWARD_ALPHA : first->kind == BACKWARD_DATA ? DATA_ALPHA : FILTER_ALPHA;
    p.result = first->kind == FORWARD ? Y : first->kind == BACKWARD_DATA ? X : W;
    // The names of each direction are in the same order.
    const Descriptor *c = first->part(names + 2);
    if (!first->is_final || !c || c->kind != CONVOLUTION || !read_tensor(first->part(names + 3), &p.w) ||
        !read_tensor(first->part(names + 4), &p.x) || !read_tensor(first->part(names + 5), &p.y))
        return BAD;
    if (first->one<float>(names) != 1 || first->one<float>(names + 1, 1) != 0)
        return UNSUPPORTED;
    p.before = c->all<int64_t>(BEFORE);
    p.after = c->all<int64_t>(AFTER);
    p.strides = c->all<int64_t>(STRIDES);
    p.dilations = c->all<int64_t>(DILATIONS);
    auto along = [&](int axis, int64_t length, int64_t window) {
        return outputs(length, p.before[axis] + p.after[axis], window, p.strides[axis], p.dilations[axis]);
    };
    bool right_sizes = p.x.n == p.y.n && p.x.c % p.w.c == 0 && p.y.c == p.w.n && p.w.n % (p.x.c / p.w.c) == 0 &&
                       p.y.h == along(0, p.x.h, p.w.h) && p.y.w == along(1, p.x.w, p.w.w);
    if (!right_sizes)
        return BAD;
    Tensor result = p.result == X ? p.x : p.result == W ? p.w : p.y;
    const Tensor &other = p.result == X ? p.y : p.x, &another = p.result == W ? p.y : p.w;
    int values = other.type;
    if (another.type != values || other.is_virtual || another.is_virtual)
        return BAD;
    for (size_t i = 1; i < operations.size(); i++) {
        const Descriptor *operation = operations[i], *function = operation->part(FUNCTION_DESCRIPTOR);
        Tensor x, y, b;
        if (operation->kind != FUNCTION || !operation->is_final || !function || !read_tensor(operation->part(FUNCTION_X), &x) ||
            !read_tensor(operation->part(FUNCTION_Y), &y) || !result.is_virtual || x.id != result.id ||
            x.type != FLOAT || function->one<int>(POINTWISE_PRECISION, -1) != FLOAT ||
            x.elements() != result.elements() || y.elements() != result.elements())
            return BAD;
        int mode = function->one<int>(POINTWISE_MODE, -1);
        if (mode == ADD && !p.has_bias && !p.relu && read_tensor(operation->part(FUNCTION_B), &b) && b.type == FLOAT &&
            b.c == result.c && b.elements() == (size_t)b.c) {
            p.has_bias = true;
            p.bias = b.id;
        } else if (mode == RELU && !p.relu) {
            p.relu = true;
            p.nan_stays = function->one<int>(POINTWISE_NAN) == 1;
        } else {
            return UNSUPPORTED_PATTERN;
        }
        result = y;
    }
    if (result.is_virtual || result.type != values)
        return BAD;
    p.type = values;
    p.to = result.id;
    if (operations.size() > 1 && p.result != Y)
        return UNSUPPORTED_PATTERN;
    return getenv("KEROS_EMULATOR_NO_CONVOLUTIONS") ? UNSUPPORTED : OK;
}

int finish(Descriptor &d) {
    switch (d.kind) {
    case TENSOR: return finish_tensor(d);
    case CONVOLUTION: return finish_convolution(d);
    case GRAPH: return finish_graph(d);
    case HEURISTIC: {
        const Descriptor *graph = d.part(HEURISTIC_GRAPH);
        if (!graph || graph->kind != GRAPH)
            return BAD;
        d.problem = graph->problem;
        return OK;
    }
    case PLAN: {
        const Descriptor *choice = d.part(PLAN_CHOICE);
        if (!choice || choice->kind != CHOICE || !d.one<Handle *>(PLAN_HANDLE))
            return BAD;
        d.engine = choice->engine;
        d.problem = choice->problem;
        return d.engine == MISSING ? UNSUPPORTED : OK;
    }
    default: return OK;
    }
}

std::vector<int> engines(const Descriptor &heuristic) {
    const Problem &p = heuristic.problem;
    if ((p.has_bias || p.relu) && p.type != FLOAT)
        return {COMPILED};
    if (heuristic.one<int>(HEURISTIC_MODE) == 2)
        return {SMALLER};
    if (p.result != Y)
        return {CHANGING, COMPILED, ROUNDING, IMPRECISE, PLAIN, MISSING, LARGE, LARGER, SMALLER};
    return {CHANGING, COMPILED, ROUNDING, IMPRECISE, MISSING, LARGE, LARGER, SMALLER};
}

// Calls `visit` with the places in x, w and y of each product.
template <class F> void products(const Problem &p, F visit) {
    const Tensor &x = p.x, &w = p.w, &y = p.y;
    int64_t of_group = w.n / (x.c / w.c);
    for (int64_t n = 0; n < y.n; n++)
        for (int64_t row = 0; row < y.h; row++)
            for (int64_t column = 0; column < y.w; column++)
                for (int64_t ky = 0; ky < w.h; ky++)
                    for (int64_t kx = 0; kx < w.w; kx++) {
                        int64_t from_y = row * p.strides[0] + ky * p.dilations[0] - p.before[0];
                        int64_t from_x = column * p.strides[1] + kx * p.dilations[1] - p.before[1];
                        if (from_y < 0 || from_y >= x.h || from_x < 0 || from_x >= x.w)
                            continue;
                        size_t input = (n * x.h + from_y) * x.w + from_x;
                        size_t output = (n * y.h + row) * y.w + column;
                        for (int64_t k = 0; k < w.n; k++) {
                            size_t filter = ((k * w.h + ky) * w.w + kx) * w.c;
                            for (int64_t i = 0; i < w.c; i++)
                                visit(input * x.c + k / of_group * w.c + i, filter + i, output * y.c + k);
                        }
                    }
}

void run(const Problem &p, const Values &of_x, const Values &of_w, const Values &of_y, const float *bias) {
    const Tensor &result = p.result == X ? p.x : p.result == W ? p.w : p.y;
    std::vector<float> sums(result.elements());
    products(p, [&](size_t i, size_t j, size_t k) {
        if (p.result == X)
            sums[i] += of_w.get(j) * of_y.get(k);
        else if (p.result == W)
            sums[j] += of_x.get(i) * of_y.get(k);
        else
            sums[k] += of_x.get(i) * of_w.get(j);
    });
    const Values &to = p.result == X ? of_x : p.result == W ? of_w : of_y;
    for (size_t i = 0; i < sums.size(); i++) {
        float value = sums[i] + (p.has_bias ? bias[i % result.c] : 0);
        if (p.relu)
            value = p.nan_stays ? (value < 0 ? 0 : value) : (value > 0 ? value : 0);
        to.set(i, value);
    }
}

} // namespace

extern "C" {

int cudnnCreate(Handle **handle) { *handle = new Handle(); return OK; }
int cudnnDestroy(Handle *handle) { delete handle; return OK; }
int cudnnSetStream(Handle *handle, void *stream) { handle->stream = stream; return OK; }
const char *cudnnGetErrorString(int status) {
    return status == BAD            ? "CUDNN_STATUS_BAD_PARAM"
           : status == NULL_POINTER ? "CUDNN_STATUS_BAD_PARAM_NULL_POINTER"
           : status == MISALIGNED   ? "CUDNN_STATUS_BAD_PARAM_MISALIGNED_POINTER"
           : status == FAILED       ? "CUDNN_STATUS_EXECUTION_FAILED"
                                    : "CUDNN_STATUS_NOT_SUPPORTED";
}

int cudnnBackendCreateDescriptor(int kind, Descriptor **to) {
    *to = new Descriptor();
    (*to)->kind = kind;
    return OK;
}
int cudnnBackendDestroyDescriptor(Descriptor *descriptor) { delete descriptor; return OK; }

int cudnnBackendSetAttribute(Descriptor *d, int name, int type, int64_t count, const void *first) {
    auto known = ATTRIBUTES.find(name);
    if (known == ATTRIBUTES.end() || known->second.first != d->kind || known->second.second != type || d->is_final)
        return BAD;
    d->values[name].assign((const uint8_t *)first, (const uint8_t *)first + count * bytes_of(type));
    return OK;
}

int cudnnBackendFinalize(Descriptor *d) {
    if (d->is_final)
        return BAD;
    int status = finish(*d);
    d->is_final = status == OK;
    return status;
}

int cudnnBackendGetAttribute(Descriptor *d, int name, int, int64_t places, int64_t *count, void *first) {
    // Choices and their engines are filled by cuDNN, and never made final by others.
    if (!d->is_final && d->kind != CHOICE && d->kind != ENGINE)
        return BAD;
    if (name == HEURISTIC_RESULTS) {
        auto offered = engines(*d);
        *count = std::min<int64_t>(places, offered.size());
        for (int64_t i = 0; i < *count; i++) {
            auto *choice = ((Descriptor **)first)[i];
            choice->engine = offered[i];
            choice->problem = d->problem;
            choice->is_final = true;
        }
    } else if (name == CHOICE_ENGINE) {
        *count = 1;
        auto *engine = *(Descriptor **)first;
        engine->engine = d->engine;
        engine->is_final = true;
    } else if (name == ENGINE_NUMERICAL) {
        // Tensor cores; down-converting inputs, reduced precision of sums, not deterministic.
        std::vector<int> notes;
        if (d->engine != PLAIN)
            notes.push_back(0);
        if (d->engine == ROUNDING || d->engine == IMPRECISE || d->engine == CHANGING)
            notes.push_back(d->engine == ROUNDING ? 1 : d->engine == IMPRECISE ? 2 : 4);
        *count = std::min<int64_t>(places, notes.size());
        std::copy_n(notes.begin(), *count, (int *)first);
    } else if (name == ENGINE_BEHAVIOR) {
        *count = d->engine == COMPILED;
        *(int *)first = 0;
    } else if (name == PLAN_WORKSPACE) {
        *count = 1;
        *(int64_t *)first = workspace_of(d->engine);
    } else {
        return BAD;
    }
    return OK;
}

int cudnnBackendExecute(Handle *handle, Descriptor *plan, Descriptor *pack) {
    std::lock_guard<std::recursive_mutex> lock(driver_mutex());
    if (!plan->is_final || !pack->is_final)
        return BAD;
    if (plan->engine != LARGER && plan->engine != SMALLER)
        return FAILED;
    bool slow = plan->engine == LARGER && getenv("KEROS_EMULATOR_SLOW_ENGINE");
    if (slow && ++plan->starts > STARTS)
        return FAILED;
    const Problem &p = plan->problem;
    auto ids = pack->all<int64_t>(PACK_IDS);
    auto pointers = pack->all<void *>(PACK_POINTERS);
    auto *memory = pack->one<void *>(PACK_WORKSPACE);
    if (ids.size() != pointers.size() || ids.size() != (p.has_bias ? 4 : 3) || !memory)
        return BAD;
    std::map<int64_t, void *> at;
    for (size_t i = 0; i < ids.size(); i++)
        at[ids[i]] = pointers[i];
    Values::Type type = p.type == FLOAT ? Values::FLOAT : p.type == HALF ? Values::HALF : Values::BFLOAT16;
    auto of = [&](const Tensor &tensor, Result which) {
        return Values{at[which == p.result ? p.to : tensor.id], type};
    };
    Values x = of(p.x, X), w = of(p.w, W), y = of(p.y, Y);
    auto *bias = (const float *)(p.has_bias ? at[p.bias] : nullptr);
    if (!x.first || !w.first || !y.first || (p.has_bias && !bias))
        return NULL_POINTER;
    for (void *pointer : pointers)
        if ((uintptr_t)pointer % 16)
            return MISALIGNED;
    stream_of(handle->stream).add([=, bytes = workspace_of(plan->engine)] {
        memset(memory, 0xff, bytes);
        if (slow)
            std::this_thread::sleep_for(std::chrono::milliseconds(5));
        run(p, x, w, y, bias);
    });
    return OK;
}
}
