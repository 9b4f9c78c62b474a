// Layer norm over the rows of a matrix.
#include "block.cuh"
#include "layer_norm.cuh"

// LANES threads per row of x [n, width]. A bias (optional) is added before the norm; a ReLU
// (optional) and `base` (optional) follow it.
extern "C" __global__ void layer_norm(
    float *y, const float *x, const float *bias, const float *scale, const float *shift, const float *base, float eps, unsigned n,
    unsigned width, unsigned relu
) {
    const size_t i = element() / LANES, at = i * width;
    const Row row(x + at, i < n ? width : 0, {bias, scale, shift, eps, relu});
    norm_there(y + at, row, base ? base + at : nullptr);
}

// The backward pass of the same but for the base: the gradient of x, which is a bias's share too,
// and the shares of each row in those of scale and shift. Rows of the gradient lie `apart`, those
// of the shares `shares_apart`.
extern "C" __global__ void layer_norm_backward(
    float *dx, unsigned apart, float *shares, unsigned shares_apart, const float *x, const float *bias, const float *scale,
    const float *shift, const float *grad, float eps, unsigned n, unsigned width, unsigned relu
) {
    const size_t i = element() / LANES, at = i * width;
    const Row row(x + at, i < n ? width : 0, {bias, scale, shift, eps, relu});
    norm_back(dx + i * apart, shares + i * shares_apart, row, grad + at);
}
