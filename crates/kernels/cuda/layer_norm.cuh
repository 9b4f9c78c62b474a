// Layer norm of a row by LANES threads of a warp, optionally with a bias before it and with ReLU
// and residual after it.
#pragma once

// Threads per row. All threads of a warp must call these functions together; an absent row has
// width zero.
constexpr unsigned LANES = 16;

// Parameters: the optional bias is added before the norm; `relu` says whether a ReLU follows.
struct Norm {
    const float *bias, *scale, *shift;
    float eps;
    unsigned relu;
};

// Sum over the threads that share a row, with the same bits in each.
__device__ inline float row_sum(float x) {
    for (unsigned mask = LANES / 2; mask > 0; mask /= 2) x += __shfl_xor_sync(0xffffffff, x, mask);
    return x;
}

// A row, its mean and 1 / standard deviation. Each thread handles every LANES-th element.
struct Row {
    const float *x;
    unsigned width;
    Norm norm;
    float mean, inv_std;

    __device__ Row(const float *x, unsigned width, Norm norm) : x(x), width(width), norm(norm) {
        float sum = 0.0f, squares = 0.0f;
#pragma unroll 4
        for (unsigned i = threadIdx.x % LANES; i < width; i += LANES) sum += biased(i);
        mean = row_sum(sum) / width;
#pragma unroll 4
        for (unsigned i = threadIdx.x % LANES; i < width; i += LANES) squares += (biased(i) - mean) * (biased(i) - mean);
        inv_std = 1.0f / sqrtf(row_sum(squares) / width + norm.eps);
    }

    // The norm's input.
    __device__ float biased(unsigned i) const {
        return norm.bias ? x[i] + norm.bias[i] : x[i];
    }

    // The normalised element.
    __device__ float normal(unsigned i) const {
        return (biased(i) - mean) * inv_std;
    }

    // The norm's output, before the ReLU.
    __device__ float scaled(unsigned i, float normal) const {
        return normal * norm.scale[i] + norm.shift[i];
    }

    // Whether the ReLU makes it zero.
    __device__ bool is_cut(float scaled) const {
        return norm.relu && !(scaled > 0.0f);
    }
};

// y [width] = relu(norm(x + bias)) + base; ReLU, bias and base are optional.
__device__ inline void norm_forward(float *__restrict__ y, const Row &row, const float *__restrict__ base) {
#pragma unroll 4
    for (unsigned i = threadIdx.x % LANES; i < row.width; i += LANES) {
        const float scaled = row.scaled(i, row.normal(i)), value = row.is_cut(scaled) ? 0.0f : scaled;
        y[i] = base ? base[i] + value : value;
    }
}

// dx [width] = (g scale - mean(g scale) - h mean(g scale h)) / std, with h the normalised row and g
// the gradient of the norm's output; `shares` [2, width]: the row's contributions to the gradients
// of scale, g h, and of shift, g.
__device__ inline void norm_backward(
    float *__restrict__ dx, float *__restrict__ shares, const Row &row, const float *__restrict__ grad
) {
    float sum = 0.0f, along = 0.0f;
#pragma unroll 4
    for (unsigned i = threadIdx.x % LANES; i < row.width; i += LANES) {
        const float normal = row.normal(i), g = row.is_cut(row.scaled(i, normal)) ? 0.0f : grad[i];
        shares[i] = g * normal;
        shares[row.width + i] = g;
        sum += g * row.norm.scale[i];
        along += g * row.norm.scale[i] * normal;
    }
    sum = row_sum(sum) / row.width;
    along = row_sum(along) / row.width;
#pragma unroll 4
    for (unsigned i = threadIdx.x % LANES; i < row.width; i += LANES) {
        const float normal = row.normal(i), g = row.is_cut(row.scaled(i, normal)) ? 0.0f : grad[i];
        dx[i] = (g * row.norm.scale[i] - sum - normal * along) * row.inv_std;
    }
}
