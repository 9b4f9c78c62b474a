//! Process-wide settings for training on a CPU: allocator thresholds and candle's thread pool.

/// Configures the process for training on a CPU. Call it first in `main`.
///
/// glibc's allocator keeps freed blocks of up to 32 MiB instead of returning them to the system: a
/// step frees and reallocates the same few megabytes dozens of times, and each time every page
/// would be mapped and cleared again. Resident memory stays at its peak.
///
/// candle sums large tensors on its own thread pool, whose idle threads spin and compete with the
/// working threads; the pool is limited to one thread unless `CANDLE_NUM_THREADS` is set. This
/// setting is applied only while the process has a single thread.
pub fn prepare() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    keep_freed();
    #[cfg(target_os = "linux")]
    keep_candle_single();
}

/// Configures the process for preparing a log. Call it first in `main`, in place of [`prepare`].
///
/// The arrays of a log are large and are allocated once: freed blocks go back to the system.
/// glibc's allocator makes up to eight arenas a core, each of which retains what its threads freed;
/// one a core suffices.
pub fn prepare_for_logs() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    limit_arenas();
}

/// Asks the system to back an array by huge pages, for large tables that are read and written
/// throughout: a sweep over them misses the translation of addresses less often. Only whole huge
/// pages within the array are affected; where the system refuses, nothing changes. Linux only.
pub fn use_huge_pages<T>(data: &mut [T]) {
    #[cfg(target_os = "linux")]
    {
        const PAGE: usize = 2 << 20;
        // From linux/mman.h: back by huge pages from now on, and what is there already.
        const MADV_HUGEPAGE: i32 = 14;
        const MADV_COLLAPSE: i32 = 25;
        // SAFETY: the signature is the one in POSIX.
        unsafe extern "C" {
            fn madvise(start: *mut std::ffi::c_void, length: usize, advice: i32) -> i32;
        }
        let padding = data.as_ptr().addr().next_multiple_of(PAGE) - data.as_ptr().addr();
        let length = size_of_val(data).saturating_sub(padding) / PAGE * PAGE;
        if length == 0 {
            return;
        }
        let start = data.as_mut_ptr().wrapping_byte_add(padding).cast();
        for advice in [MADV_HUGEPAGE, MADV_COLLAPSE] {
            // SAFETY: whole pages of the array; neither advice changes their contents.
            unsafe { madvise(start, length, advice) };
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = data;
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
// SAFETY: the signature is the one in glibc's malloc.h.
unsafe extern "C" {
    fn mallopt(parameter: i32, value: i32) -> i32;
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn limit_arenas() {
    const ARENA_MAX: i32 = -8;
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    let arenas = i32::try_from(cores).unwrap_or(i32::MAX);
    // SAFETY: mallopt stores the number under the allocator's own lock; it is above zero.
    unsafe { mallopt(ARENA_MAX, arenas) };
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn keep_freed() {
    const TRIM_THRESHOLD: i32 = -1;
    const MMAP_THRESHOLD: i32 = -3;
    // SAFETY: mallopt stores the number under the allocator's own lock; both are in its range.
    unsafe {
        mallopt(MMAP_THRESHOLD, 32 << 20);
        mallopt(TRIM_THRESHOLD, i32::MAX);
    }
}

#[cfg(target_os = "linux")]
fn keep_candle_single() {
    const THREADS: &str = "CANDLE_NUM_THREADS";
    let alone = std::fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() == 1);
    if alone && std::env::var_os(THREADS).is_none() {
        // SAFETY: no other thread is there to read the environment meanwhile.
        unsafe { std::env::set_var(THREADS, "1") };
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn huge_pages_keep_the_contents() {
        for n in [0, 1000, 3 << 20] {
            let mut data: Vec<u32> = (0..n).collect();
            super::use_huge_pages(&mut data);
            assert!(data.iter().copied().eq(0..n));
        }
    }
}
