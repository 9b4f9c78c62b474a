//! Memory that stays with the process.

/// Has the allocator keep what is freed, up to blocks of 32 MiB, for the next step, instead of handing it back to the system.
///
/// A training step frees and asks again for the same few megabytes some dozens of times; given back, every page of them is
/// cleared and mapped anew, which costs more than the arithmetic. Call it once, when a program starts. Does something with
/// glibc only; the process then stays as large as it ever was.
pub fn keep_freed() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        unsafe extern "C" {
            fn mallopt(parameter: i32, value: i32) -> i32;
        }
        const TRIM_THRESHOLD: i32 = -1;
        const MMAP_THRESHOLD: i32 = -3;
        // SAFETY: mallopt only stores the number, under the allocator's own lock; both numbers are in its range.
        unsafe {
            mallopt(MMAP_THRESHOLD, 32 << 20);
            mallopt(TRIM_THRESHOLD, i32::MAX);
        }
    }
}
