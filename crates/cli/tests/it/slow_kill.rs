//! Trainings killed at any time resume exactly, and two processes cannot train one run.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::common::{ring, same_end};

fn train(dir: &Path, method: &str, out: &str, more: &[&str]) -> Command {
    let mut prl = Command::new(env!("CARGO_BIN_EXE_prl"));
    prl.current_dir(dir).args([
        "train",
        "--resume",
        "--data",
        "ring",
        "--dim",
        "8",
        "--window",
        "4",
        "--batch-size",
        "16",
    ]);
    prl.args(["--method", method, "--out", out]).args(more);
    prl.stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    prl
}

#[test]
fn training_killed_at_any_time_resumes_exactly() {
    const STEPS: [&str; 4] = ["--max-steps", "10", "--eval-every", "2"];
    let dir = tempfile::tempdir().unwrap();
    ring(dir.path(), 100);
    let mut kills = 0_u32;
    // The last one starts from the first one's weights.
    let from_run: &[&str] = &["--from", "whole-prl", "--optimizer", "carry"];
    for (name, method, more) in [
        ("prl", "prl", &[][..]),
        ("sac", "sac", &[]),
        ("from", "prl", from_run),
    ] {
        let steps = [&STEPS[..], more].concat();
        let whole = format!("whole-{name}");
        let begun = Instant::now();
        assert!(
            train(dir.path(), method, &whole, &steps)
                .status()
                .unwrap()
                .success()
        );
        let mut course = begun.elapsed();
        let mut killed = 0;
        for round in 0.. {
            if round >= 4 && killed >= 3 {
                break;
            }
            assert!(round < 40, "the training ends before it is killed");
            let before = kills;
            let out = format!("killed-{name}-{round}");
            for attempt in 0_u32.. {
                let mut child = train(dir.path(), method, &out, &steps).spawn().unwrap();
                // Multiples of the golden ratio are spread evenly over the course; later attempts
                // wait longer, so that a slow machine makes progress.
                sleep(course.mul_f64(
                    (1.0 + 0.1 * f64::from(attempt)) * (0.618_034 * f64::from(kills)).fract(),
                ));
                if let Some(status) = child.try_wait().unwrap() {
                    assert!(status.success(), "resuming failed");
                    break;
                }
                child.kill().unwrap();
                child.wait().unwrap();
                kills += 1;
                assert!(kills < 1000, "no progress between kills");
            }
            same_end(&dir.path().join(&whole), &dir.path().join(&out));
            killed += kills - before;
            if kills == before {
                // The reference run was slow by chance: kill earlier.
                course = course.mul_f64(0.7);
            }
        }
    }
}

#[test]
fn second_training_reports_lock_holder_and_kill_releases_lock() {
    const ENDLESS: [&str; 4] = ["--epochs", "1000000", "--eval-every", "1000000"];
    let dir = tempfile::tempdir().unwrap();
    ring(dir.path(), 100);
    let mut first = train(dir.path(), "normal", "run", &ENDLESS)
        .spawn()
        .unwrap();
    let is_held_by = |pid: u32| {
        let held = fs::read_to_string(dir.path().join("run/.lock")).unwrap_or_default();
        held.contains(&format!("\"pid\":{pid},"))
    };
    let until_held = |child: &mut std::process::Child| {
        while !is_held_by(child.id()) {
            assert!(child.try_wait().unwrap().is_none(), "refused");
            sleep(Duration::from_millis(5));
        }
    };
    until_held(&mut first);
    let second = train(dir.path(), "normal", "run", &ENDLESS)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    let said = String::from_utf8(second.stderr).unwrap();
    assert_eq!(second.status.code(), Some(1), "{said}");
    assert!(
        said.contains(&format!("in use by process {} ", first.id())),
        "{said}"
    );
    first.kill().unwrap();
    first.wait().unwrap();
    let mut third = train(dir.path(), "normal", "run", &ENDLESS)
        .spawn()
        .unwrap();
    until_held(&mut third);
    third.kill().unwrap();
    third.wait().unwrap();
}
