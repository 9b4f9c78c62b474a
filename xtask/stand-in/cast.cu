// candle's casts, as far as a training asks for them: its own file has those of all types, which need a GPU's compiler.
#include "cuda_utils.cuh"

#define CAST(From, To, name)                                                                                                  \
    extern "C" __global__ void name(                                                                                          \
        const size_t n, const size_t dims, const size_t *info, const From *from, To *to                                       \
    ) {                                                                                                                       \
        const bool is_contiguous_ = !info || is_contiguous(dims, info, info + dims);                                          \
        for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += blockDim.x * gridDim.x) {                        \
            to[i] = (To)from[is_contiguous_ ? i : get_strided_index(i, dims, info, info + dims)];                             \
        }                                                                                                                     \
    }

CAST(float, double, cast_f32_f64)
CAST(double, float, cast_f64_f32)
CAST(uint8_t, float, cast_u8_f32)
CAST(uint32_t, float, cast_u32_f32)
