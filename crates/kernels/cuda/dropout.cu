// Dropout.
#include "dropout.cuh"

// out [n] = x * factors of the mask of `words`, or the factors alone if x is null. Grid: one block of 256 threads per 2048
// draws.
extern "C" __global__ void dropout(float *__restrict__ out, const float *__restrict__ x, unsigned n, const unsigned *words) {
    __shared__ unsigned kept[64];
    const Mask mask = mask_of(words);
    mask.each(n, kept, [&](size_t i, float factor) { out[i] = x ? x[i] * factor : factor; });
}
