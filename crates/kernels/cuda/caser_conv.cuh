// Helpers of the Caser kernels. `heights` holds per height: the height, the row of `horizontal`
// [.., filters] where its filters begin, and the row of its biases. A tap is a row of a filter:
// `width` rows of `horizontal`; the taps of all heights are consecutive.
#pragma once
#include "block.cuh"

struct Height {
    unsigned height, row, bias;
};

// An element of a window, zero past its length.
__device__ inline float valid(const float *x, unsigned position, unsigned count, unsigned width, unsigned column) {
    return position < count ? x[(size_t)position * width + column] : 0.0f;
}
