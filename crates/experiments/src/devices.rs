//! Assignment of devices to concurrent runs: several GPUs are used in turn.

use std::process::Command;

/// Devices of `jobs` concurrent runs. `cuda` without an index is spread over the visible GPUs.
pub fn assign(device: &str, jobs: usize) -> Vec<String> {
    let gpus = if device == "cuda" { count_gpus() } else { 1 };
    round_robin(device, jobs, gpus)
}

fn round_robin(device: &str, jobs: usize, gpus: usize) -> Vec<String> {
    let mut devices = Vec::new();
    for job in 0..jobs {
        devices.push(if device == "cuda" && gpus > 1 {
            format!("cuda:{}", job % gpus)
        } else {
            device.to_owned()
        });
    }
    devices
}

/// Number of GPUs that a child process can use.
fn count_gpus() -> usize {
    let list = match Command::new("nvidia-smi").arg("-L").output() {
        Ok(output) if output.status.success() => output.stdout,
        _ => Vec::new(),
    };
    let visible = std::env::var("CUDA_VISIBLE_DEVICES").ok();
    count_visible(&String::from_utf8_lossy(&list), visible.as_deref())
}

/// Number of GPUs in the output of `nvidia-smi -L` that `CUDA_VISIBLE_DEVICES` admits.
fn count_visible(list: &str, visible: Option<&str>) -> usize {
    let present = list.lines().filter(|line| line.starts_with("GPU ")).count();
    let Some(visible) = visible else {
        return present;
    };
    let named = visible.split(',').filter(|gpu| !gpu.trim().is_empty());
    present.min(named.count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_spread_over_gpus() {
        assert_eq!(
            round_robin("cuda", 5, 2),
            ["cuda:0", "cuda:1", "cuda:0", "cuda:1", "cuda:0"]
        );
        assert_eq!(round_robin("cuda", 2, 1), ["cuda", "cuda"]);
        assert_eq!(round_robin("cuda:1", 2, 4), ["cuda:1", "cuda:1"]);
        assert_eq!(assign("cpu", 1), ["cpu"]);
    }

    #[test]
    fn only_visible_gpus_are_counted() {
        let list = "GPU 0: Some Model (UUID: GPU-1)\n  MIG 1g Device 0: (UUID: MIG-2)\nGPU 1: Some Model (UUID: GPU-3)\n";
        assert_eq!(count_visible(list, None), 2);
        assert_eq!(count_visible(list, Some("1")), 1);
        assert_eq!(count_visible(list, Some("")), 0);
        assert_eq!(count_visible("", None), 0);
    }
}
