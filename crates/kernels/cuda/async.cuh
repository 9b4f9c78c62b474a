// Asynchronous copies from global to shared memory (cp.async).
#pragma once

// Starts a copy of the first `bytes` of BYTES (4 or 16) bytes; the others become zero. Both
// addresses must be multiples of BYTES. Before compute capability 8.0 the copy is synchronous.
template <unsigned BYTES> __device__ inline void copy_async(void *to, const void *from, unsigned bytes) {
#if __CUDA_ARCH__ >= 800
    const unsigned place = (unsigned)__cvta_generic_to_shared(to);
    if (BYTES == 16) {
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(place), "l"(from), "r"(bytes) : "memory");
    } else {
        asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(place), "l"(from), "n"(BYTES), "r"(bytes)
                     : "memory");
    }
#else
    for (unsigned i = 0; i < BYTES / 4; i++) {
        static_cast<float *>(to)[i] = 4 * i < bytes ? static_cast<const float *>(from)[i] : 0.0f;
    }
#endif
}

// Waits for all copies started by this thread.
__device__ inline void wait_for_copies() {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_all;" ::: "memory");
#endif
}
