// Graphs, as far as keros makes them: chains of kernels, fills with zeros and what libraries have put into a stream.
//
// With KEROS_EMULATOR_NO_GRAPHS none can be made; with KEROS_EMULATOR_GRAPH_LAUNCHES=N none can be started once N were.
#include "driver.hpp"

#include <set>

namespace {

using Work = std::function<void()>;

struct Node {
    bool is_kernel;
    std::vector<Work> work;
};

struct Graph {
    std::vector<Node *> nodes;
};

struct Exec {
    std::vector<Node *> nodes; // those of the graph, as names
    std::vector<std::vector<Work>> work;
};

// CUDA_KERNEL_NODE_PARAMS_v2
struct KernelParameters {
    void *function;
    unsigned grid[3], threads[3], shared_bytes;
    void **parameters, **extra;
    void *kernel, *context;
};

// CUDA_MEMSET_NODE_PARAMS
struct ZeroParameters {
    CUdeviceptr first;
    size_t pitch;
    unsigned value, element_bytes;
    size_t width, height;
};

std::set<Node *> &live_nodes() {
    static std::set<Node *> all;
    return all;
}

Work work_of(const KernelParameters &kernel) {
    if (kernel.extra || kernel.kernel)
        return {};
    const unsigned *grid = kernel.grid, *threads = kernel.threads;
    return kernel_work(kernel.function, {grid[0], grid[1], grid[2]}, {threads[0], threads[1], threads[2]},
                       kernel.parameters);
}

int add(Node **node, Graph *graph, Node *const *before, size_t count, bool is_kernel, std::vector<Work> work) {
    bool is_chain = graph->nodes.empty() ? count == 0 : count == 1 && *before == graph->nodes.back();
    for (Work &part : work)
        if (!part)
            return 1;
    if (!is_chain)
        return 1;
    *node = new Node{is_kernel, std::move(work)};
    live_nodes().insert(*node);
    graph->nodes.push_back(*node);
    return 0;
}

} // namespace

#define LOCK std::lock_guard<std::recursive_mutex> lock(driver_mutex())

extern "C" {

int cuGraphCreate(Graph **graph, unsigned) { *graph = new Graph(); return 0; }
int cuGraphDestroy(Graph *graph) {
    LOCK;
    for (Node *node : graph->nodes) {
        live_nodes().erase(node);
        delete node;
    }
    delete graph;
    return 0;
}
int cuGraphAddKernelNode_v2(Node **node, Graph *graph, Node *const *before, size_t count,
                            const KernelParameters *kernel) {
    LOCK;
    return add(node, graph, before, count, true, {work_of(*kernel)});
}
int cuGraphAddMemsetNode(Node **node, Graph *graph, Node *const *before, size_t count, const ZeroParameters *zero,
                         void *context) {
    LOCK;
    if (!context || zero->element_bytes != 1 || zero->height != 1)
        return 1;
    auto [first, pitch, value, element, width, height] = *zero;
    return add(node, graph, before, count, false, {[=] { memset((void *)first, value, width); }});
}
int cuGraphAddChildGraphNode(Node **node, Graph *graph, Node *const *before, size_t count, Graph *child) {
    LOCK;
    std::vector<Work> work;
    for (Node *part : child->nodes)
        work.insert(work.end(), part->work.begin(), part->work.end());
    return add(node, graph, before, count, false, std::move(work));
}
int cuGraphInstantiateWithParams(Exec **exec, Graph *graph, void *) {
    LOCK;
    if (getenv("KEROS_EMULATOR_NO_GRAPHS"))
        return 801; // not supported
    *exec = new Exec{graph->nodes, {}};
    for (Node *node : graph->nodes)
        (*exec)->work.push_back(node->work);
    return 0;
}
int cuGraphExecKernelNodeSetParams_v2(Exec *exec, Node *node, const KernelParameters *kernel) {
    LOCK;
    auto found = std::find(exec->nodes.begin(), exec->nodes.end(), node);
    Work work = work_of(*kernel);
    if (found == exec->nodes.end() || !live_nodes().count(node) || !node->is_kernel || !work)
        return 1;
    exec->work[found - exec->nodes.begin()] = {work};
    return 0;
}
int cuGraphLaunch(Exec *exec, void *stream) {
    LOCK;
    static int started = 0;
    const char *most = getenv("KEROS_EMULATOR_GRAPH_LAUNCHES");
    if (most && started++ >= atoi(most))
        return 2; // out of memory
    for (auto &node : exec->work)
        for (Work &work : node)
            stream_of(stream).add(work);
    return 0;
}
int cuGraphExecDestroy(Exec *exec) { delete exec; return 0; }

int cuStreamBeginCapture_v2(void *handle, int) {
    LOCK;
    Stream &stream = stream_of(handle);
    if (stream.notes || !stream.queue.empty())
        return 1;
    stream.notes = std::make_unique<std::vector<Work>>();
    return 0;
}
int cuStreamEndCapture(void *handle, Graph **graph) {
    LOCK;
    auto notes = std::move(stream_of(handle).notes);
    if (!notes)
        return 1;
    *graph = new Graph();
    Node *node;
    return notes->empty() ? 0 : add(&node, *graph, nullptr, 0, false, std::move(*notes));
}
}
