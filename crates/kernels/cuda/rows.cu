// Row gather, scatter and add; element-wise add and ReLU backward; column sums; transpose.
#include "block.cuh"

// A thread an element of the result: row `rows[i]` of x becomes row i.
extern "C" __global__ void gather_rows(float *out, const float *x, const unsigned *rows, unsigned n, unsigned width) {
    const size_t i = element();
    if (i >= (size_t)n * width) return;
    out[i] = x[(size_t)rows[i / width] * width + i % width];
}

// A thread an element of x: its row i becomes row `rows[i]` of the result, which begins at zero.
extern "C" __global__ void scatter_rows(float *out, const float *x, const unsigned *rows, unsigned n, unsigned width) {
    const size_t i = element();
    if (i >= (size_t)n * width) return;
    out[(size_t)rows[i / width] * width + i % width] = x[i];
}

// An order that brings equal keys together, and leaves those in theirs: `groups` [2 n] becomes the
// places of the keys in that order, and for each of them the number of keys like it if it is the
// first, else zero.
//
// A block is 32 keys times 16 threads that share what each is compared with, 512 others at a time.
extern "C" __global__ void group(unsigned *__restrict__ groups, const unsigned *__restrict__ keys, unsigned n) {
    __shared__ unsigned others[512], lesser[16][32], before[16][32], alike[16][32];
    const unsigned i = blockIdx.x * 32 + threadIdx.x, key = i < n ? keys[i] : 0, own = threadIdx.y * 32 + threadIdx.x;
    unsigned less = 0, earlier = 0, same = 0;
    for (unsigned start = 0; start < n; start += 512) {
        const unsigned count = min(512u, n - start);
        if (own < count) others[own] = keys[start + own];
        __syncthreads();
#pragma unroll 8
        for (unsigned j = threadIdx.y; j < count; j += 16) {
            less += others[j] < key;
            same += others[j] == key;
            earlier += others[j] == key && start + j < i;
        }
        __syncthreads();
    }
    lesser[threadIdx.y][threadIdx.x] = less;
    before[threadIdx.y][threadIdx.x] = earlier;
    alike[threadIdx.y][threadIdx.x] = same;
    __syncthreads();
    if (threadIdx.y > 0 || i >= n) return;
    for (unsigned part = 1; part < 16; part++) {
        less += lesser[part][threadIdx.x];
        earlier += before[part][threadIdx.x];
        same += alike[part][threadIdx.x];
    }
    groups[less + earlier] = i;
    groups[n + less + earlier] = earlier == 0 ? same : 0;
}

// To rows of y, rows of x are added: row i, times the number whose bits are `weights[i]` if there
// are weights, to row `to[i]` of y. `groups` is what `group` makes of `to`.
//
// A block is 32 columns of a group's first source times 8 threads that share its sources: the pad's
// are many.
extern "C" __global__ void add_rows(
    float *__restrict__ y, const float *__restrict__ x, const unsigned *__restrict__ to, const unsigned *__restrict__ weights,
    const unsigned *__restrict__ groups, unsigned n, unsigned width
) {
    __shared__ unsigned rows[256];
    __shared__ float by[256], parts[8][32];
    const unsigned place = blockIdx.x, column = blockIdx.y * 32 + threadIdx.x, own = threadIdx.y * 32 + threadIdx.x;
    const unsigned count = groups[n + place];
    if (count < 2 && (threadIdx.y >= count || column >= width)) return;
    const unsigned first = groups[place];
    float *sum_at = y + (size_t)to[first] * width + column;
    if (count == 1) {
        *sum_at += (weights ? __uint_as_float(weights[first]) : 1.0f) * x[(size_t)first * width + column];
        return;
    }
    float sum = 0.0f;
    // A thread each finds out which the sources are, before all read them.
    for (unsigned start = 0; start < count; start += 256) {
        const unsigned some = min(256u, count - start);
        if (own < some) {
            const unsigned source = groups[place + start + own];
            rows[own] = source;
            by[own] = weights ? __uint_as_float(weights[source]) : 1.0f;
        }
        __syncthreads();
        // Eight are on their way at a time; they are added in their order.
        for (unsigned i = threadIdx.y; i < some && column < width; i += 64) {
            float met[8], weight[8];
#pragma unroll
            for (unsigned j = 0; j < 8; j++) {
                const bool is_there = i + 8 * j < some;
                met[j] = is_there ? x[(size_t)rows[i + 8 * j] * width + column] : 0.0f;
                weight[j] = is_there ? by[i + 8 * j] : 0.0f;
            }
#pragma unroll
            for (unsigned j = 0; j < 8; j++) sum += weight[j] * met[j];
        }
        __syncthreads();
    }
    parts[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y > 0 || column >= width) return;
    for (unsigned part = 1; part < 8; part++) sum += parts[part][threadIdx.x];
    *sum_at += sum;
}

// A thread an element.
extern "C" __global__ void add(float *out, const float *x, const float *y, unsigned n) {
    const size_t i = element();
    if (i < n) out[i] = x[i] + y[i];
}

// A thread an element: the gradient where y is above zero.
extern "C" __global__ void gate(float *out, const float *y, const float *grad, unsigned n) {
    const size_t i = element();
    if (i < n) out[i] = y[i] > 0.0f ? grad[i] : 0.0f;
}

// A thread an element of y [rows, width]: a bias is added, and if wanted what is below zero cut.
extern "C" __global__ void add_bias(float *y, const float *bias, unsigned n, unsigned width, unsigned relu) {
    const size_t i = element();
    if (i >= n) return;
    const float sum = y[i] + bias[i % width];
    y[i] = relu && !(sum > 0.0f) ? 0.0f : sum;
}

// The sum of each column of x [rows, columns], whose rows lie `stride` apart: those of the first
// `split` go to `out`, the others to `rest`. threadIdx.x counts columns; the threads of a column, a
// power of two, share its rows.
extern "C" __global__ void column_sums(
    float *__restrict__ out, float *__restrict__ rest, unsigned split, const float *__restrict__ x, unsigned rows,
    unsigned columns, unsigned stride
) {
    __shared__ float parts[1024];
    const unsigned column = blockIdx.x * blockDim.x + threadIdx.x, place = threadIdx.y * blockDim.x + threadIdx.x;
    float sum = 0.0f;
    for (unsigned first = threadIdx.y; first < rows && column < columns; first += 8 * blockDim.y) {
        // Eight are on their way at a time.
        float some[8];
#pragma unroll
        for (unsigned i = 0; i < 8; i++) {
            const unsigned row = first + i * blockDim.y;
            some[i] = row < rows ? x[(size_t)row * stride + column] : 0.0f;
        }
#pragma unroll
        for (unsigned i = 0; i < 8; i++) sum += some[i];
    }
    parts[place] = sum;
    __syncthreads();
    for (unsigned half = blockDim.y / 2; half > 0; half /= 2) {
        if (threadIdx.y < half) parts[place] += parts[place + half * blockDim.x];
        __syncthreads();
    }
    if (threadIdx.y == 0 && column < columns) (column < split ? out + column : rest + (column - split))[0] = parts[place];
}

// A thread an element: each of `n` matrices [rows, columns], one after the other, becomes [columns,
// rows].
extern "C" __global__ void transpose(float *out, const float *x, unsigned n, unsigned rows, unsigned columns) {
    const size_t i = element(), size = (size_t)rows * columns;
    if (i >= n * size) return;
    const size_t inside = i % size;
    out[i - inside + inside % columns * rows + inside / columns] = x[i];
}
