// Recurrent part of a GRU: one block per window, some units per thread, all time steps in one
// launch. cuBLAS computes the products with the inputs before the forward pass, and those of the
// weight and input gradients after the backward pass. For any hidden size; gru_narrow.cu is for up
// to 128 units.
#include "block.cuh"

// s' = s + z (c - s) with z = sigmoid(x_z + s U_z + b_z), g = sigmoid(x_g + s U_g + b_g), c =
// tanh(x_c + (g s) U_c + b_c), over a window's positions; `state` [B, d] is the last s'. `inputs`
// [B, L, 3 d] holds x_z, x_g and x_c, `by_state` [d, 3 d] the U, `bias` [3 d] the b. Saved for the
// backward pass: `gates` [B, L, 3 d] (z, g, c), `before` and `reset` [B, L, d] (s and g s), all
// zero past a window's length. Grid: one block per window. Dynamic shared memory: 2 d floats.
extern "C" __global__ void gru(
    float *state, float *gates, float *before, float *reset, const float *inputs, const float *by_state, const float *bias,
    const unsigned *lengths, unsigned length, unsigned d
) {
    SHARED(own);
    float *gated = own + d;
    for (unsigned j = threadIdx.x; j < d; j += blockDim.x) own[j] = 0.0f;
    __syncthreads();
    for (unsigned t = 0; t < lengths[blockIdx.x]; t++) {
        const size_t at = ((size_t)blockIdx.x * length + t) * d;
        for (unsigned j = threadIdx.x; j < d; j += blockDim.x) {
            float z = inputs[3 * at + j] + bias[j], g = inputs[3 * at + d + j] + bias[d + j];
#pragma unroll 8
            for (unsigned k = 0; k < d; k++) {
                z += own[k] * by_state[(size_t)k * 3 * d + j];
                g += own[k] * by_state[(size_t)k * 3 * d + d + j];
            }
            gates[3 * at + j] = sigmoid(z);
            g = sigmoid(g);
            gates[3 * at + d + j] = g;
            before[at + j] = own[j];
            reset[at + j] = gated[j] = g * own[j];
        }
        __syncthreads();
        for (unsigned j = threadIdx.x; j < d; j += blockDim.x) {
            float c = inputs[3 * at + 2 * d + j] + bias[2 * d + j];
#pragma unroll 8
            for (unsigned k = 0; k < d; k++) c += gated[k] * by_state[(size_t)k * 3 * d + 2 * d + j];
            c = tanhf(c);
            gates[3 * at + 2 * d + j] = c;
            own[j] += gates[3 * at + j] * (c - own[j]);
        }
        __syncthreads();
    }
    for (unsigned j = threadIdx.x; j < d; j += blockDim.x) {
        state[(size_t)blockIdx.x * d + j] = own[j];
        for (unsigned t = lengths[blockIdx.x]; t < length; t++) {
            const size_t at = ((size_t)blockIdx.x * length + t) * d;
            gates[3 * at + j] = gates[3 * at + d + j] = gates[3 * at + 2 * d + j] = 0.0f;
            before[at + j] = reset[at + j] = 0.0f;
        }
    }
}

// dgates [B, L, 3 d]: from the gradient `grad` [B, d] of the last state, the gradients of what the
// nonlinearities of z, g and c are applied to, zero past a window's length; `sums` [B, 3 d]: their
// sums over each window, its part of the bias gradient. `across` [3 d, d] is `by_state` transposed.
// Grid: one block per window. Dynamic shared memory: 4 d floats.
extern "C" __global__ void gru_backward(
    float *dgates, float *sums, const float *grad, const float *gates, const float *before, const float *across,
    const unsigned *lengths, unsigned length, unsigned d
) {
    SHARED(ds);
    float *dz = ds + d, *dg = ds + 2 * d, *dc = ds + 3 * d;
    float *sum_of = sums + (size_t)blockIdx.x * 3 * d;
    for (unsigned j = threadIdx.x; j < d; j += blockDim.x) {
        ds[j] = grad[(size_t)blockIdx.x * d + j];
        sum_of[j] = sum_of[d + j] = sum_of[2 * d + j] = 0.0f;
        for (unsigned t = lengths[blockIdx.x]; t < length; t++) {
            const size_t at = ((size_t)blockIdx.x * length + t) * d;
            dgates[3 * at + j] = dgates[3 * at + d + j] = dgates[3 * at + 2 * d + j] = 0.0f;
        }
    }
    __syncthreads();
    for (unsigned t = lengths[blockIdx.x]; t-- > 0;) {
        const size_t at = ((size_t)blockIdx.x * length + t) * d;
        for (unsigned j = threadIdx.x; j < d; j += blockDim.x) {
            const float z = gates[3 * at + j], c = gates[3 * at + 2 * d + j];
            dz[j] = ds[j] * (c - before[at + j]) * z * (1.0f - z);
            dc[j] = ds[j] * z * (1.0f - c * c);
            ds[j] *= 1.0f - z;
        }
        __syncthreads();
        for (unsigned j = threadIdx.x; j < d; j += blockDim.x) {
            float dreset = 0.0f;
#pragma unroll 8
            for (unsigned k = 0; k < d; k++) dreset += dc[k] * across[(size_t)(2 * d + k) * d + j];
            const float g = gates[3 * at + d + j];
            dg[j] = dreset * before[at + j] * g * (1.0f - g);
            ds[j] += dreset * g;
        }
        __syncthreads();
        for (unsigned j = threadIdx.x; j < d; j += blockDim.x) {
            float sum = ds[j];
#pragma unroll 8
            for (unsigned k = 0; k < d; k++) {
                sum += dz[k] * across[(size_t)k * d + j] + dg[k] * across[(size_t)(d + k) * d + j];
            }
            ds[j] = sum;
            sum_of[j] += dgates[3 * at + j] = dz[j];
            sum_of[d + j] += dgates[3 * at + d + j] = dg[j];
            sum_of[2 * d + j] += dgates[3 * at + 2 * d + j] = dc[j];
        }
        __syncthreads();
    }
}
