// Shared by products and weight gradients: the rows that a convolution's taps read, and loads at
// the edge of a matrix.
#pragma once

// Rows of some windows, made of those of the same windows that are given: every so many-th, from
// the last of a window, as many as there are. Of both the tables hold the first row of each window,
// the end, and then the window of each row.
struct Kept {
    const unsigned *given, *made;
    unsigned windows, every;

    // The window of a row, its first row and its end.
    __device__ static uint3 window_of(const unsigned *table, unsigned windows, unsigned row) {
        const unsigned window = table[windows + 1 + row];
        return make_uint3(window, table[window], table[window + 1]);
    }

    // The given row at the place of one that is made, and how many of its window come before that.
    __device__ uint2 place(unsigned row) const {
        const uint3 of_made = window_of(made, windows, row);
        const unsigned at = given[of_made.x + 1] - 1 - (of_made.z - 1 - row) * every;
        return make_uint2(at, at - given[of_made.x]);
    }

    // The row that is made at the place so far behind a given one, if one is.
    __device__ bool is_made(unsigned &at, unsigned row, unsigned distance) const {
        const uint3 of_given = window_of(given, windows, row);
        const unsigned after = of_given.z - 1 - row, end = made[of_given.x + 1], back = (after - distance) / every;
        if (distance > after || (after - distance) % every || back >= end - made[of_given.x]) return false;
        at = end - 1 - back;
        return true;
    }
};

// Distance of a tap from the newest row.
template <unsigned TAPS> __device__ inline unsigned distance_of(unsigned tap, unsigned dilation) {
    return (TAPS - 1 - tap) * dilation;
}

// The row of x that a tap meets of what is made at a place, null if it lies before the window.
__device__ inline const float *met(const float *x, unsigned stride, uint2 place, unsigned distance) {
    return distance <= place.y ? x + (size_t)(place.x - distance) * stride : nullptr;
}

// Whether rows of such a width that begin at these places can be read four numbers at a time.
__device__ inline bool are_aligned(const float *a, const float *b, unsigned width) {
    return ((size_t)a | (size_t)b | width * sizeof(float)) % sizeof(float4) == 0;
}

// Loads four floats of a row at i; zero past its end or if the row is null.
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

// Stores four floats of a row at i, up to its end.
template <bool ALIGNED> __device__ inline void put_four(float *row, unsigned i, unsigned width, float4 x) {
    if (ALIGNED && i < width) *reinterpret_cast<float4 *>(row + i) = x;
    if (ALIGNED) return;
    if (i < width) row[i] = x.x;
    if (i + 1 < width) row[i + 1] = x.y;
    if (i + 2 < width) row[i + 2] = x.z;
    if (i + 3 < width) row[i + 3] = x.w;
}

// Adds the outer product of two float4.
__device__ inline void add_products(float (&sums)[4][4], float4 a, float4 b) {
    const float left[4] = {a.x, a.y, a.z, a.w}, right[4] = {b.x, b.y, b.z, b.w};
#pragma unroll
    for (unsigned i = 0; i < 4; i++) {
#pragma unroll
        for (unsigned j = 0; j < 4; j++) sums[i][j] += left[i] * right[j];
    }
}
