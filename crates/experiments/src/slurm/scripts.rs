//! Shell scripts of a submission: a job array with one run per index, and a job after it that writes
//! the pages.

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
        let at_once = profile.at_once.map(|n| format!("%{n}")).unwrap_or_default();
        let (tasks, log) = (
            quoted(self.dir.join("tasks.jsonl")),
            self.dir.join("%a.log"),
        );
        format!(
            "#!/bin/sh\n#SBATCH --job-name=prl\n#SBATCH --array=0-{}{at_once}\n#SBATCH --output={}\n\
             #SBATCH --open-mode=append\n#SBATCH --requeue\n#SBATCH --signal=B:USR1@{NOTICE}\n{}\n{}\
             export PRL_BIN={}\n\
             {} perform --tasks {tasks} --index \"$SLURM_ARRAY_TASK_ID\" --threads {} --device {} &\n\
             work=$!\nagain=\n\
             # prl leaves a checkpoint on SIGTERM; the next attempt goes on from it.\n\
             stop() {{ pkill -TERM -P \"$work\"; }}\n\
             trap 'again=yes; stop' USR1\ntrap stop TERM\n\
             wait \"$work\"\nstatus=$?\n\
             while kill -0 \"$work\" 2>/dev/null; do wait \"$work\"; status=$?; done\n\
             if [ -n \"$again\" ] && [ \"$status\" -ne 0 ]; then scontrol requeue \"${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID\"; fi\n\
             exit \"$status\"\n",
            self.tasks - 1,
            log.display(),
            profile.directives().join("\n"),
            setup(profile),
            quoted(self.prl),
            quoted(self.program),
            profile.cpus,
            profile.device(),
        )
    }

    /// Script of the job after the array: writes the pages, whether or not runs have failed.
    pub fn gather(&self, profile: &Profile) -> String {
        let profile = Profile {
            gpus: 0,
            cpus: 1,
            ..profile.clone()
        };
        let selection: Vec<String> = self.selection.iter().map(quoted).collect();
        format!(
            "#!/bin/sh\n#SBATCH --job-name=prl-pages\n#SBATCH --output={}\n{}\n{}export PRL_BIN={}\n{} reproduce {} --code {}\n",
            self.dir.join("pages.log").display(),
            profile.directives().join("\n"),
            setup(&profile),
            quoted(self.prl),
            quoted(self.program),
            selection.join(" "),
            quoted(self.code),
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
