// The output layer's losses, from scores that a product of cuBLAS wrote.
#include "block.cuh"
#include "softmax.cuh"

// Four biases; `is_aligned` allows a load of float4.
__device__ inline float4 four_of(const float *bias, bool is_aligned) {
    if (is_aligned) return *reinterpret_cast<const float4 *>(bias);
    return make_float4(bias[0], bias[1], bias[2], bias[3]);
}

// logs [B] = log sum_i exp(scores[b, i] + bias[i]), and losses [B] = scales[b] (logs[b] - (score +
// bias) of the target), from `scores` [B, items] without the bias, whose rows lie `stride` apart, a
// multiple of four. Sets `non_finite` to 1 if a loss is NaN or infinite. Grid: one block of 512
// threads per row.
extern "C" __global__ void __launch_bounds__(512, 2) head_losses(
    const float *scores, const float *bias, const unsigned *targets, const float *scales, float *logs, float *losses,
    unsigned *non_finite, unsigned items, unsigned stride
) {
    __shared__ float cells[512];
    const unsigned b = blockIdx.x;
    const float *row = scores + (size_t)b * stride;
    const bool is_aligned = reinterpret_cast<size_t>(bias) % 16 == 0;
    // Each thread has its own maximum, so one pass suffices. FOURS float4 loads are in flight at a
    // time.
    constexpr unsigned FOURS = 4;
    Softmax own;
    const unsigned fours = items / 4;
    for (unsigned start = threadIdx.x; start < fours; start += FOURS * blockDim.x) {
        float4 score[FOURS], biases[FOURS];
#pragma unroll
        for (unsigned j = 0; j < FOURS; j++) {
            const unsigned i = start + j * blockDim.x;
            score[j] = biases[j] = make_float4(-INFINITY, -INFINITY, -INFINITY, -INFINITY);
            if (i < fours) {
                score[j] = reinterpret_cast<const float4 *>(row)[i];
                biases[j] = four_of(bias + 4 * (size_t)i, is_aligned);
            }
        }
        float x[4 * FOURS];
#pragma unroll
        for (unsigned j = 0; j < FOURS; j++) {
            x[4 * j] = score[j].x + biases[j].x;
            x[4 * j + 1] = score[j].y + biases[j].y;
            x[4 * j + 2] = score[j].z + biases[j].z;
            x[4 * j + 3] = score[j].w + biases[j].w;
        }
        own.add(x);
    }
    if (threadIdx.x < items % 4) {
        const unsigned i = 4 * fours + threadIdx.x;
        own.add({row[i] + bias[i]});
    }
    const float all = block_max(own.top, cells);
    const float total = block_sum(own.relative_to(all), cells);
    if (threadIdx.x == 0) {
        const unsigned target = targets[b];
        const float log = logf(total) + all;
        logs[b] = log;
        losses[b] = scales[b] * (log - (row[target] + bias[target]));
        if (!isfinite(losses[b])) *non_finite = 1;
    }
}
