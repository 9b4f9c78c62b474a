//! Two settings of the process under which a training step costs what its arithmetic does.

/// Makes the process ready for training on a CPU. Call it first thing in `main`.
///
/// The allocator (glibc's) keeps what is freed, up to blocks of 32 MiB, instead of handing it back to the system: a step
/// frees and asks again for the same few megabytes some dozens of times, and each time every page would be cleared and
/// mapped anew. The process stays as large as it ever was.
///
/// candle adds large tensors up on a pool of its own whose threads spin while they wait, against the threads that work; it
/// is told to do without, unless `CANDLE_NUM_THREADS` says otherwise. This one needs a process with a single thread.
pub fn prepare() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    keep_freed();
    #[cfg(target_os = "linux")]
    keep_candle_single();
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn keep_freed() {
    // SAFETY: the signature is the one in glibc's malloc.h.
    unsafe extern "C" {
        fn mallopt(parameter: i32, value: i32) -> i32;
    }
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
