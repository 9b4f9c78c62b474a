// Parameter gradients of a residual block, over a part of the rows at a time.
#include "gradient.cuh"

constexpr unsigned TAPS = 3;

// The part in the gradient of the block's parameters that `rows` rows have: row blockIdx.y of
// `parts` from rows of that part. A half's x is what it was given, and its shares those in the
// gradients of bias, scale and shift, of n rows that it made; `given`, `between` and `made` are the
// tables of the rows. blockIdx.z is the half; blockIdx.x counts tiles.
extern "C" __global__ void taps_gradient(
    float *parts, const float *x_one, const float *x_two, const float *shares_one, const float *shares_two,
    const unsigned *given, const unsigned *between, const unsigned *made, unsigned windows, unsigned n_one, unsigned n_two,
    unsigned every_one, unsigned every_two, unsigned dilation_one, unsigned dilation_two, unsigned width, unsigned rows
) {
    __shared__ Turn shared;
    // Selected field by field: selecting between two structs would spill them to local memory.
    const bool is_two = blockIdx.z > 0;
    const Kept kept = {is_two ? between : given, is_two ? made : between, windows, is_two ? every_two : every_one};
    const Given half = {
        is_two ? x_two : x_one, is_two ? shares_two : shares_one, nullptr, kept, width, width, is_two ? dilation_two : dilation_one
    };
    float *out = parts + (2 * (size_t)blockIdx.y + blockIdx.z) * (TAPS * width + TAPS) * width;
    const unsigned begin = blockIdx.y * rows, end = min(is_two ? n_two : n_one, begin + rows);
    part_of_gradient<TAPS>(out, half, blockIdx.x, begin, end, shared);
}
