// Dense Adam and a finite check, each over several tensors in one launch. A block handles up to
// 1024 consecutive elements of one tensor; `block` is the tensor's first block. No tensor is empty.
#include "adam.cuh"
#include "block.cuh"

// Finds this block's tensor: the last one whose first block is not after this block. All threads
// search in parallel.
template <class Tensor> __device__ inline Tensor tensor_of_block(const Tensor *tensors, unsigned n) {
    __shared__ unsigned own;
    for (unsigned i = threadIdx.x; i < n; i += blockDim.x) {
        if (tensors[i].block <= blockIdx.x && (i + 1 == n || tensors[i + 1].block > blockIdx.x)) own = i;
    }
    __syncthreads();
    return tensors[own];
}

// A parameter with its moments and its gradient.
struct Slot {
    unsigned long long block, n;
    float *param, *first, *second;
    const float *grad;
};

// For each parameter [n]: m = beta1 m + (1 - beta1) g, v = beta2 v + (1 - beta2) g^2, param -= rate
// m / (root sqrt(v) + eps), by the factors `by`. Grid: one block of 256
// threads per 1024 elements of a tensor. Changes nothing if the optional flag `non_finite` is set.
extern "C" __global__ void adam(
    const Slot *slots, unsigned n, const AdamFactors *by, const unsigned *non_finite
) {
    if (non_finite && *non_finite) return;
    const Slot slot = tensor_of_block(slots, n);
    const AdamFactors factors = *by;
    const size_t start = (blockIdx.x - slot.block) * 1024 + threadIdx.x;
#pragma unroll
    for (unsigned turn = 0; turn < 4; turn++) {
        const size_t i = start + turn * 256;
        if (i >= slot.n) return;
        float m = slot.first[i], v = slot.second[i];
        slot.param[i] = adam_step(slot.param[i], slot.grad[i], m, v, factors);
        slot.first[i] = m;
        slot.second[i] = v;
    }
}

// A tensor to check.
struct Elements {
    unsigned long long block, n;
    const float *values;
};

// *found = 1 if an element of a tensor [n] is NaN or infinite, else unchanged. Grid: one block of
// 256 threads per 1024 elements of a tensor. All writers store the same value: no atomics are
// needed.
extern "C" __global__ void find_non_finite(const Elements *tensors, unsigned n, unsigned *found) {
    const Elements tensor = tensor_of_block(tensors, n);
    const size_t start = (blockIdx.x - tensor.block) * 1024 + threadIdx.x;
    for (size_t i = start; i < start + 1024 && i < tensor.n; i += 256) {
        if (!isfinite(tensor.values[i])) *found = 1;
    }
}
