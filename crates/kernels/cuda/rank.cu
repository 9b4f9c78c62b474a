// Ranks of targets and top-k items from the scores of all items.
#include "block.cuh"

constexpr unsigned THREADS = 1024, WARP = 32;

// The better of two candidates: higher score, then lower item.
__device__ inline bool is_better(float a, unsigned item_a, float b, unsigned item_b) {
    return a > b || (a == b && item_a < item_b);
}

// Map of floats to words with the same order, and its inverse.
__device__ inline unsigned ordered(float x) {
    const unsigned bits = __float_as_uint(x);
    return bits >> 31 ? ~bits : bits | 0x80000000u;
}

__device__ inline float unordered(unsigned word) {
    return __uint_as_float(word >> 31 ? word & 0x7fffffffu : ~word);
}

// A bound that at bound `k` of the threads' values reach, at most the k-th largest value. It is
// built bit by bit from the highest, and stops early once exactly `k` values reach it. `k` must not
// exceed the number of threads.
__device__ inline float bound_reached_by(unsigned k, float own) {
    const unsigned word = ordered(own);
    unsigned bound = 0;
    for (unsigned bit = 0x80000000u; bit > 0; bit >>= 1) {
        const unsigned n = __syncthreads_count(word >= (bound | bit));
        if (n >= k) bound |= bit;
        if (n == k) break;
    }
    return unordered(bound);
}

// Top `k` of a row in k rounds over it: each finds the best candidate after the previous one.
__device__ void by_rounds(
    const float *row, const float *bias, unsigned items, unsigned k, float *cells, unsigned *places, unsigned *best_items
) {
    const unsigned t = threadIdx.x;
    float last = INFINITY;
    unsigned last_item = 0;
    for (unsigned round = 0; round < k; round++) {
        float best = -INFINITY;
        unsigned best_item = 0xffffffffu;
        for (unsigned i = t; i < items; i += THREADS) {
            const float score = row[i] + bias[i];
            const bool is_left = round == 0 || is_better(last, last_item, score, i);
            if (is_left && is_better(score, i, best, best_item)) {
                best = score;
                best_item = i;
            }
        }
        __syncthreads();
        cells[t] = best;
        places[t] = best_item;
        __syncthreads();
        for (unsigned half = THREADS / 2; half > 0; half /= 2) {
            if (t < half && is_better(cells[t + half], places[t + half], cells[t], places[t])) {
                cells[t] = cells[t + half];
                places[t] = places[t + half];
            }
            __syncthreads();
        }
        last = cells[0];
        last_item = places[0];
        if (t == 0) {
            best_items[round] = last_item;
            best_items[k + round] = __float_as_uint(last);
        }
    }
}

// found [B, 2 + 2 k] from `scores` [B, items] + bias [items]; of each row: 1 if a score is not
// finite (then the items are not written), else 0; the rank of the target, the number of items that
// score no lower (0 without targets); the `k` best items, best first, equal scores by lower item;
// the bits of their scores. Grid: one block of THREADS threads per row; `k` is at most THREADS and
// at most `items`.
//
// The row is read once. Each thread keeps the best score of its items, which are every THREADS-th.
// At least k threads, so at least k items, reach the bound on these; so all of the k best items do,
// and a thread has one of them only if its best reaches the bound: only the items of those threads
// are read again.
extern "C" __global__ void __launch_bounds__(THREADS, 2) rank(
    const float *scores, const float *bias, const unsigned *targets, unsigned *found, unsigned items, unsigned k,
    unsigned has_targets
) {
    constexpr unsigned AHEAD = 4;
    __shared__ float cells[THREADS];
    __shared__ unsigned places[THREADS], threads[THREADS], n_threads, n;
    const unsigned b = blockIdx.x, t = threadIdx.x;
    const float *row = scores + (size_t)b * items;
    found += (size_t)b * (2 + 2 * k);
    const float target_score = has_targets ? row[targets[b]] + bias[targets[b]] : INFINITY;
    if (t == 0) n_threads = n = 0;
    unsigned above = 0, non_finite = 0;
    float best = -INFINITY;
    for (unsigned start = t; start < items; start += AHEAD * THREADS) {
        float ahead[AHEAD];
#pragma unroll
        for (unsigned j = 0; j < AHEAD; j++) {
            const unsigned i = min(start + j * THREADS, items - 1);
            ahead[j] = row[i] + bias[i];
        }
#pragma unroll
        for (unsigned j = 0; j < AHEAD; j++) {
            const bool is_there = start + j * THREADS < items;
            above += is_there && ahead[j] >= target_score;
            non_finite |= !isfinite(ahead[j]);
            best = is_there ? fmaxf(best, ahead[j]) : best;
        }
    }
    for (unsigned half = WARP / 2; half > 0; half /= 2) above += __shfl_xor_sync(0xffffffffu, above, half);
    if (t % WARP == 0) places[t / WARP] = above;
    const bool is_non_finite = __syncthreads_count(non_finite) > 0;
    if (t == 0) {
        for (unsigned warp = 1; warp < THREADS / WARP; warp++) above += places[warp];
        found[0] = is_non_finite;
        found[1] = above;
    }
    if (is_non_finite || k == 0) return;

    const float floor = bound_reached_by(k, best);
    // The atomics collect threads and candidates in any order; the ranks below do not depend on it.
    if (best >= floor) threads[atomicAdd(&n_threads, 1u)] = t;
    __syncthreads();
    for (unsigned i = t / WARP; i < n_threads; i += THREADS / WARP) {
        for (unsigned item = threads[i] + t % WARP * THREADS; item < items; item += WARP * THREADS) {
            const float score = row[item] + bias[item];
            if (score >= floor) {
                const unsigned place = atomicAdd(&n, 1u);
                if (place < THREADS) {
                    cells[place] = score;
                    places[place] = item;
                }
            }
        }
    }
    __syncthreads();
    // More candidates than room: many equal scores, or many high scores among the items of few
    // threads.
    if (n > THREADS) return by_rounds(row, bias, items, k, cells, places, found + 2);
    if (t >= n) return;
    unsigned better = 0;
    for (unsigned i = 0; i < n; i++) better += is_better(cells[i], places[i], cells[t], places[t]);
    if (better < k) {
        found[2 + better] = places[t];
        found[2 + k + better] = __float_as_uint(cells[t]);
    }
}
