// Rows taken, put and added; elements scaled and gated; sums of columns; a transpose.
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

// To each of some rows of y, a weighted sum of rows of x is added. `plan` holds the rows of y [groups], where the sources
// of each begin [groups + 1], the rows of x [n], and the bits of their weights [n].
//
// A block is 32 columns of a group times 32 threads that share its sources: the pad's are many.
extern "C" __global__ void add_rows(float *y, const float *x, const unsigned *plan, unsigned groups, unsigned n, unsigned width) {
    __shared__ float parts[32][32];
    const unsigned *starts = plan + groups, *sources = starts + groups + 1, *weights = sources + n;
    const unsigned group = blockIdx.x, column = blockIdx.y * 32 + threadIdx.x;
    float sum = 0.0f;
    if (column < width) {
#pragma unroll 4
        for (unsigned i = starts[group] + threadIdx.y; i < starts[group + 1]; i += 32) {
            sum += __uint_as_float(weights[i]) * x[(size_t)sources[i] * width + column];
        }
    }
    parts[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y == 0 && column < width) {
        for (unsigned part = 1; part < 32; part++) sum += parts[part][threadIdx.x];
        y[(size_t)plan[group] * width + column] += sum;
    }
}

// A thread an element.
extern "C" __global__ void scale(float *out, const float *x, const float *factors, unsigned n) {
    const size_t i = element();
    if (i < n) out[i] = x[i] * factors[i];
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

// The sum of each column of x [rows, columns], whose rows lie `stride` apart. threadIdx.x counts columns; the threads of a
// column, a power of two, share its rows.
extern "C" __global__ void column_sums(float *out, const float *x, unsigned rows, unsigned columns, unsigned stride) {
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
    if (threadIdx.y == 0 && column < columns) out[column] = parts[place];
}

// A thread an element: each of `n` matrices [rows, columns], one after the other, becomes [columns, rows].
extern "C" __global__ void transpose(float *out, const float *x, unsigned n, unsigned rows, unsigned columns) {
    const size_t i = element(), size = (size_t)rows * columns;
    if (i >= n * size) return;
    const size_t inside = i % size;
    out[i - inside + inside % columns * rows + inside / columns] = x[i];
}
