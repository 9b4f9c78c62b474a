// Dropout masks by ChaCha8 (Bernstein, 2008), the generator of the CPU implementation: the same
// bits.
#pragma once

#include "block.cuh"

// x rotated to the left.
__device__ inline unsigned rotated(unsigned x, unsigned by) {
    return x << by | x >> (32 - by);
}

// Quarter round.
__device__ inline void quarter_round(unsigned &a, unsigned &b, unsigned &c, unsigned &d) {
    a += b, d = rotated(d ^ a, 16);
    c += d, b = rotated(b ^ c, 12);
    a += b, d = rotated(d ^ a, 8);
    c += d, b = rotated(b ^ c, 7);
}

// Key, and lower and upper half of the stream number.
struct Stream {
    unsigned key[8], low, high;
};

// Bit mask over the 32 draws (16 bits each, lower half of a word first) of ChaCha block number
// `block`: a bit is set if its draw is not below `bar`.
__device__ inline unsigned kept_of_32(unsigned long long block, const Stream &stream, unsigned bar) {
    const unsigned *key = stream.key;
    const unsigned initial[16] = {0x61707865u, 0x3320646eu, 0x79622d32u, 0x6b206574u, key[0], key[1], key[2], key[3], key[4], key[5],
        key[6], key[7], (unsigned)block, (unsigned)(block >> 32), stream.low, stream.high};
    unsigned s[16];
#pragma unroll
    for (unsigned i = 0; i < 16; i++) s[i] = initial[i];
#pragma unroll
    for (unsigned round = 0; round < 4; round++) {
        quarter_round(s[0], s[4], s[8], s[12]);
        quarter_round(s[1], s[5], s[9], s[13]);
        quarter_round(s[2], s[6], s[10], s[14]);
        quarter_round(s[3], s[7], s[11], s[15]);
        quarter_round(s[0], s[5], s[10], s[15]);
        quarter_round(s[1], s[6], s[11], s[12]);
        quarter_round(s[2], s[7], s[8], s[13]);
        quarter_round(s[3], s[4], s[9], s[14]);
    }
    unsigned bits = 0;
#pragma unroll
    for (unsigned i = 0; i < 16; i++) {
        const unsigned word = s[i] + initial[i];
        bits |= (unsigned)((word & 0xffffu) >= bar) << 2 * i | (unsigned)(word >> 16 >= bar) << (2 * i + 1);
    }
    return bits;
}

// Dropout factors: zero where a draw is below `bar`, else `keep`. Element i uses draw `before` + i
// of the stream.
struct Mask {
    Stream stream;
    unsigned before, bar;
    float keep;

    // Calls `f(i, factor)` for this thread's elements i < n, up to eight. A block of 256 threads
    // has 2048 draws: its first 64 threads compute a ChaCha block of 32 draws each, as bits in
    // `kept`, in shared memory.
    template <class F> __device__ void each(size_t n, unsigned (&kept)[64], F f) const {
        const unsigned long long first = before / 32 + blockIdx.x * 64ull;
        if (threadIdx.x < 64) kept[threadIdx.x] = kept_of_32(first + threadIdx.x, stream, bar);
        __syncthreads();
#pragma unroll
        for (unsigned turn = 0; turn < 8; turn++) {
            const unsigned at = turn * 256 + threadIdx.x;
            // A draw before the first element wraps around to a number above n.
            const unsigned long long i = first * 32 + at - before;
            if (i < n) f(i, kept[at / 32] >> at % 32 & 1u ? keep : 0.0f);
        }
    }
};

// The mask of 13 words: `before`, the stream number's lower and upper half, `bar`, the bits of `keep`, the key. They change with
// every step, so kernels read them from device memory: a captured launch keeps its arguments. Without words, all factors are 1.
__device__ inline Mask mask_of(const unsigned *words) {
    Mask mask = {{{}, 0, 0}, 0, 0, 1.0f};
    if (words) {
        mask.before = words[0], mask.stream.low = words[1], mask.stream.high = words[2];
        mask.bar = words[3], mask.keep = __uint_as_float(words[4]);
#pragma unroll
        for (unsigned i = 0; i < 8; i++) mask.stream.key[i] = words[5 + i];
    }
    return mask;
}
