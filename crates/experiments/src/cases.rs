//! The ranks of a run's test cases, as `prl evaluate --cases` writes them: one line a case, in one order on one dataset.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use prl_dataset::Kind;
use prl_eval::Case;

const HEADER: &str = "session,kind,rank";

/// Test cases and the sessions they are of.
#[derive(Debug, PartialEq, Eq)]
pub struct Cases {
    /// The number of each case's session.
    pub sessions: Vec<u32>,
    /// The cases.
    pub cases: Vec<Case>,
}

impl Cases {
    /// Reads them from a file.
    ///
    /// # Errors
    /// If a line is not a case.
    pub fn read(path: &Path) -> Result<Self> {
        let at = || format!("failed to read {}", path.display());
        Self::parse(&fs::read_to_string(path).with_context(at)?).with_context(at)
    }

    fn parse(text: &str) -> Result<Self> {
        let mut lines = text.lines();
        ensure!(
            lines.next() == Some(HEADER),
            "the first line is not {HEADER}"
        );
        let mut all = Self {
            sessions: Vec::new(),
            cases: Vec::new(),
        };
        for (i, line) in lines.enumerate() {
            let (session, case) =
                parse_line(line).with_context(|| format!("line {}: `{line}` is no case", i + 2))?;
            all.sessions.push(session);
            all.cases.push(case);
        }
        Ok(all)
    }
}

fn parse_line(line: &str) -> Option<(u32, Case)> {
    let mut fields = line.split(',');
    let (session, kind, rank) = (fields.next()?, fields.next()?, fields.next()?);
    let kind = match kind {
        "click" => Kind::Click,
        "purchase" => Kind::Purchase,
        _ => return None,
    };
    let case = Case {
        kind,
        rank: rank.parse().ok()?,
    };
    fields
        .next()
        .is_none()
        .then_some((session.parse().ok()?, case))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_are_read_in_their_order() {
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
    fn what_is_no_case_is_named() {
        for bad in ["7,view,1", "7,click", "7,click,1,2", "7,click,-1", ""] {
            let error = Cases::parse(&format!("session,kind,rank\n{bad}\n"))
                .unwrap_err()
                .to_string();
            assert_eq!(error, format!("line 2: `{bad}` is no case"));
        }
        assert!(Cases::parse("rank\n").is_err());
    }
}
