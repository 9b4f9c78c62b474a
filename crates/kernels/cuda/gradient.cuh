// Weight gradients of a product or a convolution, followed by one vector gradient per tap, over a
// part of the rows at a time.
#pragma once

#include "factors.cuh"

// A block computes SIDE x SIDE outputs from TURN rows at a time, with 4 x 4 accumulators per
// thread: LINES lines of FOURS threads, each loading BROUGHT float4s per operand.
constexpr unsigned SIDE = 64, TURN = 32, FOURS = SIDE / 4, LINES = SIDE / 4, BROUGHT = TURN / LINES;

// x [n, inputs]; and of each row its shares in the gradients of as many vectors as there are taps,
// [n, taps, outputs], of which the first, a bias's, is the gradient of what the product put out.
// One tap alone meets its own row, and may have `gates`: shares count where what lies there as they
// do is above zero.
struct Given {
    const float *x, *shares, *gates;
    Kept rows;
    unsigned inputs, outputs, dilation;

    __device__ bool are_aligned() const {
        return ::are_aligned(x, shares, inputs | outputs) && ::are_aligned(gates, nullptr, 0);
    }
};

// Operands of some rows.
struct Turn {
    float4 x[TURN][FOURS], grad[TURN][FOURS];
};

__device__ inline float4 sum(float4 a, float4 b) {
    return make_float4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w);
}

// Number of tiles of a tap.
__device__ inline uint2 tiles_of_tap(const Given &given) {
    return make_uint2((given.outputs + SIDE - 1) / SIDE, (given.inputs + SIDE - 1) / SIDE);
}

template <unsigned TAPS, bool ALIGNED>
__device__ inline void tile_of_part(
    float *out, const Given &given, unsigned tile, unsigned begin, unsigned end, Turn &shared
) {
    const unsigned inputs = given.inputs, outputs = given.outputs;
    const uint2 tiles = tiles_of_tap(given);
    const unsigned tap = tile / (tiles.x * tiles.y), top = tile / tiles.x % tiles.y * SIDE, left = tile % tiles.x * SIDE;
    const unsigned line = threadIdx.x / FOURS, four_of = threadIdx.x % FOURS, column = left + 4 * four_of;
    float4 x[BROUGHT], grad[BROUGHT], gate[BROUGHT], share[BROUGHT];
    const unsigned distance = distance_of<TAPS>(tap, given.dilation);
    uint2 places[BROUGHT];
    // Index of each row in x, loaded early because the loads of x depend on it.
    const auto locate = [&](unsigned from) {
#pragma unroll
        for (unsigned j = 0; j < BROUGHT; j++) {
            const unsigned row = from + line + j * LINES;
            places[j] = TAPS > 1 && row < end ? given.rows.place(row) : make_uint2(row, 0);
        }
    };
    const auto bring = [&](unsigned from) {
#pragma unroll
        for (unsigned j = 0; j < BROUGHT; j++) {
            const unsigned row = from + line + j * LINES;
            const size_t at = (size_t)row * TAPS * outputs;
            const float *shares = row < end ? given.shares + at : nullptr;
            const float *of_tap = row < end ? met(given.x, inputs, places[j], distance) : nullptr;
            x[j] = four<ALIGNED>(of_tap, top + 4 * four_of, inputs);
            grad[j] = four<ALIGNED>(shares, column, outputs);
            gate[j] = four<ALIGNED>(shares && given.gates ? given.gates + at : nullptr, column, outputs);
            // One tap's is its gradient.
            if (TAPS > 1) share[j] = four<ALIGNED>(shares && top == 0 ? shares + tap * outputs : nullptr, column, outputs);
        }
        locate(from + TURN);
    };
    float sums[4][4] = {};
    float4 of_shares = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    locate(begin);
    bring(begin);
    for (unsigned from = begin; from < end; from += TURN) {
#pragma unroll
        for (unsigned j = 0; j < BROUGHT; j++) {
            if (given.gates) grad[j] = gated(grad[j], gate[j]);
            shared.x[line + j * LINES][four_of] = x[j];
            shared.grad[line + j * LINES][four_of] = grad[j];
            of_shares = sum(of_shares, TAPS > 1 ? share[j] : grad[j]);
        }
        __syncthreads();
        // Prefetch the next operands during the multiplication.
        if (from + TURN < end) bring(from + TURN);
#pragma unroll 8
        for (unsigned k = 0; k < TURN; k++) add_products(sums, shared.x[k][line], shared.grad[k][four_of]);
        __syncthreads();
    }
#pragma unroll
    for (unsigned i = 0; i < 4; i++) {
        const unsigned row = top + 4 * line + i;
        const float4 made = make_float4(sums[i][0], sums[i][1], sums[i][2], sums[i][3]);
        if (row < inputs) put_four<ALIGNED>(out + ((size_t)tap * inputs + row) * outputs, column, outputs, made);
    }
    shared.x[line][four_of] = of_shares;
    __syncthreads();
    if (top == 0 && line == 0) {
        for (unsigned k = 1; k < LINES; k++) of_shares = sum(of_shares, shared.x[k][four_of]);
        put_four<ALIGNED>(out + ((size_t)TAPS * inputs + tap) * outputs, column, outputs, of_shares);
    }
}

// What rows from `begin` to `end` add to the gradient, a tile of it: `out` holds the taps [inputs,
// outputs], and then the vectors. Tiles count taps, in a tap its rows in SIDE, and in those the
// columns in SIDE; beside its first rows a tap brings one of the vectors.
template <unsigned TAPS>
__device__ inline void part_of_gradient(
    float *out, const Given &given, unsigned tile, unsigned begin, unsigned end, Turn &shared
) {
    if (given.are_aligned()) tile_of_part<TAPS, true>(out, given, tile, begin, end, shared);
    else tile_of_part<TAPS, false>(out, given, tile, begin, end, shared);
}
