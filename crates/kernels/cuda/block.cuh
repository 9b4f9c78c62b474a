// What the kernels share: a sigmoid; sums and maxima over a block, in an order that does not change
// from run to run.
#pragma once

// Memory of the block that the launch gives the size of, and a barrier of its own number for some
// warps of a block, so many threads. A CPU that stands in for a GPU has its own.
#ifndef SHARED
#define SHARED(name) extern __shared__ __align__(16) float name[]
__device__ inline void meet(unsigned barrier, unsigned threads) {
    asm volatile("bar.sync %0, %1;" ::"r"(barrier), "r"(threads) : "memory");
}
#endif

__device__ inline float sigmoid(float x) {
    return 1.0f / (1.0f + expf(-x));
}

// The sum of a number of each thread, told to all of them. blockDim.x is a power of two, `cells`
// has that many.
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

// The largest, in the same way.
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

// The element of this thread, where each has one.
__device__ inline size_t element() {
    return (size_t)blockIdx.x * blockDim.x + threadIdx.x;
}
