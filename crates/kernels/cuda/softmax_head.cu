// The output layer's softmax.
#include "block.cuh"
#include "softmax.cuh"

// Four biases, whose memory may begin anywhere.
__device__ inline float4 four_of(const float *bias, bool is_aligned) {
    if (is_aligned) return *reinterpret_cast<const float4 *>(bias);
    return make_float4(bias[0], bias[1], bias[2], bias[3]);
}

// A block a row of `scores` [B, items], without the bias, whose rows are `stride` apart, a multiple
// of four; 512 threads. Writes log sum exp(score + bias) of each row, and scale x cross-entropy of
// its target; `non_finite` becomes 1 if that is no number.
extern "C" __global__ void __launch_bounds__(512, 2) head_losses(
    const float *scores, const float *bias, const unsigned *targets, const float *scales, float *logs, float *losses,
    unsigned *non_finite, unsigned items, unsigned stride
) {
    __shared__ float cells[512];
    const unsigned b = blockIdx.x;
    const float *row = scores + (size_t)b * stride;
    const bool is_aligned = reinterpret_cast<size_t>(bias) % 16 == 0;
    // Each thread has a maximum of its own: one pass does. Several fours are on their way at a
    // time.
    constexpr unsigned FOURS = 4;
    Softmax own;
    const unsigned fours = items / 4;
    for (unsigned start = threadIdx.x; start < fours; start += FOURS * blockDim.x) {
        float4 score[FOURS], more[FOURS];
#pragma unroll
        for (unsigned j = 0; j < FOURS; j++) {
            const unsigned i = start + j * blockDim.x;
            score[j] = more[j] = make_float4(-INFINITY, -INFINITY, -INFINITY, -INFINITY);
            if (i < fours) {
                score[j] = reinterpret_cast<const float4 *>(row)[i];
                more[j] = four_of(bias + 4 * (size_t)i, is_aligned);
            }
        }
        float x[4 * FOURS];
#pragma unroll
        for (unsigned j = 0; j < FOURS; j++) {
            x[4 * j] = score[j].x + more[j].x;
            x[4 * j + 1] = score[j].y + more[j].y;
            x[4 * j + 2] = score[j].z + more[j].z;
            x[4 * j + 3] = score[j].w + more[j].w;
        }
        own.add(x);
    }
    if (threadIdx.x < items % 4) {
        const unsigned i = 4 * fours + threadIdx.x;
        own.add({row[i] + bias[i]});
    }
    const float all = block_max(own.top, cells);
    const float total = block_sum(own.beside(all), cells);
    if (threadIdx.x == 0) {
        const unsigned target = targets[b];
        const float log = logf(total) + all;
        logs[b] = log;
        losses[b] = scales[b] * (log - (row[target] + bias[target]));
        if (!isfinite(losses[b])) *non_finite = 1;
    }
}
