// Matrix products from shared memory with 8 x 8 accumulators per thread.
#pragma once

// Position of a lane in a 4 x 8 grid. Lanes that differ in the lowest bit share the index of eight,
// in the next bit the index of four, so that a wide load serves half a warp at a time.
__device__ inline unsigned one_of_four() {
    return (threadIdx.x & 1) | (threadIdx.x >> 1 & 2);
}
__device__ inline unsigned one_of_eight() {
    return (threadIdx.x >> 1 & 1) | (threadIdx.x >> 2 & 6);
}

__device__ inline void load_four(float *to, const float4 &from) {
    to[0] = from.x, to[1] = from.y, to[2] = from.z, to[3] = from.w;
}

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

__device__ inline void add_outer(float (&sums)[8][8], const float (&a)[8], const float (&b)[8]) {
#pragma unroll
    for (unsigned i = 0; i < 8; i++) {
#pragma unroll
        for (unsigned j = 0; j < 8; j++) sums[i][j] += a[i] * b[j];
    }
}
