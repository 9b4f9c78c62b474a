//! Places that a training is tracked in, as written on the command line.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::error::{Error, Result};

/// Experiment of the runs in MLflow, unless `MLFLOW_EXPERIMENT_NAME` names another one.
const EXPERIMENT: &str = "prl";

/// A tracker: `tensorboard=DIR`, `mlflow=DIR` or `mlflow=http://HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Directory of TensorBoard's runs (`--logdir`).
    TensorBoard(PathBuf),
    /// Directory of MLflow's file store.
    MlflowFiles(PathBuf),
    /// Address of an MLflow server.
    MlflowServer(String),
}

impl FromStr for Target {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let invalid = |cause| Error::Target(text.to_owned(), cause);
        let Some((kind, place)) = text.split_once('=') else {
            return Err(invalid("it has no ="));
        };
        if place.is_empty() {
            return Err(invalid("the place is missing"));
        }
        match kind {
            "tensorboard" => Ok(Self::TensorBoard(place.into())),
            "mlflow" => mlflow(place).map_err(invalid),
            _ => Err(invalid("there is no tracker of this kind")),
        }
    }
}

/// The file store or the server at a place.
fn mlflow(place: &str) -> std::result::Result<Target, &'static str> {
    if let Some(path) = place.strip_prefix("file:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        return Ok(Target::MlflowFiles(path.into()));
    }
    let Some((scheme, rest)) = place.split_once("://") else {
        return Ok(Target::MlflowFiles(place.into()));
    };
    match scheme {
        "http" => {}
        "https" => {
            return Err("there is no TLS here; name a proxy beside this program that has it");
        }
        _ => return Err("MLflow is reached by http or as a directory"),
    }
    let host = rest.split('/').next().unwrap_or_default();
    if host.is_empty() {
        return Err("the host is missing");
    }
    if host.contains('@') {
        return Err(
            "a password does not belong in an address; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
        );
    }
    Ok(Target::MlflowServer(place.trim_end_matches('/').to_owned()))
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TensorBoard(dir) => write!(f, "tensorboard={}", dir.display()),
            Self::MlflowFiles(dir) => write!(f, "mlflow={}", dir.display()),
            Self::MlflowServer(url) => write!(f, "mlflow={url}"),
        }
    }
}

impl Target {
    /// The target with an absolute path, which names it in a run directory.
    pub(crate) fn absolute(self) -> Result<Self> {
        match self {
            Self::TensorBoard(dir) => Ok(Self::TensorBoard(absolute(dir)?)),
            Self::MlflowFiles(dir) => Ok(Self::MlflowFiles(absolute(dir)?)),
            server @ Self::MlflowServer(_) => Ok(server),
        }
    }
}

fn absolute(dir: PathBuf) -> Result<PathBuf> {
    std::path::absolute(&dir).map_err(Error::io(&dir))
}

/// Experiment of the runs in MLflow.
pub(crate) fn mlflow_experiment() -> String {
    match std::env::var("MLFLOW_EXPERIMENT_NAME") {
        Ok(name) if !name.is_empty() => name,
        _ => EXPERIMENT.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn target_is_read_and_printed() {
        for (text, expected) in [
            ("tensorboard=a/b", Target::TensorBoard("a/b".into())),
            ("mlflow=mlruns", Target::MlflowFiles("mlruns".into())),
            ("mlflow=file:///a", Target::MlflowFiles("/a".into())),
            ("mlflow=file:a", Target::MlflowFiles("a".into())),
            (
                "mlflow=http://h:5000/",
                Target::MlflowServer("http://h:5000".into()),
            ),
        ] {
            let target: Target = text.parse().unwrap();
            assert_eq!(target, expected);
            assert_eq!(target.to_string().parse::<Target>().unwrap(), expected);
        }
    }

    #[test]
    fn invalid_target_is_refused_with_the_cause() {
        for (text, cause) in [
            ("tensorboard", "it has no ="),
            ("mlflow=", "the place is missing"),
            ("wandb=x", "no tracker of this kind"),
            ("mlflow=sqlite:///a", "by http or as a directory"),
            ("mlflow=https://h", "no TLS here"),
            ("mlflow=http:///a", "the host is missing"),
            ("mlflow=http://u:p@h", "MLFLOW_TRACKING_PASSWORD"),
        ] {
            let error = text.parse::<Target>().unwrap_err().to_string();
            assert!(error.contains(cause), "{error}");
        }
    }
}
