// Dilated causal convolution of kernel size 3 as one product, with the norm, ReLU and residual of
// NextItNet's block fused to it where a tile holds whole rows (width up to COLUMNS).
//
// A convolution maps rows by `in_table`, `out_table` and `stride` (see RowMap), the residual by
// `base_in`, `base_out` and `base_stride`, from the block's input rows to its output rows. `base`
// (optional) is the residual: the block's input in the forward pass, the gradient of its output in
// the backward pass.
#include "layer_norm.cuh"
#include "gemm.cuh"

// The product in slices of 32 columns of x for each of the three taps.
using Convolution = Product<3, 32>;

// Arguments of the convolution of x [.., width], whose rows lie `x_stride` apart, with n result
// rows.
__device__ inline ProductArgs convolution_args(
    const float *taps, const float *x, unsigned x_stride, RowMap rows, unsigned n, unsigned width, unsigned dilation
) {
    return {x, nullptr, taps, rows, n, width, width, x_stride, dilation};
}

// y [n, width] = sum over the taps k of x[in - (2 - k) dilation] taps[k], with `in` the input row
// of an output row; taps [3, width, width], oldest first, and rows of x `x_stride` apart. With
// `backward` the gradient of the convolution's input: x holds the output rows' gradients, y the
// input rows', and the taps are transposed; `base`, if an input row has an output row, is added.
// Grid: blockIdx.x counts rows in ROWS, blockIdx.y columns in COLUMNS. Block: THREADS threads.
extern "C" __global__ __launch_bounds__(THREADS, 2) void conv(
    float *y, const float *x, unsigned x_stride, unsigned backward, const float *base, const unsigned *base_in,
    const unsigned *base_out, unsigned base_stride, const float *taps, const unsigned *in_table, const unsigned *out_table,
    unsigned windows, unsigned stride, unsigned n, unsigned width, unsigned dilation
) {
    __shared__ Convolution::Shared shared;
    const ProductArgs f = convolution_args(taps, x, x_stride, {in_table, out_table, windows, stride}, n, width, dilation);
    const uint2 tile = make_uint2(blockIdx.x, blockIdx.y);
    const TileRow tile_row = backward ? Convolution::tile<true>(f, tile, shared) : Convolution::tile<false>(f, tile, shared);
    const unsigned column = blockIdx.y * COLUMNS;
    const RowMap residual = {base_in, base_out, windows, base_stride};
    unsigned row;
    if (tile_row.width == 0 || !base || !residual.find_output(row, tile_row.row, 0)) base = nullptr;
    else base += (size_t)row * width + column;
    y += (size_t)tile_row.row * width + column;
    for (unsigned i = threadIdx.x % LANES; i < tile_row.width; i += LANES) y[i] = base ? base[i] + tile_row.values[i] : tile_row.values[i];
}

// convolved [n, width] = conv(x), saved for the backward pass, and y [n, width] =
// relu(norm(convolved + bias) scale + shift) + base, for width up to COLUMNS: half of the block in
// the forward pass. Grid: blockIdx.x counts rows in ROWS. Block: THREADS threads.
extern "C" __global__ __launch_bounds__(THREADS, 2) void conv_norm(
    float *y, float *convolved, const float *x, const float *base, const unsigned *base_in, const unsigned *base_out,
    unsigned base_stride, const float *bias, const float *scale, const float *shift, float eps, const float *taps,
    const unsigned *in_table, const unsigned *out_table, unsigned windows, unsigned stride, unsigned n, unsigned width,
    unsigned dilation
) {
    __shared__ Convolution::Shared shared;
    const ProductArgs f = convolution_args(taps, x, width, {in_table, out_table, windows, stride}, n, width, dilation);
    const TileRow tile_row = Convolution::tile<false>(f, make_uint2(blockIdx.x, 0), shared);
    const size_t at = (size_t)tile_row.row * width;
    for (unsigned i = threadIdx.x % LANES; i < tile_row.width; i += LANES) convolved[at + i] = tile_row.values[i];
    const Row row(tile_row.values, tile_row.width, {bias, scale, shift, eps, true});
    const RowMap residual = {base_in, base_out, windows, base_stride};
    if (base && tile_row.width > 0) base += (size_t)residual.input_of(tile_row.row).x * width;
    norm_forward(y + at, row, base);
}

// first [n, 3, width] = the first half's contributions to the gradients of its bias, scale and
// shift, from those of the second half, `second` [.., 3, width], for width up to COLUMNS: the
// backward pass through the second convolution and the first half's ReLU and norm. A bias's
// contribution is the gradient of its convolution's output. `convolved` [n, width] is the first
// convolution's output. Grid: blockIdx.x counts rows in ROWS. Block: THREADS threads.
extern "C" __global__ __launch_bounds__(THREADS, 2) void conv_norm_backward(
    float *first, const float *second, const float *convolved, const float *bias, const float *scale, const float *shift,
    float eps, const float *taps, const unsigned *in_table, const unsigned *out_table, unsigned windows, unsigned stride,
    unsigned n, unsigned width, unsigned dilation
) {
    __shared__ Convolution::Shared shared;
    const ProductArgs f = convolution_args(taps, second, 3 * width, {in_table, out_table, windows, stride}, n, width, dilation);
    const TileRow tile_row = Convolution::tile<true>(f, make_uint2(blockIdx.x, 0), shared);
    const size_t at = (size_t)tile_row.row * width;
    const Row row(convolved + at, tile_row.width, {bias, scale, shift, eps, true});
    norm_backward(first + 3 * at, first + 3 * at + width, row, tile_row.values);
}

// y[row] += base[input row of row], for y of n elements with rows of `width`. One thread per
// element.
extern "C" __global__ void add_residual(
    float *y, const float *base, const unsigned *base_in, const unsigned *base_out, unsigned base_stride, unsigned windows,
    unsigned n, unsigned width
) {
    const size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    const RowMap residual = {base_in, base_out, windows, base_stride};
    y[i] += base[(size_t)residual.input_of(i / width).x * width + i % width];
}
