// Matrix products from shared memory with 8 x 8 accumulators per thread.
#pragma once

// Position of a lane in a 4 x 8 grid: bits 0 and 2 of the lane make the index of four, bits 1, 3
// and 4 that of eight. So neighbouring lanes load the same float4 of one operand or of the other.
__device__ inline unsigned one_of_four() {
    return (threadIdx.x & 1) | (threadIdx.x >> 1 & 2);
}
__device__ inline unsigned one_of_eight() {
    return (threadIdx.x >> 1 & 1) | (threadIdx.x >> 2 & 6);
}

// to [4] = from.
__device__ inline void load_four(float *to, const float4 &from) {
    to[0] = from.x, to[1] = from.y, to[2] = from.z, to[3] = from.w;
}

// The four floats from an address on.
__device__ inline float4 four(const float *of) {
    return make_float4(of[0], of[1], of[2], of[3]);
}

// The eight floats of two float4.
struct Eight {
    float x[8];

    __device__ Eight(const float4 &a, const float4 &b) {
        load_four(x, a);
        load_four(x + 4, b);
    }
};

// sums += a b^T.
__device__ inline void add_outer(float (&sums)[8][8], const float (&a)[8], const float (&b)[8]) {
#pragma unroll
    for (unsigned i = 0; i < 8; i++) {
#pragma unroll
        for (unsigned j = 0; j < 8; j++) sums[i][j] += a[i] * b[j];
    }
}
