// Layer norm of a row shared by some threads of a warp, optionally with ReLU and residual
// connection.
#pragma once

// Threads per row. All threads of a warp must call these functions together; an absent row has
// width zero.
constexpr unsigned LANES = 16;

// Scale and shift, a bias that is added before unless it is null, and whether what is below zero is
// cut behind.
struct Norm {
    const float *bias, *scale, *shift;
    float eps;
    unsigned relu;
};

// The sum of a number of each of the threads that share a row, broadcast to all of them.
__device__ inline float row_sum(float x) {
    for (unsigned mask = LANES / 2; mask > 0; mask /= 2) x += __shfl_xor_sync(0xffffffff, x, mask);
    return x;
}

// A row with its mean and 1 / its standard deviation. Each thread handles every LANES-th element.
struct Row {
    const float *x;
    unsigned width;
    Norm norm;
    float mean, rooted;

    __device__ Row(const float *x, unsigned width, Norm norm) : x(x), width(width), norm(norm) {
        float sum = 0.0f, squares = 0.0f;
#pragma unroll 4
        for (unsigned i = threadIdx.x % LANES; i < width; i += LANES) sum += biased(i);
        mean = row_sum(sum) / width;
#pragma unroll 4
        for (unsigned i = threadIdx.x % LANES; i < width; i += LANES) squares += (biased(i) - mean) * (biased(i) - mean);
        rooted = 1.0f / sqrtf(row_sum(squares) / width + norm.eps);
    }

    __device__ float biased(unsigned i) const {
        return norm.bias ? x[i] + norm.bias[i] : x[i];
    }

    __device__ float normal(unsigned i) const {
        return (biased(i) - mean) * rooted;
    }

    // What follows of a normalised number, and whether the ReLU cuts it.
    __device__ float scaled(unsigned i, float normal) const {
        return normal * norm.scale[i] + norm.shift[i];
    }

    __device__ bool is_cut(float scaled) const {
        return norm.relu && !(scaled > 0.0f);
    }
};

// Output of a row; `base` (optional) is added.
__device__ inline void norm_there(float *__restrict__ y, const Row &row, const float *__restrict__ base) {
#pragma unroll 4
    for (unsigned i = threadIdx.x % LANES; i < row.width; i += LANES) {
        const float scaled = row.scaled(i, row.normal(i)), value = row.is_cut(scaled) ? 0.0f : scaled;
        y[i] = base ? base[i] + value : value;
    }
}

// The backward pass: the gradient of the row, and its shares in those of scale and shift, one after
// the other.
__device__ inline void norm_back(
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
        dx[i] = (g * row.norm.scale[i] - sum - normal * along) * row.rooted;
    }
}
