// Helpers of the Caser kernels. A tap is one row of a filter: `width` rows of `horizontal` [(sum of
// heights) width + n_heights, n_filters]. The taps of all heights are consecutive, then come the
// biases.
#pragma once
#include "block.cuh"

// A height, the row of `horizontal` where its filters begin, and the row of its biases.
struct Height {
    unsigned height, row, bias;
};

// x[position, column] of a window [.., width] with `count` items, zero at positions past them.
__device__ inline float valid(const float *x, unsigned position, unsigned count, unsigned width, unsigned column) {
    return position < count ? x[(size_t)position * width + column] : 0.0f;
}
