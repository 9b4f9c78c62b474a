// Backward pass of Caser's convolutions.
#include "caser_conv.cuh"

// gated [B, outputs] = grad where y > 0, else 0; dx[b, t] = sum of gated[b, f] tap_j[f] over
// filters f and taps j with best[b, f] + j = t, plus vertical[t] times gated's vertical part;
// dvertical [B, length + 1] = the window's part of the gradient of the vertical filter and its
// bias. Grid: one block of 256 threads per window. Four threads share a column, each with a quarter
// of the filters; they accumulate POSITIONS positions of COLUMNS columns at a time in shared
// memory.
extern "C" __global__ void caser_conv_backward(
    float *dx, float *gated, float *dvertical, const float *y, const float *grad, const unsigned *best, const float *x,
    const float *horizontal, const float *vertical, const Height *heights, const unsigned *lengths, unsigned length,
    unsigned width, unsigned n_heights, unsigned n_filters
) {
    constexpr unsigned THREADS = 256, LANES = 4, COLUMNS = THREADS / LANES, POSITIONS = 16, AHEAD = 4;
    __shared__ float4 cells[POSITIONS * COLUMNS];
    float *sums = reinterpret_cast<float *>(cells) + threadIdx.x;
    const unsigned b = blockIdx.x, across = n_heights * n_filters, outputs = across + width, count = lengths[b];
    const unsigned lane = threadIdx.x % LANES;
    const float *window = x + (size_t)b * length * width;
    const unsigned *bests = best + (size_t)b * across;
    float *given = gated + (size_t)b * outputs, *to = dx + (size_t)b * length * width;
    for (unsigned i = threadIdx.x; i < outputs; i += THREADS) {
        given[i] = y[(size_t)b * outputs + i] > 0.0f ? grad[(size_t)b * outputs + i] : 0.0f;
    }
    for (unsigned i = count * width + threadIdx.x; i < length * width; i += THREADS) to[i] = 0.0f;
    __syncthreads();
    for (unsigned start = 0; start < count; start += POSITIONS) {
        const unsigned n = min(POSITIONS, count - start);
        for (unsigned first = 0; first < width; first += COLUMNS) {
            const unsigned c = first + threadIdx.x / LANES;
            for (unsigned t = 0; t < n; t++) sums[t * THREADS] = 0.0f;
            for (unsigned h = 0; h < n_heights && c < width; h++) {
                const Height group = heights[h];
                for (unsigned j = 0; j < group.height; j++) {
                    const float *taps = horizontal + (size_t)(group.row + j * width + c) * n_filters;
                    for (unsigned f = lane; f < n_filters; f += AHEAD * LANES) {
                        float terms[AHEAD];
                        unsigned at[AHEAD];
#pragma unroll
                        for (unsigned i = 0; i < AHEAD; i++) {
                            const unsigned filter = min(f + i * LANES, n_filters - 1), own = h * n_filters + filter;
                            // Unsigned wrap-around: a position before `start` becomes one past n.
                            at[i] = bests[own] + j - start;
                            terms[i] = given[own] * taps[filter];
                        }
#pragma unroll
                        for (unsigned i = 0; i < AHEAD; i++) {
                            if (f + i * LANES < n_filters && at[i] < n) sums[at[i] * THREADS] += terms[i];
                        }
                    }
                }
            }
            __syncthreads();
            for (unsigned i = threadIdx.x; i < n * COLUMNS; i += THREADS) {
                const unsigned t = start + i / COLUMNS, column = first + i % COLUMNS;
                const float4 four = cells[i];
                if (column < width) {
                    const float sum = vertical[t] * given[across + column];
                    to[(size_t)t * width + column] = sum + ((four.x + four.y) + (four.z + four.w));
                }
            }
            __syncthreads();
        }
    }
    // One warp per position, the bias last.
    for (unsigned t = threadIdx.x / 32; t <= length; t += THREADS / 32) {
        float sum = 0.0f;
        for (unsigned c = threadIdx.x % 32; c < width; c += 32) {
            sum += given[across + c] * (t == length ? 1.0f : valid(window, t, count, width, c));
        }
        for (unsigned half = 16; half > 0; half /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, half);
        if (threadIdx.x % 32 == 0) dvertical[(size_t)b * (length + 1) + t] = sum;
    }
}

// dhorizontal: for tap j of filter f, sum_b gated[b, f] x[b, best[b, f] + j], and for its bias,
// sum_b gated[b, f]. Grid: blockIdx.x is the filter, blockIdx.y the tap among those of all heights,
// blockIdx.z counts columns in 32. Block: 32 columns times 16 threads that split the windows; their
// sums are added in a fixed order.
extern "C" __global__ void __launch_bounds__(512, 3) caser_conv_filter_grad(
    float *dhorizontal, const float *gated, const unsigned *best, const float *x, const Height *heights,
    const unsigned *lengths, unsigned batch, unsigned length, unsigned width, unsigned n_heights, unsigned n_filters
) {
    constexpr unsigned SHARES = 16, AHEAD = 4;
    __shared__ float parts[SHARES][32], biases[SHARES];
    unsigned h = 0, j = blockIdx.y;
    while (j >= heights[h].height) j -= heights[h++].height;
    const unsigned f = blockIdx.x, across = n_heights * n_filters, own = h * n_filters + f;
    const unsigned c = blockIdx.z * 32 + threadIdx.x;
    // Out-of-range reads are clamped to valid addresses, so that no load depends on a condition.
    const float *column = x + min(c, width - 1);
    float sum = 0.0f, bias = 0.0f;
    for (unsigned start = threadIdx.y; start < batch; start += SHARES * AHEAD) {
        float g[AHEAD], values[AHEAD];
        unsigned at[AHEAD], count[AHEAD];
#pragma unroll
        for (unsigned i = 0; i < AHEAD; i++) {
            const unsigned b = min(start + i * SHARES, batch - 1);
            at[i] = best[b * across + own] + j;
            count[i] = lengths[b];
            g[i] = gated[b * (across + width) + own];
        }
#pragma unroll
        for (unsigned i = 0; i < AHEAD; i++) {
            const unsigned b = min(start + i * SHARES, batch - 1);
            values[i] = column[((size_t)b * length + min(at[i], length - 1)) * width];
        }
#pragma unroll
        for (unsigned i = 0; i < AHEAD; i++) {
            const bool is_there = start + i * SHARES < batch;
            sum += is_there && at[i] < count[i] ? g[i] * values[i] : 0.0f;
            bias += is_there ? g[i] : 0.0f;
        }
    }
    parts[threadIdx.y][threadIdx.x] = sum;
    if (threadIdx.x == 0) biases[threadIdx.y] = bias;
    __syncthreads();
    if (threadIdx.y > 0 || c >= width) return;
    for (unsigned share = 1; share < SHARES; share++) {
        sum += parts[share][threadIdx.x];
        bias += biases[share];
    }
    dhorizontal[(size_t)(heights[h].row + j * width + c) * n_filters + f] = sum;
    if (j == 0 && c == 0) dhorizontal[(size_t)heights[h].bias * n_filters + f] = bias;
}
