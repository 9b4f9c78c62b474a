//! `prl-reproduce` on a real Slurm cluster of one node. Without an installed Slurm the test is
//! skipped with a message.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

/// Time for the cluster to reach a state; only a failing test takes that long.
const DEADLINE: Duration = Duration::from_secs(240);

/// A running cluster; dropping it stops the daemons.
struct Cluster {
    dir: TempDir,
}

impl Cluster {
    /// Starts a cluster; `None` if Slurm is not installed or does not start.
    fn start() -> Option<Self> {
        let is_installed = |program: &str| {
            let found = Command::new("sh")
                .args(["-c", &format!("command -v {program}")])
                .stdout(Stdio::null())
                .status();
            found.is_ok_and(|status| status.success())
        };
        if !["slurmctld", "slurmd", "sbatch", "squeue"]
            .into_iter()
            .all(is_installed)
        {
            eprintln!("SKIPPED: no Slurm here (Debian's slurm-wlm)");
            return None;
        }
        let cluster = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        if !cluster.script("start") {
            eprintln!("SKIPPED: Slurm is installed, but its daemons do not start");
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

    /// Runs a subcommand on an experiment of four runs: two systems on two logs.
    fn reproduce(&self, task: &str, more: &[&str]) -> String {
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

    /// The jobs in the queue; `None` if the controller does not answer, which is not an empty
    /// queue.
    fn queue(&self) -> Option<String> {
        let output = self.command("squeue", &["--noheader", "--array", "--format=%i %T"]);
        if !output.status.success() {
            return None;
        }
        Some(String::from_utf8(output.stdout).unwrap())
    }

    /// The job that runs, once there is one.
    fn running_job(&self) -> String {
        let start = Instant::now();
        loop {
            let queue = self.queue().unwrap_or_default();
            for line in queue.lines() {
                if let Some(job) = line.strip_suffix(" RUNNING") {
                    return job.to_owned();
                }
            }
            assert!(start.elapsed() < DEADLINE, "no job runs: {queue}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn is_queue_empty(&self) -> bool {
        self.queue().is_some_and(|queue| queue.is_empty())
    }

    /// Waits until `status` begins with a text, and returns it. A job leaves the queue before or
    /// after its files are seen, so the state is reached some time after the jobs have ended.
    fn wait_for_status(&self, text: &str) -> String {
        let start = Instant::now();
        loop {
            let status = self.reproduce("status", &[]);
            if status.starts_with(text) {
                return status;
            }
            let queue = self.queue();
            assert!(start.elapsed() < DEADLINE, "{status}\n{queue:?}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn wait_until(&self, what: &str, holds: impl Fn() -> bool) {
        let start = Instant::now();
        while !holds() {
            let logs = || {
                let logs = fs::read_dir(self.path("runs/paper/slurm/1"))
                    .into_iter()
                    .flatten()
                    .flatten();
                logs.filter_map(|entry| fs::read_to_string(entry.path()).ok())
                    .collect::<String>()
            };
            assert!(
                start.elapsed() < DEADLINE,
                "{what}: {:?}\n{}",
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
fn cluster_makes_runs_requeues_and_writes_pages() {
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
    let dry = cluster.reproduce("reproduce", &[&slurm[..], &["--dry-run"]].concat());
    assert!(
        dry.contains("#SBATCH --array=0-3%2") && dry.contains("#SBATCH --partition=main"),
        "{dry}"
    );
    assert_eq!(
        cluster.queue().as_deref(),
        Some(""),
        "a dry run submits nothing"
    );

    // One run hangs until there is a checkpoint, another diverges.
    fs::write(cluster.path("hang"), "rc15-gru-prl-0").unwrap();
    fs::write(cluster.path("diverge"), "retailrocket-gru-normal-0").unwrap();
    let output = cluster.reproduce("reproduce", &slurm);
    assert!(output.contains("4 runs, then the pages"), "{output}");
    cluster.wait_until("the others end", || {
        let queue = cluster.queue().unwrap_or_default();
        queue.lines().count() == 2 && cluster.calls("train") == 4
    });
    let status =
        cluster.wait_for_status("4 runs: 2 done, 1 running, 0 queued, 1 failed, 0 waiting");
    assert!(status.contains("the loss is NaN at step 1234"), "{status}");

    // Queued runs are not submitted again.
    let again = cluster.reproduce("reproduce", &slurm);
    assert!(
        again.contains("nothing to submit: 1 runs are in the queue"),
        "{again}"
    );

    // Requeued like a preempted run, it resumes from its checkpoint; then the pages are written.
    let running = cluster.running_job();
    let requeued = cluster.command("scontrol", &["requeue", &running]);
    assert!(
        requeued.status.success(),
        "{}",
        String::from_utf8_lossy(&requeued.stderr)
    );
    let page = cluster.path("out/README.md");
    // Slurm delays a requeued job, unless its start time is set once the old attempt has ended.
    let job = format!("JobId={running}");
    cluster.wait_until("the pages", || {
        if cluster.queue().unwrap_or_default().contains("PENDING") {
            cluster.command("scontrol", &["update", &job, "StartTime=now"]);
        }
        page.exists() && cluster.is_queue_empty()
    });
    cluster.wait_for_status("4 runs: 3 done, 0 running, 0 queued, 1 failed, 0 waiting");
    let calls = fs::read_to_string(cluster.path("calls")).unwrap();
    assert!(calls.contains("from a checkpoint"), "{calls}");
    assert!(
        fs::read_to_string(page)
            .unwrap()
            .contains("the loss is NaN")
    );

    // Only missing runs are submitted: the failed one, on request.
    fs::remove_file(cluster.path("diverge")).unwrap();
    let output = cluster.reproduce("reproduce", &[&slurm[..], &["--retry-failed"]].concat());
    assert!(output.contains(": 1 runs, then the pages"), "{output}");
    cluster.wait_until("the last", || cluster.is_queue_empty());
    cluster.wait_for_status("4 runs: 4 done");
}
