//! The directory tree that a command works in: this repository, or a bundle made from it.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::bundle::{Bundle, FOLDER_VAR, LIBRARIES_VAR};

/// Root directory of a command, and what kind of tree lies below it.
#[derive(Debug)]
pub struct Workspace {
    /// Root directory; default output directories and child processes start here.
    pub root: PathBuf,
    /// Repository or bundle.
    pub kind: WorkspaceKind,
}

/// Kind of a [`Workspace`].
#[derive(Debug)]
pub enum WorkspaceKind {
    /// A checkout of the sources: programs are built by cargo.
    Repository,
    /// A directory with prebuilt programs and prepared datasets.
    Bundle(Bundle),
}

impl Workspace {
    /// Detects the workspace: the bundle named by the environment, otherwise this repository.
    ///
    /// # Errors
    /// If the environment names a directory that is not a bundle.
    pub fn find() -> Result<Self> {
        match env::var_os(FOLDER_VAR) {
            Some(folder) => {
                let bundle = Bundle::open(Path::new(&folder))?;
                Ok(Self {
                    root: bundle.folder.clone(),
                    kind: WorkspaceKind::Bundle(bundle),
                })
            }
            None => Ok(Self::repository()),
        }
    }

    /// The repository that this crate was compiled from.
    pub fn repository() -> Self {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = manifest.ancestors().nth(2).unwrap_or(manifest).to_owned();
        Self {
            root,
            kind: WorkspaceKind::Repository,
        }
    }

    /// The bundle, if this workspace is one.
    pub fn bundle(&self) -> Option<&Bundle> {
        match &self.kind {
            WorkspaceKind::Repository => None,
            WorkspaceKind::Bundle(bundle) => Some(bundle),
        }
    }

    /// A command for a program from outside the workspace. In a bundle it gets the library search
    /// path of the caller, without the GPU libraries that the bundle's start script prepends.
    pub fn foreign_command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        if self.bundle().is_some()
            && let Some(libraries) = env::var_os(LIBRARIES_VAR)
        {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repository_root_holds_workspace_manifest() {
        let workspace = Workspace::repository();
        assert!(workspace.root.join("Cargo.toml").is_file());
        assert!(workspace.root.join("crates/experiments").is_dir());
        assert!(workspace.bundle().is_none());
    }
}
