// Online softmax (one pass).
#pragma once

// Running maximum and sum of exp(x - maximum).
struct Softmax {
    float top = -INFINITY, sum = 0.0f;

    template <unsigned N> __device__ void add(const float (&x)[N]) {
        float most = x[0];
#pragma unroll
        for (unsigned j = 1; j < N; j++) most = fmaxf(most, x[j]);
        if (most > top) {
            sum *= expf(top - most);
            top = most;
        }
        // If all inputs so far are -inf, the sum is zero.
        const float base = top == -INFINITY ? 0.0f : top;
#pragma unroll
        for (unsigned j = 0; j < N; j++) sum += expf(x[j] - base);
    }

    // The sum rescaled to a maximum that is not smaller.
    __device__ float beside(float all) const { return sum == 0.0f ? 0.0f : sum * expf(top - all); }

    __device__ void add(Softmax other) {
        const float all = fmaxf(top, other.top);
        sum = beside(all) + other.beside(all);
        top = all;
    }
};
