// What both sides of a product share, whose rows may be those that a convolution's taps meet: where taps look, and how numbers
// of a matrix's edge are read.
#pragma once

// The row that a tap of a row of x meets: the oldest looks two dilations back, or ahead, the last at the row itself. Null if
// fewer than that, `left`, remain of the window that way.
template <unsigned TAPS>
__device__ inline const float *met(
    const float *x, unsigned stride, unsigned row, unsigned tap, unsigned dilation, unsigned left, bool is_ahead
) {
    const unsigned distance = (TAPS - 1 - tap) * dilation;
    return distance <= left ? x + (size_t)(is_ahead ? row + distance : row - distance) * stride : nullptr;
}

// Whether rows of such a width that begin at these places can be read four numbers at a time.
__device__ inline bool are_aligned(const float *a, const float *b, unsigned width) {
    return ((size_t)a | (size_t)b | width * sizeof(float)) % sizeof(float4) == 0;
}

// Four numbers of a row from the i-th on, zeros where it is null or has ended.
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

// Of a gradient what a ReLU lets through, where it put out more than zero.
__device__ inline float4 gated(float4 grad, float4 y) {
    return make_float4(
        y.x > 0.0f ? grad.x : 0.0f, y.y > 0.0f ? grad.y : 0.0f, y.z > 0.0f ? grad.z : 0.0f, y.w > 0.0f ? grad.w : 0.0f
    );
}

// Writes four numbers of a row from the i-th on, as far as it goes.
template <bool ALIGNED> __device__ inline void put_four(float *row, unsigned i, unsigned width, float4 x) {
    if (ALIGNED && i < width) *reinterpret_cast<float4 *>(row + i) = x;
    if (ALIGNED) return;
    if (i < width) row[i] = x.x;
    if (i + 1 < width) row[i + 1] = x.y;
    if (i + 2 < width) row[i + 2] = x.z;
    if (i + 3 < width) row[i + 3] = x.w;
}

// Adds the products of four numbers with four.
__device__ inline void add_products(float (&sums)[4][4], float4 a, float4 b) {
    const float left[4] = {a.x, a.y, a.z, a.w}, right[4] = {b.x, b.y, b.z, b.w};
#pragma unroll
    for (unsigned i = 0; i < 4; i++) {
#pragma unroll
        for (unsigned j = 0; j < 4; j++) sums[i][j] += left[i] * right[j];
    }
}
