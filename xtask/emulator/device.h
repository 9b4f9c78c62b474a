// CUDA C++ as plain C++: a kernel is a function, and each thread of its grid a coroutine (driver.cpp) that a barrier suspends.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#undef __global__
#undef __device__
#undef __host__
#undef __shared__
#undef __forceinline__
#undef __launch_bounds__
#define __global__
#define __device__
#define __host__
// Blocks run one after the other.
#define __shared__ static
#define __forceinline__ inline
#define __launch_bounds__(...)

using std::isfinite;
using std::isnan;
using std::max;
using std::min;
using std::signbit;

namespace emulator {
struct Place {
    unsigned x, y, z;
};
extern Place thread, block, threads, blocks;
extern float *shared;
void barrier();
// Barrier number `which` for n threads of the block.
void named_barrier(unsigned which, unsigned n);
// Exchanges a value between the threads of a block: returns the value of thread `from`.
uint64_t swap(uint64_t own, unsigned from);
// Number of threads of the block whose value is not zero.
int count(int own);
void add(const char *name, void (*call)(void **arguments, void *kernel), void *kernel);

template <class... A, size_t... I> void apply(void (*kernel)(A...), void **arguments, std::index_sequence<I...>) {
    kernel(*reinterpret_cast<std::remove_reference_t<A> *>(arguments[I])...);
}

// Registers a kernel by its name.
template <class... A> struct Kernel {
    Kernel(const char *name, void (*kernel)(A...)) {
        const auto call = [](void **arguments, void *kernel) {
            apply(reinterpret_cast<void (*)(A...)>(kernel), arguments, std::index_sequence_for<A...>{});
        };
        add(name, call, reinterpret_cast<void *>(kernel));
    }
};

template <class To, class From> To bits(From from) {
    static_assert(sizeof(To) == sizeof(From));
    To to;
    memcpy(&to, &from, sizeof to);
    return to;
}
}  // namespace emulator

#define threadIdx emulator::thread
#define blockIdx emulator::block
#define blockDim emulator::threads
#define gridDim emulator::blocks
#define warpSize 32
#define SHARED(name) float *name = emulator::shared

static inline void __syncthreads() { emulator::barrier(); }
static inline void named_barrier(unsigned barrier, unsigned threads) { emulator::named_barrier(barrier, threads); }
static inline int __syncthreads_count(int x) { return emulator::count(x); }
static inline float __uint_as_float(unsigned x) { return emulator::bits<float>(x); }
static inline unsigned __float_as_uint(float x) { return emulator::bits<unsigned>(x); }
static inline int __float_as_int(float x) { return emulator::bits<int>(x); }
static inline float __int_as_float(int x) { return emulator::bits<float>(x); }
static inline long long __double_as_longlong(double x) { return emulator::bits<long long>(x); }
static inline double __longlong_as_double(long long x) { return emulator::bits<double>(x); }
template <class T> T __shfl_xor_sync(unsigned, T x, int mask, int = 32) {
    const unsigned own = emulator::thread.x;
    uint64_t bits = 0;
    memcpy(&bits, &x, sizeof x);
    bits = emulator::swap(bits, (own & ~31u) | ((own ^ mask) & 31u));
    memcpy(&x, &bits, sizeof x);
    return x;
}
// One thread runs at a time.
template <class T> T atomicAdd(T *at, T x) {
    const T old = *at;
    *at = old + x;
    return old;
}
template <class T, class U> T atomicMax(T *at, U x) {
    const T old = *at;
    *at = std::max(old, (T)x);
    return old;
}
template <class T, class U> T atomicMin(T *at, U x) {
    const T old = *at;
    *at = std::min(old, (T)x);
    return old;
}
static inline double normcdf(double x) { return 0.5 * erfc(-x * M_SQRT1_2); }
static inline float normcdff(float x) { return (float)normcdf((double)x); }
static inline float __fdividef(float x, float y) { return x / y; }
static inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
static inline double rsqrt(double x) { return 1.0 / sqrt(x); }
