// Parameter gradients of a residual block, in parts over rows that `column_sums` adds.
#include "gradient.cuh"

constexpr unsigned TAPS = 3;

// parts[p, half] [3 width + 3, width] = the gradients of the half's taps, x^T grad, and of its
// bias, scale and shift, over output rows p `rows` to (p + 1) `rows`. x is the half's input,
// `shares` [n, 3, width] the contributions of its n output rows to the three vectors. Tables:
// `given` of the block's input rows, `between` of the rows between the halves, `made` of its output
// rows. Grid: blockIdx.x counts tiles, blockIdx.y is p, blockIdx.z the half. Block: 256 threads.
extern "C" __global__ void taps_gradient(
    float *parts, const float *x_one, const float *x_two, const float *shares_one, const float *shares_two,
    const unsigned *given, const unsigned *between, const unsigned *made, unsigned windows, unsigned n_one, unsigned n_two,
    unsigned stride_one, unsigned stride_two, unsigned dilation_one, unsigned dilation_two, unsigned width, unsigned rows
) {
    __shared__ Turn shared;
    // Selected field by field, not between two structs, which the compiler keeps in local memory.
    const bool is_two = blockIdx.z > 0;
    const RowMap map = {is_two ? between : given, is_two ? made : between, windows, is_two ? stride_two : stride_one};
    const GradientArgs half = {
        is_two ? x_two : x_one, is_two ? shares_two : shares_one, nullptr, map, width, width, is_two ? dilation_two : dilation_one
    };
    float *out = parts + (2 * (size_t)blockIdx.y + blockIdx.z) * (TAPS * width + TAPS) * width;
    const unsigned begin = blockIdx.y * rows, end = min(is_two ? n_two : n_one, begin + rows);
    part_of_gradient<TAPS>(out, half, blockIdx.x, begin, end, shared);
}
