// A dilated causal convolution of three taps, as one product; and what follows it in NextItNet's residual block, where a block
// of threads holds whole rows.
#include "norm.cuh"
#include "product.cuh"

// Three taps' of 32 columns of x at a time.
using Convolution = Product<3, 32>;

// The convolution of x [n, width], whose rows lie `stride` apart; `sides` holds of each row how many of its window come before
// it, and how many after.
__device__ inline Factors convolved_by(
    const float *taps, const float *x, unsigned stride, const unsigned *sides, unsigned n, unsigned width, unsigned dilation
) {
    return {x, nullptr, taps, sides, n, width, width, stride, dilation};
}

// The convolution of x [n, width], whose rows lie `stride` apart, by `taps` [3, width, width], oldest first; `base` is added
// unless it is null. `ahead` is the way back: each tap, transposed, looks as far ahead as it looks back on the way there.
// blockIdx.x counts rows in ROWS, blockIdx.y columns in COLUMNS.
extern "C" __global__ __launch_bounds__(THREADS, 2) void convolve(
    float *y, const float *x, const float *base, unsigned stride, unsigned ahead, const float *taps, const unsigned *sides,
    unsigned n, unsigned width, unsigned dilation
) {
    __shared__ Convolution::Shared shared;
    const Factors f = convolved_by(taps, x, stride, sides, n, width, dilation);
    const uint2 tile = make_uint2(blockIdx.x, blockIdx.y);
    const Made made = ahead ? Convolution::tile<true>(f, tile, shared) : Convolution::tile<false>(f, tile, shared);
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
    __shared__ Convolution::Shared shared;
    const Factors f = convolved_by(taps, x, width, sides, n, width, dilation);
    const Made made = Convolution::tile<false>(f, make_uint2(blockIdx.x, 0), shared);
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
    __shared__ Convolution::Shared shared;
    const Factors f = convolved_by(taps, second, 3 * width, sides, n, width, dilation);
    const Made made = Convolution::tile<true>(f, make_uint2(blockIdx.x, 0), shared);
    const size_t at = (size_t)made.row * width;
    const Row row(convolved + at, made.width, {bias, scale, shift, eps, true});
    norm_back(first + 3 * at, first + 3 * at + width, row, made.values);
}
