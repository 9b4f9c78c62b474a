// Ranks of targets and top-k items from the scores of all items.
#include "block.cuh"

constexpr unsigned THREADS = 1024, WARP = 32;

// The better of two candidates: higher score, then lower item.
__device__ inline bool is_better(float a, unsigned item_a, float b, unsigned item_b) {
    return a > b || (a == b && item_a < item_b);
}

// Order-preserving map of floats to words, and its inverse.
__device__ inline unsigned ordered(float x) {
    const unsigned bits = __float_as_uint(x);
    return bits >> 31 ? ~bits : bits | 0x80000000u;
}

__device__ inline float unordered(unsigned word) {
    return __uint_as_float(word >> 31 ? word & 0x7fffffffu : ~word);
}

// A number that `k` threads' own numbers reach, near the largest: a bit after the other, until so
// many reach it exactly.
__device__ inline float reached_by(unsigned k, float own) {
    const unsigned word = ordered(own);
    unsigned least = 0;
    for (unsigned bit = 0x80000000u; bit > 0; bit >>= 1) {
        const unsigned n = __syncthreads_count(word >= (least | bit));
        if (n >= k) least |= bit;
        if (n == k) break;
    }
    return unordered(least);
}

// Top `k` in k rounds over the row: each finds the next best after the previous one.
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

// One block per row of `scores` [B, items], without the bias; 1024 threads, and `k` no more than
// those or the items. Writes for each row 2 + 2 k words: 1 if a score is not finite, and then
// nothing else; how many items score no lower than the target (where there are targets); the `k`
// best items, and their scores.
//
// The row is read once. Each thread keeps the best score of its items, every 1024th. What `k` of
// those scores reach, the `k` best items do, and only such a thread can have one of them: so only
// their items are looked at again.
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
    const float wanted = has_targets ? row[targets[b]] + bias[targets[b]] : INFINITY;
    if (t == 0) n_threads = n = 0;
    unsigned above = 0, odd = 0;
    float best = -INFINITY;
    for (unsigned start = t; start < items; start += AHEAD * THREADS) {
        float some[AHEAD];
#pragma unroll
        for (unsigned j = 0; j < AHEAD; j++) {
            const unsigned i = min(start + j * THREADS, items - 1);
            some[j] = row[i] + bias[i];
        }
#pragma unroll
        for (unsigned j = 0; j < AHEAD; j++) {
            const bool is_there = start + j * THREADS < items;
            above += is_there && some[j] >= wanted;
            odd |= !isfinite(some[j]);
            best = is_there ? fmaxf(best, some[j]) : best;
        }
    }
    for (unsigned half = WARP / 2; half > 0; half /= 2) above += __shfl_xor_sync(0xffffffffu, above, half);
    if (t % WARP == 0) places[t / WARP] = above;
    const bool is_strange = __syncthreads_count(odd) > 0;
    if (t == 0) {
        for (unsigned warp = 1; warp < THREADS / WARP; warp++) above += places[warp];
        found[0] = is_strange;
        found[1] = above;
    }
    if (is_strange || k == 0) return;

    const float floor = reached_by(k, best);
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
    // Fallback for many equal scores, or top items that share a thread.
    if (n > THREADS) return by_rounds(row, bias, items, k, cells, places, found + 2);
    if (t >= n) return;
    unsigned better = 0;
    for (unsigned i = 0; i < n; i++) better += is_better(cells[i], places[i], cells[t], places[t]);
    if (better < k) {
        found[2 + better] = places[t];
        found[2 + k + better] = __float_as_uint(cells[t]);
    }
}
