// Online softmax: maximum and sum of exponentials in one pass.
#pragma once

// Running maximum and sum of exp(x - maximum).
struct Softmax {
    float top = -INFINITY, sum = 0.0f;

    // Adds N values; the sum is rescaled only when the maximum rises.
    template <unsigned N> __device__ void add(const float (&x)[N]) {
        float most = x[0];
#pragma unroll
        for (unsigned j = 1; j < N; j++) most = fmaxf(most, x[j]);
        if (most > top) {
            sum *= expf(top - most);
            top = most;
        }
        // If all inputs so far are -inf, this keeps x - base from being NaN, and the sum stays
        // zero.
        const float base = top == -INFINITY ? 0.0f : top;
#pragma unroll
        for (unsigned j = 0; j < N; j++) sum += expf(x[j] - base);
    }

    // The values of the lane whose number differs in the bits of `lanes`.
    __device__ Softmax of_lane(unsigned lanes) const {
        Softmax other;
        other.top = __shfl_xor_sync(0xffffffffu, top, lanes);
        other.sum = __shfl_xor_sync(0xffffffffu, sum, lanes);
        return other;
    }

    // The sum relative to another maximum, which must not be smaller.
    __device__ float relative_to(float all) const { return sum == 0.0f ? 0.0f : sum * expf(top - all); }

    // Adds the values of another one.
    __device__ void add(Softmax other) {
        const float all = fmaxf(top, other.top);
        sum = relative_to(all) + other.relative_to(all);
        top = all;
    }
};
