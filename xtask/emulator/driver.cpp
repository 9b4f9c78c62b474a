// The functions of the CUDA driver, cuBLAS and cuRAND that candle uses, on a CPU. Device memory is host memory; a launch runs
// the threads of its grid one after another and returns when all have ended. Uninitialised memory holds NaN. With
// EMULATOR_REVERSED the threads of a block run in reverse order, which must not change a result. With EMULATOR_REPORT the
// number of launches of each kernel is printed at exit.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
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

struct Kernel {
    void (*call)(void **, void *);
    void *kernel;
    long launches;
    // Bytes of shared memory per block: the default of every GPU, until the kernel requests more.
    unsigned shared = 49152;
};
static const int MOST_SHARED = 232448;

static std::map<std::string, Kernel> &kernels() {
    static auto *all = new std::map<std::string, Kernel>;
    return *all;
}

void add(const char *name, void (*call)(void **, void *), void *kernel) {
    if (!kernels().emplace(name, Kernel{call, kernel, 0}).second) {
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

void barrier() {
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
    do barrier();
    while (own.completed == before || own.last == turns);
}

uint64_t swap(uint64_t own, unsigned from) {
    coroutines[current].handed = own;
    barrier();
    const uint64_t theirs = coroutines[from].handed;
    barrier();
    return theirs;
}

int count(int own) {
    coroutines[current].handed = own != 0;
    barrier();
    int n = 0;
    for (size_t i = 0; i < (size_t)threads.x * threads.y * threads.z; i++) n += coroutines[i].handed;
    barrier();
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
    for (size_t left = n; left > 0; turns++) {
        for (size_t turn = 0; turn < n; turn++) {
            current = is_reversed ? n - 1 - turn : turn;
            if (coroutines[current].has_ended) continue;
            thread = coroutines[current].place;
            emulator_switch(&scheduler, coroutines[current].top);
            left -= coroutines[current].has_ended;
        }
    }
}

static long allocations, products, copies_in, copies_out;
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
        fprintf(stderr, "%ld copies in (%zu bytes), %ld out (%zu bytes)\n", copies_in, bytes_in, copies_out, bytes_out);
    }
} report;

static int make(uint64_t *at, size_t n) {
    allocations++;
    if (n == 0) return 1;
    void *memory = aligned_alloc(256, (n + 255) / 256 * 256);
    if (memory == nullptr) return 2;
    memset(memory, 0xff, n);
    *at = reinterpret_cast<uint64_t>(memory);
    return 0;
}

static int copy_in(uint64_t to, const void *from, size_t n) {
    copies_in++;
    bytes_in += n;
    memcpy(reinterpret_cast<void *>(to), from, n);
    return 0;
}

static int copy_out(void *to, uint64_t from, size_t n) {
    copies_out++;
    bytes_out += n;
    memcpy(to, reinterpret_cast<void *>(from), n);
    return 0;
}

static int product(
    bool turned_a, bool turned_b, int m, int n, int k, float alpha, const float *a, int lda, const float *b, int ldb, float beta,
    float *c, int ldc
) {
    products++;
    if (lda < (turned_a ? k : m) || ldb < (turned_b ? n : k) || ldc < m) {
        fprintf(stderr, "emulator: a product of %d, %d, %d with rows of %d, %d, %d\n", m, n, k, lda, ldb, ldc);
        return 7;
    }
    for (int j = 0; j < n; j++) {
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
int cuCtxSetCurrent(void *) { return 0; }
int cuCtxGetCurrent(void **context) { return (*context = &report, 0); }
int cuCtxSynchronize() { return 0; }
int cuStreamCreate(void **stream, unsigned) { return (*stream = &report, 0); }
int cuStreamDestroy_v2(void *) { return 0; }
int cuStreamSynchronize(void *) { return 0; }
int cuStreamWaitEvent(void *, void *, unsigned) { return 0; }
int cuStreamIsCapturing(void *, int *is_capturing) { return (*is_capturing = 0, 0); }
int cuEventCreate(void **event, unsigned) { return (*event = &report, 0); }
int cuEventRecord(void *, void *) { return 0; }
int cuEventSynchronize(void *) { return 0; }
int cuEventDestroy_v2(void *) { return 0; }
int cuMemAlloc_v2(uint64_t *at, size_t n) { return make(at, n); }
int cuMemAllocAsync(uint64_t *at, size_t n, void *) { return make(at, n); }
int cuMemFree_v2(uint64_t at) { return (free(reinterpret_cast<void *>(at)), 0); }
int cuMemFreeAsync(uint64_t at, void *) { return (free(reinterpret_cast<void *>(at)), 0); }
int cuMemcpyHtoD_v2(uint64_t to, const void *from, size_t n) { return copy_in(to, from, n); }
int cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t n, void *) { return copy_in(to, from, n); }
int cuMemcpyDtoH_v2(void *to, uint64_t from, size_t n) { return copy_out(to, from, n); }
int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t n, void *) { return copy_out(to, from, n); }
int cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t n, void *) {
    return (memmove(reinterpret_cast<void *>(to), reinterpret_cast<void *>(from), n), 0);
}
int cuMemsetD8Async(uint64_t at, unsigned char value, size_t n, void *) {
    return (memset(reinterpret_cast<void *>(at), value, n), 0);
}
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

int cuFuncSetAttribute(void *function, int which, int value) {
    if (which != 8 || value > MOST_SHARED) return 1;
    static_cast<Kernel *>(function)->shared = value;
    return 0;
}

int cuLaunchKernel(
    void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned bytes, void *,
    void **arguments, void **
) {
    const unsigned room = static_cast<Kernel *>(function)->shared;
    if (!gx || !gy || !gz || !(bx * by * bz) || bx * by * bz > 1024 || bytes > room || gy > 65535 || gz > 65535) {
        fprintf(stderr, "emulator: a grid of %u, %u, %u blocks of %u, %u, %u threads, %u bytes\n", gx, gy, gz, bx, by, bz, bytes);
        return 1;
    }
    const std::lock_guard<std::recursive_mutex> guard(one_launch);
    running = static_cast<Kernel *>(function);
    running->launches++;
    given = arguments;
    threads = {bx, by, bz};
    blocks = {gx, gy, gz};
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

int cublasCreate_v2(void **handle) { return (*handle = &report, 0); }
int cublasDestroy_v2(void *) { return 0; }
int cublasSetStream_v2(void *, void *) { return 0; }
int cublasSgemm_v2(
    void *, int turned_a, int turned_b, int m, int n, int k, const float *alpha, const float *a, int lda, const float *b,
    int ldb, const float *beta, float *c, int ldc
) {
    return product(turned_a, turned_b, m, n, k, *alpha, a, lda, b, ldb, *beta, c, ldc);
}
int cublasGemmStridedBatchedEx(
    void *, int turned_a, int turned_b, int m, int n, int k, const void *alpha, const float *a, int, int lda, long long next_a,
    const float *b, int, int ldb, long long next_b, const void *beta, float *c, int, int ldc, long long next_c, int batch, int, int
) {
    for (int i = 0; i < batch; i++) {
        const float *x = a + i * next_a, *y = b + i * next_b;
        const float one = *static_cast<const float *>(alpha), keep = *static_cast<const float *>(beta);
        if (int error = product(turned_a, turned_b, m, n, k, one, x, lda, y, ldb, keep, c + i * next_c, ldc)) return error;
    }
    return 0;
}

int curandCreateGenerator(void **generator, int) { return (*generator = &report, 0); }
int curandSetPseudoRandomGeneratorSeed(void *, unsigned long long) { return 0; }
int curandSetStream(void *, void *) { return 0; }
int curandDestroyGenerator(void *) { return 0; }
}
