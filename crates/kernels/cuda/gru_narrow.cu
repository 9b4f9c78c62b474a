// Recurrent part of a GRU of up to 128 units, with the weights in registers for all time steps. One
// block per window; four lanes of a warp per unit, each with a quarter of the unit's weights (four
// of every sixteen). All four hold the same sums; each writes another one of the saved values.
#include "block.cuh"

// Loads a lane's quarter of a unit's d weights, which lie `stride` apart; zero past the last. Reads
// are clamped to valid addresses, so that no load depends on a condition.
template <unsigned QUADS>
__device__ inline void load_weights(float4 (&weights)[QUADS], const float *from, unsigned stride, unsigned d, unsigned lane) {
    const bool is_aligned = stride == 1 && d % 4 == 0 && (size_t)from % sizeof(float4) == 0;
#pragma unroll
    for (unsigned i = 0; i < QUADS; i++) {
        const unsigned k = 16 * i + 4 * lane, last = d - 1;
        if (is_aligned) {
            weights[i] = *reinterpret_cast<const float4 *>(from + min(k, d - 4));
        } else {
            weights[i].x = from[(size_t)min(k, last) * stride];
            weights[i].y = from[(size_t)min(k + 1, last) * stride];
            weights[i].z = from[(size_t)min(k + 2, last) * stride];
            weights[i].w = from[(size_t)min(k + 3, last) * stride];
        }
        weights[i].x = k < d ? weights[i].x : 0.0f;
        weights[i].y = k + 1 < d ? weights[i].y : 0.0f;
        weights[i].z = k + 2 < d ? weights[i].z : 0.0f;
        weights[i].w = k + 3 < d ? weights[i].w : 0.0f;
    }
}

// A lane's part of the dot product of a vector in shared memory and the unit's weights. The order
// of additions is fixed: even and odd elements, then both sums.
template <unsigned QUADS> __device__ inline float dot(const float4 *x, const float4 (&weights)[QUADS], unsigned lane) {
    float even = 0.0f, odd = 0.0f;
#pragma unroll
    for (unsigned i = 0; i < QUADS; i++) {
        const float4 four = x[4 * i + lane];
        even += four.x * weights[i].x;
        odd += four.y * weights[i].y;
        even += four.z * weights[i].z;
        odd += four.w * weights[i].w;
    }
    return even + odd;
}

// Sum over the four lanes of a unit, with the same bits in each lane.
__device__ inline float sum_over_lanes(float x) {
    x += __shfl_xor_sync(0xffffffffu, x, 1);
    return x + __shfl_xor_sync(0xffffffffu, x, 2);
}

// Fills an array in shared memory with zeros, by the whole block.
template <unsigned N> __device__ inline void clear(float4 (&x)[N]) {
    for (unsigned i = threadIdx.x; i < N; i += blockDim.x) x[i] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
}

// Element j of an array of float4.
__device__ inline float &at(float4 *x, unsigned j) {
    return reinterpret_cast<float *>(x)[j];
}

// The kernel `gru` for up to 16 QUADS units.
template <unsigned QUADS>
__device__ inline void forward(
    float *state, float *gates, float *before, float *reset, const float *inputs, const float *by_state, const float *bias,
    const unsigned *lengths, unsigned length, unsigned d
) {
    __shared__ float4 own[4 * QUADS], gated[4 * QUADS];
    const unsigned lane = threadIdx.x % 4, j = threadIdx.x / 4, count = lengths[blockIdx.x];
    const size_t first = (size_t)blockIdx.x * length;
    // Surplus threads of the last warp duplicate the last unit and do not write.
    const unsigned unit = min(j, d - 1);
    const bool is_unit = j < d, has_input = is_unit && lane < 3;
    // Lanes 0, 1 and 2 add input and bias of update gate, reset gate and candidate; the next
    // position's input is loaded one position early.
    const float *input = inputs + first * 3 * d + lane * d + j;
    const float offset = has_input ? bias[lane * d + j] : 0.0f;
    float next = has_input && count > 0 ? *input : 0.0f;
    float4 update[QUADS], forget[QUADS], candidate[QUADS];
    load_weights(update, by_state + unit, 3 * d, d, lane);
    load_weights(forget, by_state + d + unit, 3 * d, d, lane);
    load_weights(candidate, by_state + 2 * d + unit, 3 * d, d, lane);
    clear(own);
    clear(gated);
    const unsigned step = lane < 3 ? 3 * d : d;
    float *saved = lane < 3 ? gates + first * 3 * d + lane * d + j : before + first * d + j;
    float *saved_reset = reset + first * d + j, s = 0.0f;
    __syncthreads();
    for (unsigned t = 0; t < count; t++) {
        const float own_input = next + offset;
        input += 3 * d;
        next = has_input && t + 1 < count ? *input : 0.0f;
        float z = sum_over_lanes(dot(own, update, lane) + (lane == 0 ? own_input : 0.0f));
        const float g = sigmoid(sum_over_lanes(dot(own, forget, lane) + (lane == 1 ? own_input : 0.0f))), kept = g * s;
        if (is_unit && lane == 0) at(gated, j) = kept;
        __syncthreads();
        z = sigmoid(z);
        const float c = tanhf(sum_over_lanes(dot(gated, candidate, lane) + (lane == 2 ? own_input : 0.0f))), old = s;
        s += z * (c - s);
        if (is_unit) {
            if (lane == 0) {
                at(own, j) = s;
                saved_reset[(size_t)t * d] = kept;
            }
            saved[(size_t)t * step] = lane == 0 ? z : lane == 1 ? g : lane == 2 ? c : old;
        }
        __syncthreads();
    }
    if (!is_unit) return;
    for (unsigned t = count; t < length; t++) {
        if (lane == 0) saved_reset[(size_t)t * d] = 0.0f;
        saved[(size_t)t * step] = 0.0f;
    }
    if (lane == 0) state[(size_t)blockIdx.x * d + j] = s;
}

// The kernel `gru_backward` for up to 16 QUADS units, with `by_state` not transposed.
template <unsigned QUADS>
__device__ inline void backward(
    float *dgates, float *sums, const float *grad, const float *gates, const float *before, const float *by_state,
    const unsigned *lengths, unsigned length, unsigned d
) {
    __shared__ float4 dupdate[4 * QUADS], dforget[4 * QUADS], dcandidate[4 * QUADS];
    const unsigned lane = threadIdx.x % 4, j = threadIdx.x / 4, count = lengths[blockIdx.x];
    const size_t first = (size_t)blockIdx.x * length;
    const unsigned unit = min(j, d - 1);
    const bool is_unit = j < d;
    const float *gate = gates + first * 3 * d + unit, *state = before + first * d + unit;
    float ds = grad[(size_t)blockIdx.x * d + unit], sum = 0.0f;
    float4 update[QUADS], forget[QUADS], candidate[QUADS];
    load_weights(update, by_state + (size_t)unit * 3 * d, 1, d, lane);
    load_weights(forget, by_state + (size_t)unit * 3 * d + d, 1, d, lane);
    load_weights(candidate, by_state + (size_t)unit * 3 * d + 2 * d, 1, d, lane);
    clear(dupdate);
    clear(dforget);
    clear(dcandidate);
    float *to = dgates + first * 3 * d + lane * d + j;
    const bool is_written = is_unit && lane < 3;
    for (unsigned t = count; is_written && t < length; t++) to[(size_t)t * 3 * d] = 0.0f;
    float z, g, c, old;
    const auto read = [&](unsigned t) {
        const float *here = gate + (size_t)t * 3 * d;
        z = here[0], g = here[d], c = here[2 * d], old = state[(size_t)t * d];
    };
    read(max(count, 1u) - 1);
    __syncthreads();
    for (unsigned t = count; t-- > 0;) {
        const float dz = ds * (c - old) * z * (1.0f - z), dc = ds * z * (1.0f - c * c);
        const float open = g, through = old * g * (1.0f - g);
        ds *= 1.0f - z;
        if (is_unit && lane == 0) at(dupdate, j) = dz;
        if (is_unit && lane == 1) at(dcandidate, j) = dc;
        __syncthreads();
        // Prefetches the previous position.
        read(max(t, 1u) - 1);
        const float part = dot(dupdate, update, lane), dreset = sum_over_lanes(dot(dcandidate, candidate, lane));
        const float dg = dreset * through;
        ds += dreset * open;
        if (is_unit && lane == 0) at(dforget, j) = dg;
        __syncthreads();
        ds += sum_over_lanes(part + dot(dforget, forget, lane));
        const float mine = lane == 0 ? dz : lane == 1 ? dg : dc;
        if (is_written) to[(size_t)t * 3 * d] = mine;
        sum += mine;
    }
    if (is_written) sums[(size_t)blockIdx.x * 3 * d + lane * d + j] = sum;
}

// The kernels for up to 64 and up to 128 units: 16 or 32 weights per lane and gate. Grid: one block
// per window; block: four threads per unit, rounded up to whole warps.
#define KERNELS(units) \
    extern "C" __global__ void __launch_bounds__(4 * units) gru_##units( \
        float *state, float *gates, float *before, float *reset, const float *inputs, const float *by_state, \
        const float *bias, const unsigned *lengths, unsigned length, unsigned d \
    ) { \
        forward<units / 16>(state, gates, before, reset, inputs, by_state, bias, lengths, length, d); \
    } \
    extern "C" __global__ void __launch_bounds__(4 * units) gru_backward_##units( \
        float *dgates, float *sums, const float *grad, const float *gates, const float *before, const float *by_state, \
        const unsigned *lengths, unsigned length, unsigned d \
    ) { \
        backward<units / 16>(dgates, sums, grad, gates, before, by_state, lengths, length, d); \
    }

KERNELS(64)
KERNELS(128)
