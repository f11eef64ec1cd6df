// The CUDA driver, as far as keros and candle call it, with the memory of the host as that of a GPU.
//
// Work is not done when it is asked for but when somebody waits for it, and memory that is given back is filled with
// NaN at that time: what relies on luck with the order shows. As the real driver does, a copy from ordinary memory
// takes its bytes at once, and one from page-locked memory when its turn comes.
#include "driver.hpp"

#include <ucontext.h>

#include <chrono>
#include <cstdlib>
#include <map>
#include <memory>
#include <unordered_map>

// ---- Blocks and threads ---------------------------------------------------------------------------------------------

Dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace {

constexpr size_t STACK_BYTES = 128 << 10;

enum class State { New, Ready, AtBlock, AtWarp, Done };

// A stack on which threads of the block run, one after the other, until one of them waits.
struct Fiber {
    ucontext_t context;
    std::vector<char> stack = std::vector<char>(STACK_BYTES);
};

struct Block {
    const Kernel *kernel;
    void **parameters;
    unsigned threads = 0, next = 0, current = 0;
    std::vector<State> states;
    std::vector<Fiber *> fibers; // of each thread that waits
    std::vector<uint64_t> slots;
    std::vector<std::unique_ptr<Fiber>> pool;
    std::vector<Fiber *> idle;
    Fiber *running = nullptr;
    ucontext_t scheduler;
} block;

void set_thread(unsigned thread) {
    block.current = thread;
    threadIdx.x = thread % blockDim.x;
    threadIdx.y = thread / blockDim.x % blockDim.y;
    threadIdx.z = thread / (blockDim.x * blockDim.y);
}

// Runs new threads until there are none; a thread that waits leaves the fiber in the middle of this.
void run_threads() {
    for (;;) {
        while (block.next < block.threads) {
            set_thread(block.next++);
            block.kernel->run(block.parameters);
            block.states[block.current] = State::Done;
            if (block.fibers[block.current]) // it waited, so others may have gone on meanwhile
                break;
        }
        block.idle.push_back(block.running);
        swapcontext(&block.running->context, &block.scheduler);
    }
}

void resume(Fiber *fiber) {
    block.running = fiber;
    swapcontext(&block.scheduler, &fiber->context);
}

void wait(State state) {
    unsigned thread = block.current;
    block.states[thread] = state;
    block.fibers[thread] = block.running;
    swapcontext(&block.running->context, &block.scheduler);
}

Fiber *idle_fiber() {
    if (!block.idle.empty()) {
        Fiber *fiber = block.idle.back();
        block.idle.pop_back();
        return fiber;
    }
    auto fiber = std::make_unique<Fiber>();
    getcontext(&fiber->context);
    fiber->context.uc_stack.ss_sp = fiber->stack.data();
    fiber->context.uc_stack.ss_size = fiber->stack.size();
    fiber->context.uc_link = nullptr;
    makecontext(&fiber->context, run_threads, 0);
    block.pool.push_back(std::move(fiber));
    return block.pool.back().get();
}

// Lets those go on who have all come to their barrier. The threads that have ended do not count.
void release() {
    bool all = true;
    for (unsigned first = 0; first < block.threads; first += 32) {
        unsigned last = std::min(first + 32, block.threads);
        bool warp = true;
        for (unsigned t = first; t < last; t++) {
            warp = warp && (block.states[t] == State::AtWarp || block.states[t] == State::Done);
            all = all && (block.states[t] == State::AtBlock || block.states[t] == State::Done);
        }
        for (unsigned t = first; warp && t < last; t++)
            if (block.states[t] == State::AtWarp)
                block.states[t] = State::Ready;
    }
    for (unsigned t = 0; all && t < block.threads; t++)
        if (block.states[t] == State::AtBlock)
            block.states[t] = State::Ready;
}

void run_block() {
    block.next = 0;
    block.states.assign(block.threads, State::New);
    block.fibers.assign(block.threads, nullptr);
    block.slots.assign(block.threads, 0);
    while (block.next < block.threads)
        resume(idle_fiber());
    for (;;) {
        release();
        bool went_on = false, done = true;
        for (unsigned t = 0; t < block.threads; t++) {
            if (block.states[t] == State::Ready) {
                went_on = true;
                set_thread(t);
                resume(block.fibers[t]);
            }
            done = done && block.states[t] == State::Done;
        }
        if (done)
            return;
        if (!went_on) {
            fprintf(stderr, "emulator: threads of one block wait at different barriers\n");
            abort();
        }
    }
}

void run_grid(const Kernel &kernel, void **parameters, Dim3 grid, Dim3 threads) {
    block.kernel = &kernel;
    block.parameters = parameters;
    gridDim = grid;
    blockDim = threads;
    block.threads = threads.x * threads.y * threads.z;
    for (blockIdx.z = 0; blockIdx.z < grid.z; blockIdx.z++)
        for (blockIdx.y = 0; blockIdx.y < grid.y; blockIdx.y++)
            for (blockIdx.x = 0; blockIdx.x < grid.x; blockIdx.x++)
                run_block();
}

std::map<std::string, Kernel> &kernels() {
    static std::map<std::string, Kernel> all;
    return all;
}

} // namespace

void add_kernel(const char *name, const Kernel &kernel) {
    // The real driver tells modules apart; the emulator has one for all.
    if (!kernels().emplace(name, kernel).second) {
        fprintf(stderr, "emulator: there are two kernels `%s`\n", name);
        abort();
    }
}

void __syncthreads() { wait(State::AtBlock); }
void __syncwarp(unsigned) { wait(State::AtWarp); }

uint64_t exchange(uint64_t value, unsigned lane) {
    unsigned source = block.current / 32 * 32 + lane;
    block.slots[block.current] = value;
    wait(State::AtWarp);
    uint64_t result = source < block.threads ? block.slots[source] : value;
    wait(State::AtWarp);
    return result;
}

// ---- Streams, events and memory -------------------------------------------------------------------------------------

std::recursive_mutex &driver_mutex() {
    static std::recursive_mutex mutex;
    return mutex;
}

namespace {

struct EventState {
    Stream *stream = nullptr;
    uint64_t at = 0; // how much of the stream has to be done
    // When it was.
    std::shared_ptr<std::chrono::steady_clock::time_point> time;
};

struct Allocation {
    size_t bytes;
};

std::unordered_map<void *, std::unique_ptr<Stream>> streams;
std::map<char *, Allocation> allocations, pinned;
size_t used_bytes = 0;

size_t total_bytes() {
    const char *limit = getenv("KEROS_EMULATOR_BYTES");
    return limit ? strtoull(limit, nullptr, 10) : size_t(8) << 30;
}

bool is_in(const std::map<char *, Allocation> &blocks, const void *pointer) {
    auto after = blocks.upper_bound((char *)pointer);
    if (after == blocks.begin())
        return false;
    --after;
    return (char *)pointer < after->first + after->second.bytes;
}

void synchronize_all() {
    for (auto &stream : streams)
        stream.second->run_all();
}

void copy_to_device(CUdeviceptr to, const void *from, size_t bytes, Stream &stream) {
    if (is_in(pinned, from)) {
        stream.add([=] { memcpy((void *)to, from, bytes); });
        return;
    }
    auto copy = std::make_shared<std::vector<char>>((const char *)from, (const char *)from + bytes);
    stream.add([=] { memcpy((void *)to, copy->data(), bytes); });
}

void copy_to_host(void *to, CUdeviceptr from, size_t bytes, Stream &stream) {
    stream.add([=] { memcpy(to, (const void *)from, bytes); });
    // As the driver: a copy to ordinary memory is over when the call returns.
    if (!is_in(pinned, to))
        stream.run_all();
}

int allocate(CUdeviceptr *pointer, size_t bytes) {
    if (used_bytes + bytes > total_bytes())
        return 2; // out of memory
    char *memory = (char *)aligned_alloc(256, (bytes + 255) / 256 * 256 + 256);
    memset(memory, 0xff, bytes);
    allocations[memory] = {bytes};
    used_bytes += bytes;
    *pointer = (CUdeviceptr)memory;
    return 0;
}

int release_memory(CUdeviceptr pointer) {
    auto found = allocations.find((char *)pointer);
    if (found == allocations.end())
        return 1;
    memset(found->first, 0xff, found->second.bytes);
    used_bytes -= found->second.bytes;
    free(found->first);
    allocations.erase(found);
    return 0;
}

} // namespace

Stream &stream_of(void *handle) {
    auto &stream = streams[handle];
    if (!stream)
        stream = std::make_unique<Stream>();
    return *stream;
}

void Stream::add(std::function<void()> work) {
    if (notes)
        notes->push_back(std::move(work));
    else
        queue.push_back(std::move(work));
}
std::function<void()> kernel_work(void *function, Dim3 grid, Dim3 threads, void **parameters) {
    const Kernel &kernel = *(const Kernel *)function;
    if (!grid.x || !grid.y || !grid.z || grid.y > 65535 || grid.z > 65535 || !threads.x ||
        threads.x * threads.y * threads.z > 1024)
        return {};
    auto copies = std::make_shared<std::vector<std::vector<char>>>();
    for (size_t i = 0; i < kernel.sizes.size(); i++)
        copies->emplace_back((char *)parameters[i], (char *)parameters[i] + kernel.sizes[i]);
    return [=, &kernel] {
        std::vector<void *> pointers;
        for (auto &copy : *copies)
            pointers.push_back(copy.data());
        run_grid(kernel, pointers.data(), grid, threads);
    };
}

void Stream::run_to(uint64_t position) {
    while (done < position && !queue.empty()) {
        auto work = std::move(queue.front());
        queue.pop_front();
        done++;
        work();
    }
}
void Stream::run_all() { run_to(done + queue.size()); }

#define LOCK std::lock_guard<std::recursive_mutex> lock(driver_mutex())

extern "C" {

int cuInit(unsigned) { return getenv("KEROS_EMULATOR_NO_DRIVER") ? 100 : 0; }
int cuDriverGetVersion(int *version) { *version = 13000; return 0; }
int cuDeviceGetCount(int *count) {
    const char *gpus = getenv("KEROS_EMULATOR_GPUS");
    *count = gpus ? atoi(gpus) : 1;
    return 0;
}
int cuDeviceGet(int *device, int ordinal) {
    int count;
    cuDeviceGetCount(&count);
    *device = ordinal;
    return ordinal < count ? 0 : 101;
}
int cuDeviceGetName(char *name, int length, int) { snprintf(name, length, "Emulated GPU"); return 0; }
int cuDeviceTotalMem_v2(size_t *bytes, int) { *bytes = total_bytes(); return 0; }
int cuDeviceGetAttribute(int *value, int attribute, int) {
    // Compute capability 9.0, memory pools, 132 multiprocessors.
    *value = attribute == 75 ? 9 : attribute == 76 ? 0 : attribute == 16 ? 132 : 1;
    return 0;
}
int cuDevicePrimaryCtxRetain(void **context, int device) { *context = (void *)(intptr_t)(device + 1); return 0; }
int cuDevicePrimaryCtxRelease_v2(int) { return 0; }
int cuCtxDestroy_v2(void *) { return 0; }
int cuCtxSetCurrent(void *) { return 0; }
int cuCtxGetCurrent(void **context) { *context = (void *)1; return 0; }
int cuCtxSynchronize() { LOCK; synchronize_all(); return 0; }
int cuMemGetInfo_v2(size_t *free_bytes, size_t *total) {
    LOCK;
    *total = total_bytes();
    *free_bytes = *total - std::min(*total, used_bytes);
    return 0;
}

int cuStreamCreate(void **stream, unsigned) { LOCK; *stream = malloc(1); stream_of(*stream); return 0; }
int cuStreamCreateWithPriority(void **stream, unsigned flags, int) { return cuStreamCreate(stream, flags); }
int cuStreamDestroy_v2(void *stream) {
    LOCK;
    stream_of(stream).run_all();
    return 0;
}
int cuStreamSynchronize(void *stream) {
    LOCK;
    if (stream_of(stream).notes)
        return 900; // not while it is noted
    stream_of(stream).run_all();
    return 0;
}
int cuStreamWaitEvent(void *stream, void *event, unsigned) {
    LOCK;
    EventState state = *(EventState *)event;
    if (state.stream)
        stream_of(stream).add([=] { state.stream->run_to(state.at); });
    return 0;
}
int cuStreamGetCaptureInfo_v3(...) { return 0; }
int cuStreamIsCapturing(void *, int *status) { *status = 0; return 0; }

int cuEventCreate(void **event, unsigned) { *event = new EventState(); return 0; }
int cuEventDestroy_v2(void *event) { LOCK; delete (EventState *)event; return 0; }
int cuEventRecord(void *event, void *handle) {
    LOCK;
    Stream &stream = stream_of(handle);
    auto time = std::make_shared<std::chrono::steady_clock::time_point>();
    if (!stream.notes)
        stream.add([=] { *time = std::chrono::steady_clock::now(); });
    *(EventState *)event = {&stream, stream.done + stream.queue.size(), time};
    return 0;
}
int cuEventQuery(void *event) {
    LOCK;
    auto *state = (EventState *)event;
    return !state->stream || state->stream->done >= state->at ? 0 : 600;
}
int cuEventSynchronize(void *event) {
    LOCK;
    auto *state = (EventState *)event;
    if (state->stream)
        state->stream->run_to(state->at);
    return 0;
}
int cuEventElapsedTime_v2(float *milliseconds, void *begin, void *end) {
    LOCK;
    auto *from = (EventState *)begin, *to = (EventState *)end;
    if (!from->stream || !to->stream || from->stream->done < from->at || to->stream->done < to->at)
        return 600;
    *milliseconds = std::chrono::duration<float, std::milli>(*to->time - *from->time).count();
    return 0;
}
int cuEventElapsedTime(float *milliseconds, void *begin, void *end) { return cuEventElapsedTime_v2(milliseconds, begin, end); }

int cuMemAlloc_v2(CUdeviceptr *pointer, size_t bytes) { LOCK; return allocate(pointer, bytes); }
int cuMemAllocAsync(CUdeviceptr *pointer, size_t bytes, void *) { LOCK; return allocate(pointer, bytes); }
int cuMemFree_v2(CUdeviceptr pointer) { LOCK; synchronize_all(); return release_memory(pointer); }
int cuMemFreeAsync(CUdeviceptr pointer, void *stream) {
    LOCK;
    stream_of(stream).add([=] { release_memory(pointer); });
    return 0;
}
int cuMemHostAlloc(void **pointer, size_t bytes, unsigned) {
    LOCK;
    *pointer = malloc(bytes + 1);
    pinned[(char *)*pointer] = {bytes};
    return 0;
}
int cuMemFreeHost(void *pointer) {
    LOCK;
    synchronize_all();
    pinned.erase((char *)pointer);
    free(pointer);
    return 0;
}
int cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t bytes, void *stream) {
    LOCK;
    copy_to_device(to, from, bytes, stream_of(stream));
    return 0;
}
int cuMemcpyHtoD_v2(CUdeviceptr to, const void *from, size_t bytes) {
    LOCK;
    synchronize_all();
    memcpy((void *)to, from, bytes);
    return 0;
}
int cuMemcpyDtoHAsync_v2(void *to, CUdeviceptr from, size_t bytes, void *stream) {
    LOCK;
    copy_to_host(to, from, bytes, stream_of(stream));
    return 0;
}
int cuMemcpyDtoH_v2(void *to, CUdeviceptr from, size_t bytes) {
    LOCK;
    synchronize_all();
    memcpy(to, (const void *)from, bytes);
    return 0;
}
int cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes, void *stream) {
    LOCK;
    stream_of(stream).add([=] { memmove((void *)to, (const void *)from, bytes); });
    return 0;
}
int cuMemcpyPeerAsync(CUdeviceptr to, void *, CUdeviceptr from, void *, size_t bytes, void *stream) {
    return cuMemcpyDtoDAsync_v2(to, from, bytes, stream);
}
int cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t bytes, void *stream) {
    LOCK;
    stream_of(stream).add([=] { memset((void *)to, value, bytes); });
    return 0;
}

int cuModuleLoadData(void **module, const void *) { *module = malloc(1); return 0; }
int cuModuleLoad(void **module, const char *) { *module = malloc(1); return 0; }
int cuModuleUnload(void *module) { free(module); return 0; }
int cuModuleGetFunction(void **function, void *, const char *name) {
    auto found = kernels().find(name);
    if (found == kernels().end()) {
        fprintf(stderr, "emulator: there is no kernel `%s`\n", name);
        return 500;
    }
    *function = &found->second;
    return 0;
}
int cuFuncSetAttribute(void *, int, int) { return 0; }
int cuLaunchKernel(void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                   unsigned, void *stream, void **parameters, void **) {
    LOCK;
    auto work = kernel_work(function, {gx, gy, gz}, {bx, by, bz}, parameters);
    if (!work)
        return 1;
    stream_of(stream).add(std::move(work));
    return 0;
}
int cuGetErrorName(int, const char **text) { *text = "CUDA_ERROR"; return 0; }
int cuGetErrorString(int error, const char **text) {
    *text = error == 2     ? "out of memory"
            : error == 100 ? "no CUDA-capable device is detected"
            : error == 101 ? "invalid device ordinal"
            : error == 500 ? "named symbol not found"
                           : "an error of the emulator";
    return 0;
}
}
