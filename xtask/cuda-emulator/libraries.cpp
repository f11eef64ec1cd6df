// cuBLAS and cuRAND, as far as keros and candle call them: matrix products with plain loops, and handles.
#include "driver.hpp"
#include "values.hpp"
#include <map>

namespace {

struct Handle {
    void *stream = nullptr, *workspace = nullptr;
};

// A product that is done may leave sums in the workspace of its handle for a second kernel. A graph that another
// thread starts between the two must not work there.
void check_workspace(const Handle &handle) {
    if (!handle.workspace)
        return;
    static std::map<void *, bool> of_notes;
    bool is_noted = stream_of(handle.stream).notes != nullptr;
    if (of_notes.emplace(handle.workspace, is_noted).first->second != is_noted) {
        fprintf(stderr, "emulator: cuBLAS works in the same memory for a graph and for what is done at once\n");
        abort();
    }
}

} // namespace

extern "C" {

int cublasCreate_v2(Handle **handle) { *handle = new Handle(); return 0; }
int cublasDestroy_v2(Handle *handle) { delete handle; return 0; }
int cublasSetStream_v2(Handle *handle, void *stream) { handle->stream = stream; return 0; }
int cublasSetMathMode(Handle *, int) { return 0; }
int cublasSetWorkspace_v2(Handle *handle, void *first, size_t) { handle->workspace = first; return 0; }

// Column-major, summed in single precision, scalars of the host.
int cublasGemmStridedBatchedEx(Handle *handle, int trans_a, int trans_b, int m, int n, int k, const void *alpha,
                               const void *a, int type_a, int lda, long long step_a, const void *b, int type_b,
                               int ldb, long long step_b, const void *beta, void *c, int type_c, int ldc,
                               long long step_c, int count, int, int) {
    std::lock_guard<std::recursive_mutex> lock(driver_mutex());
    enum { FLOAT = 0, HALF = 2, BFLOAT16 = 14 };
    bool known = (type_a == FLOAT || type_a == HALF || type_a == BFLOAT16) && type_b == type_a &&
                 (type_c == FLOAT || type_c == type_a);
    if (!known || lda < std::max(1, trans_a ? k : m) || ldb < std::max(1, trans_b ? n : k) ||
        ldc < std::max(1, m) || count < 0)
        return 7; // invalid value
    check_workspace(*handle);
    float factor = *(const float *)alpha, keep = *(const float *)beta;
    stream_of(handle->stream).add([=] {
        for (int at = 0; at < count; at++) {
            auto values = [](const void *first, int type) {
                return Values{(void *)first, type == FLOAT ? Values::FLOAT : type == HALF ? Values::HALF : Values::BFLOAT16};
            };
            Values left = values(a, type_a), right = values(b, type_b), out = values(c, type_c);
            for (int j = 0; j < n; j++)
                for (int i = 0; i < m; i++) {
                    float sum = 0;
                    for (int l = 0; l < k; l++) {
                        float x = left.get(at * step_a + (trans_a ? l + (size_t)i * lda : i + (size_t)l * lda));
                        float y = right.get(at * step_b + (trans_b ? j + (size_t)l * ldb : l + (size_t)j * ldb));
                        sum += x * y;
                    }
                    size_t to = at * step_c + i + (size_t)j * ldc;
                    out.set(to, factor * sum + (keep == 0 ? 0 : keep * out.get(to)));
                }
        }
    });
    return 0;
}
int cublasGemmEx(Handle *handle, int trans_a, int trans_b, int m, int n, int k, const void *alpha, const void *a,
                 int type_a, int lda, const void *b, int type_b, int ldb, const void *beta, void *c, int type_c,
                 int ldc, int compute, int algorithm) {
    return cublasGemmStridedBatchedEx(handle, trans_a, trans_b, m, n, k, alpha, a, type_a, lda, 0, b, type_b, ldb, 0,
                                      beta, c, type_c, ldc, 0, 1, compute, algorithm);
}
const char *cublasGetStatusString(int status) {
    return status == 7 ? "the value is invalid" : "an error of the emulator";
}

int curandCreateGenerator(void **generator, int) { *generator = malloc(1); return 0; }
int curandDestroyGenerator(void *generator) { free(generator); return 0; }
int curandSetStream(void *, void *) { return 0; }
int curandSetPseudoRandomGeneratorSeed(void *, unsigned long long) { return 0; }
int curandSetGeneratorOffset(void *, unsigned long long) { return 0; }
}
