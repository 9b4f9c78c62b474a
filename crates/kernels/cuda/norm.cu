// Layer norm, alone or with the ReLU and the residual connection that follow it in NextItNet.
#include "block.cuh"

// Of a row, the mean and 1 / the standard deviation. A block a row.
__device__ inline float2 moments(const float *row, unsigned width, float eps, float *cells) {
    float sum = 0.0f;
    for (unsigned i = threadIdx.x; i < width; i += blockDim.x) sum += row[i];
    const float mean = block_sum(sum, cells) / width;
    float squares = 0.0f;
    for (unsigned i = threadIdx.x; i < width; i += blockDim.x) squares += (row[i] - mean) * (row[i] - mean);
    return make_float2(mean, 1.0f / sqrtf(block_sum(squares, cells) / width + eps));
}

// A block a row of x [rows, width]. With `relu` what is below zero is cut; `base` is added behind that if `has_base`.
extern "C" __global__ void layer_norm(
    float *y, const float *x, const float *scale, const float *shift, const float *base, float eps, unsigned width,
    unsigned relu, unsigned has_base
) {
    SHARED(cells);
    const size_t at = (size_t)blockIdx.x * width;
    const float2 m = moments(x + at, width, eps, cells);
    for (unsigned i = threadIdx.x; i < width; i += blockDim.x) {
        float value = (x[at + i] - m.x) * m.y * scale[i] + shift[i];
        if (relu && !(value > 0.0f)) value = 0.0f;
        y[at + i] = has_base ? base[at + i] + value : value;
    }
}

// The way back of the same but for the base. Writes the gradient of x, and the shares of each row in those of scale and
// shift: `shares` [rows, 2 width].
extern "C" __global__ void layer_norm_back(
    float *dx, float *shares, const float *x, const float *scale, const float *shift, const float *grad, float eps,
    unsigned width, unsigned relu
) {
    SHARED(cells);
    const size_t at = (size_t)blockIdx.x * width;
    const float2 m = moments(x + at, width, eps, cells);
    float sum = 0.0f, along = 0.0f;
    for (unsigned i = threadIdx.x; i < width; i += blockDim.x) {
        const float normal = (x[at + i] - m.x) * m.y;
        const float g = relu && !(normal * scale[i] + shift[i] > 0.0f) ? 0.0f : grad[at + i];
        shares[2 * at + i] = g * normal;
        shares[2 * at + width + i] = g;
        dx[at + i] = g * scale[i];
        sum += g * scale[i];
        along += g * scale[i] * normal;
    }
    sum = block_sum(sum, cells) / width;
    along = block_sum(along, cells) / width;
    for (unsigned i = threadIdx.x; i < width; i += blockDim.x) {
        dx[at + i] = (dx[at + i] - sum - (x[at + i] - m.x) * m.y * along) * m.y;
    }
}
