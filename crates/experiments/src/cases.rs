//! Ranks of a run's test cases, as `prl evaluate --cases` writes them: one line per case, in the
//! same order for all runs on a dataset.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use prl_dataset::Kind;
use prl_eval::Case;

const HEADER: &str = "session,kind,rank";

/// Test cases with their sessions.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Cases {
    /// Session number of each case.
    pub sessions: Vec<u32>,
    /// Cases.
    pub cases: Vec<Case>,
}

impl Cases {
    /// Reads cases from a file.
    ///
    /// # Errors
    /// If the file cannot be read or a line is invalid.
    pub fn read(path: &Path) -> Result<Self> {
        let failed = || format!("failed to read {}", path.display());
        let text = fs::read_to_string(path).with_context(failed)?;
        Self::parse(&text).with_context(failed)
    }

    fn parse(text: &str) -> Result<Self> {
        let mut lines = text.lines();
        ensure!(
            lines.next() == Some(HEADER),
            "the first line is not {HEADER}"
        );
        let mut all = Self::default();
        for (i, line) in lines.enumerate() {
            let (session, case) = parse_line(line)
                .with_context(|| format!("line {}: `{line}` is not a case", i + 2))?;
            all.sessions.push(session);
            all.cases.push(case);
        }
        Ok(all)
    }
}

fn parse_line(line: &str) -> Option<(u32, Case)> {
    let mut fields = line.split(',');
    let session = fields.next()?.parse().ok()?;
    let kind = match fields.next()? {
        "click" => Kind::Click,
        "purchase" => Kind::Purchase,
        _ => return None,
    };
    let rank = fields.next()?.parse().ok()?;
    match fields.next() {
        Some(_) => None,
        None => Some((session, Case { kind, rank })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_keeps_order() {
        let cases = Cases::parse("session,kind,rank\n7,click,12\n7,purchase,1\n").unwrap();
        assert_eq!(cases.sessions, [7, 7]);
        assert_eq!(
            cases.cases,
            [
                Case {
                    kind: Kind::Click,
                    rank: 12
                },
                Case {
                    kind: Kind::Purchase,
                    rank: 1
                }
            ]
        );
    }

    #[test]
    fn invalid_line_is_named_in_error() {
        for bad in ["7,view,1", "7,click", "7,click,1,2", "7,click,-1", ""] {
            let error = Cases::parse(&format!("session,kind,rank\n{bad}\n"))
                .unwrap_err()
                .to_string();
            assert_eq!(error, format!("line 2: `{bad}` is not a case"));
        }
        assert!(Cases::parse("rank\n").is_err());
    }
}
