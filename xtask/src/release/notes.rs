//! Notes of a release, from the change log.

/// Text of a version's section, without its heading; `None` if there is none.
pub(super) fn section(changes: &str, version: &str) -> Option<String> {
    let heading = format!("## [{version}]");
    let mut lines = changes.lines();
    lines.find(|line| line.starts_with(&heading))?;
    let mut text = String::new();
    for line in lines {
        // The next version, or the links at the end.
        if line.starts_with("## [") || line.starts_with('[') {
            break;
        }
        text.push_str(line);
        text.push('\n');
    }
    Some(format!("{}\n", text.trim()))
}

#[cfg(test)]
mod tests {
    use super::section;

    const CHANGES: &str = "# Changelog\n\n## [Unreleased]\n\n### Added\n- a\n\n## [0.2.0] - 2026-01-02\n\n- b\n  c\n\n\
                           ## [0.1.0] - 2026-01-01\n- d\n\n[0.1.0]: x\n";

    #[test]
    fn section_ends_at_the_next_version() {
        let text = |version| section(CHANGES, version);
        assert_eq!(text("Unreleased").as_deref(), Some("### Added\n- a\n"));
        assert_eq!(text("0.2.0").as_deref(), Some("- b\n  c\n"));
        assert_eq!(text("0.1.0").as_deref(), Some("- d\n"));
        assert_eq!(text("0.1"), None);
    }
}
