// Ranks of targets and the best items, from the scores of a catalogue.
#include "block.cuh"

// The better of two candidates: the higher score, of equal ones the first item.
__device__ inline bool is_better(float a, unsigned item_a, float b, unsigned item_b) {
    return a > b || (a == b && item_a < item_b);
}

// A block a row of `scores` [B, items], without the bias; 1024 threads. Writes how many items score no lower than the
// target (where there are targets), the `k` best items with their scores, and 1 in `strange` for a row with a score that
// is not finite.
extern "C" __global__ void rank(
    const float *scores, const float *bias, const unsigned *targets, unsigned *ranks, unsigned *items_of, float *scores_of,
    unsigned *strange, unsigned items, unsigned k, unsigned has_targets
) {
    __shared__ float cells[1024];
    __shared__ unsigned places[1024];
    const unsigned b = blockIdx.x, t = threadIdx.x;
    const float *row = scores + (size_t)b * items;
    const float wanted = has_targets ? row[targets[b]] + bias[targets[b]] : 0.0f;
    unsigned above = 0, odd = 0;
    for (unsigned i = t; i < items; i += blockDim.x) {
        const float score = row[i] + bias[i];
        above += score >= wanted;
        odd |= !isfinite(score);
    }
    places[t] = above;
    cells[t] = odd;
    __syncthreads();
    for (unsigned half = blockDim.x / 2; half > 0; half /= 2) {
        if (t < half) {
            places[t] += places[t + half];
            cells[t] = fmaxf(cells[t], cells[t + half]);
        }
        __syncthreads();
    }
    if (t == 0) {
        strange[b] = cells[0] > 0.0f;
        if (has_targets) ranks[b] = places[0];
    }
    // Each round finds the best item that comes after the one found before.
    float last = INFINITY;
    unsigned last_item = 0;
    for (unsigned round = 0; round < k; round++) {
        float best = -INFINITY;
        unsigned best_item = 0xffffffffu;
        // Four are on their way at a time.
        for (unsigned start = t; start < items; start += 4 * blockDim.x) {
            float some[4];
#pragma unroll
            for (unsigned j = 0; j < 4; j++) {
                const unsigned i = start + j * blockDim.x;
                some[j] = i < items ? row[i] + bias[i] : -INFINITY;
            }
#pragma unroll
            for (unsigned j = 0; j < 4; j++) {
                const unsigned i = start + j * blockDim.x;
                const bool is_left = i < items && (round == 0 || is_better(last, last_item, some[j], i));
                if (is_left && is_better(some[j], i, best, best_item)) {
                    best = some[j];
                    best_item = i;
                }
            }
        }
        __syncthreads();
        cells[t] = best;
        places[t] = best_item;
        __syncthreads();
        for (unsigned half = blockDim.x / 2; half > 0; half /= 2) {
            if (t < half && is_better(cells[t + half], places[t + half], cells[t], places[t])) {
                cells[t] = cells[t + half];
                places[t] = places[t + half];
            }
            __syncthreads();
        }
        last = cells[0];
        last_item = places[0];
        if (t == 0) {
            items_of[(size_t)b * k + round] = last_item;
            scores_of[(size_t)b * k + round] = last;
        }
    }
}
