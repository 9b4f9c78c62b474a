//! What a cluster gives each run: a TOML file, every key of which may be left out.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// The resources of a run and where they are had.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Profile {
    /// The partition; the cluster's own otherwise.
    pub partition: Option<String>,
    /// The account that is charged.
    pub account: Option<String>,
    /// The longest a run may take, as Slurm writes it; one that needs longer goes on from its checkpoint.
    pub time: Option<String>,
    /// Cores of a run.
    pub cpus: usize,
    /// Memory of a run, as Slurm writes it.
    pub memory: Option<String>,
    /// GPUs of a run.
    pub gpus: usize,
    /// Runs at a time; as many as the cluster has room for otherwise.
    pub at_once: Option<usize>,
    /// More flags of `sbatch`.
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
    /// If the file cannot be read, has another key, or asks for nothing to run on.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("failed to read {}", path.display()))?;
        let profile: Self =
            toml::from_str(&text).with_context(|| format!("{} is no profile", path.display()))?;
        ensure!(
            profile.cpus > 0,
            "{}: cpus must be at least 1",
            path.display()
        );
        ensure!(
            profile.at_once != Some(0),
            "{}: at_once must be at least 1",
            path.display()
        );
        let lines = profile.flags.iter().chain(&profile.setup);
        let breaks = lines.chain(
            [
                &profile.partition,
                &profile.account,
                &profile.time,
                &profile.memory,
            ]
            .into_iter()
            .flatten(),
        );
        ensure!(
            !breaks.into_iter().any(|line| line.contains('\n')),
            "{}: a value spans lines",
            path.display()
        );
        Ok(profile)
    }

    /// Its `#SBATCH` lines.
    pub fn directives(&self) -> Vec<String> {
        let optional = [
            ("partition", self.partition.clone()),
            ("account", self.account.clone()),
            ("time", self.time.clone()),
            ("cpus-per-task", Some(self.cpus.to_string())),
            ("mem", self.memory.clone()),
            ("gpus", (self.gpus > 0).then(|| self.gpus.to_string())),
        ];
        let own = optional
            .into_iter()
            .filter_map(|(flag, value)| Some(format!("--{flag}={}", value?)));
        own.chain(self.flags.iter().cloned())
            .map(|flag| format!("#SBATCH {flag}"))
            .collect()
    }

    /// The device of its runs.
    pub fn device(&self) -> &'static str {
        if self.gpus > 0 { "cuda" } else { "cpu" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_its_directives() {
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
