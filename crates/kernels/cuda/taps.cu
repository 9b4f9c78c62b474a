// The gradients of a residual block's parameters, a part of the rows at a time.
#include "gradient.cuh"

constexpr unsigned TAPS = 3;

// The part in the gradient of the block's parameters that `rows` rows have: row blockIdx.y of `parts` from rows of that part.
// A half's x is what it was given, and its shares those in the gradients of bias, scale and shift. blockIdx.z is the half, the
// second with twice the dilation; blockIdx.x counts tiles.
extern "C" __global__ void taps_gradient(
    float *parts, const float *x_one, const float *x_two, const float *shares_one, const float *shares_two,
    const unsigned *sides, unsigned n, unsigned width, unsigned dilation, unsigned rows
) {
    __shared__ Turn shared;
    const Given given = {
        blockIdx.z ? x_two : x_one, blockIdx.z ? shares_two : shares_one, nullptr, sides, width, width,
        blockIdx.z ? 2 * dilation : dilation
    };
    float *out = parts + (2 * (size_t)blockIdx.y + blockIdx.z) * (TAPS * width + TAPS) * width;
    const unsigned begin = blockIdx.y * rows;
    part_of_gradient<TAPS>(out, given, blockIdx.x, begin, min(n, begin + rows), shared);
}
