// Backward pass of the output layer fused with the Adam update: the gradients of the scores stay in
// shared memory.
#include "softmax_head_hidden.cuh"
#include "softmax_head_weights.cuh"

// The first half of a block's threads computes the score gradients of the next tile and the hidden
// gradient of this one; meanwhile the second half computes the weight gradient of this tile and
// applies Adam.
template <unsigned ROWS> __device__ inline void head_step(const Step &step) {
    SHARED(memory);
    Shared<ROWS> &room = *reinterpret_cast<Shared<ROWS> *>(memory);
    if (threadIdx.x < ROWS) {
        OfHidden<ROWS>(step, room).run();
    } else {
        OfWeights<ROWS>(step, room).run();
    }
}

// A block some tiles of items and 64 columns, under up to ROWS rows of the batch from `start` on;
// twice as many threads. Takes Adam's step on these rows of the weight, if the batch ends with
// them. `parts` [chunks, gridDim.y, ROWS, 64] become the blocks' parts of the gradient of the
// hidden vectors, `bias_sum` that of the bias so far. Does nothing if `non_finite` is set.
#define HEAD_STEP(ROWS)                                                                                                       \
    extern "C" __global__ void __launch_bounds__(2 * ROWS, 256 / ROWS) head_step_##ROWS(                                      \
        const float *scores, const float *hidden, const unsigned *targets, const float *scales, const float *logs,            \
        const float *bias, float *weight, float *first, float *second, float *weight_sum, float *bias_sum, float *parts,      \
        unsigned start, unsigned batch, unsigned items, unsigned stride, unsigned width, unsigned tiles, float beta1,         \
        float beta2, float rate, float root, float eps, const unsigned *non_finite                                               \
    ) {                                                                                                                       \
        if (*non_finite) return;                                                                                                 \
        head_step<ROWS>({scores, hidden, targets, scales, logs, bias, weight, first, second, weight_sum, bias_sum, parts,     \
                         start, batch, items, stride, width, tiles, {beta1, beta2, rate, root, eps}});                        \
    }

HEAD_STEP(256)
HEAD_STEP(64)
HEAD_STEP(32)

// What no block of those before can do alone. The gradient of hidden vectors [batch, width], from
// `start` on, out of the parts [chunks, gridDim.y, rows, 64]: a block a row and 64 columns, four
// threads a column. And Adam's step on `n` numbers of the bias, of which each thread has some.
extern "C" __global__ void head_step_end(
    const float *parts, float *hidden, unsigned start, unsigned rows, unsigned width, unsigned chunks, float *bias,
    float *first, float *second, const float *grads, unsigned n, float beta1, float beta2, float rate, float root, float eps,
    const unsigned *non_finite
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
        bias[i] = adam_step(bias[i], grads[i], first[i], second[i], {beta1, beta2, rate, root, eps});
    }
    __syncthreads();
    const unsigned to = blockIdx.y * COLUMNS + column;
    if (share == 0 && to < width) {
        hidden[(size_t)(start + blockIdx.x) * width + to] =
            (sums[0][column] + sums[1][column]) + (sums[2][column] + sums[3][column]);
    }
}
