// The second half of a block: computes the weight gradient from the score gradients and applies
// Adam.
#pragma once

#include "softmax_head_half.cuh"

// Weight gradient d^T hidden of a tile with the score gradients d, summed over the launch's rows.
template <unsigned ROWS, class P> struct WeightHalf : Half<ROWS, P> {
    using Base = Half<ROWS, P>;
    using typename Base::Room;
    using Base::Base, Base::EACH, Base::step, Base::room, Base::thread, Base::warp, Base::rows;
    // Weights of a thread whose moments are loaded at a time.
    static constexpr unsigned GROUP = 8;

    // Adds the gradient over the warp's rows: 8 x 8 weights per thread, items and columns in two
    // groups of four each.
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

    // The same by tensor cores, see mma.cuh: products [item, row] [row, column] for 16 items and 8 columns. Item `low` or `high` of
    // product m is item_of(2 m + high); column n of product j is 4 n + j % 4 + j / 4 * 32.
    __device__ void add_weights(unsigned tile, float (&sums)[2][8][4]) const {
#pragma unroll 1
        for (unsigned sixteen = 0; sixteen < 32; sixteen += 16) {
            const unsigned row = 32 * warp + sixteen + 4 * lane_t();
            typename P::Four items[4];
#pragma unroll
            for (unsigned i = 0; i < 4; i++) {
                const unsigned item = item_of(i);
                const float4 grads = room.grads[tile % 2][item][row / 4 ^ item / 4];
                items[i].set(grads.x, grads.y, grads.z, grads.w);
            }
#pragma unroll
            for (unsigned half = 0; half < 2; half++) {
                float4 of_columns[4];
#pragma unroll
                for (unsigned e = 0; e < 4; e++) {
                    of_columns[e] = room.hidden[row + e][place_in_row<P>(row + e, 4 * (lane_g() + 8 * half)) / 4];
                }
                typename P::Four columns[4];
                set_columns<P>(columns, of_columns);
#pragma unroll
                for (unsigned j = 0; j < 4; j++) {
                    P::add(sums[0][4 * half + j], items[0], items[1], columns[j]);
                    P::add(sums[1][4 * half + j], items[2], items[3], columns[j]);
                }
            }
        }
    }

    // The lane's i-th of four items: the lanes of a load have items 16 apart.
    __device__ static unsigned item_of(unsigned i) { return lane_g() / 2 + 4 * i + lane_g() % 2 * 16; }

    // Place in `parts[part][i]` of the sums of a lane, by its index of four (items) and of eight
    // (columns), permuted against bank conflicts.
    __device__ static unsigned place(unsigned item, unsigned column) { return 8 * item + (column ^ (2 * item)); }

    // Place in `parts[part]`, as [TILE][COLUMNS / 4], of a float4 of tensor cores' sums.
    __device__ static unsigned place_of_four(unsigned item, unsigned four) { return item * COLUMNS / 4 + (four ^ item / 16); }

    // Calls `f` with each float4 of the lane's sums, to be changed, and its place in `parts[part]`.
    template <class F> __device__ static void each_four(float (&sums)[8][8], F f) {
        const unsigned at = place(one_of_four(), one_of_eight());
#pragma unroll
        for (unsigned i = 0; i < 16; i++) f(i * 32 + at, four(&sums[i / 2][i % 2 * 4]));
    }
    template <class F> __device__ static void each_four(float (&sums)[2][8][4], F f) {
#pragma unroll
        for (unsigned i = 0; i < 4; i++) {
            each_four_of_row(sums[i / 2], i % 2, [&](unsigned four, float4 x) { f(place_of_four(item_of(i), four), x); });
        }
    }

    // Adds the warps' sums in pairs, which halves the shared memory that they need, and writes them
    // to `parts`.
    __device__ void reduce_warps(Sums<P> &sums) {
        constexpr unsigned PARTS = Room::PARTS;
        if (PARTS < Room::WARPS && warp >= PARTS) {
            float4 *to = &room.parts[warp - PARTS][0][0];
            each_four(sums.x, [&](unsigned at, float4 x) { to[at] = x; });
        }
        named_barrier(1, ROWS);
        if (warp < PARTS) {
            float4 *to = &room.parts[warp][0][0];
            each_four(sums.x, [&](unsigned at, float4 x) {
                if (PARTS < Room::WARPS) {
                    const float4 other = to[at];
                    x = make_float4(x.x + other.x, x.y + other.y, x.z + other.z, x.w + other.w);
                }
                to[at] = x;
            });
        }
    }

    // Gradient of the thread's n-th weight of the tile: the sum of the parts, in order.
    __device__ float weight_grad(unsigned n) const {
        const unsigned e = thread + n * ROWS, item = e / COLUMNS, column = e % COLUMNS;
        unsigned at = place_of_four(item, column / 4);
        if (!USES_MMA<P>) at = ((item % 4 + item / 16 * 4) * 2 + column / 32) * 32 + place(item / 4 % 4, column / 4 % 8);
        float sum = 0.0f;
#pragma unroll
        for (unsigned part = 0; part < Room::PARTS; part++) sum += (&room.parts[part][0][at].x)[column % 4];
        return sum;
    }

    // Loads the moments of GROUP weights, if they are to be updated.
    __device__ void load_moments(unsigned tile, unsigned from, float (&first)[GROUP], float (&second)[GROUP]) const {
        const float *firsts = step.first + step.first_weight(tile), *seconds = step.second + step.first_weight(tile);
#pragma unroll
        for (unsigned n = 0; n < GROUP; n++) {
            unsigned at;
            const bool is_there = this->find(tile, from + n, at) && this->is_last();
            first[n] = is_there ? firsts[at] : 0.0f;
            second[n] = is_there ? seconds[at] : 0.0f;
        }
    }

    // Applies Adam's step to GROUP weights if the batch ends with these rows; else stores the
    // gradient so far for the next launch.
    __device__ void update(unsigned tile, unsigned from, float (&first)[GROUP], float (&second)[GROUP]) const {
        const size_t start = step.first_weight(tile);
        float grads[GROUP];
#pragma unroll
        for (unsigned n = 0; n < GROUP; n++) grads[n] = weight_grad(from + n);
        if (step.start > 0) {
#pragma unroll
            for (unsigned n = 0; n < GROUP; n++) {
                unsigned at;
                if (this->find(tile, from + n, at)) grads[n] += step.weight_sum[start + at];
            }
        }
        const float *weight = &room.weight[tile % 2][0][0].x;
        // Not kept in registers from one group to the next.
        const AdamFactors by = *step.by;
        float moved[GROUP];
#pragma unroll
        for (unsigned n = 0; n < GROUP; n++) moved[n] = adam_step(weight[this->place_of_weight(from + n)], grads[n], first[n], second[n], by);
#pragma unroll
        for (unsigned n = 0; n < GROUP; n++) {
            unsigned at;
            if (!this->find(tile, from + n, at)) continue;
            if (this->is_last()) {
                (step.weight + start)[at] = moved[n];
                (step.first + start)[at] = first[n];
                (step.second + start)[at] = second[n];
            } else {
                (step.weight_sum + start)[at] = grads[n];
            }
        }
    }

    // Adds the tile's bias gradient, by the last warp of the blocks of the first columns.
    __device__ void sum_bias(unsigned tile) const {
        const unsigned lane = thread % 32, item = step.first_item(tile) + lane;
        if (blockIdx.y > 0 || warp != Room::WARPS - 1 || item >= step.items) return;
        float sum = step.start > 0 ? step.bias_sum[item] : 0.0f;
        for (unsigned w = 0; 32 * w < rows; w++) sum += room.sums[tile % 2][w][lane];
        step.bias_sum[item] = sum;
    }

    // Handles a tile. The first moments are loaded before the barriers, which hide the latency.
    __device__ void step_weights(unsigned tile) {
        Sums<P> sums = {};
        if (this->has_rows()) add_weights(tile, sums.x);
        float first[GROUP], second[GROUP];
        load_moments(tile, 0, first, second);
        reduce_warps(sums);
        named_barrier(1, ROWS);
        sum_bias(tile);
#pragma unroll 1
        for (unsigned from = 0; from < EACH; from += GROUP) {
            update(tile, from, first, second);
            if (from + GROUP < EACH) load_moments(tile, from + GROUP, first, second);
        }
    }

    // The barriers match those of HiddenHalf::run: the first two are for the hidden vectors and for
    // the first tile's score gradients.
    __device__ void run() {
        this->begin();
        wait_for_copies();
        this->sync_halves();
        this->sync_halves();
        for (unsigned tile = 0; tile < step.n(); tile++) {
            step_weights(tile);
            this->sync_halves();
        }
    }
};
