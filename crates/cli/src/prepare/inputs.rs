//! Flags of `prl prepare` for the log's files and for a split that the log gives.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use prl_data::{InputPart, Inputs, Split};

use crate::exit::Usage;

/// Files of the log, and its split by files.
#[derive(clap::Args)]
pub struct InputArgs {
    /// The log: a file, or a directory of files of one format (csv, parquet, inter); .gz and .zst
    /// are decompressed, and directories named NAME=VALUE are a column. Repeated, several of them;
    /// KIND= gives all events of one a kind: click, purchase, or a value of --click or --purchase.
    /// A path that has an = itself is taken as one if it exists or begins with ./ or /
    #[arg(long, value_name = "[KIND=]PATH")]
    input: Vec<InputPart>,
    /// The log's training split, for a log whose splits are apart: files as for --input, with
    /// --test FILE and, if there is one, --valid FILE beside it
    #[arg(long, value_name = "FILE", conflicts_with = "input")]
    train: Option<PathBuf>,
    /// Share of the sessions for validation; beside --train, the validation split's file
    #[arg(long, visible_alias = "valid", value_name = "SHARE|FILE")]
    val: Option<ShareOrFile>,
    /// Share of the sessions for testing; beside --train, the test split's file
    #[arg(long, value_name = "SHARE|FILE")]
    test: Option<ShareOrFile>,
}

/// Value of `--val` and `--test`: a number is a share.
#[derive(Clone, Debug, PartialEq)]
enum ShareOrFile {
    Share(f64),
    File(PathBuf),
}

impl FromStr for ShareOrFile {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text.parse() {
            Ok(share) => Self::Share(share),
            Err(_) => Self::File(text.into()),
        })
    }
}

/// Default share of the sessions in validation, and in test.
const SHARE: f64 = 0.1;

impl InputArgs {
    /// Replaces the files by one.
    pub fn set_file(&mut self, file: PathBuf) {
        self.input = vec![InputPart::from(file.as_path())];
        self.train = None;
    }

    /// Inputs of a table.
    pub fn inputs(&self) -> Result<Inputs, Usage> {
        let Some(train) = &self.train else {
            if self.input.is_empty() {
                return Err(Usage(
                    "--input is missing; this --source requires it, or --train and --test".into(),
                ));
            }
            return Ok(Inputs(self.input.clone()));
        };
        let mut parts = vec![part(train, Split::Train)];
        for (flag, given, split) in [
            ("val", &self.val, Split::Val),
            ("test", &self.test, Split::Test),
        ] {
            match given {
                Some(ShareOrFile::File(path)) => parts.push(part(path, split)),
                Some(ShareOrFile::Share(share)) => {
                    return Err(Usage(format!(
                        "--{flag} {share} is a share; beside --train it is a file (./{share} for one of this name)"
                    )));
                }
                None => {}
            }
        }
        Ok(Inputs(parts))
    }

    /// The one file of a public format.
    pub fn file(&self) -> Result<PathBuf, Usage> {
        if self.train.is_some() {
            return Err(Usage(
                "--train is for csv, parquet and inter; this --source takes --input".into(),
            ));
        }
        match self.input.as_slice() {
            [
                InputPart {
                    path, kind: None, ..
                },
            ] => Ok(path.clone()),
            [] => Err(Usage(
                "--input is missing; this --source requires it".into(),
            )),
            _ => Err(Usage(
                "this --source takes one --input, without a kind; ./ before a path keeps its ="
                    .into(),
            )),
        }
    }

    /// True if the splits are apart, each in files of its own.
    pub fn gives_split(&self) -> bool {
        self.train.is_some()
    }

    /// Shares of the sessions in validation and in test; of a split that the log gives they would
    /// mean nothing.
    pub fn shares(&self, is_given: bool) -> Result<(f64, f64), Usage> {
        let mut shares = [SHARE; 2];
        let flags = [("val", &self.val), ("test", &self.test)];
        for ((flag, value), own) in flags.into_iter().zip(&mut shares) {
            match value {
                None => {}
                Some(ShareOrFile::File(_)) if self.train.is_some() => {}
                Some(ShareOrFile::File(path)) => {
                    let path = path.display();
                    return Err(Usage(format!(
                        "--{flag} {path} is no share, such as 0.1; as a file it needs --train FILE beside it"
                    )));
                }
                Some(ShareOrFile::Share(share)) if is_given => {
                    return Err(Usage(format!(
                        "--{flag} {share} has no effect on a split that the log gives; leave it out"
                    )));
                }
                Some(ShareOrFile::Share(share)) => *own = *share,
            }
        }
        Ok(shares.into())
    }
}

fn part(path: &Path, split: Split) -> InputPart {
    InputPart {
        split: Some(split),
        ..path.into()
    }
}
