//! `prl prepare --append`: the flags of a dataset's preparation, noted in its manifest and read
//! back.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::Path;

use clap::parser::ValueSource;
use clap::{ArgAction, Args as _, Command, FromArgMatches};
use prl_dataset::Manifest;

use super::Args;
use crate::exit::Usage;

/// Flags that are of one call: its files and its output.
const OF_A_CALL: [&str; 15] = [
    "input", "train", "clicks", "buys", "out", "append", "json", "parquet", "keep-log", "strict",
    "replace", "help", "version", "items", "items-id",
];

/// Flags given on the command line, with their values, but for those of one call.
pub fn given_flags(tokens: &[OsString]) -> anyhow::Result<BTreeMap<String, Vec<String>>> {
    let command = Args::augment_args(Command::new("prepare"));
    let matches = command.clone().try_get_matches_from(tokens);
    // A usage error is printed as for any command, with its exit code.
    let matches = matches.unwrap_or_else(|error| error.exit());
    let mut flags = BTreeMap::new();
    for arg in command.get_arguments() {
        let (id, Some(long)) = (arg.get_id().as_str(), arg.get_long()) else {
            continue;
        };
        if OF_A_CALL.contains(&long) || matches.value_source(id) != Some(ValueSource::CommandLine) {
            continue;
        }
        let mut values = Vec::new();
        if !matches!(arg.get_action(), ArgAction::SetTrue) {
            for value in matches.get_raw(id).into_iter().flatten() {
                let Some(value) = value.to_str() else {
                    return Err(Usage(format!("--{long} {value:?} is not UTF-8")).into());
                };
                values.push(value.to_owned());
            }
        }
        flags.insert(long.to_owned(), values);
    }
    Ok(flags)
}

/// The arguments of a call, with the flags of the dataset in `dir` for those that it leaves out.
pub fn with_flags_of(dir: &Path, tokens: &[OsString]) -> anyhow::Result<Args> {
    let manifest = Manifest::read(dir)?;
    let Some(kept) = manifest.log else {
        return Err(Usage(format!(
            "{}: keeps no raw events to append others to; prepare it again from all its files with --keep-log",
            dir.display()
        ))
        .into());
    };
    let given: BTreeSet<String> = given_flags(tokens)?.into_keys().collect();
    let mut all = tokens.to_vec();
    for (flag, values) in kept.arguments {
        if given.contains(&flag) {
            continue;
        }
        if values.is_empty() {
            all.push(format!("--{flag}").into());
        }
        for value in values {
            all.push(format!("--{flag}={value}").into());
        }
    }
    let matches = Args::augment_args(Command::new("prepare")).try_get_matches_from(all);
    let matches = matches.unwrap_or_else(|error| error.exit());
    Ok(Args::from_arg_matches(&matches)?)
}
