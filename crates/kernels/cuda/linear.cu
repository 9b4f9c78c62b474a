// Linear layer: one launch forward, one backward that leaves partial sums over rows.
#include "gradient.cuh"
#include "gemm.cuh"

// 64 columns of x at a time.
using Rows = Product<1, 64>;

// y [n, outputs] = x [n, inputs] by `weight` [inputs, outputs], and `bias`; if wanted, what is
// below zero is cut. blockIdx.x counts rows in ROWS, blockIdx.y columns in COLUMNS.
extern "C" __global__ __launch_bounds__(THREADS, 2) void linear(
    float *__restrict__ y, const float *x, const float *weight, const float *__restrict__ bias, unsigned n, unsigned inputs,
    unsigned outputs, unsigned relu
) {
    __shared__ Rows::Shared shared;
    const unsigned column = blockIdx.y * COLUMNS, lane = threadIdx.x % LANES;
    // Prefetch.
    float biases[COLUMNS / LANES];
#pragma unroll
    for (unsigned j = 0; j < COLUMNS / LANES; j++) biases[j] = bias[min(column + lane + j * LANES, outputs - 1)];
    const Factors f = {x, nullptr, weight, {}, n, inputs, outputs, inputs, 0};
    const Made made = Rows::tile<false>(f, make_uint2(blockIdx.x, blockIdx.y), shared);
    y += (size_t)made.row * outputs + column;
#pragma unroll
    for (unsigned j = 0; j < COLUMNS / LANES; j++) {
        const unsigned i = lane + j * LANES;
        if (i >= made.width) continue;
        const float sum = made.values[i] + biases[j];
        y[i] = relu && !(sum > 0.0f) ? 0.0f : sum;
    }
}

// The gradient of x from that of y, which is cut where y is not above zero unless y is null; and in
// row p of `parts` [count, inputs + 1, outputs] the gradients of weight and bias that the p-th
// `rows` rows make. blockIdx.x counts parts and in them tiles, and then the tiles of the gradient
// of x, rows of them in ROWS and in those columns in COLUMNS.
extern "C" __global__ __launch_bounds__(THREADS, 2) void linear_backward(
    float *__restrict__ dx, float *__restrict__ parts, const float *x, const float *weight, const float *y, const float *grad,
    unsigned n, unsigned inputs, unsigned outputs, unsigned rows, unsigned count
) {
    __shared__ union {
        Rows::Shared product;
        Turn turn;
    } shared;
    const Given given = {x, grad, y, {}, inputs, outputs, 0};
    const uint2 tiles = tiles_of_tap(given);
    const unsigned of_part = tiles.x * tiles.y, part = blockIdx.x / of_part, begin = part * rows;
    if (part < count) {
        float *out = parts + (size_t)part * (inputs + 1) * outputs;
        part_of_gradient<1>(out, given, blockIdx.x % of_part, begin, min(n, begin + rows), shared.turn);
        return;
    }
    const unsigned tile = blockIdx.x - count * of_part, across = (inputs + COLUMNS - 1) / COLUMNS;
    const Factors f = {grad, y, weight, {}, n, outputs, inputs, outputs, 0};
    const Made made = Rows::tile<true>(f, make_uint2(tile / across, tile % across), shared.product);
    dx += (size_t)made.row * inputs + tile % across * COLUMNS;
    for (unsigned i = threadIdx.x % LANES; i < made.width; i += LANES) dx[i] = made.values[i];
}
