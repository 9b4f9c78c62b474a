// The functions of the CUDA driver, cuBLAS and cuRAND that candle uses, on a CPU. Device memory is host memory; a launch runs
// the threads of its grid one after another and returns when all have ended. Uninitialised memory holds NaN. With
// EMULATOR_REVERSED the threads of a block run in reverse order, which must not change a result. With EMULATOR_REPORT the
// number of launches of each kernel is printed at exit. With EMULATOR_IDLE kernels, products and fills do nothing, and new memory is zero:
// what is left of a step's time is the host's. A captured stream records launches, copies and fills into a graph, and
// what CUDA does not allow then is an error. A pointer that is no live device memory is an error when its kernel is launched.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <vector>

namespace emulator {
struct Place {
    unsigned x, y, z;
};
Place thread, block, threads, blocks;
float *shared;

struct Parameter {
    size_t size;
    bool is_pointer;
};
struct Kernel {
    void (*call)(void **, void *);
    void *kernel;
    std::vector<Parameter> parameters;
    long launches;
    // Bytes of shared memory per block: the default of every GPU, until the kernel requests more.
    unsigned shared = 49152;
};
static const int MOST_SHARED = 232448;

static std::map<std::string, Kernel> &kernels() {
    static auto *all = new std::map<std::string, Kernel>;
    return *all;
}

void add(const char *name, void (*call)(void **, void *), void *kernel, std::vector<Parameter> parameters) {
    if (!kernels().emplace(name, Kernel{call, kernel, std::move(parameters), 0}).second) {
        fprintf(stderr, "emulator: two kernels are called %s\n", name);
        abort();
    }
}

// Switches from one stack to another; saves the registers that the ABI defines as callee-saved.
extern "C" void emulator_switch(void **from, void *to);
asm(R"(
.globl emulator_switch
emulator_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
)");

static const size_t STACK = 32768;

struct Coroutine {
    char *stack;
    void *top;
    bool has_ended;
    Place place;
    uint64_t handed;
};

static std::recursive_mutex one_launch;
static std::vector<Coroutine> coroutines;
static size_t current;
static void *scheduler;
static Kernel *running;
static void **given;

static void begin() {
    running->call(given, running->kernel);
    coroutines[current].has_ended = true;
    void *never;
    emulator_switch(&never, scheduler);
    abort();
}

// Continues with the other threads; returns in the next turn.
void yield() {
    const size_t own = current;
    emulator_switch(&coroutines[own].top, scheduler);
    thread = coroutines[own].place;
}

// Barriers for some of a block's threads. All continue in the same turn, as the threads of a warp must.
struct NamedBarrier {
    unsigned arrived, completed;
    size_t last;
};
static NamedBarrier named_barriers[16];
static size_t turns;

void named_barrier(unsigned which, unsigned n) {
    NamedBarrier &own = named_barriers[which];
    const unsigned before = own.completed;
    if (++own.arrived == n) {
        own = {0, before + 1, turns};
    }
    do yield();
    while (own.completed == before || own.last == turns);
}

// Barrier of all threads of the block that have not ended, which may have taken different numbers of turns.
static size_t live_threads, sync_arrived, sync_completed, sync_last;

void sync() {
    const size_t before = sync_completed;
    sync_arrived++;
    do {
        if (sync_completed == before && sync_arrived == live_threads) {
            sync_arrived = 0;
            sync_completed++;
            sync_last = turns;
        }
        yield();
    } while (sync_completed == before || sync_last == turns);
}

uint64_t swap(uint64_t own, unsigned from) {
    coroutines[current].handed = own;
    yield();
    const uint64_t theirs = coroutines[from].handed;
    yield();
    return theirs;
}

// With `own`, hands a pointer to the lanes of the warp and waits for theirs; else returns that of a lane.
const void *hand(const void *own, unsigned lane) {
    if (own == nullptr) return reinterpret_cast<const void *>(coroutines[(current & ~(size_t)31) + lane].handed);
    coroutines[current].handed = reinterpret_cast<uint64_t>(own);
    yield();
    return nullptr;
}

// Waits until all lanes have read.
void retract() { yield(); }

int count(int own) {
    coroutines[current].handed = own != 0;
    sync();
    int n = 0;
    for (size_t i = 0; i < (size_t)threads.x * threads.y * threads.z; i++) n += coroutines[i].handed;
    sync();
    return n;
}

static void prepare(Coroutine &coroutine, Place place) {
    coroutine.has_ended = false;
    coroutine.place = place;
    void **top = reinterpret_cast<void **>(coroutine.stack + STACK - 64);
    *--top = nullptr;
    *--top = reinterpret_cast<void *>(begin);
    for (int saved = 0; saved < 6; saved++) *--top = nullptr;
    coroutine.top = top;
}

static void run_block() {
    static const bool is_reversed = getenv("EMULATOR_REVERSED") != nullptr;
    const size_t n = (size_t)threads.x * threads.y * threads.z;
    while (coroutines.size() < n) {
        coroutines.push_back({static_cast<char *>(aligned_alloc(64, STACK)), nullptr, true, {}, 0});
    }
    size_t i = 0;
    for (unsigned z = 0; z < threads.z; z++) {
        for (unsigned y = 0; y < threads.y; y++) {
            for (unsigned x = 0; x < threads.x; x++) prepare(coroutines[i++], {x, y, z});
        }
    }
    live_threads = n;
    sync_arrived = 0;
    for (size_t &left = live_threads; left > 0; turns++) {
        for (size_t turn = 0; turn < n; turn++) {
            current = is_reversed ? n - 1 - turn : turn;
            if (coroutines[current].has_ended) continue;
            thread = coroutines[current].place;
            emulator_switch(&scheduler, coroutines[current].top);
            left -= coroutines[current].has_ended;
        }
    }
}

static const bool is_idle = getenv("EMULATOR_IDLE") != nullptr;
static long allocations, products, copies_in, copies_out, graph_launches, captures, node_changes;
static size_t bytes_in, bytes_out;

struct Report {
    ~Report() {
        if (getenv("EMULATOR_REPORT") == nullptr) return;
        long launches = 0;
        for (const auto &[name, kernel] : kernels()) {
            launches += kernel.launches;
            if (kernel.launches > 0) fprintf(stderr, "%8ld %s\n", kernel.launches, name.c_str());
        }
        fprintf(stderr, "%8ld launches, %ld products, %ld allocations, ", launches, products, allocations);
        fprintf(stderr, "%ld copies in (%zu bytes), %ld out (%zu bytes), ", copies_in, bytes_in, copies_out, bytes_out);
        fprintf(stderr, "%ld graphs captured, %ld launched, %ld nodes changed\n", captures, graph_launches, node_changes);
    }
} report;

// Kinds of nodes. A product is one node: a kernel that has no name.
enum Kind { KERNEL_NODE = 0, COPY_NODE = 1, FILL_NODE = 2 };

// A recorded operation, with the values that its arguments had.
struct Node {
    Kind kind;
    Kernel *kernel = nullptr;
    Place blocks = {}, threads = {};
    unsigned bytes = 0;
    std::vector<std::vector<char>> arguments;
    uint64_t to = 0;
    std::function<int()> run;
};
struct Graph {
    std::vector<Node *> nodes;
    ~Graph() {
        for (Node *node : nodes) delete node;
    }
};
struct Executable {
    std::vector<const Node *> origins;
    std::vector<Node> nodes;
};
static const int NOT_PERMITTED = 900, INVALIDATED = 901;
// A stream, with the graph that it is captured into, if it is.
struct Stream {
    Graph *capture = nullptr;
    bool is_invalid = false;
};
// The stream that this thread captures, if any.
static thread_local Stream *captured;

// An error if this thread captures a stream: `what` is not allowed then.
static int not_in_capture(const char *what) {
    if (captured == nullptr) return 0;
    fprintf(stderr, "emulator: %s while a stream is captured\n", what);
    captured->is_invalid = true;
    return NOT_PERMITTED;
}

// Runs an operation of a stream, or records it.
static int run_or_capture(void *on, Node node) {
    auto *stream = static_cast<Stream *>(on);
    if (stream->capture == nullptr) return node.run();
    if (stream->is_invalid) return INVALIDATED;
    stream->capture->nodes.push_back(new Node(std::move(node)));
    return 0;
}

// Sizes of the live allocations by address.
static std::map<uint64_t, size_t> &live() {
    static auto *all = new std::map<uint64_t, size_t>;
    return *all;
}
static std::recursive_mutex one_at_a_time;

// Whether an address is in a live allocation, or just behind one, where an empty range may begin.
static bool is_live(uint64_t at) {
    const std::lock_guard<std::recursive_mutex> guard(one_at_a_time);
    auto after = live().upper_bound(at);
    if (after == live().begin()) return false;
    --after;
    return at <= after->first + after->second;
}

static int make(uint64_t *at, size_t n) {
    if (int error = not_in_capture("an allocation")) return error;
    const std::lock_guard<std::recursive_mutex> guard(one_at_a_time);
    allocations++;
    if (n == 0) return 1;
    void *memory = aligned_alloc(256, (n + 255) / 256 * 256);
    if (memory == nullptr) return 2;
    memset(memory, is_idle ? 0 : 0xff, n);
    *at = reinterpret_cast<uint64_t>(memory);
    live()[*at] = n;
    return 0;
}

static int release(uint64_t at) {
    if (int error = not_in_capture("a release of memory")) return error;
    const std::lock_guard<std::recursive_mutex> guard(one_at_a_time);
    if (live().erase(at) == 0) {
        fprintf(stderr, "emulator: a release of %#lx, which is not allocated\n", (unsigned long)at);
        return 1;
    }
    free(reinterpret_cast<void *>(at));
    return 0;
}

static int copy_in(uint64_t to, const void *from, size_t n, void *stream) {
    Node node{COPY_NODE};
    node.run = [=] {
        if (!is_live(to)) return 700;
        copies_in++;
        bytes_in += n;
        memcpy(reinterpret_cast<void *>(to), from, n);
        return 0;
    };
    return run_or_capture(stream, std::move(node));
}

static int copy_out(void *to, uint64_t from, size_t n) {
    if (int error = not_in_capture("a copy to the host")) return error;
    copies_out++;
    bytes_out += n;
    memcpy(to, reinterpret_cast<void *>(from), n);
    return 0;
}

static int copy_within(uint64_t to, uint64_t from, size_t n, void *stream) {
    Node node{COPY_NODE};
    node.run = [=] {
        if (!is_live(to) || !is_live(from)) return 700;
        memmove(reinterpret_cast<void *>(to), reinterpret_cast<void *>(from), n);
        return 0;
    };
    return run_or_capture(stream, std::move(node));
}

static int fill(uint64_t at, unsigned char value, size_t n, void *stream) {
    Node node{FILL_NODE};
    node.to = at;
    node.run = [=] {
        if (!is_live(at)) return 700;
        if (!is_idle) memset(reinterpret_cast<void *>(at), value, n);
        return 0;
    };
    return run_or_capture(stream, std::move(node));
}

// Launches a kernel with the arguments of a node.
static int launch(const Node &node) {
    const unsigned gx = node.blocks.x, gy = node.blocks.y, gz = node.blocks.z, bytes = node.bytes;
    const unsigned bx = node.threads.x, by = node.threads.y, bz = node.threads.z;
    const unsigned room = node.kernel->shared;
    if (!gx || !gy || !gz || !(bx * by * bz) || bx * by * bz > 1024 || bytes > room || gy > 65535 || gz > 65535) {
        fprintf(stderr, "emulator: a grid of %u, %u, %u blocks of %u, %u, %u threads, %u bytes\n", gx, gy, gz, bx, by, bz, bytes);
        return 1;
    }
    std::vector<void *> arguments;
    for (size_t i = 0; i < node.arguments.size(); i++) {
        const char *value = node.arguments[i].data();
        uint64_t at = 0;
        if (node.kernel->parameters[i].is_pointer) memcpy(&at, value, sizeof at);
        if (at != 0 && !is_live(at)) {
            fprintf(stderr, "emulator: argument %zu of a kernel, %#lx, is no live memory\n", i, (unsigned long)at);
            return 700;
        }
        arguments.push_back(const_cast<char *>(value));
    }
    if (is_idle) return 0;
    const std::lock_guard<std::recursive_mutex> guard(one_launch);
    running = node.kernel;
    running->launches++;
    given = arguments.data();
    threads = node.threads;
    blocks = node.blocks;
    std::vector<char> memory(bytes);
    shared = reinterpret_cast<float *>(memory.data());
    for (unsigned z = 0; z < gz; z++) {
        for (unsigned y = 0; y < gy; y++) {
            for (unsigned x = 0; x < gx; x++) {
                block = {x, y, z};
                memset(memory.data(), 0xff, bytes);
                run_block();
            }
        }
    }
    return 0;
}

// A node that launches a kernel; copies the arguments' values.
static Node kernel_node(void *function, Place blocks, Place threads, unsigned bytes, void **arguments) {
    Node node{KERNEL_NODE};
    node.kernel = static_cast<Kernel *>(function);
    node.blocks = blocks;
    node.threads = threads;
    node.bytes = bytes;
    for (size_t i = 0; i < node.kernel->parameters.size(); i++) {
        const char *value = static_cast<const char *>(arguments[i]);
        node.arguments.emplace_back(value, value + node.kernel->parameters[i].size);
    }
    return node;
}

static Stream the_default;

// Runs a node of a graph.
static int run_node(const Node &node) { return node.run ? node.run() : launch(node); }

static int product(
    bool turned_a, bool turned_b, int m, int n, int k, float alpha, const float *a, int lda, const float *b, int ldb, float beta,
    float *c, int ldc
) {
    products++;
    if (lda < (turned_a ? k : m) || ldb < (turned_b ? n : k) || ldc < m) {
        fprintf(stderr, "emulator: a product of %d, %d, %d with rows of %d, %d, %d\n", m, n, k, lda, ldb, ldc);
        return 7;
    }
    for (int j = 0; j < n && !is_idle; j++) {
        for (int i = 0; i < m; i++) {
            double sum = 0.0;
            for (int l = 0; l < k; l++) {
                const float x = turned_a ? a[(size_t)i * lda + l] : a[(size_t)l * lda + i];
                sum += (double)x * (turned_b ? b[(size_t)l * ldb + j] : b[(size_t)j * ldb + l]);
            }
            float &to = c[(size_t)j * ldc + i];
            to = (float)(alpha * sum + (beta == 0.0f ? 0.0 : (double)beta * to));
        }
    }
    return 0;
}
}  // namespace emulator

using namespace emulator;

extern "C" {
int cuInit(unsigned) { return 0; }
int cuDeviceGet(int *device, int ordinal) { return (*device = 0, ordinal == 0 ? 0 : 101); }
int cuDeviceGetCount(int *n) { return (*n = 1, 0); }
int cuDeviceGetName(char *name, int n, int) { return (snprintf(name, n, "a CPU in the place of a GPU"), 0); }
// Compute capability 9.0, three multiprocessors, the shared memory of a block, and 1 for every other attribute.
int cuDeviceGetAttribute(int *value, int which, int) {
    *value = which == 75 ? 9 : which == 76 ? 0 : which == 16 ? 3 : which == 97 ? MOST_SHARED : 1;
    return 0;
}
int cuDevicePrimaryCtxRetain(void **context, int) { return (*context = &report, 0); }
int cuDevicePrimaryCtxRelease_v2(int) { return 0; }
int cuDeviceGetDefaultMemPool(void **pool, int) { return (*pool = &report, 0); }
int cuMemPoolSetAttribute(void *, int, void *) { return 0; }
int cuMemPoolGetAttribute(void *, int, uint64_t *value) { return (*value = 0, 0); }
int cuCtxSetCurrent(void *) { return 0; }
int cuCtxGetCurrent(void **context) { return (*context = &report, 0); }
int cuCtxSynchronize() { return not_in_capture("a wait for the device"); }
int cuStreamCreate(void **stream, unsigned) { return (*stream = new Stream, 0); }
int cuStreamDestroy_v2(void *stream) { return (delete static_cast<Stream *>(stream), 0); }
int cuStreamSynchronize(void *) { return not_in_capture("a wait for a stream"); }
int cuStreamWaitEvent(void *, void *, unsigned) { return 0; }
int cuStreamIsCapturing(void *stream, int *is_capturing) {
    return (*is_capturing = static_cast<Stream *>(stream)->capture != nullptr, 0);
}
int cuStreamBeginCapture_v2(void *on, int) {
    if (int error = not_in_capture("a second capture")) return error;
    captured = static_cast<Stream *>(on);
    captured->capture = new Graph;
    captured->is_invalid = false;
    return 0;
}
int cuStreamEndCapture(void *on, void **graph) {
    auto *stream = static_cast<Stream *>(on);
    *graph = nullptr;
    if (stream->capture == nullptr) return 1;
    Graph *own = stream->capture;
    stream->capture = nullptr;
    captured = nullptr;
    if (stream->is_invalid) return (delete own, INVALIDATED);
    *graph = own;
    return 0;
}
int cuEventCreate(void **event, unsigned) { return (*event = &report, 0); }
int cuEventRecord(void *, void *) { return 0; }
int cuEventSynchronize(void *) { return 0; }
int cuEventDestroy_v2(void *) { return 0; }
int cuMemAlloc_v2(uint64_t *at, size_t n) { return make(at, n); }
int cuMemAllocAsync(uint64_t *at, size_t n, void *) { return make(at, n); }
int cuMemFree_v2(uint64_t at) { return release(at); }
int cuMemFreeAsync(uint64_t at, void *) { return release(at); }
int cuMemHostAlloc(void **host, size_t n, unsigned) {
    if (int error = not_in_capture("an allocation")) return error;
    return (*host = aligned_alloc(256, (n + 255) / 256 * 256)) == nullptr ? 2 : 0;
}
int cuMemFreeHost(void *host) { return (free(host), 0); }
int cuMemcpyHtoD_v2(uint64_t to, const void *from, size_t n) { return copy_in(to, from, n, &the_default); }
int cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t n, void *stream) { return copy_in(to, from, n, stream); }
int cuMemcpyDtoH_v2(void *to, uint64_t from, size_t n) { return copy_out(to, from, n); }
int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t n, void *) { return copy_out(to, from, n); }
int cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t n, void *stream) {
    return copy_within(to, from, n, stream);
}
int cuMemsetD8Async(uint64_t at, unsigned char value, size_t n, void *stream) { return fill(at, value, n, stream); }
int cuModuleLoadData(void **module, const void *) { return (*module = &report, 0); }
int cuModuleUnload(void *) { return 0; }
int cuGetErrorName(int, const char **name) { return (*name = "an error of the emulator", 0); }
int cuGetErrorString(int, const char **text) { return (*text = "see what it wrote", 0); }

int cuModuleGetFunction(void **function, void *, const char *name) {
    const auto found = kernels().find(name);
    if (found == kernels().end()) {
        fprintf(stderr, "emulator: there is no kernel %s\n", name);
        return 500;
    }
    *function = &found->second;
    return 0;
}

int cuFuncGetAttribute(int *value, int, void *) { return (*value = 0, 0); }

int cuFuncSetAttribute(void *function, int which, int value) {
    if (which != 8 || value > MOST_SHARED) return 1;
    static_cast<Kernel *>(function)->shared = value;
    return 0;
}

int cuLaunchKernel(
    void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned bytes, void *stream,
    void **arguments, void **
) {
    Node node = kernel_node(function, {gx, gy, gz}, {bx, by, bz}, bytes, arguments);
    return static_cast<Stream *>(stream)->capture == nullptr ? launch(node) : run_or_capture(stream, std::move(node));
}

// As in cuda.h.
struct KernelParameters {
    void *function;
    unsigned gx, gy, gz, bx, by, bz, bytes;
    void **arguments, **extra;
    void *kernel, *context;
};
struct FillParameters {
    uint64_t to;
    size_t pitch;
    unsigned value, element;
    size_t width, height;
};
struct CopyParameters {
    size_t from_x, from_y, from_z, from_lod;
    int from_kind;
    const void *from_host;
    uint64_t from;
    void *from_array, *reserved0;
    size_t from_pitch, from_height, to_x, to_y, to_z, to_lod;
    int to_kind;
    void *to_host;
    uint64_t to;
    void *to_array, *reserved1;
    size_t to_pitch, to_height, width, height, depth;
};

int cuStreamGetCaptureInfo_v3(
    void *on, int *status, uint64_t *id, void **graph, void *const **nodes, const void **edges, size_t *n
) {
    static thread_local void *last;
    auto *stream = static_cast<Stream *>(on);
    *status = stream->capture != nullptr;
    *n = 0;
    if (stream->capture == nullptr || stream->capture->nodes.empty()) return 0;
    last = stream->capture->nodes.back();
    *id = 1, *graph = stream->capture, *nodes = &last, *edges = nullptr, *n = 1;
    return 0;
}
int cuGraphInstantiateWithFlags(void **executable, void *graph, unsigned long long) {
    if (int error = not_in_capture("an instantiation")) return error;
    auto *own = new Executable;
    for (const Node *node : static_cast<Graph *>(graph)->nodes) {
        own->origins.push_back(node);
        own->nodes.push_back(*node);
    }
    captures++;
    return (*executable = own, 0);
}
int cuGraphExecDestroy(void *executable) { return (delete static_cast<Executable *>(executable), 0); }
int cuGraphDestroy(void *graph) { return (delete static_cast<Graph *>(graph), 0); }
int cuGraphLaunch(void *executable, void *) {
    if (int error = not_in_capture("a launch of a graph")) return error;
    graph_launches++;
    for (const Node &node : static_cast<Executable *>(executable)->nodes) {
        if (int error = run_node(node)) return error;
    }
    return 0;
}
}  // extern "C"

// Replaces the copy of a node in an executable graph by another of the same kind and kernel.
static int change(void *executable, const void *node, Node to) {
    auto *own = static_cast<Executable *>(executable);
    node_changes++;
    for (size_t i = 0; i < own->origins.size(); i++) {
        if (own->origins[i] != node) continue;
        if (own->nodes[i].kind != to.kind || own->nodes[i].kernel != to.kernel) return 910;
        own->nodes[i] = std::move(to);
        return 0;
    }
    fprintf(stderr, "emulator: a change of a node that is not the graph's\n");
    return 1;
}

extern "C" {
int cuGraphExecKernelNodeSetParams_v2(void *executable, void *node, const KernelParameters *by) {
    return change(
        executable, node,
        kernel_node(by->function, {by->gx, by->gy, by->gz}, {by->bx, by->by, by->bz}, by->bytes, by->arguments)
    );
}
int cuGraphExecMemsetNodeSetParams(void *executable, void *node, const FillParameters *by, void *) {
    Node to{FILL_NODE};
    const FillParameters given = *by;
    if (given.element != 1 || given.height != 1) return 1;
    to.to = given.to;
    to.run = [given] { return fill(given.to, given.value, given.width, &the_default); };
    return change(executable, node, std::move(to));
}
int cuGraphExecMemcpyNodeSetParams(void *executable, void *node, const CopyParameters *by, void *) {
    Node to{COPY_NODE};
    const CopyParameters given = *by;
    if (given.from_kind != 2 || given.to_kind != 2 || given.height != 1 || given.depth != 1) return 1;
    to.run = [given] { return copy_within(given.to, given.from, given.width, &the_default); };
    return change(executable, node, std::move(to));
}

// A handle is a pointer to its stream.
int cublasCreate_v2(void ***handle) { return (*handle = new void *(&the_default), 0); }
int cublasDestroy_v2(void **handle) { return (delete handle, 0); }
int cublasSetStream_v2(void **handle, void *stream) { return (*handle = stream, 0); }
int cublasSetWorkspace_v2(void **, void *workspace, size_t) { return is_live(reinterpret_cast<uint64_t>(workspace)) ? 0 : 7; }
int cublasSgemm_v2(
    void **handle, int turned_a, int turned_b, int m, int n, int k, const float *alpha, const float *a, int lda, const float *b,
    int ldb, const float *beta, float *c, int ldc
) {
    const float by = *alpha, keep = *beta;
    Node node{KERNEL_NODE};
    node.run = [=] {
        for (const void *at : {static_cast<const void *>(a), static_cast<const void *>(b), static_cast<const void *>(c)}) {
            if (!is_live(reinterpret_cast<uint64_t>(at))) return 700;
        }
        return product(turned_a, turned_b, m, n, k, by, a, lda, b, ldb, keep, c, ldc);
    };
    return run_or_capture(*handle, std::move(node));
}
int cublasGemmStridedBatchedEx(
    void **handle, int turned_a, int turned_b, int m, int n, int k, const void *alpha, const float *a, int, int lda, long long next_a,
    const float *b, int, int ldb, long long next_b, const void *beta, float *c, int, int ldc, long long next_c, int batch, int, int
) {
    const float by = *static_cast<const float *>(alpha), keep = *static_cast<const float *>(beta);
    Node node{KERNEL_NODE};
    node.run = [=] {
        for (int i = 0; i < batch; i++) {
            const float *x = a + i * next_a, *y = b + i * next_b;
            if (int error = product(turned_a, turned_b, m, n, k, by, x, lda, y, ldb, keep, c + i * next_c, ldc)) return error;
        }
        return 0;
    };
    return run_or_capture(*handle, std::move(node));
}

int curandCreateGenerator(void **generator, int) { return (*generator = &report, 0); }
int curandSetPseudoRandomGeneratorSeed(void *, unsigned long long) { return 0; }
int curandSetStream(void *, void *) { return 0; }
int curandDestroyGenerator(void *) { return 0; }
// Numbers from 0 to 1 that are equal at each call.
int curandGenerateUniform(void *, float *out, size_t n) {
    unsigned word = 1;
    for (size_t i = 0; i < n; i++) out[i] = (float)((word = word * 1664525u + 1013904223u) >> 8) * 0x1p-24f;
    return 0;
}
}
