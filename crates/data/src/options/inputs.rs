//! Inputs of a table: files and folders, with what all events of each have in common.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use prl_dataset::Split;
use serde::Serialize;

use crate::error::{Error, Result};

/// File or folder of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct InputPart {
    /// File, or folder of partitions.
    #[serde(skip)]
    pub path: PathBuf,
    /// Event kind of all its events: `click`, `purchase`, or one that the options name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Split of all its events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<Split>,
}

/// Inputs of a table, read in this order. One path converts into it.
///
/// ```
/// let views: prl_data::InputPart = "click=views.csv".parse()?;
/// assert_eq!(views.kind.as_deref(), Some("click"));
/// let inputs = prl_data::Inputs(vec![views, "purchase=orders.csv".parse()?]);
/// # let _ = inputs;
/// let plain: prl_data::InputPart = "./click=views.csv".parse()?;
/// assert_eq!(plain.kind, None);
/// # Ok::<(), prl_data::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Inputs(pub Vec<InputPart>);

impl From<&Path> for InputPart {
    fn from(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            ..Self::default()
        }
    }
}

impl From<&Path> for Inputs {
    fn from(path: &Path) -> Self {
        Self(vec![InputPart::from(path)])
    }
}

impl From<PathBuf> for Inputs {
    fn from(path: PathBuf) -> Self {
        path.as_path().into()
    }
}

impl From<&str> for Inputs {
    fn from(path: &str) -> Self {
        Path::new(path).into()
    }
}

impl FromStr for InputPart {
    type Err = Error;

    /// Parses `[KIND=]PATH`. The text before the first `=` is a kind unless it holds a `/`, `\` or
    /// `.`, or the whole text is the path of something that exists.
    fn from_str(text: &str) -> Result<Self> {
        let whole = Self::from(Path::new(text));
        let Some((kind, path)) = text.split_once('=') else {
            return Ok(whole);
        };
        if kind.is_empty() || kind.contains(['/', '\\', '.']) || whole.path.exists() {
            return Ok(whole);
        }
        if path.is_empty() {
            return Err(Error::Options(format!(
                "input {text:?}: no path after the kind; expected [KIND=]PATH"
            )));
        }
        Ok(Self {
            kind: Some(kind.to_owned()),
            ..Self::from(Path::new(path))
        })
    }
}

impl Inputs {
    /// True if no input has anything of its own to describe.
    pub(crate) fn is_plain(&self) -> bool {
        !self.has_kinds() && !self.has_splits()
    }

    /// True if an input has a kind of its own; one without is of clicks then.
    pub(crate) fn has_kinds(&self) -> bool {
        self.0.iter().any(|part| part.kind.is_some())
    }

    /// True if an input has a split of its own.
    pub(crate) fn has_splits(&self) -> bool {
        self.0.iter().any(|part| part.split.is_some())
    }

    /// Paths of the inputs.
    pub(crate) fn paths(&self) -> Vec<&Path> {
        let mut paths = Vec::with_capacity(self.0.len());
        for part in &self.0 {
            paths.push(part.path.as_path());
        }
        paths
    }

    /// Rejects no inputs, and splits that only some of them have.
    pub(crate) fn check(&self) -> Result<()> {
        if self.0.is_empty() {
            return Err(Error::Options("no input is named".into()));
        }
        let mut splits = Vec::with_capacity(self.0.len());
        for part in &self.0 {
            splits.extend(part.split);
        }
        if !splits.is_empty() && splits.len() < self.0.len() {
            return Err(Error::Options(
                "some inputs have a split and some have none; give each input one".into(),
            ));
        }
        for needed in [Split::Train, Split::Test] {
            if !splits.is_empty() && !splits.contains(&needed) {
                let name = needed.name();
                return Err(Error::Options(format!(
                    "the split is given by files, of which none is for {name}; add --{name} FILE"
                )));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kind_before_a_path_is_read_and_a_path_with_an_equals_sign_stays_one() {
        let dir = tempfile::tempdir().unwrap();
        let there = dir.path().join("day=1.csv");
        std::fs::write(&there, "").unwrap();
        let there = there.to_str().unwrap();
        for (text, kind, path) in [
            ("log.csv", None, "log.csv"),
            ("click=views.csv", Some("click"), "views.csv"),
            ("add to cart=a=b.csv", Some("add to cart"), "a=b.csv"),
            ("./click=views.csv", None, "./click=views.csv"),
            ("logs/event=pv", None, "logs/event=pv"),
            ("pv=/logs/event=pv", Some("pv"), "/logs/event=pv"),
            (there, None, there),
        ] {
            let part: InputPart = text.parse().unwrap();
            assert_eq!(part.kind.as_deref(), kind, "{text}");
            assert_eq!(part.path, Path::new(path), "{text}");
        }
        assert!("click=".parse::<InputPart>().is_err());
    }
}
