// Weighted sums of embedding rows of several tables with dropout, and the gradients of the tables.
#include "dropout.cuh"

// Table row of an output row that adds nothing.
constexpr unsigned NONE = 0xffffffff;

// A table [height, width] and the row of it that each of the n output rows adds. `words` holds the
// table row of each output row, or NONE [n], and the bits of its weight [n]; then, for the backward
// pass, where each table row's output rows begin, and the end [height + 1], and those output rows,
// ascending. Without words, output row i adds table row i with weight 1; without a table, nothing.
struct Part {
    const float *table;
    const unsigned *words;

    // The addend of one output element.
    __device__ float at(unsigned n, unsigned width, unsigned row, unsigned column) const {
        if (!table) return 0.0f;
        if (!words) return table[(size_t)row * width + column];
        const unsigned of = words[row];
        return of == NONE ? 0.0f : __uint_as_float(words[n + row]) * table[(size_t)of * width + column];
    }
};

// out [n, width] = (a + b + c) * factors, where an addend of output row i is weight[i]
// table[rows[i]]. Grid: one block of 256 threads per 2048 elements (draws of the mask).
extern "C" __global__ void embedding_sum(
    float *__restrict__ out, const float *table_a, const unsigned *words_a, const float *table_b, const unsigned *words_b,
    const float *table_c, const unsigned *words_c, unsigned n, unsigned width, const unsigned *mask_words
) {
    __shared__ unsigned kept[64];
    const Mask mask = mask_of(mask_words);
    const Part a = {table_a, words_a}, b = {table_b, words_b}, c = {table_c, words_c};
    mask.each((size_t)n * width, kept, [&](size_t i, float factor) {
        const unsigned row = i / width, column = i % width;
        out[i] = (a.at(n, width, row, column) + b.at(n, width, row, column) + c.at(n, width, row, column)) * factor;
    });
}

// out[r] = sum over output rows i with rows[i] = r of weight[i] grad[i], for each row r of the up
// to three tables that have words. Grid: blockIdx.x counts the rows of all these tables, blockIdx.y
// columns in 32. Block: 32 columns times 8 threads that split the row's output rows, which are many
// where a table has one row only. Their sums are added in a fixed order.
extern "C" __global__ void embedding_sum_backward(
    const float *__restrict__ grad, float *out_a, const unsigned *words_a, unsigned height_a, float *out_b,
    const unsigned *words_b, unsigned height_b, float *out_c, const unsigned *words_c, unsigned height_c, unsigned n,
    unsigned width
) {
    __shared__ float parts[8][32];
    unsigned row = blockIdx.x, height = height_a;
    float *out = out_a;
    const unsigned *words = words_a;
    if (row >= height_a) row -= height_a, out = out_b, words = words_b, height = height_b;
    if (out == out_b && row >= height_b) row -= height_b, out = out_c, words = words_c, height = height_c;
    const unsigned *weights = words + n, *starts = weights + n, *rows = starts + height + 1;
    const unsigned begin = starts[row], end = starts[row + 1], column = blockIdx.y * 32 + threadIdx.x;
    float sum = 0.0f;
    for (unsigned i = begin + threadIdx.y; i < end && column < width; i += 64) {
        // Eight loads are in flight at a time; additions keep their order.
        float value[8], weight[8];
#pragma unroll
        for (unsigned j = 0; j < 8; j++) {
            const bool is_valid = i + 8 * j < end;
            const unsigned of = is_valid ? rows[i + 8 * j] : 0;
            value[j] = is_valid ? grad[(size_t)of * width + column] : 0.0f;
            weight[j] = is_valid ? __uint_as_float(weights[of]) : 0.0f;
        }
#pragma unroll
        for (unsigned j = 0; j < 8; j++) sum += weight[j] * value[j];
    }
    parts[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y > 0 || column >= width) return;
    for (unsigned part = 1; part < 8; part++) sum += parts[part][threadIdx.x];
    out[(size_t)row * width + column] = sum;
}
