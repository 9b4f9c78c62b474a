// The output layer's scores, and in the same pass each row's maximum and sum of exponentials.
#include "async.cuh"
#include "block.cuh"
#include "outer.cuh"
#include "softmax.cuh"

// Batch rows of a block, items of a tile, columns of a slab, and threads of a block.
constexpr unsigned ROWS = 256, ITEMS = 128, COLUMNS = 64, THREADS = 512;

// Shared memory of a block.
struct Shared {
    // Weights [item][column] of this step and the next; a float4 holds four columns. Its index is
    // permuted to `index ^ (item / 4 % 8)` against bank conflicts.
    float4 weight[2][ITEMS][COLUMNS / 4];
    float bias[2][ITEMS];
    Softmax ends[2][ROWS];
    // Hidden vectors [slab][row][column]; a float4 at index `index ^ (row % 8)`.
    float4 hidden[][ROWS][COLUMNS / 4];
};
// Must equal the host's computation without the hidden vectors (`scored` in
// ops/softmax_head/cuda/scores.rs).
static_assert(sizeof(Shared) == 4 * (2 * 128 * 64 + 2 * 128 + 4 * 256), "");

// Starts to copy COLUMNS columns of N rows of a matrix [rows, width], permuted by `row / per_turn %
// 8`; zeros for elements outside the matrix.
template <unsigned N> __device__ void copy_slab(
    float4 (*to)[COLUMNS / 4], const float *from, unsigned rows, unsigned width, unsigned first_column, unsigned per_turn
) {
    const unsigned column = threadIdx.x % COLUMNS;
#pragma unroll 4
    for (unsigned n = 0; n < N * COLUMNS / THREADS; n++) {
        const unsigned row = threadIdx.x / COLUMNS + n * (THREADS / COLUMNS);
        const bool is_valid = row < rows && first_column + column < width;
        const size_t at = is_valid ? (size_t)row * width + first_column + column : 0;
        float4 &four = to[row][column / 4 ^ row / per_turn % 8];
        copy_async<4>(&four.x + column % 4, from + at, is_valid ? 4 : 0);
    }
}

// scores [batch, items] = hidden [batch, width] weight [items, width]^T, without the bias, in rows
// `stride` apart, a multiple of four; and `ends` [batch, gridDim.x]: over the block's items, the
// maximum of score + bias and the sum of exp(score + bias - maximum). Grid: blockIdx.x counts items
// in `each`, a multiple of four, blockIdx.y rows in ROWS. Block: THREADS threads; the two groups of
// eight warps have 64 items of a tile each.
extern "C" __global__ void __launch_bounds__(THREADS, 1) head_scores(
    const float *hidden, const float *weight, const float *bias, float *scores, Softmax *ends, unsigned batch, unsigned items,
    unsigned width, unsigned stride, unsigned each
) {
    SHARED(memory);
    Shared &room = *reinterpret_cast<Shared *>(memory);
    const unsigned warp = threadIdx.x / 32, group = warp / 8;
    const unsigned first_row = blockIdx.y * ROWS, rows = min(ROWS, batch - first_row);
    const unsigned first_item = blockIdx.x * each, n = min(each, items - first_item);
    const unsigned slabs = (width + COLUMNS - 1) / COLUMNS, steps = (n + ITEMS - 1) / ITEMS * slabs;
    // A step multiplies one tile of items by one slab of columns; its weights are copied one step
    // ahead.
    const auto fetch = [&](unsigned step) {
        const unsigned tile = step / slabs, slab = step % slabs, first = first_item + tile * ITEMS, left = n - tile * ITEMS;
        copy_slab<ITEMS>(room.weight[step % 2], weight + (size_t)first * width, left, width, slab * COLUMNS, 4);
        if (slab == 0 && threadIdx.x < ITEMS) {
            float &own = room.bias[tile % 2][threadIdx.x];
            if (threadIdx.x < left) {
                copy_async<4>(&own, bias + first + threadIdx.x, 4);
            } else {
                own = -INFINITY;
            }
        }
    };
    for (unsigned slab = 0; slab < slabs; slab++) {
        copy_slab<ROWS>(room.hidden[slab], hidden + (size_t)first_row * width, rows, width, slab * COLUMNS, 1);
    }
    fetch(0);
    // A thread has eight rows, four apart, and eight items, in two groups of four.
    const unsigned own_row = 32 * (warp % 8) + one_of_four(), own_item = 64 * group + 4 * one_of_eight();
    Softmax own[8];
    float sums[8][8] = {};
    for (unsigned step = 0; step < steps; step++) {
        const unsigned tile = step / slabs, slab = step % slabs, left = n - tile * ITEMS;
        wait_for_copies();
        __syncthreads();
        if (step + 1 < steps) fetch(step + 1);
        if (32 * (warp % 8) >= rows || 64 * group >= left) continue;
        const float4(*of_rows)[COLUMNS / 4] = &room.hidden[slab][own_row];
        const float4(*of_items)[COLUMNS / 4] = &room.weight[step % 2][own_item];
#pragma unroll 1
        for (unsigned k = 0; k < COLUMNS / 4; k++) {
            float x[8][4];
#pragma unroll
            for (unsigned i = 0; i < 8; i++) load_four(x[i], of_rows[4 * i][k ^ (4 * (i % 2) + one_of_four())]);
#pragma unroll
            for (unsigned j = 0; j < 8; j++) {
                const float4 y = of_items[j % 4 + j / 4 * 32][k ^ one_of_eight()];
#pragma unroll
                for (unsigned i = 0; i < 8; i++) {
                    sums[i][j] += x[i][0] * y.x;
                    sums[i][j] += x[i][1] * y.y;
                    sums[i][j] += x[i][2] * y.z;
                    sums[i][j] += x[i][3] * y.w;
                }
            }
        }
        if (slab + 1 < slabs) continue;
        float biases[8];
#pragma unroll
        for (unsigned half = 0; half < 2; half++) {
            load_four(biases + 4 * half, *reinterpret_cast<const float4 *>(&room.bias[tile % 2][own_item + 32 * half]));
        }
#pragma unroll
        for (unsigned i = 0; i < 8; i++) {
            const unsigned row = own_row + 4 * i;
            float *to = scores + (size_t)(first_row + row) * stride + first_item + tile * ITEMS + own_item;
#pragma unroll
            for (unsigned half = 0; half < 2; half++) {
                if (row < rows && own_item + 32 * half < left) {
                    *reinterpret_cast<float4 *>(to + 32 * half) = four(&sums[i][4 * half]);
                }
            }
#pragma unroll
            for (unsigned j = 0; j < 8; j++) sums[i][j] += biases[j];
            own[i].add(sums[i]);
#pragma unroll
            for (unsigned j = 0; j < 8; j++) sums[i][j] = 0.0f;
        }
    }
    // Adds the softmax statistics of the eight lanes that share a row, then of the two groups of
    // items.
#pragma unroll
    for (unsigned i = 0; i < 8; i++) {
        for (unsigned lanes : {2u, 8u, 16u}) {
            Softmax other;
            other.top = __shfl_xor_sync(0xffffffffu, own[i].top, lanes);
            other.sum = __shfl_xor_sync(0xffffffffu, own[i].sum, lanes);
            own[i].add(other);
        }
        if (one_of_eight() == 0) room.ends[group][own_row + 4 * i] = own[i];
    }
    __syncthreads();
    if (threadIdx.x < rows) {
        Softmax end = room.ends[0][threadIdx.x];
        end.add(room.ends[1][threadIdx.x]);
        ends[(size_t)(first_row + threadIdx.x) * gridDim.x + blockIdx.x] = end;
    }
}

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
