// Dense Adam in one pass, and a finite check; each over several tensors in one launch.
#include "adam.cuh"
#include "block.cuh"

// Finds this block's tensor: the last one whose first block is not after this block. All threads
// search in parallel.
template <class Tensor> __device__ inline Tensor dealt(const Tensor *tensors, unsigned n) {
    __shared__ unsigned own;
    for (unsigned i = threadIdx.x; i < n; i += blockDim.x) {
        if (tensors[i].block <= blockIdx.x && (i + 1 == n || tensors[i + 1].block > blockIdx.x)) own = i;
    }
    __syncthreads();
    return tensors[own];
}

struct Slot {
    unsigned long long block, n;
    float *param, *first, *second;
    const float *grad;
};

// One block per 1024 elements of a tensor, 256 threads. Does nothing if the flag `non_finite` is
// given and set.
extern "C" __global__ void adam(
    const Slot *slots, unsigned n, float beta1, float beta2, float rate, float root, float eps, const unsigned *non_finite
) {
    if (non_finite && *non_finite) return;
    const Slot slot = dealt(slots, n);
    const size_t start = (blockIdx.x - slot.block) * 1024 + threadIdx.x;
#pragma unroll
    for (unsigned turn = 0; turn < 4; turn++) {
        const size_t i = start + turn * 256;
        if (i >= slot.n) return;
        float m = slot.first[i], v = slot.second[i];
        slot.param[i] = adam_step(slot.param[i], slot.grad[i], m, v, {beta1, beta2, rate, root, eps});
        slot.first[i] = m;
        slot.second[i] = v;
    }
}

struct Numbers {
    unsigned long long block, n;
    const float *numbers;
};

// One block per 1024 elements of a tensor, 256 threads: sets `found` to 1 if an element is NaN or
// infinite.
extern "C" __global__ void find_non_finite(const Numbers *tensors, unsigned n, unsigned *found) {
    const Numbers tensor = dealt(tensors, n);
    const size_t start = (blockIdx.x - tensor.block) * 1024 + threadIdx.x;
    for (size_t i = start; i < start + 1024 && i < tensor.n; i += 256) {
        if (!isfinite(tensor.numbers[i])) *found = 1;
    }
}
