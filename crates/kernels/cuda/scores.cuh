// Scores of a batch by items in tiles: shared memory, copies and the products of a warp. For the output layer's training step and
// for ranking.
#pragma once

#include "async.cuh"
#include "block.cuh"
#include "mma.cuh"
#include "outer.cuh"
#include "softmax.cuh"

// Batch rows of a block, items of a tile, columns of a slab, and threads of a block.
constexpr unsigned ROWS = 256, ITEMS = 128, COLUMNS = 64, THREADS = 512;

// Shared memory of a block.
struct Shared {
    // Weights [item][column] of this step and the next; a float4 holds four columns. Its index is
    // permuted to `index ^ (item / 4 % 8)` against bank conflicts.
    float4 weight[2][ITEMS][COLUMNS / 4];
    float bias[2][ITEMS];
    Softmax ends[2][ROWS];
    // Hidden vectors [slab][row][column]; a float4 at index `index ^ (row % 8)`.
    float4 hidden[][ROWS][COLUMNS / 4];
};
// Must equal the host's computation without the hidden vectors (`scored` in
// ops/softmax_head/cuda/scores.rs).
static_assert(sizeof(Shared) == 4 * (2 * 128 * 64 + 2 * 128 + 4 * 256), "");

// Permutation of a float4's index in a row of shared memory against bank conflicts, for the loads of `P`: rows `per_turn` apart
// follow one another in a load of fp32; rows one apart in that of tensor cores.
template <class P> __device__ unsigned permuted(unsigned four, unsigned row, unsigned per_turn) {
    return USES_MMA<P> ? four ^ row % 2 * 4 : four ^ row / per_turn % 8;
}

// Starts to copy COLUMNS columns of N rows of a matrix [rows, width], permuted; zeros for elements outside the matrix.
template <class P, unsigned N> __device__ void copy_slab(
    float4 (*to)[COLUMNS / 4], const float *from, unsigned rows, unsigned width, unsigned first_column, unsigned per_turn
) {
    const unsigned column = threadIdx.x % COLUMNS;
#pragma unroll 4
    for (unsigned n = 0; n < N * COLUMNS / THREADS; n++) {
        const unsigned row = threadIdx.x / COLUMNS + n * (THREADS / COLUMNS);
        const bool is_valid = row < rows && first_column + column < width;
        const size_t at = is_valid ? (size_t)row * width + first_column + column : 0;
        float4 &four = to[row][permuted<P>(column / 4, row, per_turn)];
        copy_async<4>(&four.x + column % 4, from + at, is_valid ? 4 : 0);
    }
}

// The products and the epilogue of a warp: 32 rows and 64 items.
template <class P> struct Warp;

// In fp32: a thread has eight rows, four apart, and eight items, in two groups of four.
template <> struct Warp<Fp32> {
    static constexpr unsigned EACH_ROWS = 8;
    float sums[8][8] = {};

    // The row of the warp's 32 that is the thread's i-th.
    __device__ static unsigned row(unsigned i) { return one_of_four() + 4 * i; }
    // Lanes that have the same rows.
    __device__ static bool is_first_of_row() { return one_of_eight() == 0; }
    // Calls `f` with the bits in which the numbers of those lanes differ, one after another.
    template <class F> __device__ static void each_other_lane(F f) {
        for (unsigned lanes : {2u, 8u, 16u}) f(lanes);
    }

    __device__ void multiply(const float4 (*rows)[COLUMNS / 4], const float4 (*items)[COLUMNS / 4]) {
        const float4(*of_rows)[COLUMNS / 4] = rows + one_of_four();
        const float4(*of_items)[COLUMNS / 4] = items + 4 * one_of_eight();
#pragma unroll 1
        for (unsigned k = 0; k < COLUMNS / 4; k++) {
            float x[8][4];
#pragma unroll
            for (unsigned i = 0; i < 8; i++) load_four(x[i], of_rows[4 * i][k ^ (4 * (i % 2) + one_of_four())]);
#pragma unroll
            for (unsigned j = 0; j < 8; j++) {
                const float4 y = of_items[j % 4 + j / 4 * 32][k ^ one_of_eight()];
#pragma unroll
                for (unsigned i = 0; i < 8; i++) {
                    sums[i][j] += x[i][0] * y.x;
                    sums[i][j] += x[i][1] * y.y;
                    sums[i][j] += x[i][2] * y.z;
                    sums[i][j] += x[i][3] * y.w;
                }
            }
        }
    }

    // Calls `f(i, item, scores)` for the thread's i-th row and four items from `item` on, in order of the rows.
    template <class F> __device__ void each_four(F f) {
#pragma unroll
        for (unsigned i = 0; i < 8; i++) {
#pragma unroll
            for (unsigned half = 0; half < 2; half++) f(i, 4 * one_of_eight() + 32 * half, four(&sums[i][4 * half]));
        }
    }

    // Adds the scores of the tile with their biases to the rows' statistics, and forgets them.
    __device__ void finish(Softmax (&own)[8], const float *biases) {
        float bias[8];
#pragma unroll
        for (unsigned half = 0; half < 2; half++) {
            load_four(bias + 4 * half, *reinterpret_cast<const float4 *>(biases + 4 * one_of_eight() + 32 * half));
        }
#pragma unroll
        for (unsigned i = 0; i < 8; i++) {
#pragma unroll
            for (unsigned j = 0; j < 8; j++) sums[i][j] += bias[j];
            own[i].add(sums[i]);
        }
        forget();
    }

    __device__ void forget() {
#pragma unroll
        for (unsigned i = 0; i < 8; i++) {
#pragma unroll
            for (unsigned j = 0; j < 8; j++) sums[i][j] = 0.0f;
        }
    }
};

// By tensor cores, see mma.cuh: a thread has four rows, eight apart, and of each 16 items the four from 4 t on: its columns 2 t and
// 2 t + 1 of two products.
template <class P> struct Warp {
    static constexpr unsigned EACH_ROWS = 4;
    float sums[2][8][4] = {};

    __device__ static unsigned row(unsigned i) { return lane_g() + 8 * i; }
    __device__ static bool is_first_of_row() { return lane_t() == 0; }
    template <class F> __device__ static void each_other_lane(F f) {
        for (unsigned lanes : {1u, 2u}) f(lanes);
    }

    __device__ void multiply(const float4 (*rows)[COLUMNS / 4], const float4 (*items)[COLUMNS / 4]) {
#pragma unroll 1
        for (unsigned k = 0; k < COLUMNS / 16; k++) {
            typename P::Four a[4];
#pragma unroll
            for (unsigned i = 0; i < 4; i++) {
                const float4 x = rows[row(i)][permuted<P>(4 * k + lane_t(), row(i), 1)];
                a[i].set(x.x, x.y, x.z, x.w);
            }
#pragma unroll
            for (unsigned j = 0; j < 8; j++) {
                // Column g of product j.
                const unsigned item = j / 2 * 16 + lane_g() / 2 * 4 + j % 2 * 2 + lane_g() % 2;
                const float4 y = items[item][permuted<P>(4 * k + lane_t(), item, 1)];
                typename P::Four b;
                b.set(y.x, y.y, y.z, y.w);
#pragma unroll
                for (unsigned m = 0; m < 2; m++) P::add(sums[m][j], a[2 * m], a[2 * m + 1], b);
            }
        }
    }

    // The scores of the thread's i-th row and items 16 p + 4 t ..
    __device__ float4 scores(unsigned i, unsigned p) const {
        const float *first = sums[i / 2][2 * p] + i % 2 * 2, *second = sums[i / 2][2 * p + 1] + i % 2 * 2;
        return make_float4(first[0], first[1], second[0], second[1]);
    }

    template <class F> __device__ void each_four(F f) {
#pragma unroll
        for (unsigned i = 0; i < 4; i++) {
#pragma unroll
            for (unsigned p = 0; p < 4; p++) f(i, 16 * p + 4 * lane_t(), scores(i, p));
        }
    }

    __device__ void finish(Softmax (&own)[4], const float *biases) {
#pragma unroll
        for (unsigned p = 0; p < 4; p++) {
            const float4 bias = *reinterpret_cast<const float4 *>(biases + 16 * p + 4 * lane_t());
#pragma unroll
            for (unsigned i = 0; i < 4; i++) {
                const float4 x = scores(i, p);
                const float with[4] = {x.x + bias.x, x.y + bias.y, x.z + bias.z, x.w + bias.w};
                own[i].add(with);
            }
        }
        forget();
    }

    __device__ void forget() {
#pragma unroll
        for (unsigned m = 0; m < 2; m++) {
#pragma unroll
            for (unsigned j = 0; j < 8; j++) {
#pragma unroll
                for (unsigned e = 0; e < 4; e++) sums[m][j][e] = 0.0f;
            }
        }
    }
};

// Calls `finish(products, tile)` for each tile of the block's items, when the warp's products of 32 rows and 64 items are complete;
// `finish` must forget them. `begin` is called once the hidden vectors are in shared memory. Grid: blockIdx.x counts items in
// `each`, a multiple of four, blockIdx.y rows in ROWS. Block: THREADS threads; the two groups of eight warps have 64 items of a tile
// each.
template <class P, class Begin, class Finish> __device__ inline void each_tile(
    Shared &room, const float *hidden, const float *weight, const float *bias, unsigned batch, unsigned items, unsigned width,
    unsigned each, Begin begin, Finish finish
) {
    const unsigned warp = threadIdx.x / 32, group = warp / 8;
    const unsigned first_row = blockIdx.y * ROWS, rows = min(ROWS, batch - first_row);
    const unsigned first_item = blockIdx.x * each, n = min(each, items - first_item);
    const unsigned slabs = (width + COLUMNS - 1) / COLUMNS, steps = (n + ITEMS - 1) / ITEMS * slabs;
    // A step multiplies one tile of items by one slab of columns; its weights are copied one step
    // ahead.
    const auto fetch = [&](unsigned step) {
        const unsigned tile = step / slabs, slab = step % slabs, first = first_item + tile * ITEMS, left = n - tile * ITEMS;
        copy_slab<P, ITEMS>(room.weight[step % 2], weight + (size_t)first * width, left, width, slab * COLUMNS, 4);
        if (slab == 0 && threadIdx.x < ITEMS) {
            float &own = room.bias[tile % 2][threadIdx.x];
            if (threadIdx.x < left) {
                copy_async<4>(&own, bias + first + threadIdx.x, 4);
            } else {
                own = -INFINITY;
            }
        }
    };
    for (unsigned slab = 0; slab < slabs; slab++) {
        copy_slab<P, ROWS>(room.hidden[slab], hidden + (size_t)first_row * width, rows, width, slab * COLUMNS, 1);
    }
    fetch(0);
    const unsigned warp_row = 32 * (warp % 8), group_item = 64 * group;
    Warp<P> products;
    for (unsigned step = 0; step < steps; step++) {
        const unsigned tile = step / slabs, slab = step % slabs, left = n - tile * ITEMS;
        wait_for_copies();
        __syncthreads();
        if (step == 0) begin();
        if (step + 1 < steps) fetch(step + 1);
        if (warp_row >= rows || group_item >= left) continue;
        products.multiply(&room.hidden[slab][warp_row], &room.weight[step % 2][group_item]);
        if (slab + 1 == slabs) finish(products, tile);
    }
}
