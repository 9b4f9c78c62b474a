// Dropout by ChaCha8 (Bernstein, 2008), the generator of the CPU implementation: equal bits.
#pragma once

#include "block.cuh"

__device__ inline unsigned rotated(unsigned x, unsigned by) {
    return x << by | x >> (32 - by);
}

__device__ inline void quarter(unsigned &a, unsigned &b, unsigned &c, unsigned &d) {
    a += b, d = rotated(d ^ a, 16);
    c += d, b = rotated(b ^ c, 12);
    a += b, d = rotated(d ^ a, 8);
    c += d, b = rotated(b ^ c, 7);
}

// A stream of random numbers.
struct Stream {
    unsigned key[8], low, high;
};

// Bit mask over the 32 draws of 16 bits of a ChaCha block: set if the draw is not below `bar`.
__device__ inline unsigned kept_of_32(unsigned long long block, const Stream &stream, unsigned bar) {
    const unsigned *key = stream.key;
    const unsigned begun[16] = {0x61707865u, 0x3320646eu, 0x79622d32u, 0x6b206574u, key[0], key[1], key[2], key[3], key[4], key[5],
        key[6], key[7], (unsigned)block, (unsigned)(block >> 32), stream.low, stream.high};
    unsigned s[16];
#pragma unroll
    for (unsigned i = 0; i < 16; i++) s[i] = begun[i];
#pragma unroll
    for (unsigned round = 0; round < 4; round++) {
        quarter(s[0], s[4], s[8], s[12]);
        quarter(s[1], s[5], s[9], s[13]);
        quarter(s[2], s[6], s[10], s[14]);
        quarter(s[3], s[7], s[11], s[15]);
        quarter(s[0], s[5], s[10], s[15]);
        quarter(s[1], s[6], s[11], s[12]);
        quarter(s[2], s[7], s[8], s[13]);
        quarter(s[3], s[4], s[9], s[14]);
    }
    unsigned bits = 0;
#pragma unroll
    for (unsigned i = 0; i < 16; i++) {
        const unsigned word = s[i] + begun[i];
        bits |= (unsigned)((word & 0xffffu) >= bar) << 2 * i | (unsigned)(word >> 16 >= bar) << (2 * i + 1);
    }
    return bits;
}

// The factors of some elements: zero where a draw of 16 bits is below `bar`, else `keep`. The first
// element uses draw number `before`.
struct Mask {
    Stream stream;
    unsigned before, bar;
    float keep;

    // Calls `f` with each element of a block of threads below n and its factor. The block is 256
    // threads and 2048 draws: 64 threads draw 32 each, for which `kept` has room, and all have
    // eight elements.
    template <class F> __device__ void each(size_t n, unsigned (&kept)[64], F f) const {
        const unsigned long long first = before / 32 + blockIdx.x * 64ull;
        if (threadIdx.x < 64) kept[threadIdx.x] = kept_of_32(first + threadIdx.x, stream, bar);
        __syncthreads();
#pragma unroll
        for (unsigned turn = 0; turn < 8; turn++) {
            const unsigned at = turn * 256 + threadIdx.x;
            // Wraps, and so is too large, for draws of elements before the first.
            const unsigned long long i = first * 32 + at - before;
            if (i < n) f(i, kept[at / 32] >> at % 32 & 1u ? keep : 0.0f);
        }
    }
};

// Kernel parameters of a mask.
#define MASK_PARAMETERS                                                                                                      \
    unsigned before, unsigned stream_low, unsigned stream_high, unsigned bar, float keep, unsigned k0, unsigned k1, unsigned k2, \
        unsigned k3, unsigned k4, unsigned k5, unsigned k6, unsigned k7
#define MASK_GIVEN                                                                                                           \
    { {{k0, k1, k2, k3, k4, k5, k6, k7}, stream_low, stream_high}, before, bar, keep }
