//! The two jobs of a submission: an array with a run for each index, and one after it that writes the pages.

use std::path::Path;

use super::profile::Profile;

/// What the scripts are about.
pub struct Submission<'a> {
    /// Where the scripts, the tasks and the jobs' output lie.
    pub dir: &'a Path,
    /// This program.
    pub xtask: &'a Path,
    /// The `prl` binary.
    pub prl: &'a Path,
    /// Its code, by which runs are named.
    pub code: &'a str,
    /// How many tasks there are.
    pub tasks: usize,
    /// The flags of `reproduce` that choose the runs.
    pub choice: &'a [String],
}

/// Seconds before the time limit at which a run is asked for a checkpoint.
const NOTICE: u32 = 60;

impl Submission<'_> {
    /// The array: each index carries out one task. Near the time limit, `prl` is asked for a checkpoint and the index goes back
    /// into the queue; a preempted one goes back by itself.
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
            quoted(self.xtask),
            profile.cpus,
            profile.device(),
        )
    }

    /// The job after the array: it makes no run and writes the pages, whatever became of the runs.
    pub fn gather(&self, profile: &Profile) -> String {
        let profile = Profile {
            gpus: 0,
            cpus: 1,
            ..profile.clone()
        };
        let choice: Vec<String> = self.choice.iter().map(quoted).collect();
        format!(
            "#!/bin/sh\n#SBATCH --job-name=prl-pages\n#SBATCH --output={}\n{}\n{}export PRL_BIN={}\n{} reproduce {} --code {}\n",
            self.dir.join("pages.log").display(),
            profile.directives().join("\n"),
            setup(&profile),
            quoted(self.prl),
            quoted(self.xtask),
            choice.join(" "),
            quoted(self.code),
        )
    }
}

fn setup(profile: &Profile) -> String {
    profile
        .setup
        .iter()
        .map(|line| format!("{line}\n"))
        .collect()
}

/// A word of a shell script.
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
    fn words_stay_words() {
        assert_eq!(quoted("it's $HOME"), "'it'\\''s $HOME'");
    }

    #[test]
    fn scripts_say_it_all() {
        let choice = ["--scale".to_owned(), "paper".to_owned()];
        let submission = Submission {
            dir: Path::new("/runs/slurm/1"),
            xtask: Path::new("/bin/xtask"),
            prl: Path::new("/bin/prl"),
            code: "c0de",
            tasks: 24,
            choice: &choice,
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
            gather.ends_with("'/bin/xtask' reproduce '--scale' 'paper' --code 'c0de'\n"),
            "{gather}"
        );
    }
}
