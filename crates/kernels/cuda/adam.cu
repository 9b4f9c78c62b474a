// Adam, dense and in one pass; and whether numbers are finite.
#include "block.cuh"

// A thread an element.
extern "C" __global__ void adam(
    float *param, float *first, float *second, const float *grad, unsigned long long n, float beta1, float beta2, float rate,
    float root, float eps
) {
    const size_t i = element();
    if (i >= n) return;
    const float g = grad[i];
    const float m = beta1 * first[i] + (1.0f - beta1) * g;
    const float v = beta2 * second[i] + (1.0f - beta2) * g * g;
    first[i] = m;
    second[i] = v;
    param[i] -= rate * m / (sqrtf(v) * root + eps);
}

// A thread some elements: `found` becomes 1 if one of them is NaN or infinite.
extern "C" __global__ void find_strange(const float *x, unsigned long long n, unsigned *found) {
    for (size_t i = element(); i < n; i += (size_t)gridDim.x * blockDim.x) {
        if (!isfinite(x[i])) *found = 1;
    }
}
