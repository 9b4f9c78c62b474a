// The gradients of a residual block's parameters, a part of the rows at a time.
#include "gradient.cuh"

constexpr unsigned TAPS = 3;

// The part in the gradient of the block's parameters that `rows` rows have: row blockIdx.y of `parts` from rows of that part.
// A half's x is what it was given, and its shares those in the gradients of bias, scale and shift, of n rows that it made;
// `given`, `between` and `made` are the tables of the rows. blockIdx.z is the half; blockIdx.x counts tiles.
extern "C" __global__ void taps_gradient(
    float *parts, const float *x_one, const float *x_two, const float *shares_one, const float *shares_two,
    const unsigned *given, const unsigned *between, const unsigned *made, unsigned windows, unsigned n_one, unsigned n_two,
    unsigned every_one, unsigned every_two, unsigned dilation_one, unsigned dilation_two, unsigned width, unsigned rows
) {
    __shared__ Turn shared;
    const Given one = {x_one, shares_one, nullptr, {given, between, windows, every_one}, width, width, dilation_one};
    const Given two = {x_two, shares_two, nullptr, {between, made, windows, every_two}, width, width, dilation_two};
    float *out = parts + (2 * (size_t)blockIdx.y + blockIdx.z) * (TAPS * width + TAPS) * width;
    const unsigned begin = blockIdx.y * rows, end = min(blockIdx.z ? n_two : n_one, begin + rows);
    part_of_gradient<TAPS>(out, blockIdx.z ? two : one, blockIdx.x, begin, end, shared);
}
