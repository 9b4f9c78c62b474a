// Horizontal and vertical convolutions of Caser.
#include "caser_conv.cuh"

// y [B, n_heights n_filters + width]: for each height h and filter f, relu(max_t sum_{j < h} x[b, t
// + j] . tap_j[f] + bias[f]); then for each column c, relu(sum_t vertical[t] x[b, t, c] +
// vertical[length]). x [B, length, width] counts as zero past a window's items. `best` [B,
// n_heights n_filters] receives the arg-max positions, the first of equal ones. For windows of any
// length; the host takes `caser_conv_short` for those that fit. Grid: one block per window. Dynamic
// shared memory: (chunk + 1) n_filters floats, the scores of `chunk` positions and the maxima so
// far.
extern "C" __global__ void caser_conv(
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

// Rows of a window that a thread multiplies by a tap at a time.
constexpr unsigned ROWS = 5;

// y and `best` as in `caser_conv`, for windows that fit in shared memory: all products of taps and
// rows are computed before a filter's taps are summed, and the columns of a row are split into
// `parts`. Grid: one block per window. Dynamic shared memory: the window, padded to a multiple of 4
// columns and ROWS rows; then one float per part, tap, row and filter, and one per height, row and
// filter.
extern "C" __global__ void __launch_bounds__(1024) caser_conv_short(
    float *y, unsigned *best, const float *x, const float *horizontal, const float *vertical, const Height *heights,
    const unsigned *lengths, unsigned length, unsigned width, unsigned n_heights, unsigned n_filters, unsigned taps,
    unsigned parts
) {
    SHARED(image);
    const unsigned b = blockIdx.x, count = lengths[b], quads = (width + 3) / 4, groups = (length + ROWS - 1) / ROWS;
    const unsigned across = n_heights * n_filters, stride = 4 * quads;
    float *sums = image + groups * ROWS * stride, *scores = sums + parts * taps * length * n_filters;
    for (unsigned i = threadIdx.x; i < groups * ROWS * stride; i += blockDim.x) {
        const unsigned t = i / stride, c = i % stride;
        image[i] = c < width ? valid(x + (size_t)b * length * width, t, count, width, c) : 0.0f;
    }
    __syncthreads();
    for (unsigned i = threadIdx.x; i < parts * groups * taps * n_filters; i += blockDim.x) {
        const unsigned f = i % n_filters, tap = i / n_filters % taps, rest = i / n_filters / taps;
        const unsigned first = rest % groups * ROWS, part = rest / groups;
        const float *weights = horizontal + (size_t)tap * width * n_filters + f;
        const float4 *rows = reinterpret_cast<const float4 *>(image) + first * quads;
        float dots[ROWS] = {};
        const unsigned end = first < count ? quads * (part + 1) / parts : 0;
#pragma unroll 1
        for (unsigned q = quads * part / parts; q < end; q++) {
            float some[4];
#pragma unroll
            for (unsigned c = 0; c < 4; c++) some[c] = weights[min(4 * q + c, width - 1) * n_filters];
#pragma unroll
            for (unsigned r = 0; r < ROWS; r++) {
                const float4 own = rows[r * quads + q];
                dots[r] += own.x * some[0];
                dots[r] += own.y * some[1];
                dots[r] += own.z * some[2];
                dots[r] += own.w * some[3];
            }
        }
        float *to = sums + ((size_t)(part * taps + tap) * length + first) * n_filters + f;
#pragma unroll
        for (unsigned r = 0; r < ROWS; r++) {
            if (first + r < length) to[r * n_filters] = dots[r];
        }
    }
    __syncthreads();
    for (unsigned i = threadIdx.x; i < across * length; i += blockDim.x) {
        const unsigned f = i % n_filters, position = i / n_filters % length, h = i / n_filters / length;
        const unsigned height = heights[h].height, tap = heights[h].row / width;
        float score = 0.0f;
        for (unsigned j = 0; j < height && position + height <= length; j++) {
            for (unsigned part = 0; part < parts; part++) {
                score += sums[((part * taps + tap + j) * length + position + j) * n_filters + f];
            }
        }
        scores[i] = score;
    }
    __syncthreads();
    for (unsigned i = threadIdx.x; i < across + width; i += blockDim.x) {
        float sum;
        if (i < across) {
            const unsigned f = i % n_filters, h = i / n_filters, positions = length + 1 - heights[h].height;
            const float *own = scores + h * length * n_filters + f;
            unsigned at = 0;
            sum = own[0];
            for (unsigned t = 1; t < positions; t++) {
                if (own[t * n_filters] > sum) {
                    sum = own[t * n_filters];
                    at = t;
                }
            }
            best[(size_t)b * across + i] = at;
            sum += horizontal[(size_t)heights[h].bias * n_filters + f];
        } else {
            sum = vertical[length];
            for (unsigned t = 0; t < count; t++) sum += vertical[t] * image[t * stride + i - across];
        }
        y[(size_t)b * (across + width) + i] = sum > 0.0f ? sum : 0.0f;
    }
}
