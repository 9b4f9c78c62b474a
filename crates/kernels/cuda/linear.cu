// Linear layer: one launch forward, and one backward, whose weight gradient is left in parts that
// `column_sums` adds.
#include "gradient.cuh"
#include "gemm.cuh"

// The product in slices of 64 columns of x.
using Rows = Product<1, 64>;

// y [n, outputs] = x [n, inputs] weight [inputs, outputs] + bias [outputs], then ReLU if `relu`.
// Grid: blockIdx.x counts rows in ROWS, blockIdx.y columns in COLUMNS. Block: THREADS threads.
extern "C" __global__ __launch_bounds__(THREADS, 2) void linear(
    float *__restrict__ y, const float *x, const float *weight, const float *__restrict__ bias, unsigned n, unsigned inputs,
    unsigned outputs, unsigned relu
) {
    __shared__ Rows::Shared shared;
    const unsigned column = blockIdx.y * COLUMNS, lane = threadIdx.x % LANES;
    // The biases are loaded before the product, which hides their latency.
    float biases[COLUMNS / LANES];
#pragma unroll
    for (unsigned j = 0; j < COLUMNS / LANES; j++) biases[j] = bias[min(column + lane + j * LANES, outputs - 1)];
    const ProductArgs f = {x, nullptr, weight, {}, n, inputs, outputs, inputs, 0};
    const TileRow row = Rows::tile<false>(f, make_uint2(blockIdx.x, blockIdx.y), shared);
    y += (size_t)row.row * outputs + column;
#pragma unroll
    for (unsigned j = 0; j < COLUMNS / LANES; j++) {
        const unsigned i = lane + j * LANES;
        if (i >= row.width) continue;
        const float sum = row.values[i] + biases[j];
        y[i] = relu && !(sum > 0.0f) ? 0.0f : sum;
    }
}

// dx [n, inputs] = g weight^T, and parts[p] [inputs + 1, outputs] = x^T g and the column sums of g
// over rows p `rows` to (p + 1) `rows`, for p < count; g [n, outputs] is `grad` where y > 0, else
// 0, or `grad` if y is null (no ReLU). Grid: blockIdx.x counts the tiles of all parts, then the
// tiles of dx. Block: THREADS threads.
extern "C" __global__ __launch_bounds__(THREADS, 2) void linear_backward(
    float *__restrict__ dx, float *__restrict__ parts, const float *x, const float *weight, const float *y, const float *grad,
    unsigned n, unsigned inputs, unsigned outputs, unsigned rows, unsigned count
) {
    __shared__ union {
        Rows::Shared product;
        Turn turn;
    } shared;
    const GradientArgs args = {x, grad, y, {}, inputs, outputs, 0};
    const uint2 tiles = tiles_of_tap(args);
    const unsigned of_part = tiles.x * tiles.y, part = blockIdx.x / of_part, begin = part * rows;
    if (part < count) {
        float *out = parts + (size_t)part * (inputs + 1) * outputs;
        part_of_gradient<1>(out, args, blockIdx.x % of_part, begin, min(n, begin + rows), shared.turn);
        return;
    }
    const unsigned tile = blockIdx.x - count * of_part, across = (inputs + COLUMNS - 1) / COLUMNS;
    const ProductArgs f = {grad, y, weight, {}, n, outputs, inputs, outputs, 0};
    const TileRow row = Rows::tile<true>(f, make_uint2(tile / across, tile % across), shared.product);
    dx += (size_t)row.row * inputs + tile % across * COLUMNS;
    for (unsigned i = threadIdx.x % LANES; i < row.width; i += LANES) dx[i] = row.values[i];
}
