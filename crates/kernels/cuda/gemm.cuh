// Matrix product of x, or of the rows of x that a convolution's taps read, without an unfold. A
// block computes a tile of the result.
#pragma once

#include "factors.cuh"
#include "layer_norm.cuh"

// A block computes ROWS x COLUMNS outputs with 4 x 4 accumulators per thread. Its PARTS groups of
// threads split the inner dimension; their sums are added in order, so the bits are fixed.
constexpr unsigned ROWS = 16, COLUMNS = 64, PARTS = 4, THREADS = ROWS * COLUMNS / 16 * PARTS;
static_assert(THREADS == ROWS * LANES, "the norms that follow use LANES threads per row");

// Operands of a product with n result rows: x [.., inputs] with rows `stride` apart, and the
// weights of each tap, [inputs, outputs] in the forward pass and [outputs, inputs] in the backward
// pass. With `gates` (optional, laid out as x), elements of x whose gate is not positive count as
// zero. In the forward pass the result has the output rows of `rows`, in the backward pass its
// input rows. A single tap reads the result row's own row of x.
struct ProductArgs {
    const float *x, *gates, *weights;
    RowMap rows;
    unsigned n, inputs, outputs, stride, dilation;

    // Row of x that a tap reads for a result row, null if there is none.
    template <unsigned TAPS, bool BACKWARD> __device__ const float *row_of(unsigned row, unsigned tap) const {
        if (TAPS == 1) return x + (size_t)row * stride;
        const unsigned distance = distance_of<TAPS>(tap, dilation);
        if (!BACKWARD) return tap_row(x, stride, rows.input_of(row), distance);
        unsigned at;
        return rows.find_output(at, row, distance) ? x + (size_t)at * stride : nullptr;
    }

    __device__ bool are_aligned() const {
        return ::are_aligned(x, weights, inputs | outputs | stride) && ::are_aligned(gates, nullptr, 0);
    }
};

// A row of a block's tile, in shared memory. Its LANES threads have every LANES-th element each and
// may overwrite those. A row past the last has width zero.
struct TileRow {
    float *values;
    unsigned row, width;
};

// A product in slices of DEPTH columns of x, for all TAPS taps at once.
template <unsigned TAPS, unsigned DEPTH> struct Product {
    // Inner dimension of a slice, and of a group of threads.
    static constexpr unsigned FACTORS = TAPS * DEPTH, SHARE = FACTORS / PARTS;
    // Number of float4 of each operand that a thread loads per slice.
    static constexpr unsigned OF_X = (ROWS * FACTORS / 4 + THREADS - 1) / THREADS, OF_WEIGHTS = FACTORS * COLUMNS / 4 / THREADS;

    // The operands; after the last slice, the sums of the groups. Four floats of padding per row
    // avoid bank conflicts.
    union alignas(sizeof(float4)) Shared {
        struct {
            float x[ROWS][FACTORS + 4], weights[FACTORS][COLUMNS + 4];
        } of;
        float parts[PARTS][ROWS][COLUMNS];
    };

    // Tap, column of x and column of the result of the j-th float4 of weights that a thread loads.
    // In the backward pass, a warp loads two float4 of each of 16 rows, so that the transposing
    // stores of its threads go to 32 different banks.
    template <bool BACKWARD> __device__ static uint3 place_of_weights(unsigned j) {
        const unsigned i = threadIdx.x + j * THREADS, inside = i % (DEPTH * COLUMNS / 4), tap = i / (DEPTH * COLUMNS / 4);
        if (BACKWARD) return make_uint3(tap, (inside / 16 % 2 + inside / 128 * 2) * 4, inside % 16 + inside / 32 % 4 * 16);
        return make_uint3(tap, inside / (COLUMNS / 4), inside % (COLUMNS / 4) * 4);
    }

    // Adds this thread's part of a tile to `sums`.
    template <bool BACKWARD, bool ALIGNED>
    __device__ static void multiply(float (&sums)[4][4], const ProductArgs &f, uint2 tile, Shared &shared) {
        const unsigned column = tile.y * COLUMNS;
        const float *rows[OF_X], *gates[OF_X];
#pragma unroll
        for (unsigned j = 0; j < OF_X; j++) {
            // A result row past the last reads the last one's operands; `tile` gives it width zero.
            const unsigned i = (threadIdx.x + j * THREADS) * 4, row = min(tile.x * ROWS + i / FACTORS, f.n - 1);
            rows[j] = i < ROWS * FACTORS ? f.row_of<TAPS, BACKWARD>(row, i % FACTORS / DEPTH) : nullptr;
            gates[j] = rows[j] && f.gates ? f.gates + (rows[j] - f.x) : nullptr;
        }
        float4 of_x[OF_X], of_gates[OF_X], of_weights[OF_WEIGHTS];
        const auto load = [&](unsigned from) {
            // The weights first: their addresses do not depend on the row tables.
#pragma unroll
            for (unsigned j = 0; j < OF_WEIGHTS; j++) {
                const uint3 at = place_of_weights<BACKWARD>(j);
                const unsigned k = from + at.y, c = column + at.z, row = BACKWARD ? c : k;
                const unsigned height = BACKWARD ? f.outputs : f.inputs, width = BACKWARD ? f.inputs : f.outputs;
                const float *weights = row < height ? f.weights + ((size_t)at.x * height + row) * width : nullptr;
                of_weights[j] = four<ALIGNED>(weights, BACKWARD ? k : c, width);
            }
#pragma unroll
            for (unsigned j = 0; j < OF_X; j++) {
                const unsigned k = from + (threadIdx.x + j * THREADS) * 4 % DEPTH;
                of_x[j] = four<ALIGNED>(rows[j], k, f.inputs);
                of_gates[j] = four<ALIGNED>(gates[j], k, f.inputs);
            }
        };
        const auto store = [&] {
#pragma unroll
            for (unsigned j = 0; j < OF_X; j++) {
                const unsigned i = (threadIdx.x + j * THREADS) * 4;
                const float4 x = f.gates ? gated(of_x[j], of_gates[j]) : of_x[j];
                if (i < ROWS * FACTORS) *reinterpret_cast<float4 *>(&shared.of.x[i / FACTORS][i % FACTORS]) = x;
            }
#pragma unroll
            for (unsigned j = 0; j < OF_WEIGHTS; j++) {
                const uint3 at = place_of_weights<BACKWARD>(j);
                float(*to)[COLUMNS + 4] = &shared.of.weights[at.x * DEPTH + at.y];
                if (BACKWARD) {
                    to[0][at.z] = of_weights[j].x;
                    to[1][at.z] = of_weights[j].y;
                    to[2][at.z] = of_weights[j].z;
                    to[3][at.z] = of_weights[j].w;
                } else {
                    *reinterpret_cast<float4 *>(&to[0][at.z]) = of_weights[j];
                }
            }
        };
        const unsigned first = threadIdx.x / (THREADS / PARTS) * SHARE, r = threadIdx.x / 16 % 4 * 4, c = threadIdx.x % 16 * 4;
        load(0);
        for (unsigned from = 0; from < f.inputs; from += DEPTH) {
            store();
            __syncthreads();
            // Prefetch the next operands during the multiplication.
            if (from + DEPTH < f.inputs) load(from + DEPTH);
#pragma unroll SHARE / 8
            for (unsigned i = 0; i < SHARE; i += 4) {
                const auto x = [&](unsigned j) { return *reinterpret_cast<const float4 *>(&shared.of.x[r + j][first + i]); };
                const auto weights = [&](unsigned j) {
                    return *reinterpret_cast<const float4 *>(&shared.of.weights[first + i + j][c]);
                };
                const float4 a = x(0), b = x(1), d = x(2), e = x(3);
                add_products(sums, make_float4(a.x, b.x, d.x, e.x), weights(0));
                add_products(sums, make_float4(a.y, b.y, d.y, e.y), weights(1));
                add_products(sums, make_float4(a.z, b.z, d.z, e.z), weights(2));
                add_products(sums, make_float4(a.w, b.w, d.w, e.w), weights(3));
            }
            __syncthreads();
        }
    }

    // Computes the tile at rows tile.x ROWS and columns tile.y COLUMNS of the result, and returns
    // this thread's row of it. In the backward pass the weights are transposed, and a tap reads the
    // row as far ahead as it reads back in the forward pass.
    template <bool BACKWARD> __device__ static TileRow tile(const ProductArgs &f, uint2 tile, Shared &shared) {
        float sums[4][4] = {};
        if (f.are_aligned()) multiply<BACKWARD, true>(sums, f, tile, shared);
        else multiply<BACKWARD, false>(sums, f, tile, shared);
        const unsigned part = threadIdx.x / (THREADS / PARTS), r = threadIdx.x / 16 % 4 * 4, c = threadIdx.x % 16 * 4;
#pragma unroll
        for (unsigned i = 0; i < 4; i++) {
            *reinterpret_cast<float4 *>(&shared.parts[part][r + i][c]) =
                make_float4(sums[i][0], sums[i][1], sums[i][2], sums[i][3]);
        }
        __syncthreads();
        const unsigned row = threadIdx.x / LANES;
        float *values = shared.parts[0][row];
#pragma unroll
        for (unsigned i = threadIdx.x % LANES; i < COLUMNS; i += LANES) {
            for (unsigned part = 1; part < PARTS; part++) values[i] += shared.parts[part][row][i];
        }
        const unsigned at = tile.x * ROWS + row;
        return {values, at, at < f.n ? min(COLUMNS, f.outputs - tile.y * COLUMNS) : 0};
    }
};
