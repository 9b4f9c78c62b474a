// The output layer's scores, and in the same pass each row's maximum and sum of exponentials.
#include "scores.cuh"

// Body of the kernels `head_scores`, with products of the precision P.
template <class P> __device__ inline void head_scores_of(
    const float *hidden, const float *weight, const float *bias, float *scores, Softmax *ends, unsigned batch, unsigned items,
    unsigned width, unsigned stride, unsigned each
) {
    SHARED(memory);
    Shared &room = *reinterpret_cast<Shared *>(memory);
    using Own = Warp<P>;
    const unsigned warp_row = 32 * (threadIdx.x / 32 % 8), group = threadIdx.x / 256, group_item = 64 * group;
    const unsigned first_row = blockIdx.y * ROWS, rows = min(ROWS, batch - first_row);
    const unsigned first_item = blockIdx.x * each, n = min(each, items - first_item);
    Softmax own[Own::EACH_ROWS];
    each_tile<P>(
        room, hidden, weight, bias, batch, items, width, each, [] {},
        [&](Own &products, unsigned tile) {
            const unsigned left = n - tile * ITEMS;
            products.each_four([&](unsigned i, unsigned item, float4 four) {
                const unsigned row = warp_row + Own::row(i), at = group_item + item;
                float *to = scores + (size_t)(first_row + row) * stride + first_item + tile * ITEMS + at;
                if (row < rows && at < left) *reinterpret_cast<float4 *>(to) = four;
            });
            products.finish(own, &room.bias[tile % 2][group_item]);
        }
    );
    // Adds the softmax statistics of the lanes that share a row, then of the two groups of items.
#pragma unroll
    for (unsigned i = 0; i < Own::EACH_ROWS; i++) {
        Own::each_other_lane([&](unsigned lanes) { own[i].add(own[i].of_lane(lanes)); });
        if (Own::is_first_of_row()) room.ends[group][warp_row + Own::row(i)] = own[i];
    }
    __syncthreads();
    if (threadIdx.x < rows) {
        Softmax end = room.ends[0][threadIdx.x];
        end.add(room.ends[1][threadIdx.x]);
        ends[(size_t)(first_row + threadIdx.x) * gridDim.x + blockIdx.x] = end;
    }
}

// scores [batch, items] = hidden [batch, width] weight [items, width]^T, without the bias, in rows
// `stride` apart, a multiple of four; and `ends` [batch, gridDim.x]: over the block's items, the
// maximum of score + bias and the sum of exp(score + bias - maximum). Grid: blockIdx.x counts items
// in `each`, a multiple of four, blockIdx.y rows in ROWS. Block: THREADS threads; the two groups of
// eight warps have 64 items of a tile each.
#define HEAD_SCORES(name, P)                                                                                                  \
    extern "C" __global__ void __launch_bounds__(THREADS, 1) name(                                                            \
        const float *hidden, const float *weight, const float *bias, float *scores, Softmax *ends, unsigned batch,            \
        unsigned items, unsigned width, unsigned stride, unsigned each                                                        \
    ) {                                                                                                                       \
        head_scores_of<P>(hidden, weight, bias, scores, ends, batch, items, width, stride, each);                             \
    }

HEAD_SCORES(head_scores, Fp32)
HEAD_SCORES(head_scores_tf32, Tf32)
HEAD_SCORES(head_scores_bf16, Bf16)

// logs [B], losses [B] and `non_finite` as in `head_losses`, from the `ends` [B, n] of
// `head_scores`. Grid: one block of 64 threads per row.
extern "C" __global__ void head_losses_of(
    const Softmax *ends, const float *scores, const float *bias, const unsigned *targets, const float *scales, float *logs,
    float *losses, unsigned *non_finite, unsigned n, unsigned stride
) {
    __shared__ float cells[64];
    const unsigned b = blockIdx.x;
    Softmax own;
    for (unsigned i = threadIdx.x; i < n; i += blockDim.x) own.add(ends[(size_t)b * n + i]);
    const float all = block_max(own.top, cells), total = block_sum(own.relative_to(all), cells);
    if (threadIdx.x == 0) {
        const unsigned target = targets[b];
        const float log = logf(total) + all;
        logs[b] = log;
        losses[b] = scales[b] * (log - (scores[(size_t)b * stride + target] + bias[target]));
        if (!isfinite(losses[b])) *non_finite = 1;
    }
}
