//! Resources of a run on a cluster: a TOML file whose keys are all optional.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// Resources of each run, and where the cluster provides them.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Profile {
    /// Partition; by default that of the cluster.
    pub partition: Option<String>,
    /// Account that is charged.
    pub account: Option<String>,
    /// Time limit of a run in Slurm's format; a run that needs longer resumes from its checkpoint.
    pub time: Option<String>,
    /// Cores of a run.
    pub cpus: usize,
    /// Memory of a run in Slurm's format.
    pub memory: Option<String>,
    /// GPUs of a run.
    pub gpus: usize,
    /// Maximum number of concurrent runs; by default unlimited.
    pub at_once: Option<usize>,
    /// Additional flags of `sbatch`.
    pub flags: Vec<String>,
    /// Shell lines before the run: modules, environments.
    pub setup: Vec<String>,
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            partition: None,
            account: None,
            time: None,
            cpus: 2,
            memory: Some("8G".into()),
            gpus: 0,
            at_once: None,
            flags: Vec::new(),
            setup: Vec::new(),
        }
    }
}

impl Profile {
    /// Reads a profile.
    ///
    /// # Errors
    /// If the file cannot be read, has an unknown key, or requests no core.
    pub fn read(path: &Path) -> Result<Self> {
        let name = path.display();
        let text =
            std::fs::read_to_string(path).with_context(|| format!("failed to read {name}"))?;
        let profile: Self =
            toml::from_str(&text).with_context(|| format!("{name} is not a valid profile"))?;
        ensure!(profile.cpus > 0, "{name}: cpus must be at least 1");
        let at_once = profile.at_once;
        ensure!(at_once != Some(0), "{name}: at_once must be at least 1");
        // A line break would end the `#SBATCH` comment: the rest would be run as a command.
        let Self {
            partition,
            account,
            time,
            memory,
            ..
        } = &profile;
        let values = [partition, account, time, memory];
        let lines = profile.flags.iter().chain(&profile.setup);
        for value in lines.chain(values.into_iter().flatten()) {
            ensure!(!value.contains('\n'), "{name}: a value spans lines");
        }
        Ok(profile)
    }

    /// Its `#SBATCH` lines.
    pub fn directives(&self) -> Vec<String> {
        let mut flags = Vec::new();
        let mut add = |flag: &str, value: Option<&str>| {
            if let Some(value) = value {
                flags.push(format!("--{flag}={value}"));
            }
        };
        add("partition", self.partition.as_deref());
        add("account", self.account.as_deref());
        add("time", self.time.as_deref());
        add("cpus-per-task", Some(&self.cpus.to_string()));
        add("mem", self.memory.as_deref());
        if self.gpus > 0 {
            add("gpus", Some(&self.gpus.to_string()));
        }
        flags.extend(self.flags.iter().cloned());
        flags.iter().map(|flag| format!("#SBATCH {flag}")).collect()
    }

    /// Device of its runs.
    pub fn device(&self) -> &'static str {
        if self.gpus > 0 { "cuda" } else { "cpu" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profile_becomes_directives_and_invalid_values_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gpu.toml");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            Profile::read(&path).map_err(|error| format!("{error:#}"))
        };
        let profile =
            read("partition = \"a100\"\ntime = \"4:00:00\"\ngpus = 1\nat_once = 8\nflags = [\"--qos=low\"]").unwrap();
        let lines = [
            "--partition=a100",
            "--time=4:00:00",
            "--cpus-per-task=2",
            "--mem=8G",
            "--gpus=1",
            "--qos=low",
        ];
        assert_eq!(
            profile.directives(),
            lines.map(|line| format!("#SBATCH {line}"))
        );
        assert_eq!(profile.device(), "cuda");
        assert_eq!(read("").unwrap(), Profile::default());
        assert!(read("gpu = 1").unwrap_err().contains("unknown field `gpu`"));
        assert!(
            read("cpus = 0")
                .unwrap_err()
                .contains("cpus must be at least 1")
        );
        assert!(
            read("time = \"\"\"1:00\n2\"\"\"")
                .unwrap_err()
                .contains("spans lines")
        );
    }
}
