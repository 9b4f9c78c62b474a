// Weighted sums of embedding rows with dropout, and the gradients of the tables.
#include "dropout.cuh"

constexpr unsigned NONE = 0xffffffff;

// The table that a part of the result's n rows are, and what the kernels are told of it: of each
// row of the result the table's row, or NONE, then the bits of its weight; then of each of the
// table's `height` rows the first of the rows that it is part of, and the end; and then these.
// Without words, each row is that of the same number. A part without a table is none.
struct Part {
    const float *table;
    const unsigned *words;

    __device__ float at(unsigned n, unsigned width, unsigned row, unsigned column) const {
        if (!table) return 0.0f;
        if (!words) return table[(size_t)row * width + column];
        const unsigned of = words[row];
        return of == NONE ? 0.0f : __uint_as_float(words[n + row]) * table[(size_t)of * width + column];
    }
};

// Sum of up to three tables, times the dropout factors. One block of threads per 2048 draws.
extern "C" __global__ void embedding_sum(
    float *__restrict__ out, const float *table_a, const unsigned *words_a, const float *table_b, const unsigned *words_b,
    const float *table_c, const unsigned *words_c, unsigned n, unsigned width, MASK_PARAMETERS
) {
    __shared__ unsigned kept[64];
    const Mask mask = MASK_GIVEN;
    const Part a = {table_a, words_a}, b = {table_b, words_b}, c = {table_c, words_c};
    mask.each((size_t)n * width, kept, [&](size_t i, float factor) {
        const unsigned row = i / width, column = i % width;
        out[i] = (a.at(n, width, row, column) + b.at(n, width, row, column) + c.at(n, width, row, column)) * factor;
    });
}

// The gradients of the tables of up to three parts that have words, from that of the sum:
// blockIdx.x counts their rows. A block is 32 columns of a row times 8 threads that share what it
// is part of: the one row of a return's is part of many.
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
        float met[8], weight[8];
#pragma unroll
        for (unsigned j = 0; j < 8; j++) {
            const bool is_there = i + 8 * j < end;
            const unsigned of = is_there ? rows[i + 8 * j] : 0;
            met[j] = is_there ? grad[(size_t)of * width + column] : 0.0f;
            weight[j] = is_there ? __uint_as_float(weights[of]) : 0.0f;
        }
#pragma unroll
        for (unsigned j = 0; j < 8; j++) sum += weight[j] * met[j];
    }
    parts[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y > 0 || column >= width) return;
    for (unsigned part = 1; part < 8; part++) sum += parts[part][threadIdx.x];
    out[(size_t)row * width + column] = sum;
}
