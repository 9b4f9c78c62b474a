//! Which device each of the runs at a time gets: several GPUs are taken in turn.

use std::process::Command;

/// The devices of `jobs` runs at a time. `cuda` alone is spread over the GPUs that are there.
pub fn of_jobs(device: &str, jobs: usize) -> Vec<String> {
    let gpus = if device == "cuda" { gpus() } else { 1 };
    in_turn(device, jobs, gpus)
}

fn in_turn(device: &str, jobs: usize, gpus: usize) -> Vec<String> {
    let name = |job: usize| {
        if device == "cuda" && gpus > 1 {
            format!("cuda:{}", job % gpus)
        } else {
            device.to_owned()
        }
    };
    (0..jobs).map(name).collect()
}

/// The GPUs that a process may use.
fn gpus() -> usize {
    let list = Command::new("nvidia-smi")
        .arg("-L")
        .output()
        .ok()
        .filter(|output| output.status.success());
    let list = list
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default();
    visible(&list, std::env::var("CUDA_VISIBLE_DEVICES").ok().as_deref())
}

/// Of those that `nvidia-smi -L` lists, the ones that the environment leaves visible.
fn visible(list: &str, chosen: Option<&str>) -> usize {
    let there = list.lines().filter(|line| line.starts_with("GPU ")).count();
    match chosen {
        Some(chosen) => there.min(
            chosen
                .split(',')
                .filter(|gpu| !gpu.trim().is_empty())
                .count(),
        ),
        None => there,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_go_round_the_gpus() {
        assert_eq!(
            in_turn("cuda", 5, 2),
            ["cuda:0", "cuda:1", "cuda:0", "cuda:1", "cuda:0"]
        );
        assert_eq!(in_turn("cuda", 2, 1), ["cuda", "cuda"]);
        assert_eq!(in_turn("cuda:1", 2, 4), ["cuda:1", "cuda:1"]);
        assert_eq!(of_jobs("cpu", 1), ["cpu"]);
    }

    #[test]
    fn gpus_are_counted_as_they_are_seen() {
        let list = "GPU 0: Some Model (UUID: GPU-1)\n  MIG 1g Device 0: (UUID: MIG-2)\nGPU 1: Some Model (UUID: GPU-3)\n";
        assert_eq!(visible(list, None), 2);
        assert_eq!(visible(list, Some("1")), 1);
        assert_eq!(visible(list, Some("")), 0);
        assert_eq!(visible("", None), 0);
    }
}
