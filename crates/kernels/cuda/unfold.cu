// The rows that a dilated causal convolution's taps meet, side by side, so that it is one product.
#include "block.cuh"

// A thread an element of the result [n, 3 width], oldest tap first: rows `dilation` and twice that before each row of x
// [n, width], or behind it with `ahead`. `rows` holds of each row how many of its window come before it, and how many after.
extern "C" __global__ void unfold(
    float *out, const float *x, const unsigned *rows, unsigned n, unsigned width, unsigned dilation, unsigned ahead
) {
    const size_t i = element();
    if (i >= (size_t)n * 3 * width) return;
    const unsigned row = i / (3 * width), tap = i / width % 3, column = i % width;
    const unsigned distance = (2 - tap) * dilation;
    const bool is_met = distance <= rows[2 * row + ahead];
    out[i] = is_met ? x[(size_t)(ahead ? row + distance : row - distance) * width + column] : 0.0f;
}
