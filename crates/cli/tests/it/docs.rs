//! Generated completions, manual pages and help texts.

use std::process::{Command, Output};

fn prl(line: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_prl"))
        .args(line.split(' '))
        .output()
        .unwrap()
}

fn stdout(line: &str) -> String {
    let output = prl(line);
    assert!(output.status.success(), "{line}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn completions_cover_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = stdout(&format!("completions {shell}"));
        assert!(
            script.contains("train") && script.contains("batch-size"),
            "{shell}"
        );
    }
    assert_eq!(prl("completions cobol").status.code(), Some(2));
}

#[test]
fn man_prints_main_page_or_writes_one_page_per_command() {
    assert!(stdout("man").starts_with(".ie"));
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("man");
    assert_eq!(stdout(&format!("man --out {}", out.display())), "");
    for page in ["prl.1", "prl-train.1", "prl-evaluate.1", "prl-recommend.1"] {
        let text = std::fs::read_to_string(out.join(page)).unwrap();
        assert!(text.contains(".TH"), "{page}: {text}");
    }
}

#[test]
fn help_spells_out_sac() {
    let help = stdout("train --help").to_lowercase();
    assert!(help.contains("self-supervised actor-critic"), "{help}");
}
