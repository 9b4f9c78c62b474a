// Products of small tiles by tensor cores, from factors in fp32 that are rounded to a shorter type. Sums are in fp32.
//
// A warp's product adds A [16, 16] B [16, 8] to C [16, 8]. With g = lane / 4 and t = lane % 4, a lane holds the four columns 4 t
// .. 4 t + 3 of the rows g and g + 8 of A, the four rows 4 t .. of the column g of B, and the columns 2 t and 2 t + 1 of the rows g
// and g + 8 of C: c[0], c[1] of the first, c[2], c[3] of the second. The order of the 16 addends differs from the hardware's names
// for them, equally in A and B.
#pragma once

#include "block.cuh"

// Precision of the output layer's products.
struct Fp32 {};

#ifndef EMULATED_MMA
__device__ inline void mma_bf16(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
__device__ inline void mma_tf32(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
// Two numbers rounded to bfloat16, to nearest and ties to even, the first in the lower half.
__device__ inline unsigned bf16_pair(float low, float high) {
    unsigned pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
}
// A number rounded to TF32, to nearest and ties away from zero.
__device__ inline unsigned tf32(float x) {
    unsigned word;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(word) : "f"(x));
    return word;
}
#endif

// bfloat16: eight bits of precision.
struct Bf16 {
    // Four numbers along the summed axis.
    struct Four {
        unsigned pairs[2];
        __device__ void set(float x, float y, float z, float w) {
            pairs[0] = bf16_pair(x, y);
            pairs[1] = bf16_pair(z, w);
        }
    };
    // Adds the product of the rows `low` (g) and `high` (g + 8) of A and a column of B.
    __device__ static void add(float (&c)[4], const Four &low, const Four &high, const Four &column) {
        mma_bf16(c, {low.pairs[0], high.pairs[0], low.pairs[1], high.pairs[1]}, {column.pairs[0], column.pairs[1]});
    }
};

// TF32: eleven bits of precision.
struct Tf32 {
    struct Four {
        unsigned words[4];
        __device__ void set(float x, float y, float z, float w) {
            words[0] = tf32(x), words[1] = tf32(y), words[2] = tf32(z), words[3] = tf32(w);
        }
    };
    __device__ static void add(float (&c)[4], const Four &low, const Four &high, const Four &column) {
        mma_tf32(c, {low.words[0], high.words[0], low.words[1], high.words[1]}, {column.words[0], column.words[1]});
        mma_tf32(c, {low.words[2], high.words[2], low.words[3], high.words[3]}, {column.words[2], column.words[3]});
    }
};

// Whether a precision is that of tensor cores.
template <class P> constexpr bool USES_MMA = true;
template <> constexpr bool USES_MMA<Fp32> = false;

// A lane's g and t.
__device__ inline unsigned lane_g() {
    return threadIdx.x % 32 / 4;
}
__device__ inline unsigned lane_t() {
    return threadIdx.x % 4;
}
// g with its lowest bit moved to the top: neighbours in a load are four apart.
__device__ inline unsigned spread_g() {
    return lane_g() / 2 + lane_g() % 2 * 4;
}
