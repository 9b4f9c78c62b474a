//! The matrix on a real Slurm, of one node, with a script that plays `prl`. Where Slurm is not installed the test says so.
#![cfg(unix)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

/// A cluster, stopped when it goes.
struct Cluster {
    dir: TempDir,
}

impl Cluster {
    /// None where there is no Slurm.
    fn start() -> Option<Self> {
        let there = |program: &str| {
            let found = Command::new("sh")
                .args(["-c", &format!("command -v {program}")])
                .stdout(Stdio::null())
                .status();
            found.is_ok_and(|status| status.success())
        };
        if !["slurmctld", "slurmd", "sbatch", "squeue"]
            .into_iter()
            .all(there)
        {
            eprintln!("SKIPPED: no Slurm here (Debian's slurm-wlm)");
            return None;
        }
        let cluster = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        if !cluster.script("start") {
            eprintln!("SKIPPED: Slurm is installed, and its daemons do not come up here");
            return None;
        }
        Some(cluster)
    }

    fn script(&self, what: &str) -> bool {
        let done = Command::new(tests().join("slurm/one-node.sh"))
            .arg(what)
            .arg(self.dir.path())
            .status();
        done.unwrap().success()
    }

    fn command(&self, program: &str, args: &[&str]) -> Output {
        let mut command = Command::new(program);
        command
            .args(args)
            .env("SLURM_CONF", self.dir.path().join("slurm.conf"));
        command
            .env("PRL_BIN", tests().join("fake/prl.sh"))
            .env("FAKE_DIR", self.dir.path());
        command.output().unwrap()
    }

    /// One of the tasks on a study of four runs: two systems on two logs.
    fn xtask(&self, task: &str, more: &[&str]) -> String {
        let [datasets, runs, out] =
            ["datasets", "runs", "out"].map(|name| self.path(name).display().to_string());
        let mut args = vec![
            task,
            "--datasets",
            &datasets,
            "--runs",
            &runs,
            "--out",
            &out,
        ];
        args.extend([
            "--scale",
            "paper",
            "--encoders",
            "gru",
            "--methods",
            "normal,prl",
            "--repeats",
            "1",
        ]);
        args.extend(more);
        let output = self.command(env!("CARGO_BIN_EXE_prl-reproduce"), &args);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn calls(&self, what: &str) -> usize {
        let calls = fs::read_to_string(self.path("calls")).unwrap_or_default();
        calls.lines().filter(|line| line.starts_with(what)).count()
    }

    fn queue(&self) -> String {
        String::from_utf8(
            self.command("squeue", &["--noheader", "--array", "--format=%i %T"])
                .stdout,
        )
        .unwrap()
    }

    fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        let start = Instant::now();
        while !is_so() {
            let logs = || {
                let logs = fs::read_dir(self.path("runs/paper/slurm/1"))
                    .into_iter()
                    .flatten()
                    .flatten();
                logs.filter_map(|entry| fs::read_to_string(entry.path()).ok())
                    .collect::<String>()
            };
            assert!(
                start.elapsed() < Duration::from_secs(90),
                "{what}: {}\n{}",
                self.queue(),
                logs()
            );
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.script("stop");
    }
}

#[test]
fn the_matrix_runs_on_a_cluster() {
    let Some(cluster) = Cluster::start() else {
        return;
    };
    let profile = cluster.path("profile.toml");
    fs::write(
        &profile,
        "partition = \"main\"\ncpus = 1\nmemory = \"100M\"\nat_once = 2\n",
    )
    .unwrap();
    let slurm = [
        "--launcher",
        "slurm",
        "--profile",
        profile.to_str().unwrap(),
    ];
    let dry = cluster.xtask("reproduce", &[&slurm[..], &["--dry-run"]].concat());
    assert!(
        dry.contains("#SBATCH --array=0-3%2") && dry.contains("#SBATCH --partition=main"),
        "{dry}"
    );
    assert!(cluster.queue().is_empty(), "a dry run submits nothing");

    // One run hangs until there is a checkpoint, another diverges.
    fs::write(cluster.path("hang"), "rc15-gru-prl-0").unwrap();
    fs::write(cluster.path("diverge"), "retailrocket-gru-normal-0").unwrap();
    let said = cluster.xtask("reproduce", &slurm);
    assert!(said.contains("4 runs, then the pages"), "{said}");
    cluster.until("the others end", || {
        cluster.queue().lines().count() == 2 && cluster.calls("train") == 4
    });
    let status = cluster.xtask("status", &[]);
    assert!(
        status.starts_with("4 runs: 2 done, 1 running, 0 queued, 1 failed, 0 waiting"),
        "{status}"
    );
    assert!(status.contains("the loss is NaN at step 1234"), "{status}");

    // What is in the queue is not submitted again.
    let again = cluster.xtask("reproduce", &slurm);
    assert!(
        again.contains("nothing to submit: 1 runs are in the queue"),
        "{again}"
    );

    // Put back into the queue, as a preempted run is, it goes on from its checkpoint; then the pages are written.
    let running = cluster
        .queue()
        .lines()
        .find(|line| line.ends_with(" RUNNING"))
        .unwrap()
        .to_owned();
    let requeued = cluster.command("scontrol", &["requeue", running.split(' ').next().unwrap()]);
    assert!(
        requeued.status.success(),
        "{}",
        String::from_utf8_lossy(&requeued.stderr)
    );
    let page = cluster.path("out/README.md");
    // Slurm holds a requeued job back for a while, unless it is told, once the old one is gone, to begin it now.
    let job = format!("JobId={}", running.split(' ').next().unwrap());
    cluster.until("the pages", || {
        if cluster.queue().contains("PENDING") {
            cluster.command("scontrol", &["update", &job, "StartTime=now"]);
        }
        page.exists() && cluster.queue().is_empty()
    });
    let status = cluster.xtask("status", &[]);
    assert!(
        status.starts_with("4 runs: 3 done, 0 running, 0 queued, 1 failed"),
        "{status}"
    );
    let calls = fs::read_to_string(cluster.path("calls")).unwrap();
    assert!(calls.contains("from a checkpoint"), "{calls}");
    assert!(
        fs::read_to_string(page)
            .unwrap()
            .contains("the loss is NaN")
    );

    // Only what is missing is submitted: the failed one, when that is asked for.
    fs::remove_file(cluster.path("diverge")).unwrap();
    let said = cluster.xtask("reproduce", &[&slurm[..], &["--retry-failed"]].concat());
    assert!(said.contains(": 1 runs, then the pages"), "{said}");
    cluster.until("the last", || cluster.queue().is_empty());
    assert!(cluster.xtask("status", &[]).starts_with("4 runs: 4 done"));
}
