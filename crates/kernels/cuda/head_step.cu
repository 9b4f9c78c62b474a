// The way back through the output layer, with Adam's step on it: the gradients of the scores never leave a block.
#include "adam.cuh"
#include "async.cuh"
#include "block.cuh"
#include "outer.cuh"

// Items of a tile, and columns of the weight, of a block. Its first half of threads makes the gradients of the scores of the next
// tile and the gradient of the hidden vectors of this one; meanwhile the second makes that of the tile's weights, and steps.
constexpr unsigned TILE = 32, COLUMNS = 64;

// A row of the batch. None has a scale of zero, and a log of infinity that makes its softmax zero.
struct Row {
    float log, scale;
    unsigned target, none;
};

// What a block of ROWS rows of the batch shares: a thread of either half a row.
template <unsigned ROWS> struct Shared {
    static constexpr unsigned WARPS = ROWS / 32, PARTS = WARPS > 1 ? WARPS / 2 : 1;
    // The scores' gradients, by item, of this tile and the next: the fours of a row's rows lie in the order of
    // `four ^ (item / 4 % 8)`, so that neither who writes them by rows nor who reads them either way meets a bank twice.
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
// As the host counts it.
static_assert(sizeof(Shared<256>) == 4 * (256 * 166 + 4160 + 4 * 2048), "");
static_assert(sizeof(Shared<32>) == 4 * (32 * 166 + 4160 + 2048), "");

struct Step {
    const float *scores, *hidden;
    const unsigned *targets;
    const float *scales, *logs, *bias;
    float *weight, *first, *second;
    // Sums of the gradients over the rows before these: those of the weight are needed if there are any.
    float *weight_sum, *bias_sum;
    float *parts;
    // The rows are those of the batch from `start` on; the scores' rows are `stride` apart, a multiple of four.
    unsigned start, batch, items, stride, width, tiles;
    Factors by;

    __device__ unsigned first_column() const { return blockIdx.y * COLUMNS; }
    __device__ unsigned first_item(unsigned tile) const { return (blockIdx.x * tiles + tile) * TILE; }
    // Where a tile's weights begin.
    __device__ size_t first_weight(unsigned tile) const { return (size_t)first_item(tile) * width + first_column(); }
    // Tiles of this block.
    __device__ unsigned n() const { return min(tiles, (items + TILE - 1) / TILE - blockIdx.x * tiles); }
};

template <unsigned ROWS> struct Block {
    using Room = Shared<ROWS>;
    static constexpr unsigned EACH = TILE * COLUMNS / ROWS, GROUP = 8;
    const Step &step;
    Room &room;
    // Number of the thread in its half, of its warp there.
    const unsigned thread, warp;
    // Rows that are there.
    const unsigned rows;

    __device__ Block(const Step &step, Room &room, unsigned thread)
        : step(step), room(room), thread(thread), warp(thread / 32), rows(min(ROWS, step.batch - step.start)) {}

    // Whether the 32 rows of this warp are.
    __device__ bool has_rows() const { return 32 * warp < rows; }

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

    __device__ void fetch_weight(unsigned tile) {
        float *weight = &room.weight[tile % 2][0][0].x;
        for (unsigned e = thread; e < TILE * COLUMNS; e += ROWS) {
            const unsigned item = step.first_item(tile) + e / COLUMNS, column = step.first_column() + e % COLUMNS;
            const bool is_there = item < step.items && column < step.width;
            const size_t at = is_there ? (size_t)item * step.width + column : 0;
            copy_later<4>(weight + e, step.weight + at, is_there ? 4 : 0);
        }
    }

    // Of each thread eight rows' four items: a warp its 32 rows, four of them at a time.
    __device__ void fetch_scores(unsigned tile) {
        const unsigned first = step.first_item(tile), item = first + 4 * (thread % 8);
        const unsigned n = item < step.items ? min(4u, step.items - item) : 0;
#pragma unroll
        for (unsigned p = 0; p < 8; p++) {
            const unsigned row = 32 * warp + 4 * p + thread % 32 / 8;
            const bool is_there = n > 0 && row < rows;
            const size_t at = is_there ? (size_t)(step.start + row) * step.stride + item : 0;
            copy_later<16>(&room.scores[p][thread], step.scores + at, is_there ? 4 * n : 0);
        }
        if (thread < TILE) {
            float *bias = &room.bias[tile % 2][thread];
            if (first + thread < step.items) {
                copy_later<4>(bias, step.bias + first + thread, 4);
            } else {
                *bias = -INFINITY;
            }
        }
    }

    // The gradients of the scores that came: scale x (softmax - target), and their sums over the warp's rows.
    __device__ void make_grads(unsigned tile) {
        const unsigned four = thread % 8, r = thread % 32 / 8, item = step.first_item(tile) + 4 * four;
        float bias[4], sums[4] = {};
        load_four(bias, reinterpret_cast<const float4 *>(room.bias[tile % 2])[four]);
        float *grads = &room.grads[tile % 2][4 * four][0].x;
#pragma unroll 4
        for (unsigned p = 0; p < 8; p++) {
            const Row row = room.rows[32 * warp + 4 * p + r];
            const unsigned hit = row.target - item;
            float d[4];
            load_four(d, room.scores[p][thread]);
#pragma unroll
            for (unsigned e = 0; e < 4; e++) {
                d[e] = expf(d[e] + bias[e] - row.log);
                if (e == hit) d[e] -= 1.0f;
                d[e] *= row.scale;
                sums[e] += d[e];
                grads[e * ROWS + 4 * ((8 * warp + p) ^ four) + r] = d[e];
            }
        }
#pragma unroll
        for (unsigned e = 0; e < 4; e++) {
            sums[e] += __shfl_xor_sync(0xffffffffu, sums[e], 8);
            sums[e] += __shfl_xor_sync(0xffffffffu, sums[e], 16);
            if (r == 0) room.sums[tile % 2][warp][4 * four + e] = sums[e];
        }
    }

    // The tile's part of the gradient of this thread's hidden vectors: rows and columns in two fours each.
    __device__ void add_hidden(unsigned tile, float (&sums)[8][8]) const {
        const unsigned column = one_of_eight();
#pragma unroll 1
        for (unsigned quad = 0; quad < TILE / 4; quad++) {
            const unsigned at = (8 * warp + one_of_four()) ^ quad;
#pragma unroll
            for (unsigned j = 0; j < 4; j++) {
                const float4 *grads = room.grads[tile % 2][4 * quad + j], *weight = room.weight[tile % 2][4 * quad + j];
                add_outer(sums, Eight(grads[at], grads[at ^ 4]).x, Eight(weight[column], weight[8 + column]).x);
            }
        }
    }

    // The gradient of this thread's weights of the tile over the warp's rows: items and columns in two fours each.
    __device__ void add_weights(unsigned tile, float (&sums)[8][8]) const {
        const unsigned item = one_of_four(), column = one_of_eight();
#pragma unroll 1
        for (unsigned row = 8 * warp; row < 8 * warp + 8; row++) {
            float grads[8][4];
#pragma unroll
            for (unsigned j = 0; j < 4; j++) {
                load_four(grads[j], room.grads[tile % 2][4 * item + j][row ^ item]);
                load_four(grads[4 + j], room.grads[tile % 2][16 + 4 * item + j][row ^ (4 + item)]);
            }
#pragma unroll
            for (unsigned r = 0; r < 4; r++) {
                const float4 *hidden = room.hidden[4 * row + r];
                float of_row[8];
#pragma unroll
                for (unsigned j = 0; j < 8; j++) of_row[j] = grads[j][r];
                add_outer(sums, of_row, Eight(hidden[column], hidden[8 + column]).x);
            }
        }
    }

    // Where a four of the sums lies among the parts: items in fours, columns in halves.
    __device__ static unsigned place(unsigned item, unsigned column) { return 8 * item + (column ^ (2 * item)); }

    // The sums of all warps, in half as many parts.
    __device__ void share(float (&sums)[8][8]) {
        const unsigned at = place(one_of_four(), one_of_eight());
        const auto keep = [&](unsigned part) {
#pragma unroll
            for (unsigned i = 0; i < 16; i++) room.parts[part][i][at] = four(&sums[i / 2][i % 2 * 4]);
        };
        constexpr unsigned PARTS = Room::PARTS;
        if (PARTS < Room::WARPS && warp >= PARTS) keep(warp - PARTS);
        meet(1, ROWS);
        if (warp < PARTS) {
            if (PARTS < Room::WARPS) {
#pragma unroll
                for (unsigned i = 0; i < 16; i++) {
                    float others[4];
                    load_four(others, room.parts[warp][i][at]);
#pragma unroll
                    for (unsigned j = 0; j < 4; j++) sums[i / 2][i % 2 * 4 + j] += others[j];
                }
            }
            keep(warp);
        }
    }

    // The gradient of the thread's n-th weight of the tile.
    __device__ float shared(unsigned n) const {
        const unsigned e = thread + n * ROWS, item = e / COLUMNS, column = e % COLUMNS;
        const unsigned i = (item % 4 + item / 16 * 4) * 2 + column / 32;
        const unsigned at = place(item / 4 % 4, column / 4 % 8);
        float sum = 0.0f;
#pragma unroll
        for (unsigned part = 0; part < Room::PARTS; part++) sum += (&room.parts[part][i][at].x)[column % 4];
        return sum;
    }

    // Whether there is an n-th weight, and how far it is from the tile's first.
    __device__ bool find(unsigned tile, unsigned n, unsigned &at) const {
        const unsigned e = thread + n * ROWS, item = e / COLUMNS, column = e % COLUMNS;
        at = item * step.width + column;
        return step.first_item(tile) + item < step.items && step.first_column() + column < step.width;
    }

    // Whether the batch ends with these rows.
    __device__ bool is_last() const { return step.start + rows == step.batch; }

    __device__ void ask(unsigned tile, unsigned from, float (&first)[GROUP], float (&second)[GROUP]) const {
        const float *firsts = step.first + step.first_weight(tile), *seconds = step.second + step.first_weight(tile);
#pragma unroll
        for (unsigned n = 0; n < GROUP; n++) {
            unsigned at;
            const bool is_there = find(tile, from + n, at) && is_last();
            first[n] = is_there ? firsts[at] : 0.0f;
            second[n] = is_there ? seconds[at] : 0.0f;
        }
    }

    // Adam's step on some weights, if the batch ends with these rows; otherwise that waits for the others.
    __device__ void move(unsigned tile, unsigned from, float (&first)[GROUP], float (&second)[GROUP]) const {
        const size_t start = step.first_weight(tile);
        float grads[GROUP];
#pragma unroll
        for (unsigned n = 0; n < GROUP; n++) grads[n] = shared(from + n);
        if (step.start > 0) {
#pragma unroll
            for (unsigned n = 0; n < GROUP; n++) {
                unsigned at;
                if (find(tile, from + n, at)) grads[n] += step.weight_sum[start + at];
            }
        }
        const float *weight = &room.weight[tile % 2][0][0].x + thread + from * ROWS;
        float moved[GROUP];
#pragma unroll
        for (unsigned n = 0; n < GROUP; n++) moved[n] = adam_step(weight[n * ROWS], grads[n], first[n], second[n], step.by);
#pragma unroll
        for (unsigned n = 0; n < GROUP; n++) {
            unsigned at;
            if (!find(tile, from + n, at)) continue;
            if (is_last()) {
                (step.weight + start)[at] = moved[n];
                (step.first + start)[at] = first[n];
                (step.second + start)[at] = second[n];
            } else {
                (step.weight_sum + start)[at] = grads[n];
            }
        }
    }

    __device__ void sum_bias(unsigned tile) const {
        const unsigned lane = thread % 32, item = step.first_item(tile) + lane;
        if (blockIdx.y > 0 || warp != Room::WARPS - 1 || item >= step.items) return;
        float sum = step.start > 0 ? step.bias_sum[item] : 0.0f;
        for (unsigned w = 0; 32 * w < rows; w++) sum += room.sums[tile % 2][w][lane];
        step.bias_sum[item] = sum;
    }

    __device__ void step_weights(unsigned tile) {
        float sums[8][8] = {};
        if (has_rows()) add_weights(tile, sums);
        float first[GROUP], second[GROUP];
        ask(tile, 0, first, second);
        share(sums);
        meet(1, ROWS);
        sum_bias(tile);
#pragma unroll 1
        for (unsigned from = 0; from < EACH; from += GROUP) {
            move(tile, from, first, second);
            if (from + GROUP < EACH) ask(tile, from + GROUP, first, second);
        }
    }

    __device__ void of_hidden() {
        fetch_weight(0);
        fetch_scores(0);
        await_copies();
        meet(0, 2 * ROWS);
        const unsigned n = step.n();
        make_grads(0);
        if (n > 1) fetch_scores(1);
        await_copies();
        meet(0, 2 * ROWS);
        float sums[8][8] = {};
        for (unsigned tile = 0; tile < n; tile++) {
            if (tile + 1 < n) {
                fetch_weight(tile + 1);
                make_grads(tile + 1);
                if (tile + 2 < n) fetch_scores(tile + 2);
            }
            if (has_rows()) add_hidden(tile, sums);
            await_copies();
            meet(0, 2 * ROWS);
        }
        float4 *to = reinterpret_cast<float4 *>(step.parts) + (size_t)(blockIdx.x * gridDim.y + blockIdx.y) * ROWS * COLUMNS / 4;
#pragma unroll
        for (unsigned i = 0; i < 16; i++) {
            const unsigned row = 32 * warp + 4 * one_of_four() + i / 2 % 4 + i / 8 * 16;
            to[row * COLUMNS / 4 + i % 2 * 8 + one_of_eight()] = four(&sums[i / 2][i % 2 * 4]);
        }
    }

    __device__ void of_weights() {
        await_copies();
        meet(0, 2 * ROWS);
        meet(0, 2 * ROWS);
        for (unsigned tile = 0; tile < step.n(); tile++) {
            step_weights(tile);
            meet(0, 2 * ROWS);
        }
    }
};

template <unsigned ROWS> __device__ inline void head_step(const Step &step) {
    SHARED(memory);
    const bool is_first_half = threadIdx.x < ROWS;
    Block<ROWS> block(step, *reinterpret_cast<Shared<ROWS> *>(memory), threadIdx.x % ROWS);
    block.begin();
    if (is_first_half) {
        block.of_hidden();
    } else {
        block.of_weights();
    }
}

// A block some tiles of items and 64 columns, under up to ROWS rows of the batch from `start` on; twice as many threads. Takes
// Adam's step on these rows of the weight, if the batch ends with them. `parts` [chunks, gridDim.y, ROWS, 64] become the blocks'
// parts of the gradient of the hidden vectors, `bias_sum` that of the bias so far.
#define HEAD_STEP(ROWS)                                                                                                       \
    extern "C" __global__ void __launch_bounds__(2 * ROWS, 256 / ROWS) head_step_##ROWS(                                      \
        const float *scores, const float *hidden, const unsigned *targets, const float *scales, const float *logs,            \
        const float *bias, float *weight, float *first, float *second, float *weight_sum, float *bias_sum, float *parts,      \
        unsigned start, unsigned batch, unsigned items, unsigned stride, unsigned width, unsigned tiles, float beta1,         \
        float beta2, float rate, float root, float eps                                                                        \
    ) {                                                                                                                       \
        head_step<ROWS>({scores, hidden, targets, scales, logs, bias, weight, first, second, weight_sum, bias_sum, parts,     \
                         start, batch, items, stride, width, tiles, {beta1, beta2, rate, root, eps}});                        \
    }

HEAD_STEP(256)
HEAD_STEP(64)
HEAD_STEP(32)

// What no block of those before can do alone. The gradient of hidden vectors [batch, width], from `start` on, out of the parts
// [chunks, gridDim.y, rows, 64]: a block a row and 64 columns, four threads a column. And Adam's step on `n` numbers of the bias,
// of which each thread has some.
extern "C" __global__ void head_step_end(
    const float *parts, float *hidden, unsigned start, unsigned rows, unsigned width, unsigned chunks, float *bias,
    float *first, float *second, const float *grads, unsigned n, float beta1, float beta2, float rate, float root, float eps
) {
    __shared__ float sums[4][COLUMNS];
    const unsigned column = threadIdx.x % COLUMNS, share = threadIdx.x / COLUMNS;
    float sum = 0.0f;
#pragma unroll 8
    for (unsigned chunk = share; chunk < chunks; chunk += 4) {
        const size_t row = (size_t)(chunk * gridDim.y + blockIdx.y) * rows + blockIdx.x;
        sum += parts[row * COLUMNS + column];
    }
    sums[share][column] = sum;
    const unsigned block = blockIdx.y * gridDim.x + blockIdx.x;
    for (size_t i = block * blockDim.x + threadIdx.x; i < n; i += gridDim.x * gridDim.y * blockDim.x) {
        bias[i] = adam_step(bias[i], grads[i], first[i], second[i], {beta1, beta2, rate, root, eps});
    }
    __syncthreads();
    const unsigned to = blockIdx.y * COLUMNS + column;
    if (share == 0 && to < width) {
        hidden[(size_t)(start + blockIdx.x) * width + to] =
            (sums[0][column] + sums[1][column]) + (sums[2][column] + sums[3][column]);
    }
}
