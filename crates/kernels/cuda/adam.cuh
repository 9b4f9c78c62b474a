// Adam update of one parameter.
#pragma once

#include <cfloat>

// Factors of a step; `rate` and `root` include the bias corrections. They change with every step, so kernels read them from
// device memory: a captured launch keeps its arguments.
struct AdamFactors {
    float beta1, beta2, rate, root, eps;
};

// Returns the updated parameter; updates its moments in place. Square root and division are the
// approximate ones of the hardware, without the branches of correct rounding.
__device__ inline float adam_step(float param, float g, float &first, float &second, AdamFactors by) {
    first = by.beta1 * first + (1.0f - by.beta1) * g;
    second = by.beta2 * second + (1.0f - by.beta2) * g * g;
    // The clamp keeps size * rsqrtf(size), the square root, from being 0 * inf.
    const float size = fminf(fmaxf(second, FLT_MIN), FLT_MAX);
    return param - __fdividef(by.rate * first, size * rsqrtf(size) * by.root + by.eps);
}
