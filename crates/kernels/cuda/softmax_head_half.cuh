// Shared by both halves of a block of the output layer's update: sizes, shared memory and loads.
#pragma once

#include "adam.cuh"
#include "async.cuh"
#include "block.cuh"
#include "outer.cuh"

// Items of a tile, and columns of the weight, of a block.
constexpr unsigned TILE = 32, COLUMNS = 64;

// A row of the batch. None has a scale of zero, and a log of infinity that makes its softmax zero.
struct Row {
    float log, scale;
    unsigned target, none;
};

// What a block of ROWS rows of the batch shares: a thread of either half a row.
template <unsigned ROWS> struct Shared {
    static constexpr unsigned WARPS = ROWS / 32, PARTS = WARPS > 1 ? WARPS / 2 : 1;
    // The scores' gradients, by item, of this tile and the next: the fours of a row's rows lie in
    // the order of `four ^ (item / 4 % 8)`, so that neither who writes them by rows nor who reads
    // them either way meets a bank twice.
    float4 grads[2][TILE][ROWS / 4];
    float4 hidden[ROWS][COLUMNS / 4];
    float4 weight[2][TILE][COLUMNS / 4];
    float4 parts[PARTS][16][32];
    // Scores on their way, each thread's own.
    float4 scores[8][ROWS];
    Row rows[ROWS];
    float bias[2][TILE];
    float sums[2][WARPS][TILE];
};
// Must equal the host's computation.
static_assert(sizeof(Shared<256>) == 4 * (256 * 166 + 4160 + 4 * 2048), "");
static_assert(sizeof(Shared<32>) == 4 * (32 * 166 + 4160 + 2048), "");

struct Step {
    const float *scores, *hidden;
    const unsigned *targets;
    const float *scales, *logs, *bias;
    float *weight, *first, *second;
    // Sums of the gradients over the rows before these: those of the weight are needed if there are
    // any.
    float *weight_sum, *bias_sum;
    float *parts;
    // The rows are those of the batch from `start` on; the scores' rows are `stride` apart, a
    // multiple of four.
    unsigned start, batch, items, stride, width, tiles;
    Factors by;

    __device__ unsigned first_column() const { return blockIdx.y * COLUMNS; }
    __device__ unsigned first_item(unsigned tile) const { return (blockIdx.x * tiles + tile) * TILE; }
    // Where a tile's weights begin.
    __device__ size_t first_weight(unsigned tile) const { return (size_t)first_item(tile) * width + first_column(); }
    // Tiles of this block.
    __device__ unsigned n() const { return min(tiles, (items + TILE - 1) / TILE - blockIdx.x * tiles); }
};

template <unsigned ROWS> struct Half {
    using Room = Shared<ROWS>;
    // Weights of a tile to a thread.
    static constexpr unsigned EACH = TILE * COLUMNS / ROWS;
    const Step &step;
    Room &room;
    // Number of the thread in its half, and of its warp there.
    const unsigned thread, warp;
    // Rows that are there.
    const unsigned rows;

    __device__ Half(const Step &step, Room &room)
        : step(step), room(room), thread(threadIdx.x % ROWS), warp(threadIdx.x % ROWS / 32),
          rows(min(ROWS, step.batch - step.start)) {}

    // Whether the 32 rows of this warp are.
    __device__ bool has_rows() const { return 32 * warp < rows; }

    // Whether the batch ends with these rows.
    __device__ bool is_last() const { return step.start + rows == step.batch; }

    // Whether the tile has this thread's n-th weight, and how far it is from the tile's first.
    __device__ bool find(unsigned tile, unsigned n, unsigned &at) const {
        const unsigned e = thread + n * ROWS, item = e / COLUMNS, column = e % COLUMNS;
        at = item * step.width + column;
        return step.first_item(tile) + item < step.items && step.first_column() + column < step.width;
    }

    // Barrier of both halves.
    __device__ void meet_other() const { meet(0, 2 * ROWS); }

    // Begins to bring what stays: of the hidden vectors, some, by both halves.
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
            copy_later<4>(hidden + e, step.hidden + at, is_there ? 4 : 0);
        }
    }
};
