// The casts of candle that training uses. candle's own file has the casts of all types and needs nvcc.
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
