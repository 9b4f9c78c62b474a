// The gradients of a residual block's parameters, a part of the rows at a time.
#include "block.cuh"
#include "convolution.cuh"

// A block makes SIDE x SIDE numbers from DEPTH rows at a time, 4 x 4 sums a thread: LINES lines of FOURS threads, each of
// which brings BROUGHT float4s of each factor.
constexpr unsigned SIDE = 64, DEPTH = 32, FOURS = SIDE / 4, LINES = SIDE / 4, BROUGHT = DEPTH / LINES;

// What a half of the block was given; and of each row its shares in the gradients of bias, scale and shift, [n, 3 width],
// of which the bias's is the gradient of what the convolution put out.
struct Half {
    const float *x, *shares;
    unsigned dilation;
};

// The factors of some rows.
struct Shared {
    float4 x[DEPTH][FOURS], grad[DEPTH][FOURS];
};

__device__ inline float4 sum(float4 a, float4 b) {
    return make_float4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w);
}

template <bool ALIGNED>
__device__ inline void gradients(
    float *out, const Half &half, const unsigned *sides, unsigned begin, unsigned end, unsigned width, Shared &shared
) {
    const unsigned tiles = (width + SIDE - 1) / SIDE, tap = blockIdx.x / (tiles * tiles);
    const unsigned top = blockIdx.x / tiles % tiles * SIDE, left = blockIdx.x % tiles * SIDE;
    const unsigned line = threadIdx.x / FOURS, four_of = threadIdx.x % FOURS, column = left + 4 * four_of;
    float4 x[BROUGHT], grad[BROUGHT], share[BROUGHT];
    unsigned before[BROUGHT];
    // Of each row, how many of its window come before it: asked for in time, for rows of x wait for it.
    const auto locate = [&](unsigned from) {
#pragma unroll
        for (unsigned j = 0; j < BROUGHT; j++) {
            const unsigned row = from + line + j * LINES;
            before[j] = row < end ? sides[2 * row] : 0;
        }
    };
    const auto bring = [&](unsigned from) {
#pragma unroll
        for (unsigned j = 0; j < BROUGHT; j++) {
            const unsigned row = from + line + j * LINES;
            const float *shares = row < end ? half.shares + (size_t)row * 3 * width : nullptr;
            const float *of_tap = row < end ? met(half.x, width, row, tap, half.dilation, before[j], false) : nullptr;
            x[j] = four<ALIGNED>(of_tap, top + 4 * four_of, width);
            grad[j] = four<ALIGNED>(shares, column, width);
            share[j] = four<ALIGNED>(shares && top == 0 ? shares + tap * width : nullptr, column, width);
        }
        locate(from + DEPTH);
    };
    float sums[4][4] = {};
    float4 of_shares = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    locate(begin);
    bring(begin);
    for (unsigned from = begin; from < end; from += DEPTH) {
#pragma unroll
        for (unsigned j = 0; j < BROUGHT; j++) {
            shared.x[line + j * LINES][four_of] = x[j];
            shared.grad[line + j * LINES][four_of] = grad[j];
            of_shares = sum(of_shares, share[j]);
        }
        __syncthreads();
        // The next are on their way while these are multiplied.
        if (from + DEPTH < end) bring(from + DEPTH);
#pragma unroll 8
        for (unsigned k = 0; k < DEPTH; k++) add_products(sums, shared.x[k][line], shared.grad[k][four_of]);
        __syncthreads();
    }
#pragma unroll
    for (unsigned i = 0; i < 4; i++) {
        const unsigned row = top + 4 * line + i;
        const float4 made = make_float4(sums[i][0], sums[i][1], sums[i][2], sums[i][3]);
        if (row < width) put_four<ALIGNED>(out + ((size_t)tap * width + row) * width, column, width, made);
    }
    shared.x[line][four_of] = of_shares;
    __syncthreads();
    if (top == 0 && line == 0) {
        for (unsigned k = 1; k < LINES; k++) of_shares = sum(of_shares, shared.x[k][four_of]);
        put_four<ALIGNED>(out + (size_t)(TAPS * width + tap) * width, column, width, of_shares);
    }
}

// The part in the gradient of the block's parameters that `rows` rows have: row blockIdx.y of `parts` from rows of that part.
// blockIdx.z is the half, the second with twice the dilation; blockIdx.x counts taps, in a tap its rows in SIDE, and in those
// the columns in SIDE. Beside its first rows a tap brings one of bias, scale and shift.
extern "C" __global__ void taps_gradient(
    float *parts, const float *x_one, const float *x_two, const float *shares_one, const float *shares_two,
    const unsigned *sides, unsigned n, unsigned width, unsigned dilation, unsigned rows
) {
    __shared__ Shared shared;
    const Half half = blockIdx.z ? Half{x_two, shares_two, 2 * dilation} : Half{x_one, shares_one, dilation};
    float *out = parts + (2 * (size_t)blockIdx.y + blockIdx.z) * (TAPS * width + 3) * width;
    const unsigned begin = blockIdx.y * rows, end = min(n, begin + rows);
    if (are_aligned(half.x, half.shares, width)) gradients<true>(out, half, sides, begin, end, width, shared);
    else gradients<false>(out, half, sides, begin, end, width, shared);
}
