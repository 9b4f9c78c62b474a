// Adam, dense and in one pass; and whether numbers are finite. Both go over several tensors in one
// launch.
#include "adam.cuh"
#include "block.cuh"

// Of the tensors that the grid's blocks are dealt to, the one of this block: its first block is the
// last that is not after it. All threads look at once.
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

// A block 1024 elements of a tensor, 256 threads. Nothing is done if there is a word `strange` and
// it is not zero.
extern "C" __global__ void adam(
    const Slot *slots, unsigned n, float beta1, float beta2, float rate, float root, float eps, const unsigned *strange
) {
    if (strange && *strange) return;
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

// A block 1024 elements of a tensor, 256 threads: `found` becomes 1 if one of all is NaN or
// infinite.
extern "C" __global__ void find_non_finite(const Numbers *tensors, unsigned n, unsigned *found) {
    const Numbers tensor = dealt(tensors, n);
    const size_t start = (blockIdx.x - tensor.block) * 1024 + threadIdx.x;
    for (size_t i = start; i < start + 1024 && i < tensor.n; i += 256) {
        if (!isfinite(tensor.numbers[i])) *found = 1;
    }
}
