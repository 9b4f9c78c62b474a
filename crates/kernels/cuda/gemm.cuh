// Matrix product over rows of x, or over the rows that a convolution's taps read, without an
// unfold. A block computes a tile.
#pragma once

#include "factors.cuh"
#include "layer_norm.cuh"

// A block computes ROWS x COLUMNS outputs. PARTS groups of threads split the columns of x; 4 x 4
// accumulators per thread.
constexpr unsigned ROWS = 16, COLUMNS = 64, PARTS = 4, THREADS = ROWS * COLUMNS / 16 * PARTS;
static_assert(THREADS == ROWS * LANES, "a row has its lanes");

// x [n, inputs], whose rows lie `stride` apart, and of each tap the weights [inputs, outputs], or
// transposed. Unless `gates` is null, x counts where what lies there as x does is above zero. The n
// rows are those that taps make of x, or, ahead, x are rows that taps made; one tap alone meets its
// own row.
struct Factors {
    const float *x, *gates, *weights;
    Kept rows;
    unsigned n, inputs, outputs, stride, dilation;

    // The row of x that a tap meets, null if it has none.
    template <unsigned TAPS, bool AHEAD> __device__ const float *row_of(unsigned row, unsigned tap) const {
        if (TAPS == 1) return x + (size_t)row * stride;
        const unsigned distance = distance_of<TAPS>(tap, dilation);
        if (!AHEAD) return met(x, stride, rows.place(row), distance);
        unsigned at;
        return rows.is_made(at, row, distance) ? x + (size_t)at * stride : nullptr;
    }

    __device__ bool are_aligned() const {
        return ::are_aligned(x, weights, inputs | outputs | stride) && ::are_aligned(gates, nullptr, 0);
    }
};

// A row of a block's tile: each thread has every LANES-th number of a row, and may write over it. A
// row that is not there has width zero.
struct Made {
    float *values;
    unsigned row, width;
};

// Of DEPTH columns of x at a time, those that each tap meets.
template <unsigned TAPS, unsigned DEPTH> struct Product {
    static constexpr unsigned FACTORS = TAPS * DEPTH, SHARE = FACTORS / PARTS;
    // Of the float4s of each factor, those that a thread brings.
    static constexpr unsigned OF_X = (ROWS * FACTORS / 4 + THREADS - 1) / THREADS, OF_WEIGHTS = FACTORS * COLUMNS / 4 / THREADS;

    // The operands, then the partial sums. Four floats of padding per row avoid bank conflicts.
    union alignas(sizeof(float4)) Shared {
        struct {
            float x[ROWS][FACTORS + 4], weights[FACTORS][COLUMNS + 4];
        } of;
        float parts[PARTS][ROWS][COLUMNS];
    };

    // The j-th four weights that a thread brings: tap, column of x, column of the result. Ahead,
    // where they are transposed, a warp takes two of 16 rows each.
    template <bool AHEAD> __device__ static uint3 place_of_weights(unsigned j) {
        const unsigned i = threadIdx.x + j * THREADS, inside = i % (DEPTH * COLUMNS / 4), tap = i / (DEPTH * COLUMNS / 4);
        if (AHEAD) return make_uint3(tap, (inside / 16 % 2 + inside / 128 * 2) * 4, inside % 16 + inside / 32 % 4 * 16);
        return make_uint3(tap, inside / (COLUMNS / 4), inside % (COLUMNS / 4) * 4);
    }

    // This thread's part of a tile.
    template <bool AHEAD, bool ALIGNED>
    __device__ static void multiply(float (&sums)[4][4], const Factors &f, uint2 tile, Shared &shared) {
        const unsigned column = tile.y * COLUMNS;
        const float *rows[OF_X], *gates[OF_X];
#pragma unroll
        for (unsigned j = 0; j < OF_X; j++) {
            // An absent row reads the last row and is not stored.
            const unsigned i = (threadIdx.x + j * THREADS) * 4, row = min(tile.x * ROWS + i / FACTORS, f.n - 1);
            rows[j] = i < ROWS * FACTORS ? f.row_of<TAPS, AHEAD>(row, i % FACTORS / DEPTH) : nullptr;
            gates[j] = rows[j] && f.gates ? f.gates + (rows[j] - f.x) : nullptr;
        }
        float4 of_x[OF_X], of_gates[OF_X], of_weights[OF_WEIGHTS];
        const auto bring = [&](unsigned from) {
            // The weights first, which wait for no place.
#pragma unroll
            for (unsigned j = 0; j < OF_WEIGHTS; j++) {
                const uint3 at = place_of_weights<AHEAD>(j);
                const unsigned k = from + at.y, c = column + at.z, row = AHEAD ? c : k;
                const unsigned height = AHEAD ? f.outputs : f.inputs, width = AHEAD ? f.inputs : f.outputs;
                const float *weights = row < height ? f.weights + ((size_t)at.x * height + row) * width : nullptr;
                of_weights[j] = four<ALIGNED>(weights, AHEAD ? k : c, width);
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
                const uint3 at = place_of_weights<AHEAD>(j);
                float(*to)[COLUMNS + 4] = &shared.of.weights[at.x * DEPTH + at.y];
                if (AHEAD) {
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
        bring(0);
        for (unsigned from = 0; from < f.inputs; from += DEPTH) {
            store();
            __syncthreads();
            // Prefetch the next operands during the multiplication.
            if (from + DEPTH < f.inputs) bring(from + DEPTH);
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

    // A tile, which counts rows in ROWS and columns in COLUMNS. Ahead, the weights are transposed,
    // and each tap looks as far ahead as it looks back else.
    template <bool AHEAD> __device__ static Made tile(const Factors &f, uint2 tile, Shared &shared) {
        float sums[4][4] = {};
        if (f.are_aligned()) multiply<AHEAD, true>(sums, f, tile, shared);
        else multiply<AHEAD, false>(sums, f, tile, shared);
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
