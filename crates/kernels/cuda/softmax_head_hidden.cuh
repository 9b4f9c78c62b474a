// The first half of a block: computes the score gradients, and from them the hidden gradient.
#pragma once

#include "softmax_head_half.cuh"

// Score gradients d[b, i] = scale[b] (exp(score[b, i] + bias[i] - log[b]) - [i = target[b]]), and
// the block's part of the hidden gradient, d weight.
template <unsigned ROWS, class P> struct HiddenHalf : Half<ROWS, P> {
    using Base = Half<ROWS, P>;
    using typename Base::Room;
    using Base::Base, Base::EACH, Base::step, Base::room, Base::thread, Base::warp, Base::rows;

    // Starts to copy the tile's weights.
    __device__ void fetch_weight(unsigned tile) {
        const float *from = step.weight + step.first_weight(tile);
        float *to = &room.weight[tile % 2][0][0].x;
#pragma unroll 8
        for (unsigned n = 0; n < EACH; n++) {
            unsigned at;
            const bool is_there = this->find(tile, n, at);
            copy_async<4>(to + this->place_of_weight(n), from + (is_there ? at : 0), is_there ? 4 : 0);
        }
    }

    // Starts to copy the tile's scores and biases. A thread copies four items of eight rows, a warp
    // its own 32 rows, four at a time.
    __device__ void fetch_scores(unsigned tile) {
        const unsigned first = step.first_item(tile), item = first + 4 * (thread % 8);
        const unsigned n = item < step.items ? min(4u, step.items - item) : 0;
#pragma unroll
        for (unsigned p = 0; p < 8; p++) {
            const unsigned row = 32 * warp + 4 * p + thread % 32 / 8;
            const bool is_there = n > 0 && row < rows;
            const size_t at = is_there ? (size_t)(step.start + row) * step.stride + item : 0;
            copy_async<16>(&room.scores[p][thread], step.scores + at, is_there ? 4 * n : 0);
        }
        if (thread < TILE) {
            float *bias = &room.bias[tile % 2][thread];
            if (first + thread < step.items) {
                copy_async<4>(bias, step.bias + first + thread, 4);
            } else {
                *bias = -INFINITY;
            }
        }
    }

    // Turns the copied scores into their gradients; sums those over the warp's rows for the bias.
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

    // Adds the tile's part of the hidden gradient: 8 x 8 per thread, rows and columns in two groups
    // of four each.
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

    // Writes the block's part of the hidden gradient.
    __device__ void store(float4 *to, const float (&sums)[8][8]) const {
#pragma unroll
        for (unsigned i = 0; i < 16; i++) {
            const unsigned row = 32 * warp + 4 * one_of_four() + i / 2 % 4 + i / 8 * 16;
            to[row * COLUMNS / 4 + i % 2 * 8 + one_of_eight()] = four(&sums[i / 2][i % 2 * 4]);
        }
    }

    // The same by tensor cores, see mma.cuh: products [row, item] [item, column] for 16 rows and 8 columns. Lane g has the four rows
    // from 4 spread_g() on, of products (0, low), (0, high), (1, low), (1, high), and column n of product j is 4 n + j % 4 + j / 4 *
    // 32, so that loads are float4.
    __device__ void add_hidden(unsigned tile, float (&sums)[2][8][4]) const {
#pragma unroll 1
        for (unsigned sixteen = 0; sixteen < TILE; sixteen += 16) {
            const unsigned item = sixteen + 4 * lane_t(), at = (8 * warp + spread_g()) ^ item / 4;
            float4 of_rows[4];
#pragma unroll
            for (unsigned e = 0; e < 4; e++) of_rows[e] = room.grads[tile % 2][item + e][at];
            typename P::Four rows[4];
            set_columns<P>(rows, of_rows);
#pragma unroll
            for (unsigned half = 0; half < 2; half++) {
                float4 of_columns[4];
#pragma unroll
                for (unsigned e = 0; e < 4; e++) {
                    const float4 *weight = room.weight[tile % 2][item + e];
                    of_columns[e] = weight[place_in_row<P>(item + e, 4 * (lane_g() + 8 * half)) / 4];
                }
                typename P::Four columns[4];
                set_columns<P>(columns, of_columns);
#pragma unroll
                for (unsigned j = 0; j < 4; j++) {
                    P::add(sums[0][4 * half + j], rows[0], rows[1], columns[j]);
                    P::add(sums[1][4 * half + j], rows[2], rows[3], columns[j]);
                }
            }
        }
    }

    __device__ void store(float4 *to, const float (&sums)[2][8][4]) const {
#pragma unroll
        for (unsigned i = 0; i < 4; i++) {
            float4 *of_row = to + (32 * warp + 4 * spread_g() + i) * COLUMNS / 4;
            each_four_of_row(sums[i / 2], i % 2, [&](unsigned place, float4 four) { of_row[place] = four; });
        }
    }

    // A pipeline: while the hidden gradient takes tile t, the weights of t + 1 and the scores of t
    // + 2 are copied, and the score gradients of t + 1 computed. Both halves wait for each other
    // twice before the first tile and once after each.
    __device__ void run() {
        this->begin();
        fetch_weight(0);
        fetch_scores(0);
        wait_for_copies();
        this->sync_halves();
        const unsigned n = step.n();
        make_grads(0);
        if (n > 1) fetch_scores(1);
        wait_for_copies();
        this->sync_halves();
        Sums<P> sums = {};
        for (unsigned tile = 0; tile < n; tile++) {
            if (tile + 1 < n) {
                fetch_weight(tile + 1);
                make_grads(tile + 1);
                if (tile + 2 < n) fetch_scores(tile + 2);
            }
            if (this->has_rows()) add_hidden(tile, sums.x);
            wait_for_copies();
            this->sync_halves();
        }
        store(reinterpret_cast<float4 *>(step.parts) + (size_t)(blockIdx.x * gridDim.y + blockIdx.y) * ROWS * COLUMNS / 4, sums.x);
    }
};
