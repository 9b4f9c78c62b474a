//! Data-parallel training under mpirun: two processes train the model of one, and a killed process
//! ends the job, which resumes exactly.
#![cfg(target_os = "linux")]

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

#[path = "../../train/tests/common/mod.rs"]
mod common;

use common::{ring, same_end};

const STEPS: [&str; 4] = ["--max-steps", "20", "--eval-every", "20"];

/// Whether mpirun is installed; prints a message if not.
#[expect(clippy::explicit_write, reason = "the test harness captures eprintln")]
fn can_run() -> bool {
    let can = Command::new("mpirun")
        .arg("--version")
        .stdout(Stdio::null())
        .status()
        .is_ok_and(|s| s.success());
    if !can {
        writeln!(std::io::stderr(), "SKIPPED: mpirun is not installed").unwrap();
    }
    can
}

/// `prl train` in one process, or in `processes` under mpirun.
fn prl(dir: &Path, processes: Option<usize>, out: &str, more: &[&str]) -> Command {
    let prl = env!("CARGO_BIN_EXE_prl");
    let mut command = match processes {
        None => Command::new(prl),
        Some(n) => {
            let mut mpirun = Command::new("mpirun");
            mpirun.envs([
                ("OMPI_ALLOW_RUN_AS_ROOT", "1"),
                ("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"),
            ]);
            mpirun.args(["--oversubscribe", "-n", &n.to_string(), prl]);
            mpirun
        }
    };
    command.current_dir(dir).args([
        "train", "--resume", "--data", "ring", "--dim", "8", "--window", "4",
    ]);
    command
        .args(["--batch-size", "64", "--out", out])
        .args(more);
    command.args(processes.map(|_| "--mpi"));
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

/// Runs it to its end; returns its exit code and stderr.
fn end(mut command: Command) -> (Option<i32>, String) {
    let output = command.output().unwrap();
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

fn ok(command: Command) {
    let (code, said) = end(command);
    assert_eq!(code, Some(0), "{said}");
}

/// The weights of a run's checkpoint by name.
fn weights(run: &Path) -> Vec<(String, Vec<f32>)> {
    let tensors = candle_core::safetensors::load(
        run.join("checkpoint/weights.safetensors"),
        &prl_runs::Device::Cpu,
    );
    let mut tensors: Vec<_> = tensors.unwrap().into_iter().collect();
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    tensors
        .into_iter()
        .map(|(name, t)| (name, t.flatten_all().unwrap().to_vec1().unwrap()))
        .collect()
}

/// Child processes of a process.
fn children(parent: u32) -> Vec<u32> {
    let pids = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let is_child = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let after_name = stat.rsplit(')').next().unwrap_or_default();
        after_name.split_whitespace().nth(1) == Some(&parent.to_string())
    };
    pids.filter(is_child).collect()
}

/// Waits until the run has a checkpoint.
fn until_saved(child: &mut Child, run: &Path) {
    while !run.join("checkpoint/manifest.json").exists() {
        assert!(
            child.try_wait().unwrap().is_none(),
            "ended before its first checkpoint"
        );
        sleep(Duration::from_millis(5));
    }
}

#[test]
fn two_processes_train_model_of_one() {
    if !can_run() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    ring(dir.path(), 200);
    for method in ["normal", "prl"] {
        let more = [&STEPS[..], &["--method", method][..]].concat();
        ok(prl(dir.path(), None, &format!("one-{method}"), &more));
        ok(prl(dir.path(), Some(2), &format!("two-{method}"), &more));
        let [one, two] = ["one", "two"].map(|n| weights(&dir.path().join(format!("{n}-{method}"))));
        for ((name, a), (_, b)) in one.iter().zip(&two) {
            let far = a
                .iter()
                .zip(b)
                .map(|(a, b)| (a - b).abs())
                .fold(0.0, f32::max);
            println!("{method}: {name} {far:.1e}");
            // Softmax is invariant to the bias of its keys: the gradient is rounding noise, which
            // Adam scales to full steps.
            assert!(
                far < 1e-6 || name == "prompt.key.bias",
                "{method}: {name} is {far:e} off"
            );
        }
    }
}

#[test]
fn killed_process_ends_job_and_resume_is_exact() {
    if !can_run() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    ring(dir.path(), 200);
    let steps = ["--max-steps", "600", "--eval-every", "100"];
    ok(prl(dir.path(), Some(2), "whole", &steps));
    for rank in 0..2 {
        let out = format!("killed-{rank}");
        let mut job = prl(dir.path(), Some(2), &out, &steps).spawn().unwrap();
        until_saved(&mut job, &dir.path().join(&out));
        let mut ranks = children(job.id());
        ranks.sort_unstable();
        assert_eq!(ranks.len(), 2, "{ranks:?}");
        let killed = Instant::now();
        assert!(
            Command::new("kill")
                .args(["-9", &ranks[rank].to_string()])
                .status()
                .unwrap()
                .success()
        );
        let output = job.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && said.contains("signal 9"),
            "{:?}: {said}",
            output.status
        );
        assert!(killed.elapsed() < Duration::from_secs(30), "hung");
        assert!(
            !dir.path().join(&out).join("manifest.json").exists(),
            "ended before the kill"
        );
        ok(prl(dir.path(), Some(2), &out, &steps));
        same_end(&dir.path().join("whole"), &dir.path().join(&out));
    }
}

#[test]
fn unshardable_training_fails_without_hanging() {
    if !can_run() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    ring(dir.path(), 200);
    let (code, said) = end(prl(dir.path(), Some(2), "run", &["--method", "sac"]));
    assert!(
        code == Some(2) && said.contains("one rank only"),
        "{code:?}: {said}"
    );
    let (code, said) = end(prl(dir.path(), Some(3), "run", &STEPS));
    assert!(
        code == Some(2) && said.contains("does not fall into 3 equal shares"),
        "{code:?}: {said}"
    );
    assert!(!dir.path().join("run").exists());
}
