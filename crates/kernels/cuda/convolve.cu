// A dilated causal convolution of three taps, as one product whose factors are read where they lie; and what follows it in
// NextItNet's residual block, where a block of threads holds whole rows.
#include "block.cuh"
#include "convolution.cuh"
#include "norm.cuh"

// A block makes ROWS rows of COLUMNS numbers, from DEPTH columns of x at a time. PARTS groups of threads share the columns
// that all taps meet, 4 x 4 sums a thread.
constexpr unsigned ROWS = 16, COLUMNS = 64, DEPTH = 32, PARTS = 4, THREADS = ROWS * COLUMNS / 16 * PARTS;
constexpr unsigned FACTORS = TAPS * DEPTH, SHARE = FACTORS / PARTS;
// Of the float4s of each factor, those that a thread brings.
constexpr unsigned OF_X = (ROWS * FACTORS / 4 + THREADS - 1) / THREADS, OF_TAPS = FACTORS * COLUMNS / 4 / THREADS;
static_assert(THREADS == ROWS * LANES, "a row has its lanes");

// x [n, width], whose rows lie `stride` apart, and `taps` [3, width, width]. `sides` holds of each row how many of its window
// come before it, and how many after.
struct Factors {
    const float *x, *taps;
    const unsigned *sides;
    unsigned n, width, stride, dilation;
};

// The factors, and then the parts of the sums. Four numbers behind each row keep the banks of neighbours apart.
union alignas(sizeof(float4)) Shared {
    struct {
        float x[ROWS][FACTORS + 4], taps[FACTORS][COLUMNS + 4];
    } of;
    float parts[PARTS][ROWS][COLUMNS];
};

// The j-th four numbers of the taps that a thread brings: tap, column of x, column of the result. Ahead, where taps are
// transposed, a warp takes two of 16 rows each.
template <bool AHEAD> __device__ inline uint3 place_of_taps(unsigned j) {
    const unsigned i = threadIdx.x + j * THREADS, inside = i % (DEPTH * COLUMNS / 4), tap = i / (DEPTH * COLUMNS / 4);
    if (AHEAD) return make_uint3(tap, (inside / 16 % 2 + inside / 128 * 2) * 4, inside % 16 + inside / 32 % 4 * 16);
    return make_uint3(tap, inside / (COLUMNS / 4), inside % (COLUMNS / 4) * 4);
}

// This thread's part of a tile of the product.
template <bool AHEAD, bool ALIGNED> __device__ inline void multiply(float (&sums)[4][4], const Factors &f, Shared &shared) {
    const unsigned width = f.width, column = blockIdx.y * COLUMNS;
    const float *rows[OF_X];
#pragma unroll
    for (unsigned j = 0; j < OF_X; j++) {
        // A row that is not there is read as the last, and goes nowhere.
        const unsigned i = (threadIdx.x + j * THREADS) * 4, row = min(blockIdx.x * ROWS + i / FACTORS, f.n - 1);
        const unsigned tap = i % FACTORS / DEPTH, left = f.sides[2 * row + AHEAD];
        rows[j] = i < ROWS * FACTORS ? met(f.x, f.stride, row, tap, f.dilation, left, AHEAD) : nullptr;
    }
    float4 of_x[OF_X], of_taps[OF_TAPS];
    const auto bring = [&](unsigned from) {
        // The taps first, which wait for no side.
#pragma unroll
        for (unsigned j = 0; j < OF_TAPS; j++) {
            const uint3 at = place_of_taps<AHEAD>(j);
            const unsigned k = from + at.y, c = column + at.z, row = AHEAD ? c : k;
            const float *taps = row < width ? f.taps + ((size_t)at.x * width + row) * width : nullptr;
            of_taps[j] = four<ALIGNED>(taps, AHEAD ? k : c, width);
        }
#pragma unroll
        for (unsigned j = 0; j < OF_X; j++) {
            of_x[j] = four<ALIGNED>(rows[j], from + (threadIdx.x + j * THREADS) * 4 % DEPTH, width);
        }
    };
    const auto store = [&] {
#pragma unroll
        for (unsigned j = 0; j < OF_X; j++) {
            const unsigned i = (threadIdx.x + j * THREADS) * 4;
            if (i < ROWS * FACTORS) *reinterpret_cast<float4 *>(&shared.of.x[i / FACTORS][i % FACTORS]) = of_x[j];
        }
#pragma unroll
        for (unsigned j = 0; j < OF_TAPS; j++) {
            const uint3 at = place_of_taps<AHEAD>(j);
            float(*to)[COLUMNS + 4] = &shared.of.taps[at.x * DEPTH + at.y];
            if (AHEAD) {
                to[0][at.z] = of_taps[j].x;
                to[1][at.z] = of_taps[j].y;
                to[2][at.z] = of_taps[j].z;
                to[3][at.z] = of_taps[j].w;
            } else {
                *reinterpret_cast<float4 *>(&to[0][at.z]) = of_taps[j];
            }
        }
    };
    const unsigned first = threadIdx.x / (THREADS / PARTS) * SHARE, r = threadIdx.x / 16 % 4 * 4, c = threadIdx.x % 16 * 4;
    bring(0);
    for (unsigned from = 0; from < width; from += DEPTH) {
        store();
        __syncthreads();
        // The next are on their way while these are multiplied.
        if (from + DEPTH < width) bring(from + DEPTH);
#pragma unroll 3
        for (unsigned i = 0; i < SHARE; i += 4) {
            const auto x = [&](unsigned j) { return *reinterpret_cast<const float4 *>(&shared.of.x[r + j][first + i]); };
            const auto taps = [&](unsigned j) { return *reinterpret_cast<const float4 *>(&shared.of.taps[first + i + j][c]); };
            const float4 a = x(0), b = x(1), d = x(2), e = x(3);
            add_products(sums, make_float4(a.x, b.x, d.x, e.x), taps(0));
            add_products(sums, make_float4(a.y, b.y, d.y, e.y), taps(1));
            add_products(sums, make_float4(a.z, b.z, d.z, e.z), taps(2));
            add_products(sums, make_float4(a.w, b.w, d.w, e.w), taps(3));
        }
        __syncthreads();
    }
}

// A row of this block's tile: each thread has every LANES-th number of a row, and may write over it. A row that is not there
// has width zero.
struct Made {
    float *values;
    unsigned row, width;
};

// This block's tile of the product.
template <bool AHEAD> __device__ inline Made product(const Factors &f, Shared &shared) {
    float sums[4][4] = {};
    if (are_aligned(f.x, f.taps, f.width)) multiply<AHEAD, true>(sums, f, shared);
    else multiply<AHEAD, false>(sums, f, shared);
    const unsigned part = threadIdx.x / (THREADS / PARTS), r = threadIdx.x / 16 % 4 * 4, c = threadIdx.x % 16 * 4;
#pragma unroll
    for (unsigned i = 0; i < 4; i++) {
        *reinterpret_cast<float4 *>(&shared.parts[part][r + i][c]) = make_float4(sums[i][0], sums[i][1], sums[i][2], sums[i][3]);
    }
    __syncthreads();
    const unsigned row = threadIdx.x / LANES;
    float *values = shared.parts[0][row];
#pragma unroll
    for (unsigned i = threadIdx.x % LANES; i < COLUMNS; i += LANES) {
        for (unsigned part = 1; part < PARTS; part++) values[i] += shared.parts[part][row][i];
    }
    const unsigned at = blockIdx.x * ROWS + row;
    return {values, at, at < f.n ? min(COLUMNS, f.width - blockIdx.y * COLUMNS) : 0};
}

// The convolution of x [n, width], whose rows lie `stride` apart, by `taps` [3, width, width], oldest first; `base` is added
// unless it is null. `ahead` is the way back: each tap, transposed, looks as far ahead as it looks back on the way there.
// blockIdx.x counts rows in ROWS, blockIdx.y columns in COLUMNS.
extern "C" __global__ __launch_bounds__(THREADS, 2) void convolve(
    float *y, const float *x, const float *base, unsigned stride, unsigned ahead, const float *taps, const unsigned *sides,
    unsigned n, unsigned width, unsigned dilation
) {
    __shared__ Shared shared;
    const Factors f = {x, taps, sides, n, width, stride, dilation};
    const Made made = ahead ? product<true>(f, shared) : product<false>(f, shared);
    const size_t at = (size_t)made.row * width + blockIdx.y * COLUMNS;
    for (unsigned i = threadIdx.x % LANES; i < made.width; i += LANES) {
        y[at + i] = base ? base[at + i] + made.values[i] : made.values[i];
    }
}

// A half of the block on the way there, up to COLUMNS wide: the convolution, which is kept, then bias, layer norm and ReLU,
// to which `base` is added unless it is null.
extern "C" __global__ __launch_bounds__(THREADS, 2) void convolve_norm(
    float *y, float *convolved, const float *x, const float *base, const float *bias, const float *scale, const float *shift,
    float eps, const float *taps, const unsigned *sides, unsigned n, unsigned width, unsigned dilation
) {
    __shared__ Shared shared;
    const Made made = product<false>({x, taps, sides, n, width, width, dilation}, shared);
    const size_t at = (size_t)made.row * width;
    for (unsigned i = threadIdx.x % LANES; i < made.width; i += LANES) convolved[at + i] = made.values[i];
    const Row row(made.values, made.width, {bias, scale, shift, eps, true});
    norm_there(y + at, row, base ? base + at : nullptr);
}

// The way back through the second half's convolution and the first half's ReLU and layer norm, up to COLUMNS wide. A row of
// `second` begins with the gradient of what the second convolution put out, `convolved` is what the first one did, and the
// shares in the gradients of the first's bias, scale and shift become a row of `first`; both [n, 3 width].
extern "C" __global__ __launch_bounds__(THREADS, 2) void convolve_norm_back(
    float *first, const float *second, const float *convolved, const float *bias, const float *scale, const float *shift,
    float eps, const float *taps, const unsigned *sides, unsigned n, unsigned width, unsigned dilation
) {
    __shared__ Shared shared;
    const Made made = product<true>({second, taps, sides, n, width, 3 * width, dilation}, shared);
    const size_t at = (size_t)made.row * width;
    const Row row(convolved + at, made.width, {bias, scale, shift, eps, true});
    norm_back(first + 3 * at, first + 3 * at + width, row, made.values);
}
