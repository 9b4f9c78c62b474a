// Shared by products and weight gradients: the rows that a convolution's taps read, and vector
// loads at the edge of a matrix.
#pragma once

// Output rows of a strided operation on packed windows: every `stride`-th input row of a window,
// counted back from its last row, as many as the output table has. A table holds the first row of
// each window, the number of rows, and then the window of each row.
struct RowMap {
    const unsigned *in_table, *out_table;
    unsigned windows, stride;

    // Window of a row, its first row and its end.
    __device__ static uint3 window_of(const unsigned *table, unsigned windows, unsigned row) {
        const unsigned window = table[windows + 1 + row];
        return make_uint3(window, table[window], table[window + 1]);
    }

    // Input row of an output row, and its position in its window.
    __device__ uint2 input_of(unsigned row) const {
        const uint3 window = window_of(out_table, windows, row);
        const unsigned at = in_table[window.x + 1] - 1 - (window.z - 1 - row) * stride;
        return make_uint2(at, at - in_table[window.x]);
    }

    // Finds the output row whose input row lies `distance` rows after this input row; false if
    // there is none.
    __device__ bool find_output(unsigned &at, unsigned row, unsigned distance) const {
        const uint3 window = window_of(in_table, windows, row);
        const unsigned after = window.z - 1 - row, end = out_table[window.x + 1], back = (after - distance) / stride;
        if (distance > after || (after - distance) % stride || back >= end - out_table[window.x]) return false;
        at = end - 1 - back;
        return true;
    }
};

// Rows from the input row that a tap reads to the output row's own; the last tap reads that one.
template <unsigned TAPS> __device__ inline unsigned distance_of(unsigned tap, unsigned dilation) {
    return (TAPS - 1 - tap) * dilation;
}

// Row of x that a tap reads for an output row with this `input_of`; null if it lies before the
// window.
__device__ inline const float *tap_row(const float *x, unsigned stride, uint2 input, unsigned distance) {
    return distance <= input.y ? x + (size_t)(input.x - distance) * stride : nullptr;
}

// Whether consecutive rows of this width, beginning at these addresses, allow loads of float4.
__device__ inline bool are_aligned(const float *a, const float *b, unsigned width) {
    return ((size_t)a | (size_t)b | width * sizeof(float)) % sizeof(float4) == 0;
}

// Loads elements i..i + 4 of a row, zero past its end or if the row is null.
template <bool ALIGNED> __device__ inline float4 four(const float *row, unsigned i, unsigned width) {
    float4 x = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    if (row && i < width) {
        if (ALIGNED) return *reinterpret_cast<const float4 *>(row + i);
        x.x = row[i];
        if (i + 1 < width) x.y = row[i + 1];
        if (i + 2 < width) x.z = row[i + 2];
        if (i + 3 < width) x.w = row[i + 3];
    }
    return x;
}

// ReLU backward: the gradient where the output was positive, else zero.
__device__ inline float4 gated(float4 grad, float4 y) {
    return make_float4(
        y.x > 0.0f ? grad.x : 0.0f, y.y > 0.0f ? grad.y : 0.0f, y.z > 0.0f ? grad.z : 0.0f, y.w > 0.0f ? grad.w : 0.0f
    );
}

// Stores elements i..i + 4 of a row, up to its end.
template <bool ALIGNED> __device__ inline void store_four(float *row, unsigned i, unsigned width, float4 x) {
    if (ALIGNED && i < width) *reinterpret_cast<float4 *>(row + i) = x;
    if (ALIGNED) return;
    if (i < width) row[i] = x.x;
    if (i + 1 < width) row[i + 1] = x.y;
    if (i + 2 < width) row[i + 2] = x.z;
    if (i + 3 < width) row[i + 3] = x.w;
}

// sums += a b^T.
__device__ inline void add_products(float (&sums)[4][4], float4 a, float4 b) {
    const float left[4] = {a.x, a.y, a.z, a.w}, right[4] = {b.x, b.y, b.z, b.w};
#pragma unroll
    for (unsigned i = 0; i < 4; i++) {
#pragma unroll
        for (unsigned j = 0; j < 4; j++) sums[i][j] += left[i] * right[j];
    }
}
