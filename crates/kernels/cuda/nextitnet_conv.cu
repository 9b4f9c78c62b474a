// Dilated causal convolution of kernel size 3 as one product, with the fused norm, ReLU and
// residual of NextItNet's block where a tile holds whole rows. Kernels that read `kept` add to each
// row of theirs its own of `base`, if `base` is not null and has one: `kept_given` and `kept_made`
// are the tables of the block's rows, first and last, of which it keeps every so many-th.
#include "layer_norm.cuh"
#include "gemm.cuh"

// Three taps' of 32 columns of x at a time.
using Convolution = Product<3, 32>;

// The convolution of x [.., width], whose rows lie `stride` apart, to n rows.
__device__ inline Factors convolved_by(
    const float *taps, const float *x, unsigned stride, Kept rows, unsigned n, unsigned width, unsigned dilation
) {
    return {x, nullptr, taps, rows, n, width, width, stride, dilation};
}

// The convolution of x, whose rows lie `stride` apart, by `taps` [3, width, width], oldest first: n
// rows y that are made of the given rows x. `ahead` is the backward pass: each tap, transposed,
// looks as far ahead as it looks back in the forward pass, and x are the rows that were made, y
// those that were given. blockIdx.x counts rows in ROWS, blockIdx.y columns in COLUMNS.
extern "C" __global__ __launch_bounds__(THREADS, 2) void conv(
    float *y, const float *x, unsigned stride, unsigned ahead, const float *base, const unsigned *kept_given,
    const unsigned *kept_made, unsigned kept_every, const float *taps, const unsigned *given, const unsigned *made_of,
    unsigned windows, unsigned every, unsigned n, unsigned width, unsigned dilation
) {
    __shared__ Convolution::Shared shared;
    const Factors f = convolved_by(taps, x, stride, {given, made_of, windows, every}, n, width, dilation);
    const uint2 tile = make_uint2(blockIdx.x, blockIdx.y);
    const Made made = ahead ? Convolution::tile<true>(f, tile, shared) : Convolution::tile<false>(f, tile, shared);
    const unsigned column = blockIdx.y * COLUMNS;
    const Kept kept = {kept_given, kept_made, windows, kept_every};
    unsigned row;
    if (made.width == 0 || !base || !kept.is_made(row, made.row, 0)) base = nullptr;
    else base += (size_t)row * width + column;
    y += (size_t)made.row * width + column;
    for (unsigned i = threadIdx.x % LANES; i < made.width; i += LANES) y[i] = base ? base[i] + made.values[i] : made.values[i];
}

// A half of the block in the forward pass, up to COLUMNS wide: the convolution, which is kept, then
// bias, layer norm and ReLU.
extern "C" __global__ __launch_bounds__(THREADS, 2) void conv_norm(
    float *y, float *convolved, const float *x, const float *base, const unsigned *kept_given, const unsigned *kept_made,
    unsigned kept_every, const float *bias, const float *scale, const float *shift, float eps, const float *taps,
    const unsigned *given, const unsigned *made_of, unsigned windows, unsigned every, unsigned n, unsigned width,
    unsigned dilation
) {
    __shared__ Convolution::Shared shared;
    const Factors f = convolved_by(taps, x, width, {given, made_of, windows, every}, n, width, dilation);
    const Made made = Convolution::tile<false>(f, make_uint2(blockIdx.x, 0), shared);
    const size_t at = (size_t)made.row * width;
    for (unsigned i = threadIdx.x % LANES; i < made.width; i += LANES) convolved[at + i] = made.values[i];
    const Row row(made.values, made.width, {bias, scale, shift, eps, true});
    const Kept kept = {kept_given, kept_made, windows, kept_every};
    if (base && made.width > 0) base += (size_t)kept.place(made.row).x * width;
    norm_there(y + at, row, base);
}

// The backward pass through the second half's convolution and the first half's ReLU and layer norm,
// up to COLUMNS wide. A row of `second` begins with the gradient of what the second convolution put
// out, `convolved` is what the first one did, and the shares in the gradients of the first's bias,
// scale and shift become a row of `first`; both of 3 width.
extern "C" __global__ __launch_bounds__(THREADS, 2) void conv_norm_backward(
    float *first, const float *second, const float *convolved, const float *bias, const float *scale, const float *shift,
    float eps, const float *taps, const unsigned *given, const unsigned *made_of, unsigned windows, unsigned every, unsigned n,
    unsigned width, unsigned dilation
) {
    __shared__ Convolution::Shared shared;
    const Factors f = convolved_by(taps, second, 3 * width, {given, made_of, windows, every}, n, width, dilation);
    const Made made = Convolution::tile<true>(f, make_uint2(blockIdx.x, 0), shared);
    const size_t at = (size_t)made.row * width;
    const Row row(convolved + at, made.width, {bias, scale, shift, eps, true});
    norm_back(first + 3 * at, first + 3 * at + width, row, made.values);
}

// Adds to each of the n numbers of y that of `base` in the row it keeps.
extern "C" __global__ void add_residual(
    float *y, const float *base, const unsigned *kept_given, const unsigned *kept_made, unsigned kept_every, unsigned windows,
    unsigned n, unsigned width
) {
    const size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    const Kept kept = {kept_given, kept_made, windows, kept_every};
    y[i] += base[(size_t)kept.place(i / width).x * width + i % width];
}
