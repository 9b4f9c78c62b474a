// The output layer's softmax: two sweeps over the scores, which the second one turns into their gradient.
#include "block.cuh"

// A block a row of `scores` [B, items], without the bias. Writes log sum exp(score + bias) of each row, and
// scale x cross-entropy of its target.
extern "C" __global__ void head_losses(
    const float *scores, const float *bias, const unsigned *targets, const float *scales, float *logs, float *losses,
    unsigned items
) {
    __shared__ float cells[512];
    const unsigned b = blockIdx.x;
    const float *row = scores + (size_t)b * items;
    // Each thread's sum is of exp(score - its own maximum so far): one pass does.
    float top = -INFINITY, sum = 0.0f;
    for (unsigned i = threadIdx.x; i < items; i += blockDim.x) {
        const float score = row[i] + bias[i];
        if (score > top) {
            sum = sum * expf(top - score) + 1.0f;
            top = score;
        } else {
            sum += score == top ? 1.0f : expf(score - top);
        }
    }
    const float all = block_max(top, cells);
    // A thread without an item has a sum of zero and a maximum of minus infinity.
    const float total = block_sum(sum == 0.0f ? 0.0f : sum * expf(top - all), cells);
    if (threadIdx.x == 0) {
        const unsigned target = targets[b];
        const float log = logf(total) + all;
        logs[b] = log;
        losses[b] = scales[b] * (log - (row[target] + bias[target]));
    }
}

// A thread an item: its scores [B, items] become their gradients, scale x (softmax - target), and their sum over the
// batch that of the bias.
extern "C" __global__ void head_gradients(
    float *scores, const float *bias, const unsigned *targets, const float *scales, const float *logs, float *dbias,
    unsigned batch, unsigned items
) {
    const size_t i = element();
    if (i >= items) return;
    const float own = bias[i];
    float sum = 0.0f;
    // Several are read before the first is written: a read does not pass a write that may be to its place.
    constexpr unsigned AHEAD = 8;
    for (unsigned start = 0; start < batch; start += AHEAD) {
        float *score = scores + (size_t)start * items + i, d[AHEAD];
        const unsigned n = min(AHEAD, batch - start);
#pragma unroll
        for (unsigned j = 0; j < AHEAD; j++) d[j] = j < n ? score[(size_t)j * items] : 0.0f;
#pragma unroll
        for (unsigned j = 0; j < AHEAD; j++) {
            if (j < n) {
                const float p = expf(d[j] + own - logs[start + j]);
                d[j] = scales[start + j] * (targets[start + j] == i ? p - 1.0f : p);
                sum += d[j];
            }
        }
#pragma unroll
        for (unsigned j = 0; j < AHEAD; j++) {
            if (j < n) score[(size_t)j * items] = d[j];
        }
    }
    dbias[i] = sum;
}
