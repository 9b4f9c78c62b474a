// Caser's filters over a window, horizontal and vertical. `heights` holds for each height the height itself, the row of
// `horizontal` [.., filters] where its filters begin, and the row of its biases.
#include "block.cuh"

struct Height {
    unsigned height, row, bias;
};

// An element of a window, zero past its length.
__device__ inline float valid(const float *x, unsigned position, unsigned count, unsigned width, unsigned column) {
    return position < count ? x[(size_t)position * width + column] : 0.0f;
}

// A block a window of x [B, length, width]: for each height and filter the best score over the positions, and where that is
// (`best` [B, heights filters]), then the vertical filter of each column: y [B, heights filters + width], cut at zero.
// Shared: a float for each of `chunk` positions and each filter, and one for each filter.
extern "C" __global__ void filters(
    float *y, unsigned *best, const float *x, const float *horizontal, const float *vertical, const Height *heights,
    const unsigned *lengths, unsigned length, unsigned width, unsigned n_heights, unsigned n_filters, unsigned chunk
) {
    SHARED(scores);
    float *tops = scores + chunk * n_filters;
    const unsigned b = blockIdx.x, outputs = n_heights * n_filters + width, count = lengths[b];
    const float *image = x + (size_t)b * length * width;
    for (unsigned h = 0; h < n_heights; h++) {
        const Height group = heights[h];
        const unsigned positions = length + 1 - group.height;
        unsigned *bests = best + ((size_t)b * n_heights + h) * n_filters;
        for (unsigned start = 0; start < positions; start += chunk) {
            const unsigned n = min(chunk, positions - start);
            for (unsigned i = threadIdx.x; i < n * n_filters; i += blockDim.x) {
                const unsigned position = start + i / n_filters, filter = i % n_filters;
                float score = 0.0f;
                for (unsigned j = 0; j < group.height && position + j < count; j++) {
                    const float *row = image + (size_t)(position + j) * width;
                    const float *taps = horizontal + (size_t)(group.row + j * width) * n_filters + filter;
                    for (unsigned c = 0; c < width; c++) score += row[c] * taps[(size_t)c * n_filters];
                }
                scores[i] = score;
            }
            __syncthreads();
            for (unsigned filter = threadIdx.x; filter < n_filters; filter += blockDim.x) {
                for (unsigned i = 0; i < n; i++) {
                    const float score = scores[i * n_filters + filter];
                    if (start + i == 0 || score > tops[filter]) {
                        tops[filter] = score;
                        bests[filter] = start + i;
                    }
                }
            }
            __syncthreads();
        }
        for (unsigned filter = threadIdx.x; filter < n_filters; filter += blockDim.x) {
            const float top = tops[filter] + horizontal[(size_t)group.bias * n_filters + filter];
            y[(size_t)b * outputs + h * n_filters + filter] = top > 0.0f ? top : 0.0f;
        }
        __syncthreads();
    }
    for (unsigned c = threadIdx.x; c < width; c += blockDim.x) {
        float sum = vertical[length];
        for (unsigned t = 0; t < count; t++) sum += vertical[t] * image[(size_t)t * width + c];
        y[(size_t)b * outputs + n_heights * n_filters + c] = sum > 0.0f ? sum : 0.0f;
    }
}

// A block a window, a thread some columns: the gradient of x, which begins at zero. `grad` is gated by the ReLU already.
extern "C" __global__ void filters_back(
    float *dx, const float *grad, const unsigned *best, const float *horizontal, const float *vertical, const Height *heights,
    const unsigned *lengths, unsigned length, unsigned width, unsigned n_heights, unsigned n_filters
) {
    const unsigned b = blockIdx.x, outputs = n_heights * n_filters + width, count = lengths[b];
    const float *given = grad + (size_t)b * outputs;
    for (unsigned c = threadIdx.x; c < width; c += blockDim.x) {
        float *column = dx + (size_t)b * length * width + c;
        for (unsigned t = 0; t < count; t++) column[(size_t)t * width] = vertical[t] * given[n_heights * n_filters + c];
        for (unsigned h = 0; h < n_heights; h++) {
            const Height group = heights[h];
            for (unsigned f = 0; f < n_filters; f++) {
                const unsigned at = best[(size_t)b * n_heights * n_filters + h * n_filters + f];
                const float g = given[h * n_filters + f];
                for (unsigned j = 0; j < group.height && at + j < count; j++) {
                    column[(size_t)(at + j) * width] += g * horizontal[(size_t)(group.row + j * width + c) * n_filters + f];
                }
            }
        }
    }
}

// The gradient of the horizontal filters. A block is a filter's tap: blockIdx.x counts filters, blockIdx.y the taps of all
// heights. 32 threads share the columns, 8 the windows of each.
extern "C" __global__ void filters_horizontal(
    float *dhorizontal, const float *grad, const unsigned *best, const float *x, const Height *heights, const unsigned *lengths,
    unsigned batch, unsigned length, unsigned width, unsigned n_heights, unsigned n_filters
) {
    __shared__ float parts[8][32];
    unsigned h = 0, j = blockIdx.y;
    while (j >= heights[h].height) j -= heights[h++].height;
    const unsigned f = blockIdx.x, outputs = n_heights * n_filters + width;
    for (unsigned start = 0; start < width; start += 32) {
        const unsigned c = start + threadIdx.x;
        float sum = 0.0f;
        for (unsigned b = threadIdx.y; b < batch && c < width; b += 8) {
            const unsigned at = best[(size_t)b * n_heights * n_filters + h * n_filters + f] + j;
            const float g = grad[(size_t)b * outputs + h * n_filters + f];
            sum += g * valid(x + (size_t)b * length * width, at, lengths[b], width, c);
        }
        parts[threadIdx.y][threadIdx.x] = sum;
        __syncthreads();
        if (threadIdx.y == 0 && c < width) {
            for (unsigned part = 1; part < 8; part++) sum += parts[part][threadIdx.x];
            dhorizontal[(size_t)(heights[h].row + j * width + c) * n_filters + f] = sum;
        }
        __syncthreads();
    }
}

// The gradient of the vertical filter [length] and its bias, a block each: blockIdx.x counts the positions, the bias last.
extern "C" __global__ void filters_vertical(
    float *dvertical, const float *grad, const float *x, const unsigned *lengths, unsigned batch, unsigned length,
    unsigned width, unsigned outputs
) {
    __shared__ float cells[256];
    const unsigned t = blockIdx.x;
    float sum = 0.0f;
    for (unsigned i = threadIdx.x; i < batch * width; i += blockDim.x) {
        const unsigned b = i / width, c = i % width;
        const float met = t == length ? 1.0f : valid(x + (size_t)b * length * width, t, lengths[b], width, c);
        sum += grad[(size_t)b * outputs + outputs - width + c] * met;
    }
    sum = block_sum(sum, cells);
    if (threadIdx.x == 0) dvertical[t] = sum;
}
