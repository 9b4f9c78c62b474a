// Row gather, scatter and add; element-wise add and ReLU backward; column sums; transpose.
#include "block.cuh"

// out[i] = x[rows[i]], for out [n, width]. One thread per element of out.
extern "C" __global__ void gather_rows(float *out, const float *x, const unsigned *rows, unsigned n, unsigned width) {
    const size_t i = element();
    if (i >= (size_t)n * width) return;
    out[i] = x[(size_t)rows[i / width] * width + i % width];
}

// out[rows[i]] = x[i], for x [n, width] and distinct rows; the others of `out`, which the host
// fills with zeros, stay. One thread per element of x.
extern "C" __global__ void scatter_rows(float *out, const float *x, const unsigned *rows, unsigned n, unsigned width) {
    const size_t i = element();
    if (i >= (size_t)n * width) return;
    out[(size_t)rows[i / width] * width + i % width] = x[i];
}

// groups [2, n]: the indices of `keys` [n] sorted by key, equal keys by index; then, at the place
// of the first of equal keys, their number, else 0. A key's place is the number of keys before it:
// quadratic, but a single launch. Grid: one block per 32 keys. Block: 32 keys times 16 threads that
// split the keys to compare with, 512 at a time in shared memory.
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

// y[to[i]] += weights[i] x[i] for x [n, width]; `weights` (optional, else 1) holds the bits of
// floats, `groups` is the result of `group` for the keys `to`. The rows added to one row of y are
// summed by one block in a fixed order, without atomics. Grid: blockIdx.x counts places in
// `groups`, of which only the first of a group is worked on, blockIdx.y columns in 32. Block: 32
// columns times 8 threads that split the group, which is large where many sources go to one row, as
// with padding.
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
    // Each thread loads one of the next 256 sources' numbers; then all threads read their rows.
    for (unsigned start = 0; start < count; start += 256) {
        const unsigned some = min(256u, count - start);
        if (own < some) {
            const unsigned source = groups[place + start + own];
            rows[own] = source;
            by[own] = weights ? __uint_as_float(weights[source]) : 1.0f;
        }
        __syncthreads();
        // Eight loads are in flight at a time; additions keep their order.
        for (unsigned i = threadIdx.y; i < some && column < width; i += 64) {
            float value[8], weight[8];
#pragma unroll
            for (unsigned j = 0; j < 8; j++) {
                const bool is_valid = i + 8 * j < some;
                value[j] = is_valid ? x[(size_t)rows[i + 8 * j] * width + column] : 0.0f;
                weight[j] = is_valid ? by[i + 8 * j] : 0.0f;
            }
#pragma unroll
            for (unsigned j = 0; j < 8; j++) sum += weight[j] * value[j];
        }
        __syncthreads();
    }
    parts[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y > 0 || column >= width) return;
    for (unsigned part = 1; part < 8; part++) sum += parts[part][threadIdx.x];
    *sum_at += sum;
}

// out [n] = x + y. One thread per element.
extern "C" __global__ void add(float *out, const float *x, const float *y, unsigned n) {
    const size_t i = element();
    if (i < n) out[i] = x[i] + y[i];
}

// out [n] = grad where y > 0, else 0: the backward pass of a ReLU. One thread per element.
extern "C" __global__ void gate(float *out, const float *y, const float *grad, unsigned n) {
    const size_t i = element();
    if (i < n) out[i] = y[i] > 0.0f ? grad[i] : 0.0f;
}

// y [n / width, width] = y + bias [width], then ReLU if `relu`. One thread per element of y.
extern "C" __global__ void add_bias(float *y, const float *bias, unsigned n, unsigned width, unsigned relu) {
    const size_t i = element();
    if (i >= n) return;
    const float sum = y[i] + bias[i % width];
    y[i] = relu && !(sum > 0.0f) ? 0.0f : sum;
}

// The sum of each column of x [rows, columns], whose rows lie `stride` apart: of the first `split`
// columns to `out`, of the others to `rest`. Grid: blockIdx.x counts columns in blockDim.x. Block:
// threadIdx.x is the column; blockDim.y threads, a power of two, split its rows, and a tree adds
// their sums: the order depends on the launch's shape alone.
extern "C" __global__ void column_sums(
    float *__restrict__ out, float *__restrict__ rest, unsigned split, const float *__restrict__ x, unsigned rows,
    unsigned columns, unsigned stride
) {
    __shared__ float parts[1024];
    const unsigned column = blockIdx.x * blockDim.x + threadIdx.x, place = threadIdx.y * blockDim.x + threadIdx.x;
    float sum = 0.0f;
    for (unsigned first = threadIdx.y; first < rows && column < columns; first += 8 * blockDim.y) {
        // Eight loads are in flight at a time; additions keep their order.
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

// out [n, columns, rows] = each of the `n` matrices x [n, rows, columns], transposed. One thread
// per element.
extern "C" __global__ void transpose(float *out, const float *x, unsigned n, unsigned rows, unsigned columns) {
    const size_t i = element(), size = (size_t)rows * columns;
    if (i >= n * size) return;
    const size_t inside = i % size;
    out[i - inside + inside % columns * rows + inside / columns] = x[i];
}
