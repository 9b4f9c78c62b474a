// Layer norm, alone or with the ReLU and the residual connection that follow it in NextItNet.
#include "block.cuh"

// What is normalised: a row of x, with a bias if there is one.
struct Row {
    const float *x, *bias;

    __device__ float operator[](unsigned i) const {
        return bias ? x[i] + bias[i] : x[i];
    }
};

// Of a row, the mean and 1 / the standard deviation. A block a row.
__device__ inline float2 moments(Row row, unsigned width, float eps, float *cells) {
    float sum = 0.0f;
    for (unsigned i = threadIdx.x; i < width; i += blockDim.x) sum += row[i];
    const float mean = block_sum(sum, cells) / width;
    float squares = 0.0f;
    for (unsigned i = threadIdx.x; i < width; i += blockDim.x) squares += (row[i] - mean) * (row[i] - mean);
    return make_float2(mean, 1.0f / sqrtf(block_sum(squares, cells) / width + eps));
}

// A block a row of x [rows, width], to which a bias is added first unless it is null. With `relu` what is below zero is cut;
// `base` is added behind that unless it is null.
extern "C" __global__ void layer_norm(
    float *y, const float *x, const float *bias, const float *scale, const float *shift, const float *base, float eps,
    unsigned width, unsigned relu
) {
    SHARED(cells);
    const size_t at = (size_t)blockIdx.x * width;
    const Row row = {x + at, bias};
    const float2 m = moments(row, width, eps, cells);
    for (unsigned i = threadIdx.x; i < width; i += blockDim.x) {
        float value = (row[i] - m.x) * m.y * scale[i] + shift[i];
        if (relu && !(value > 0.0f)) value = 0.0f;
        y[at + i] = base ? base[at + i] + value : value;
    }
}

// The way back of the same but for the base. Writes the gradient of x, and the shares of each row in those of bias, scale and
// shift: `shares` [rows, 3 width].
extern "C" __global__ void layer_norm_back(
    float *dx, float *shares, const float *x, const float *bias, const float *scale, const float *shift, const float *grad,
    float eps, unsigned width, unsigned relu
) {
    SHARED(cells);
    const size_t at = (size_t)blockIdx.x * width;
    const Row row = {x + at, bias};
    float *share = shares + 3 * at;
    const float2 m = moments(row, width, eps, cells);
    float sum = 0.0f, along = 0.0f;
    for (unsigned i = threadIdx.x; i < width; i += blockDim.x) {
        const float normal = (row[i] - m.x) * m.y;
        const float g = relu && !(normal * scale[i] + shift[i] > 0.0f) ? 0.0f : grad[at + i];
        share[width + i] = g * normal;
        share[2 * width + i] = g;
        sum += g * scale[i];
        along += g * scale[i] * normal;
    }
    sum = block_sum(sum, cells) / width;
    along = block_sum(along, cells) / width;
    for (unsigned i = threadIdx.x; i < width; i += blockDim.x) {
        const float normal = (row[i] - m.x) * m.y;
        dx[at + i] = share[i] = (share[2 * width + i] * scale[i] - sum - normal * along) * m.y;
    }
}
