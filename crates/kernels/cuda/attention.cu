// Attention of one head inside windows. A block a window; `windows` holds for each: its first query and their number, its
// first key and their number, its first weight.
#include "block.cuh"

struct Window {
    unsigned query, queries, key, keys, weight;
};

// The softmax of query i's scores of the keys that it sees, into `weights`; the threads share the keys. Returns their number.
__device__ inline unsigned softmax(
    const float *q, const float *k, const Window &window, unsigned i, unsigned causal, unsigned width, float *weights
) {
    const unsigned seen = causal ? min(window.keys, i + 1) : window.keys;
    const float *query = q + (size_t)(window.query + i) * width;
    const float root = 1.0f / sqrtf((float)width);
    for (unsigned j = threadIdx.x; j < seen; j += blockDim.x) {
        const float *key = k + (size_t)(window.key + j) * width;
        float dot = 0.0f;
        for (unsigned c = 0; c < width; c++) dot += query[c] * key[c];
        weights[j] = dot * root;
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        float top = -INFINITY, sum = 0.0f;
        for (unsigned j = 0; j < seen; j++) top = fmaxf(top, weights[j]);
        for (unsigned j = 0; j < seen; j++) sum += weights[j] = expf(weights[j] - top);
        for (unsigned j = 0; j < seen; j++) weights[j] /= sum;
    }
    __syncthreads();
    return seen;
}

// `factors` multiply the weights, if there are any. Shared: a float for each key of the longest window.
extern "C" __global__ void attention(
    float *y, const float *q, const float *k, const float *v, const float *factors, const Window *windows, unsigned width,
    unsigned causal, unsigned has_factors
) {
    SHARED(weights);
    const Window window = windows[blockIdx.x];
    for (unsigned i = 0; i < window.queries; i++) {
        const unsigned seen = softmax(q, k, window, i, causal, width, weights);
        const float *factor = factors + window.weight + (size_t)i * window.keys;
        for (unsigned c = threadIdx.x; c < width; c += blockDim.x) {
            float sum = 0.0f;
            for (unsigned j = 0; j < seen; j++) {
                const float weight = has_factors ? weights[j] * factor[j] : weights[j];
                sum += weight * v[(size_t)(window.key + j) * width + c];
            }
            y[(size_t)(window.query + i) * width + c] = sum;
        }
        __syncthreads();
    }
}

// The way back; dk and dv begin at zero. Shared: two floats for each key of the longest window.
extern "C" __global__ void attention_back(
    float *dq, float *dk, float *dv, const float *q, const float *k, const float *v, const float *factors,
    const Window *windows, const float *grad, unsigned width, unsigned causal, unsigned has_factors, unsigned longest
) {
    SHARED(weights);
    float *dscores = weights + longest;
    const Window window = windows[blockIdx.x];
    const float root = 1.0f / sqrtf((float)width);
    for (unsigned i = 0; i < window.queries; i++) {
        const unsigned seen = softmax(q, k, window, i, causal, width, weights);
        const float *factor = factors + window.weight + (size_t)i * window.keys;
        const size_t query = (size_t)(window.query + i) * width;
        for (unsigned j = threadIdx.x; j < seen; j += blockDim.x) {
            const float *value = v + (size_t)(window.key + j) * width;
            float dot = 0.0f;
            for (unsigned c = 0; c < width; c++) dot += grad[query + c] * value[c];
            dscores[j] = has_factors ? dot * factor[j] : dot;
        }
        __syncthreads();
        if (threadIdx.x == 0) {
            float along = 0.0f;
            for (unsigned j = 0; j < seen; j++) along += weights[j] * dscores[j];
            for (unsigned j = 0; j < seen; j++) dscores[j] = weights[j] * (dscores[j] - along) * root;
        }
        __syncthreads();
        // A thread keeps to its columns, so that nothing is added to from two sides.
        for (unsigned c = threadIdx.x; c < width; c += blockDim.x) {
            const float own = q[query + c], given = grad[query + c];
            float sum = 0.0f;
            for (unsigned j = 0; j < seen; j++) {
                const size_t key = (size_t)(window.key + j) * width + c;
                sum += dscores[j] * k[key];
                dk[key] += dscores[j] * own;
                dv[key] += (has_factors ? weights[j] * factor[j] : weights[j]) * given;
            }
            dq[query + c] = sum;
        }
        __syncthreads();
    }
}
