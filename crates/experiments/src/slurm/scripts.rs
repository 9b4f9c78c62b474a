//! Shell scripts of a submission: a job array with one run per index, and a job after it that
//! writes the pages.

use std::path::Path;

use super::profile::Profile;

/// Inputs of the scripts.
pub struct Submission<'a> {
    /// Directory of the scripts, the tasks and the jobs' output.
    pub dir: &'a Path,
    /// This program.
    pub program: &'a Path,
    /// The `prl` binary.
    pub prl: &'a Path,
    /// Code version of the runs.
    pub code: &'a str,
    /// Number of tasks.
    pub tasks: usize,
    /// Flags of `reproduce` that select the runs.
    pub selection: &'a [String],
}

/// Seconds before the time limit at which a run is signalled to write a checkpoint.
const NOTICE: u32 = 60;

impl Submission<'_> {
    /// Script of the array: each index executes one task. Shortly before the time limit it signals
    /// `prl` to write a checkpoint and requeues the index; Slurm itself requeues a preempted one.
    pub fn array(&self, profile: &Profile) -> String {
        let at_once = match profile.at_once {
            Some(n) => format!("%{n}"),
            None => String::new(),
        };
        let last = self.tasks - 1;
        let log = self.dir.join("%a.log");
        let log = log.display();
        let directives = profile.directives().join("\n");
        let setup = setup(profile);
        let (prl, program) = (quoted(self.prl), quoted(self.program));
        let tasks = quoted(self.dir.join("tasks.jsonl"));
        let (cpus, device) = (profile.cpus, profile.device());
        // The program runs in the background, as the shell would handle a signal only after a
        // command in the foreground. A trap interrupts `wait`, so it is repeated until the program
        // has ended.
        format!(
            r#"#!/bin/sh
#SBATCH --job-name=prl
#SBATCH --array=0-{last}{at_once}
#SBATCH --output={log}
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=B:USR1@{NOTICE}
{directives}
{setup}export PRL_BIN={prl}
{program} perform --tasks {tasks} --index "$SLURM_ARRAY_TASK_ID" --threads {cpus} --device {device} &
work=$!
again=
# prl writes a checkpoint on SIGTERM; the next attempt resumes from it.
stop() {{ pkill -TERM -P "$work"; }}
trap 'again=yes; stop' USR1
trap stop TERM
wait "$work"
status=$?
while kill -0 "$work" 2>/dev/null; do wait "$work"; status=$?; done
if [ -n "$again" ] && [ "$status" -ne 0 ]; then
  scontrol requeue "${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID"
fi
exit "$status"
"#
        )
    }

    /// Script of the job after the array: writes the pages, whether or not runs have failed.
    pub fn gather(&self, profile: &Profile) -> String {
        let profile = Profile {
            gpus: 0,
            cpus: 1,
            ..profile.clone()
        };
        let log = self.dir.join("pages.log");
        let log = log.display();
        let directives = profile.directives().join("\n");
        let setup = setup(&profile);
        let (prl, program) = (quoted(self.prl), quoted(self.program));
        let selection: Vec<String> = self.selection.iter().map(quoted).collect();
        let selection = selection.join(" ");
        let code = quoted(self.code);
        format!(
            r#"#!/bin/sh
#SBATCH --job-name=prl-pages
#SBATCH --output={log}
{directives}
{setup}export PRL_BIN={prl}
{program} reproduce {selection} --code {code}
"#
        )
    }
}

fn setup(profile: &Profile) -> String {
    let mut text = String::new();
    for line in &profile.setup {
        text += &format!("{line}\n");
    }
    text
}

/// Quotes a word for the shell.
fn quoted(word: impl AsRef<std::ffi::OsStr>) -> String {
    format!(
        "'{}'",
        word.as_ref().to_string_lossy().replace('\'', "'\\''")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_escapes_single_quotes() {
        assert_eq!(quoted("it's $HOME"), "'it'\\''s $HOME'");
    }

    #[test]
    fn scripts_contain_all_settings() {
        let selection = ["--scale".to_owned(), "paper".to_owned()];
        let submission = Submission {
            dir: Path::new("/runs/slurm/1"),
            program: Path::new("/bin/prl-reproduce"),
            prl: Path::new("/bin/prl"),
            code: "c0de",
            tasks: 24,
            selection: &selection,
        };
        let profile = Profile {
            at_once: Some(4),
            setup: vec!["module load cuda".into()],
            ..Profile::default()
        };
        let array = submission.array(&profile);
        for line in [
            "#SBATCH --array=0-23%4",
            "#SBATCH --requeue",
            "module load cuda",
            "export PRL_BIN='/bin/prl'",
        ] {
            assert!(array.lines().any(|found| found == line), "{line}: {array}");
        }
        assert!(
            array.contains("perform --tasks '/runs/slurm/1/tasks.jsonl' --index \"$SLURM_ARRAY_TASK_ID\" --threads 2")
        );
        let gather = submission.gather(&profile);
        assert!(
            gather.ends_with("'/bin/prl-reproduce' reproduce '--scale' 'paper' --code 'c0de'\n"),
            "{gather}"
        );
    }
}
