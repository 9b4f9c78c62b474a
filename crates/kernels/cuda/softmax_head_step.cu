// Backward pass of the output layer fused with the Adam update: the gradients of the scores stay in
// shared memory, those of the weight in registers and shared memory.
#include "softmax_head_hidden.cuh"
#include "softmax_head_weights.cuh"

// The first half of a block's threads computes the score gradients of the next tile and the hidden
// gradient of this one, while the second half computes the weight gradient of this tile and applies
// Adam.
template <unsigned ROWS, class P> __device__ inline void head_step(const Step &step) {
    SHARED(memory);
    Shared<ROWS> &room = *reinterpret_cast<Shared<ROWS> *>(memory);
    if (threadIdx.x < ROWS) {
        HiddenHalf<ROWS, P>(step, room).run();
    } else {
        WeightHalf<ROWS, P>(step, room).run();
    }
}

// With score gradients d[b, i] = scales[b] (exp(scores[b, i] + bias[i] - logs[b]) - [i =
// targets[b]]) of up to ROWS rows of the batch from `start` on: parts [gridDim.x, gridDim.y, ROWS,
// 64] = the blocks' parts of the hidden gradient d weight; bias_sum [items] += column sums of d (=
// if `start` is 0); and weight [items, width] takes Adam's step for d^T hidden if the batch ends
// with these rows, else weight_sum [items, width] += d^T hidden (likewise). Grid: blockIdx.x counts
// items in `tiles` tiles, blockIdx.y columns in 64. Block: 2 ROWS threads. Changes nothing if the
// flag `non_finite` is set.
#define HEAD_STEP(name, ROWS, P)                                                                                              \
    extern "C" __global__ void __launch_bounds__(2 * ROWS, 256 / ROWS) name(                                                  \
        const float *scores, const float *hidden, const unsigned *targets, const float *scales, const float *logs,            \
        const float *bias, float *weight, float *first, float *second, float *weight_sum, float *bias_sum, float *parts,      \
        unsigned start, unsigned batch, unsigned items, unsigned stride, unsigned width, unsigned tiles,                      \
        const AdamFactors *by, const unsigned *non_finite                                                                     \
    ) {                                                                                                                       \
        if (*non_finite) return;                                                                                                 \
        head_step<ROWS, P>({scores, hidden, targets, scales, logs, bias, weight, first, second, weight_sum, bias_sum, parts,     \
                         start, batch, items, stride, width, tiles, by});                                                      \
    }

HEAD_STEP(head_step_256, 256, Fp32)
HEAD_STEP(head_step_64, 64, Fp32)
HEAD_STEP(head_step_32, 32, Fp32)
HEAD_STEP(head_step_256_tf32, 256, Tf32)
HEAD_STEP(head_step_64_tf32, 64, Tf32)
HEAD_STEP(head_step_32_tf32, 32, Tf32)
HEAD_STEP(head_step_256_bf16, 256, Bf16)
HEAD_STEP(head_step_64_bf16, 64, Bf16)
HEAD_STEP(head_step_32_bf16, 32, Bf16)

// hidden [batch, width], rows from `start` on, = the sum of the parts [chunks, gridDim.y, rows, 64]
// over the chunks, in a fixed order; and Adam's step of the bias [n] for its gradient `grads`, n =
// 0 unless the batch ends with these rows. A launch of its own, since both need what all blocks of
// `head_step` wrote. Grid: blockIdx.x is the row, blockIdx.y counts columns in 64. Block: 256
// threads, four per column. Changes nothing if the flag `non_finite` is set.
extern "C" __global__ void head_step_end(
    const float *parts, float *hidden, unsigned start, unsigned rows, unsigned width, unsigned chunks, float *bias,
    float *first, float *second, const float *grads, unsigned n, const AdamFactors *by, const unsigned *non_finite
) {
    if (*non_finite) return;
    __shared__ float sums[4][COLUMNS];
    const unsigned column = threadIdx.x % COLUMNS, share = threadIdx.x / COLUMNS;
    float sum = 0.0f;
#pragma unroll 8
    for (unsigned chunk = share; chunk < chunks; chunk += 4) {
        const size_t row = (size_t)(chunk * gridDim.y + blockIdx.y) * rows + blockIdx.x;
        sum += parts[row * COLUMNS + column];
    }
    sums[share][column] = sum;
    const unsigned block = blockIdx.y * gridDim.x + blockIdx.x;
    for (size_t i = block * blockDim.x + threadIdx.x; i < n; i += gridDim.x * gridDim.y * blockDim.x) {
        bias[i] = adam_step(bias[i], grads[i], first[i], second[i], *by);
    }
    __syncthreads();
    const unsigned to = blockIdx.y * COLUMNS + column;
    if (share == 0 && to < width) {
        hidden[(size_t)(start + blockIdx.x) * width + to] =
            (sums[0][column] + sums[1][column]) + (sums[2][column] + sums[3][column]);
    }
}
