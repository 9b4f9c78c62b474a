// Double Q-learning: temporal-difference losses and their gradients. Sums are in double precision and in the order of the CPU's.
#include "block.cuh"

// The score of an item for a hidden vector, summed by the 32 threads of the block in a fixed order; returned to all.
__device__ inline float score_of(const float *hidden, const float *weight, const float *bias, unsigned item, unsigned width) {
    float sum = 0.0f;
    for (unsigned i = threadIdx.x; i < width; i += 32) sum += hidden[i] * weight[(size_t)item * width + i];
    for (unsigned half = 16; half > 0; half /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, half);
    return sum + bias[item];
}

// For each example b, with q = the score of actions[b] by the layer `weight`, `bias` for hidden[b], and y = reward[b], plus gamma
// times the score of the item found[b][2] by the other layer for next_hidden[b] unless done[b]:
//
// losses[b] = w[b] (q - y)^2 / 2, grads[b] = w[b] (q - y), scales[b] = w[b], times q if `has_critic`.
//
// `given` holds gamma, whether q scales the cross-entropy, then reward and w of each example. `found` [B, 4] is the result of
// `rank` with k = 1: where a row has a score that is not finite, bad[b] = 1, else 0. Sets `non_finite` to 1 if a row is bad or a
// loss is not finite. Grid: one block of 32 threads per example.
extern "C" __global__ void td_losses(
    const double *given, const unsigned *actions, const unsigned *done, const unsigned *found, const float *hidden,
    const float *next_hidden, const float *weight, const float *bias, const float *other_weight, const float *other_bias,
    float *grads, float *scales, double *losses, unsigned *bad, unsigned *non_finite, unsigned width
) {
    const unsigned b = blockIdx.x;
    const double gamma = given[0], reward = given[2 + 2 * b], w = given[3 + 2 * b];
    const bool has_critic = given[1] != 0.0, is_bad = found[4 * b] != 0;
    const double q = score_of(hidden + (size_t)b * width, weight, bias, actions[b], width);
    // The items of a bad row are not written.
    const unsigned next = is_bad ? 0 : found[4 * b + 2];
    const double next_q = score_of(next_hidden + (size_t)b * width, other_weight, other_bias, next, width);
    if (threadIdx.x > 0) return;
    const double target = done[b] ? reward : __dadd_rn(reward, __dmul_rn(gamma, next_q)), grad = q - target;
    losses[b] = __dmul_rn(w, __dmul_rn(0.5 * grad, grad));
    grads[b] = (float)__dmul_rn(w, grad);
    scales[b] = (float)(has_critic ? __dmul_rn(w, q) : w);
    bad[b] = is_bad;
    if (is_bad || !isfinite(losses[b])) *non_finite = 1;
}

// out [B, width] = x + grads[b] weight[actions[b]]: adds the gradient of the hidden vectors by the scores of the actions. One
// thread per element.
extern "C" __global__ void add_chosen(
    float *out, const float *x, const float *grads, const unsigned *actions, const float *weight, unsigned n, unsigned width
) {
    const size_t i = element();
    if (i >= n) return;
    const unsigned b = i / width;
    out[i] = __fadd_rn(x[i], __fmul_rn(weight[(size_t)actions[b] * width + i % width], grads[b]));
}
