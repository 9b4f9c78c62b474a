// A softmax in one pass.
#pragma once

// The sum of exp(x - the largest x so far).
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
        // Nothing but minus infinity so far has a sum of zero.
        const float base = top == -INFINITY ? 0.0f : top;
#pragma unroll
        for (unsigned j = 0; j < N; j++) sum += expf(x[j] - base);
    }

    // What the sum is beside a maximum that is no smaller.
    __device__ float beside(float all) const { return sum == 0.0f ? 0.0f : sum * expf(top - all); }

    __device__ void add(Softmax other) {
        const float all = fmaxf(top, other.top);
        sum = beside(all) + other.beside(all);
        top = all;
    }
};
