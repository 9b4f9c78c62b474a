// Ranks of targets and top-k items from the scores of all items.
#include "scores.cuh"

// Threads of a row.
constexpr unsigned RANK_THREADS = 1024, WARP = 32;

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

// Top `k` of a row in k rounds over its scores `score(item)`: each finds the best candidate after the previous one.
template <class F> __device__ void by_rounds(
    F score_of, unsigned items, unsigned k, float *cells, unsigned *places, unsigned *best_items
) {
    const unsigned t = threadIdx.x;
    float last = INFINITY;
    unsigned last_item = 0;
    for (unsigned round = 0; round < k; round++) {
        float best = -INFINITY;
        unsigned best_item = 0xffffffffu;
        for (unsigned i = t; i < items; i += RANK_THREADS) {
            const float score = score_of(i);
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
        for (unsigned half = RANK_THREADS / 2; half > 0; half /= 2) {
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

// Writes the top `k` of the `n` candidates [n <= RANK_THREADS], by rank.
__device__ void by_rank(const float *cells, const unsigned *places, unsigned n, unsigned k, unsigned *best_items) {
    const unsigned t = threadIdx.x;
    if (t >= n) return;
    unsigned better = 0;
    for (unsigned i = 0; i < n; i++) better += is_better(cells[i], places[i], cells[t], places[t]);
    if (better < k) {
        best_items[better] = places[t];
        best_items[k + better] = __float_as_uint(cells[t]);
    }
}

// found [B, 2 + 2 k] from `scores` [B, items] + bias [items]; of each row: 1 if a score is not
// finite (then the items are not written), else 0; the rank of the target, the number of items that
// score no lower (0 without targets); the `k` best items, best first, equal scores by lower item;
// the bits of their scores. Grid: one block of RANK_THREADS threads per row; `k` is at most
// RANK_THREADS and at most `items`.
//
// The row is read once. Each thread keeps the best score of its items, which are every RANK_THREADS-th.
// At least k threads, so at least k items, reach the bound on these; so all of the k best items do,
// and a thread has one of them only if its best reaches the bound: only the items of those threads
// are read again.
extern "C" __global__ void __launch_bounds__(RANK_THREADS, 2) rank(
    const float *scores, const float *bias, const unsigned *targets, unsigned *found, unsigned items, unsigned k,
    unsigned has_targets
) {
    constexpr unsigned AHEAD = 4;
    __shared__ float cells[RANK_THREADS];
    __shared__ unsigned places[RANK_THREADS], threads[RANK_THREADS], n_threads, n;
    const unsigned b = blockIdx.x, t = threadIdx.x;
    const float *row = scores + (size_t)b * items;
    found += (size_t)b * (2 + 2 * k);
    const float target_score = has_targets ? row[targets[b]] + bias[targets[b]] : INFINITY;
    if (t == 0) n_threads = n = 0;
    unsigned above = 0, non_finite = 0;
    float best = -INFINITY;
    for (unsigned start = t; start < items; start += AHEAD * RANK_THREADS) {
        float ahead[AHEAD];
#pragma unroll
        for (unsigned j = 0; j < AHEAD; j++) {
            const unsigned i = min(start + j * RANK_THREADS, items - 1);
            ahead[j] = row[i] + bias[i];
        }
#pragma unroll
        for (unsigned j = 0; j < AHEAD; j++) {
            const bool is_there = start + j * RANK_THREADS < items;
            above += is_there && ahead[j] >= target_score;
            non_finite |= !isfinite(ahead[j]);
            best = is_there ? fmaxf(best, ahead[j]) : best;
        }
    }
    for (unsigned half = WARP / 2; half > 0; half /= 2) above += __shfl_xor_sync(0xffffffffu, above, half);
    if (t % WARP == 0) places[t / WARP] = above;
    const bool is_non_finite = __syncthreads_count(non_finite) > 0;
    if (t == 0) {
        for (unsigned warp = 1; warp < RANK_THREADS / WARP; warp++) above += places[warp];
        found[0] = is_non_finite;
        found[1] = above;
    }
    if (is_non_finite || k == 0) return;

    const float floor = bound_reached_by(k, best);
    // The atomics collect threads and candidates in any order; the ranks below do not depend on it.
    if (best >= floor) threads[atomicAdd(&n_threads, 1u)] = t;
    __syncthreads();
    for (unsigned i = t / WARP; i < n_threads; i += RANK_THREADS / WARP) {
        for (unsigned item = threads[i] + t % WARP * RANK_THREADS; item < items; item += WARP * RANK_THREADS) {
            const float score = row[item] + bias[item];
            if (score >= floor) {
                const unsigned place = atomicAdd(&n, 1u);
                if (place < RANK_THREADS) {
                    cells[place] = score;
                    places[place] = item;
                }
            }
        }
    }
    __syncthreads();
    // More candidates than room: many equal scores, or many high scores among the items of few
    // threads.
    const auto score_of = [&](unsigned item) { return row[item] + bias[item]; };
    if (n > RANK_THREADS) return by_rounds(score_of, items, k, cells, places, found + 2);
    by_rank(cells, places, n, k, found + 2);
}

// Body of the kernels `rank_tiles`, with products of the precision P.
template <class P> __device__ inline void rank_tiles_of(
    const float *hidden, const float *weight, const float *bias, const unsigned *targets, float *maxima, unsigned *found,
    unsigned batch, unsigned items, unsigned width, unsigned each, unsigned k, unsigned has_targets
) {
    SHARED(memory);
    Shared &room = *reinterpret_cast<Shared *>(memory);
    using Own = Warp<P>;
    const unsigned warp_row = 32 * (threadIdx.x / 32 % 8), group = threadIdx.x / 256;
    const unsigned first_row = blockIdx.y * ROWS, rows = min(ROWS, batch - first_row);
    const unsigned first_item = blockIdx.x * each, n = min(each, items - first_item), groups = (items + 63) / 64;
    // The statistics of a softmax have no other use here.
    float *target_scores = &room.ends[0][0].top;
    unsigned above[Own::EACH_ROWS] = {}, bad_rows = 0;
    const auto begin = [&] {
        const unsigned row = threadIdx.x;
        if (row < ROWS) {
            float score = INFINITY;
            if (has_targets && row < rows) {
                const unsigned target = targets[first_row + row];
                score = 0.0f;
                for (unsigned i = 0; i < width; i++) {
                    const float4 &four = room.hidden[i / COLUMNS][row][permuted<P>(i % COLUMNS / 4, row, 1)];
                    score += (&four.x)[i % 4] * weight[(size_t)target * width + i];
                }
                score += bias[target];
            }
            target_scores[row] = score;
        }
        __syncthreads();
    };
    each_tile<P>(room, hidden, weight, bias, batch, items, width, each, begin, [&](Own &products, unsigned tile) {
        const float *biases = &room.bias[tile % 2][64 * group];
        const unsigned left = n - tile * ITEMS - 64 * group;
        float best[Own::EACH_ROWS];
#pragma unroll
        for (unsigned i = 0; i < Own::EACH_ROWS; i++) best[i] = -INFINITY;
        products.each_four([&](unsigned i, unsigned first, float4 four) {
            const float target_score = target_scores[warp_row + Own::row(i)];
            float scores[4];
            load_four(scores, four);
#pragma unroll
            for (unsigned j = 0; j < 4; j++) {
                const float score = scores[j] + biases[first + j];
                const bool is_there = first + j < left;
                above[i] += is_there && score >= target_score;
                bad_rows |= (unsigned)(is_there && !isfinite(score)) << i;
                best[i] = is_there ? fmaxf(best[i], score) : best[i];
            }
        });
        products.forget();
#pragma unroll
        for (unsigned i = 0; i < Own::EACH_ROWS; i++) {
            const unsigned row = warp_row + Own::row(i);
            Own::each_other_lane([&](unsigned lanes) { best[i] = fmaxf(best[i], __shfl_xor_sync(0xffffffffu, best[i], lanes)); });
            if (Own::is_first_of_row() && row < rows) {
                maxima[(size_t)(first_row + row) * groups + (first_item + tile * ITEMS) / 64 + group] = best[i];
            }
        }
    });
    Own::each_other_lane([&](unsigned lanes) { bad_rows |= __shfl_xor_sync(0xffffffffu, bad_rows, lanes); });
#pragma unroll
    for (unsigned i = 0; i < Own::EACH_ROWS; i++) {
        Own::each_other_lane([&](unsigned lanes) { above[i] += __shfl_xor_sync(0xffffffffu, above[i], lanes); });
        const unsigned row = warp_row + Own::row(i);
        if (!Own::is_first_of_row() || row >= rows) continue;
        unsigned *own = found + (size_t)(first_row + row) * (2 + 2 * k);
        if (bad_rows >> i & 1u) own[0] = 1;
        if (has_targets) atomicAdd(own + 1, above[i]);
    }
}

// `found` as of `rank` from the hidden vectors, without storing the scores, by this and the next kernel. `maxima` [B, groups] are
// the largest scores of each 64 items, `groups` = items / 64, rounded up; `found`, filled with zeros by the host, gets the flag and
// the target's rank. Grid and block as in `each_tile`, `each` a multiple of ITEMS. In fp32 a sum has the order of the CPU's: one
// chain of multiply-adds.
#define RANK_TILES(name, P)                                                                                                   \
    extern "C" __global__ void __launch_bounds__(THREADS, 1) name(                                                            \
        const float *hidden, const float *weight, const float *bias, const unsigned *targets, float *maxima, unsigned *found, \
        unsigned batch, unsigned items, unsigned width, unsigned each, unsigned k, unsigned has_targets                       \
    ) {                                                                                                                       \
        rank_tiles_of<P>(hidden, weight, bias, targets, maxima, found, batch, items, width, each, k, has_targets);            \
    }

RANK_TILES(rank_tiles, Fp32)
RANK_TILES(rank_tiles_tf32, Tf32)
RANK_TILES(rank_tiles_bf16, Bf16)

// The best `k` items of each row from the `maxima` of `rank_tiles`; k is at most the number of groups and of RANK_THREADS. At
// least k groups, so at least k items, reach the bound on the threads' maxima; only the scores of the groups that reach it are
// computed again, in fp32. Unless the maxima are exact, all items of those groups are candidates. Grid: one block of RANK_THREADS
// threads per row; `width` floats of shared memory.
extern "C" __global__ void __launch_bounds__(RANK_THREADS, 1) rank_best(
    const float *hidden, const float *weight, const float *bias, const float *maxima, unsigned *found, unsigned items,
    unsigned width, unsigned k, unsigned is_exact
) {
    SHARED(own);
    __shared__ float cells[RANK_THREADS];
    __shared__ unsigned places[RANK_THREADS], threads[RANK_THREADS], n_threads, n;
    const unsigned b = blockIdx.x, t = threadIdx.x, groups = (items + 63) / 64;
    found += (size_t)b * (2 + 2 * k);
    maxima += (size_t)b * groups;
    for (unsigned i = t; i < width; i += RANK_THREADS) own[i] = hidden[(size_t)b * width + i];
    if (t == 0) n_threads = n = 0;
    float best = -INFINITY;
    for (unsigned group = t; group < groups; group += RANK_THREADS) best = fmaxf(best, maxima[group]);
    __syncthreads();
    if (found[0]) return;
    const auto score_of = [&](unsigned item) {
        float score = 0.0f;
        for (unsigned i = 0; i < width; i++) score += own[i] * weight[(size_t)item * width + i];
        return score + bias[item];
    };
    const float floor = bound_reached_by(k, best);
    // The atomics collect threads and candidates in any order; the ranks do not depend on it.
    if (best >= floor) threads[atomicAdd(&n_threads, 1u)] = t;
    __syncthreads();
    for (unsigned i = t / WARP; i < n_threads; i += RANK_THREADS / WARP) {
        for (unsigned group = threads[i]; group < groups; group += RANK_THREADS) {
            if (maxima[group] < floor) continue;
            for (unsigned item = 64 * group + t % WARP; item < min(items, 64 * group + 64); item += WARP) {
                const float score = score_of(item);
                if (is_exact && score < floor) continue;
                const unsigned place = atomicAdd(&n, 1u);
                if (place < RANK_THREADS) {
                    cells[place] = score;
                    places[place] = item;
                }
            }
        }
    }
    __syncthreads();
    // More candidates than room: many equal scores.
    if (n > RANK_THREADS) return by_rounds(score_of, items, k, cells, places, found + 2);
    by_rank(cells, places, n, k, found + 2);
}
