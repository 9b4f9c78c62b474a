// Layer norm over the rows of a matrix.
#include "block.cuh"
#include "layer_norm.cuh"

// y [n, width] = relu(norm(x + bias) scale + shift) + base, row by row; bias [width], ReLU and base
// [n, width] are optional. One thread per element of [n, LANES]: LANES threads per row.
extern "C" __global__ void layer_norm(
    float *y, const float *x, const float *bias, const float *scale, const float *shift, const float *base, float eps, unsigned n,
    unsigned width, unsigned relu
) {
    const size_t i = element() / LANES, at = i * width;
    const Row row(x + at, i < n ? width : 0, {bias, scale, shift, eps, relu});
    norm_forward(y + at, row, base ? base + at : nullptr);
}

// dx [n, width] = gradient of x + bias in `layer_norm`, so also the rows' contributions to the
// gradient of the bias; `shares` [n, 2, width]: those to the gradients of scale and shift. Rows of
// dx lie `dx_stride` dx_stride, those of `shares` `shares_stride`. One thread per element of [n,
// LANES].
extern "C" __global__ void layer_norm_backward(
    float *dx, unsigned dx_stride, float *shares, unsigned shares_stride, const float *x, const float *bias, const float *scale,
    const float *shift, const float *grad, float eps, unsigned n, unsigned width, unsigned relu
) {
    const size_t i = element() / LANES, at = i * width;
    const Row row(x + at, i < n ? width : 0, {bias, scale, shift, eps, relu});
    norm_backward(dx + i * dx_stride, shares + i * shares_stride, row, grad + at);
}
