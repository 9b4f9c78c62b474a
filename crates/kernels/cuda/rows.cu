// Rows taken, put and added; elements added and gated; sums of columns; a transpose.
#include "block.cuh"

// A thread an element of the result: row `rows[i]` of x becomes row i.
extern "C" __global__ void take(float *out, const float *x, const unsigned *rows, unsigned n, unsigned width) {
    const size_t i = element();
    if (i >= (size_t)n * width) return;
    out[i] = x[(size_t)rows[i / width] * width + i % width];
}

// A thread an element of x: its row i becomes row `rows[i]` of the result, which begins at zero.
extern "C" __global__ void put(float *out, const float *x, const unsigned *rows, unsigned n, unsigned width) {
    const size_t i = element();
    if (i >= (size_t)n * width) return;
    out[(size_t)rows[i / width] * width + i % width] = x[i];
}

// An order that brings equal keys together, and leaves those in theirs: `groups` [2 n] becomes the places of the keys in that
// order, and for each of them the number of keys like it if it is the first, else zero.
//
// A block is 32 keys times 16 threads that share what each is compared with.
extern "C" __global__ void group(unsigned *groups, const unsigned *keys, unsigned n) {
    __shared__ unsigned lesser[16][32], before[16][32], alike[16][32];
    const unsigned i = blockIdx.x * 32 + threadIdx.x, key = i < n ? keys[i] : 0;
    unsigned less = 0, earlier = 0, same = 0;
#pragma unroll 8
    for (unsigned j = threadIdx.y; j < n; j += 16) {
        const unsigned other = keys[j];
        less += other < key;
        same += other == key;
        earlier += other == key && j < i;
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

// To rows of y, weighted rows of x are added: source i is row `from[i]` of x, times the number whose bits are `weights[i]`,
// for row `to[i]` of y. `groups` is what `group` makes of `to`; there is none where no two are added to the same.
//
// A block is 32 columns of a group's first source times 16 threads that share its sources: the pad's are many.
extern "C" __global__ void add_rows(
    float *y, const float *x, const unsigned *to, const unsigned *from, const unsigned *weights, const unsigned *groups,
    unsigned n, unsigned width
) {
    __shared__ float parts[16][32];
    const unsigned place = blockIdx.x, column = blockIdx.y * 32 + threadIdx.x;
    const unsigned count = groups ? groups[n + place] : 1;
    if (count < 2 && threadIdx.y >= count) return;
    float sum = 0.0f;
    if (column < width) {
#pragma unroll 4
        for (unsigned i = threadIdx.y; i < count; i += 16) {
            const unsigned source = groups ? groups[place + i] : place;
            const float weight = weights ? __uint_as_float(weights[source]) : 1.0f;
            sum += weight * x[(size_t)(from ? from[source] : source) * width + column];
        }
    }
    if (count > 1) {
        parts[threadIdx.y][threadIdx.x] = sum;
        __syncthreads();
        if (threadIdx.y == 0) {
            for (unsigned part = 1; part < 16; part++) sum += parts[part][threadIdx.x];
        }
    }
    if (threadIdx.y == 0 && column < width) y[(size_t)to[groups ? groups[place] : place] * width + column] += sum;
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

// The sum of each column of x [rows, columns], whose rows lie `stride` apart: those of the first `split` go to `out`, the others
// to `rest`. threadIdx.x counts columns; the threads of a column, a power of two, share its rows.
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

// A thread an element: each of `n` matrices [rows, columns], one after the other, becomes [columns, rows].
extern "C" __global__ void transpose(float *out, const float *x, unsigned n, unsigned rows, unsigned columns) {
    const size_t i = element(), size = (size_t)rows * columns;
    if (i >= n * size) return;
    const size_t inside = i % size;
    out[i - inside + inside % columns * rows + inside / columns] = x[i];
}
