// Single-head attention within windows, one block per window.
#include "block.cuh"

// First row and number of a window's queries and of its keys, and the index of its first weight.
struct Window {
    unsigned query, queries, key, keys, weight;
};

// Dot product of two vectors, broadcast to the warp that computes it.
__device__ inline float warp_dot(const float *a, const float *b, unsigned width) {
    float sum = 0.0f;
    for (unsigned c = threadIdx.x % 32; c < width; c += 32) sum += a[c] * b[c];
#pragma unroll
    for (int other = 16; other > 0; other /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, other);
    return sum;
}

// dots [n] = factor rows [n, width] x [width]; one warp per row.
__device__ inline void dots(float *dots, const float *x, const float *rows, unsigned n, unsigned width, float factor) {
    const unsigned warps = blockDim.x / 32;
    // All warps iterate equally often, as the emulator needs, whose shuffle suspends the thread: a
    // warp without a row repeats the first.
    for (unsigned start = 0; start < n; start += warps) {
        const unsigned j = start + threadIdx.x / 32;
        const float dot = warp_dot(x, rows + (size_t)(j < n ? j : 0) * width, width);
        if (j < n && threadIdx.x % 32 == 0) dots[j] = dot * factor;
    }
    __syncthreads();
}

// weights [seen] = softmax(q_i k^T / sqrt(width)) over the keys that the window's query i attends
// to. Returns their number.
__device__ inline unsigned softmax(
    const float *q, const float *k, const Window &window, unsigned i, unsigned causal, unsigned width, float *weights
) {
    const unsigned seen = causal ? min(window.keys, i + 1) : window.keys;
    const float *query = q + (size_t)(window.query + i) * width;
    dots(weights, query, k + (size_t)window.key * width, seen, width, 1.0f / sqrtf((float)width));
    // A window has few keys, so each thread loops over all of them.
    float top = -INFINITY, sum = 0.0f;
    for (unsigned j = 0; j < seen; j++) top = fmaxf(top, weights[j]);
    __syncthreads();
    for (unsigned j = threadIdx.x; j < seen; j += blockDim.x) weights[j] = expf(weights[j] - top);
    __syncthreads();
    for (unsigned j = 0; j < seen; j++) sum += weights[j];
    __syncthreads();
    for (unsigned j = threadIdx.x; j < seen; j += blockDim.x) weights[j] /= sum;
    __syncthreads();
    return seen;
}

// y [queries, width] = (softmax(q k^T / sqrt(width)) * factors) v within each window, for packed q
// [queries, width], k and v [keys, width]; with `causal`, query i attends to keys 0..=i. `factors`
// are optional dropout factors of the weights, in the order windows, queries, keys. Grid: one block
// per window. Dynamic shared memory: one float per key of the longest window.
extern "C" __global__ void attention(
    float *__restrict__ y, const float *__restrict__ q, const float *__restrict__ k, const float *__restrict__ v,
    const float *__restrict__ factors, const Window *__restrict__ windows, unsigned width, unsigned causal
) {
    SHARED(weights);
    const Window window = windows[blockIdx.x];
    for (unsigned i = 0; i < window.queries; i++) {
        const unsigned seen = softmax(q, k, window, i, causal, width, weights);
        const float *factor = factors + window.weight + (size_t)i * window.keys;
        for (unsigned c = threadIdx.x; c < width; c += blockDim.x) {
            const float *value = v + (size_t)window.key * width + c;
            float sum = 0.0f;
#pragma unroll 4
            for (unsigned j = 0; j < seen; j++) {
                sum += (factors ? weights[j] * factor[j] : weights[j]) * value[(size_t)j * width];
            }
            y[(size_t)(window.query + i) * width + c] = sum;
        }
        __syncthreads();
    }
}

// With weights p, dropout factors f and the gradient g of y: dp = f * (g v^T), ds = p * (dp - sum(p
// * dp)) / sqrt(width), then dq = ds k, dk = ds^T q, dv = (p * f)^T g. The weights are recomputed.
// Grid: one block per window. Dynamic shared memory: two floats per key of the longest window.
extern "C" __global__ void attention_backward(
    float *__restrict__ dq, float *__restrict__ dk, float *__restrict__ dv, const float *__restrict__ q,
    const float *__restrict__ k, const float *__restrict__ v, const float *__restrict__ factors,
    const Window *__restrict__ windows, const float *__restrict__ grad, unsigned width, unsigned causal, unsigned longest
) {
    SHARED(weights);
    float *dscores = weights + longest;
    const Window window = windows[blockIdx.x];
    const float root = 1.0f / sqrtf((float)width);
    for (unsigned i = 0; i < window.queries; i++) {
        const unsigned seen = softmax(q, k, window, i, causal, width, weights);
        const float *factor = factors + window.weight + (size_t)i * window.keys;
        const size_t query = (size_t)(window.query + i) * width;
        dots(dscores, grad + query, v + (size_t)window.key * width, seen, width, 1.0f);
        float along = 0.0f;
        for (unsigned j = 0; j < seen; j++) along += weights[j] * (factors ? dscores[j] * factor[j] : dscores[j]);
        __syncthreads();
        for (unsigned j = threadIdx.x; j < seen; j += blockDim.x) {
            const float dweight = factors ? dscores[j] * factor[j] : dscores[j];
            dscores[j] = weights[j] * (dweight - along) * root;
        }
        __syncthreads();
        // Each thread owns its columns of dk and dv, so no atomics are needed and queries are added
        // in order; the first query initialises the sums of all keys.
        for (unsigned c = threadIdx.x; c < width; c += blockDim.x) {
            const float own = q[query + c], given = grad[query + c];
            float sum = 0.0f;
#pragma unroll 4
            for (unsigned j = 0; j < (i == 0 ? window.keys : seen); j++) {
                const size_t key = (size_t)(window.key + j) * width + c;
                const float dscore = j < seen ? dscores[j] : 0.0f, weight = j < seen ? weights[j] : 0.0f;
                sum += dscore * k[key];
                const float more_k = dscore * own, more_v = (factors ? weight * factor[j] : weight) * given;
                dk[key] = i == 0 ? more_k : dk[key] + more_k;
                dv[key] = i == 0 ? more_v : dv[key] + more_v;
            }
            dq[query + c] = sum;
        }
        __syncthreads();
    }
}
