// Shared by both halves of a block of the output layer's update: sizes, shared memory and barriers.
#pragma once

#include "adam.cuh"
#include "async.cuh"
#include "block.cuh"
#include "mma.cuh"
#include "outer.cuh"

// Items of a tile, and columns of the weight that a block handles.
constexpr unsigned TILE = 32, COLUMNS = 64;

// Log-sum-exp, scale and target of a row of the batch. A row past the batch has scale zero, and log
// infinity, which makes its softmax zero. Padded to 16 bytes.
struct Row {
    float log, scale;
    unsigned target, padding;
};

// Shared memory of a block that handles ROWS rows of the batch with two halves of ROWS threads
// each.
template <unsigned ROWS> struct Shared {
    static constexpr unsigned WARPS = ROWS / 32, PARTS = WARPS > 1 ? WARPS / 2 : 1;
    // Gradients of the scores, [item][row], of this tile and the next; a float4 holds four rows.
    // Its index is permuted to `index ^ (item / 4 % 8)` against bank conflicts, both of the writer,
    // whose threads have other items, and of the readers.
    float4 grads[2][TILE][ROWS / 4];
    float4 hidden[ROWS][COLUMNS / 4];
    float4 weight[2][TILE][COLUMNS / 4];
    // Sums of the weight gradient, of one or two warps each.
    float4 parts[PARTS][16][32];
    // Scores of the next tile; each thread reads what it copied itself.
    float4 scores[8][ROWS];
    Row rows[ROWS];
    float bias[2][TILE];
    // Sums of the score gradients over the rows of a warp: the bias gradient.
    float sums[2][WARPS][TILE];
};
// Must equal the host's computation (`shared` in ops/softmax_head/cuda/step.rs).
static_assert(sizeof(Shared<256>) == 4 * (256 * 166 + 4160 + 4 * 2048), "");
static_assert(sizeof(Shared<32>) == 4 * (32 * 166 + 4160 + 2048), "");

// Index of column `column` in a row [COLUMNS] of weights or hidden vectors in shared memory. For tensor cores the index of a float4
// is permuted by the row, so that the lanes of a load, which have rows four apart, meet no bank twice.
template <class P> __device__ inline unsigned place_in_row(unsigned row, unsigned column) {
    return USES_MMA<P> ? column ^ row / 4 % 4 * 8 : column;
}

// Arguments of the kernel `head_step`.
struct Step {
    const float *scores, *hidden;
    const unsigned *targets;
    const float *scales, *logs, *bias;
    float *weight, *first, *second;
    // Gradients of weight and bias, summed over the batch's rows before `start` and then over
    // these, too. `weight_sum` is used only if the batch takes several launches.
    float *weight_sum, *bias_sum;
    // The blocks' parts of the hidden gradient.
    float *parts;
    // The rows are those of the batch from `start` on. Rows of the scores lie `stride` apart, a
    // multiple of four. A block has up to `tiles` tiles.
    unsigned start, batch, items, stride, width, tiles;
    const AdamFactors *by;

    __device__ unsigned first_column() const { return blockIdx.y * COLUMNS; }
    __device__ unsigned first_item(unsigned tile) const { return (blockIdx.x * tiles + tile) * TILE; }
    // Offset of a tile's first weight.
    __device__ size_t first_weight(unsigned tile) const { return (size_t)first_item(tile) * width + first_column(); }
    // Number of tiles of this block.
    __device__ unsigned n() const { return min(tiles, (items + TILE - 1) / TILE - blockIdx.x * tiles); }
};

// A thread's 64 sums of a product of 32 rows and 64 columns.
template <class P> struct Sums {
    float x[2][8][4];
};
template <> struct Sums<Fp32> {
    float x[8][8];
};

// The four columns of a 4 x 4 matrix, given by rows, as factors of a product.
template <class P> __device__ inline void set_columns(typename P::Four (&columns)[4], const float4 (&rows)[4]) {
    columns[0].set(rows[0].x, rows[1].x, rows[2].x, rows[3].x);
    columns[1].set(rows[0].y, rows[1].y, rows[2].y, rows[3].y);
    columns[2].set(rows[0].z, rows[1].z, rows[2].z, rows[3].z);
    columns[3].set(rows[0].w, rows[1].w, rows[2].w, rows[3].w);
}

// Calls `f` with the index of a float4 in a row [COLUMNS] and its sums: of the low (0) or high (1) row of eight products, where
// column n of product j is 4 n + j % 4 + j / 4 * 32.
template <class F> __device__ inline void each_four_of_row(const float (&sums)[8][4], unsigned high, F f) {
#pragma unroll
    for (unsigned half = 0; half < 2; half++) {
#pragma unroll
        for (unsigned odd = 0; odd < 2; odd++) {
            const unsigned e = 2 * high + odd, j = 4 * half;
            f(2 * lane_t() + odd + 8 * half, make_float4(sums[j][e], sums[j + 1][e], sums[j + 2][e], sums[j + 3][e]));
        }
    }
}

// What both halves have: `thread` and `warp` count within the half. P is the precision of the products.
template <unsigned ROWS, class P> struct Half {
    using Room = Shared<ROWS>;
    // Weights of a tile per thread.
    static constexpr unsigned EACH = TILE * COLUMNS / ROWS;
    const Step &step;
    Room &room;
    const unsigned thread, warp;
    // Number of the batch's rows in this launch.
    const unsigned rows;

    __device__ Half(const Step &step, Room &room)
        : step(step), room(room), thread(threadIdx.x % ROWS), warp(threadIdx.x % ROWS / 32),
          rows(min(ROWS, step.batch - step.start)) {}

    // Whether any of the 32 rows of this warp is in the batch.
    __device__ bool has_rows() const { return 32 * warp < rows; }

    // Whether the batch ends with these rows.
    __device__ bool is_last() const { return step.start + rows == step.batch; }

    // Whether this thread's n-th weight of the tile exists; `at` is its offset from the tile's
    // first.
    __device__ bool find(unsigned tile, unsigned n, unsigned &at) const {
        const unsigned e = thread + n * ROWS, item = e / COLUMNS, column = e % COLUMNS;
        at = item * step.width + column;
        return step.first_item(tile) + item < step.items && step.first_column() + column < step.width;
    }

    // Place of this thread's n-th weight in a tile in shared memory.
    __device__ unsigned place_of_weight(unsigned n) const {
        const unsigned e = thread + n * ROWS, item = e / COLUMNS;
        return item * COLUMNS + place_in_row<P>(item, e % COLUMNS);
    }

    // Barrier of the whole block; a named one, since the halves wait at different places of the
    // code.
    __device__ void sync_halves() const { named_barrier(0, 2 * ROWS); }

    // Loads the rows, and starts to copy the hidden vectors, by both halves: they stay in shared
    // memory for the whole launch.
    __device__ void begin() {
        if (threadIdx.x < ROWS) {
            const unsigned b = step.start + thread;
            const Row none = {INFINITY, 0.0f, 0xffffffffu, 0};
            room.rows[thread] = thread < rows ? Row{step.logs[b], step.scales[b], step.targets[b], 0} : none;
        }
        float *hidden = &room.hidden[0][0].x;
        for (unsigned e = threadIdx.x; e < ROWS * COLUMNS; e += 2 * ROWS) {
            const unsigned row = e / COLUMNS, column = step.first_column() + e % COLUMNS;
            const bool is_there = row < rows && column < step.width;
            const size_t at = is_there ? (size_t)(step.start + row) * step.width + column : 0;
            copy_async<4>(hidden + row * COLUMNS + place_in_row<P>(row, e % COLUMNS), step.hidden + at, is_there ? 4 : 0);
        }
    }
};
