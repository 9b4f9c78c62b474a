// Weight gradients of a product or a convolution, x^T grad for each tap, followed by one vector
// gradient per tap, each summed over a part of the rows.
#pragma once

#include "factors.cuh"

// A block computes SIDE x SIDE outputs from TURN rows at a time, with 4 x 4 accumulators per
// thread: LINES lines of FOURS threads, each of which loads LOADS float4 per operand and turn.
constexpr unsigned SIDE = 64, TURN = 32, FOURS = SIDE / 4, LINES = SIDE / 4, LOADS = TURN / LINES;

// x [.., inputs], and `shares` [n, taps, outputs], the contributions of the n output rows to the
// gradients of `taps` vectors. The first vector is the bias, so its shares are the gradient of the
// product's output. A single tap reads its output row's own row of x, and may have `gates`, laid
// out as `shares`: shares whose gate is not positive count as zero.
struct GradientArgs {
    const float *x, *shares, *gates;
    RowMap rows;
    unsigned inputs, outputs, dilation;

    __device__ bool are_aligned() const {
        return ::are_aligned(x, shares, inputs | outputs) && ::are_aligned(gates, nullptr, 0);
    }
};

// Operands of TURN rows.
struct Turn {
    float4 x[TURN][FOURS], grad[TURN][FOURS];
};

__device__ inline float4 sum(float4 a, float4 b) {
    return make_float4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w);
}

// Number of tiles of a tap.
__device__ inline uint2 tiles_of_tap(const GradientArgs &args) {
    return make_uint2((args.outputs + SIDE - 1) / SIDE, (args.inputs + SIDE - 1) / SIDE);
}

// As `part_of_gradient`; ALIGNED allows loads and stores of float4.
template <unsigned TAPS, bool ALIGNED>
__device__ inline void tile_of_part(
    float *out, const GradientArgs &args, unsigned tile, unsigned begin, unsigned end, Turn &shared
) {
    const unsigned inputs = args.inputs, outputs = args.outputs;
    const uint2 tiles = tiles_of_tap(args);
    const unsigned tap = tile / (tiles.x * tiles.y), top = tile / tiles.x % tiles.y * SIDE, left = tile % tiles.x * SIDE;
    const unsigned line = threadIdx.x / FOURS, four_of = threadIdx.x % FOURS, column = left + 4 * four_of;
    float4 x[LOADS], grad[LOADS], gate[LOADS], share[LOADS];
    const unsigned distance = distance_of<TAPS>(tap, args.dilation);
    uint2 rows[LOADS];
    // The output rows' input rows, loaded one turn early because the loads of x depend on them.
    const auto locate = [&](unsigned from) {
#pragma unroll
        for (unsigned j = 0; j < LOADS; j++) {
            const unsigned row = from + line + j * LINES;
            rows[j] = TAPS > 1 && row < end ? args.rows.input_of(row) : make_uint2(row, 0);
        }
    };
    const auto load = [&](unsigned from) {
#pragma unroll
        for (unsigned j = 0; j < LOADS; j++) {
            const unsigned row = from + line + j * LINES;
            const size_t at = (size_t)row * TAPS * outputs;
            const float *shares = row < end ? args.shares + at : nullptr;
            const float *of_tap = row < end ? tap_row(args.x, inputs, rows[j], distance) : nullptr;
            x[j] = four<ALIGNED>(of_tap, top + 4 * four_of, inputs);
            grad[j] = four<ALIGNED>(shares, column, outputs);
            gate[j] = four<ALIGNED>(shares && args.gates ? args.gates + at : nullptr, column, outputs);
            // With one tap, the vector's shares are the gradient itself.
            if (TAPS > 1) share[j] = four<ALIGNED>(shares && top == 0 ? shares + tap * outputs : nullptr, column, outputs);
        }
        locate(from + TURN);
    };
    float sums[4][4] = {};
    float4 of_shares = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    locate(begin);
    load(begin);
    for (unsigned from = begin; from < end; from += TURN) {
#pragma unroll
        for (unsigned j = 0; j < LOADS; j++) {
            if (args.gates) grad[j] = gated(grad[j], gate[j]);
            shared.x[line + j * LINES][four_of] = x[j];
            shared.grad[line + j * LINES][four_of] = grad[j];
            of_shares = sum(of_shares, TAPS > 1 ? share[j] : grad[j]);
        }
        __syncthreads();
        // Prefetch the next operands during the multiplication.
        if (from + TURN < end) load(from + TURN);
#pragma unroll 8
        for (unsigned k = 0; k < TURN; k++) add_products(sums, shared.x[k][line], shared.grad[k][four_of]);
        __syncthreads();
    }
#pragma unroll
    for (unsigned i = 0; i < 4; i++) {
        const unsigned row = top + 4 * line + i;
        const float4 made = make_float4(sums[i][0], sums[i][1], sums[i][2], sums[i][3]);
        if (row < inputs) store_four<ALIGNED>(out + ((size_t)tap * inputs + row) * outputs, column, outputs, made);
    }
    shared.x[line][four_of] = of_shares;
    __syncthreads();
    if (top == 0 && line == 0) {
        for (unsigned k = 1; k < LINES; k++) of_shares = sum(of_shares, shared.x[k][four_of]);
        store_four<ALIGNED>(out + ((size_t)TAPS * inputs + tap) * outputs, column, outputs, of_shares);
    }
}

// One tile of the gradient, summed over output rows `begin` to `end` in order. `out` holds the taps
// [TAPS, inputs, outputs], then the vectors [TAPS, outputs]. `tile` counts columns in SIDE, then
// rows in SIDE, then taps; the tiles of a tap's first rows also compute the vector of the tap's
// number.
template <unsigned TAPS>
__device__ inline void part_of_gradient(
    float *out, const GradientArgs &args, unsigned tile, unsigned begin, unsigned end, Turn &shared
) {
    if (args.are_aligned()) tile_of_part<TAPS, true>(out, args, tile, begin, end, shared);
    else tile_of_part<TAPS, false>(out, args, tile, begin, end, shared);
}
