// Helpers of many kernels: sigmoid, and sums and maxima over a block in a fixed order.
#pragma once

// Dynamic shared memory, and barrier number `barrier` of a block for `threads` of its threads,
// which must be whole warps. The CPU emulator defines its own.
#ifndef SHARED
#define SHARED(name) extern __shared__ __align__(16) float name[]
__device__ inline void named_barrier(unsigned barrier, unsigned threads) {
    asm volatile("bar.sync %0, %1;" ::"r"(barrier), "r"(threads) : "memory");
}
#endif

__device__ inline float sigmoid(float x) {
    return 1.0f / (1.0f + expf(-x));
}

// Sum over the block, returned to all threads. blockDim.x must be a power of two and the length of
// `cells`, in shared memory. The tree of additions depends on blockDim.x alone, so the bits are
// fixed.
__device__ inline float block_sum(float x, float *cells) {
    cells[threadIdx.x] = x;
    __syncthreads();
    for (unsigned half = blockDim.x / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) cells[threadIdx.x] += cells[threadIdx.x + half];
        __syncthreads();
    }
    const float sum = cells[0];
    __syncthreads();
    return sum;
}

// Maximum over the block, under the same conditions.
__device__ inline float block_max(float x, float *cells) {
    cells[threadIdx.x] = x;
    __syncthreads();
    for (unsigned half = blockDim.x / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) cells[threadIdx.x] = fmaxf(cells[threadIdx.x], cells[threadIdx.x + half]);
        __syncthreads();
    }
    const float top = cells[0];
    __syncthreads();
    return top;
}

// Global element index of this thread.
__device__ inline size_t element() {
    return (size_t)blockIdx.x * blockDim.x + threadIdx.x;
}
