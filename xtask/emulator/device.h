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
#include <vector>

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
// Barrier of the block.
void sync();
// Barrier number `which` for n threads of the block.
void named_barrier(unsigned which, unsigned n);
// Exchanges a value between the threads of a block: returns the value of thread `from`.
uint64_t swap(uint64_t own, unsigned from);
// Number of threads of the block whose value is not zero.
int count(int own);
// Size of a kernel's parameter, and whether it is a pointer.
struct Parameter {
    size_t size;
    bool is_pointer;
};
void add(const char *name, void (*call)(void **arguments, void *kernel), void *kernel, std::vector<Parameter> parameters);

template <class... A, size_t... I> void apply(void (*kernel)(A...), void **arguments, std::index_sequence<I...>) {
    kernel(*reinterpret_cast<std::remove_reference_t<A> *>(arguments[I])...);
}

// Registers a kernel by its name.
template <class... A> struct Kernel {
    Kernel(const char *name, void (*kernel)(A...)) {
        const auto call = [](void **arguments, void *kernel) {
            apply(reinterpret_cast<void (*)(A...)>(kernel), arguments, std::index_sequence_for<A...>{});
        };
        add(name, call, reinterpret_cast<void *>(kernel), {Parameter{sizeof(A), std::is_pointer<A>::value}...});
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

static inline void __syncthreads() { emulator::sync(); }
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
// The CPU rounds each operation, too.
static inline double __dadd_rn(double x, double y) { return x + y; }
static inline double __dmul_rn(double x, double y) { return x * y; }
static inline float __fadd_rn(float x, float y) { return x + y; }
static inline float __fmul_rn(float x, float y) { return x * y; }
static inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
static inline double rsqrt(double x) { return 1.0 / sqrt(x); }

// Tensor cores: each lane computes its own elements from the registers of the warp's lanes.
#define EMULATED_MMA
namespace emulator {
// What each lane of the warp hands over, until `retract`.
const void *hand(const void *own, unsigned lane);
void retract();
}  // namespace emulator
static inline unsigned bf16_bits(float x) {
    const unsigned bits = __float_as_uint(x);
    if (std::isnan(x)) return bits >> 16 | 0x40u;
    return (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
}
static inline unsigned bf16_pair(float low, float high) { return bf16_bits(high) << 16 | bf16_bits(low); }
static inline unsigned tf32(float x) {
    const unsigned bits = __float_as_uint(x);
    return std::isfinite(x) ? (bits + 0x1000u) & ~0x1fffu : bits;
}
struct MmaFactors {
    unsigned a[4], b[2];
};
// The value of part `part` (0 or 1) of a register.
static inline float mma_value(unsigned word, bool is_pair, unsigned part) {
    if (!is_pair) return __uint_as_float(word);
    return __uint_as_float(part == 0 ? word << 16 : word & 0xffff0000u);
}
static inline void emulated_mma(float (&c)[4], const unsigned *a, const unsigned *b, bool is_pair) {
    const MmaFactors own = {{a[0], a[1], a[2], a[3]}, {b[0], b[1]}};
    const unsigned lane = emulator::thread.x % 32, g = lane / 4, t = lane % 4;
    emulator::hand(&own, lane);
    for (unsigned i = 0; i < 4; i++) {
        const unsigned n = 2 * t + i % 2;
        for (unsigned half = 0; half < 2; half++) {
            for (unsigned other = 0; other < 4; other++) {
                const auto *row = static_cast<const MmaFactors *>(emulator::hand(nullptr, 4 * g + other));
                const auto *column = static_cast<const MmaFactors *>(emulator::hand(nullptr, 4 * n + other));
                for (unsigned part = 0; part < (is_pair ? 2u : 1u); part++) {
                    c[i] = fmaf(mma_value(row->a[2 * half + i / 2], is_pair, part), mma_value(column->b[half], is_pair, part), c[i]);
                }
            }
        }
    }
    emulator::retract();
}
static inline void mma_bf16(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) { emulated_mma(c, a, b, true); }
static inline void mma_tf32(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) { emulated_mma(c, a, b, false); }
