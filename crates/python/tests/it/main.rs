//! The Python package: its wheel in a clean virtual environment, first without any library of
//! frames, then with pandas, polars, pyarrow and numpy of today, and the first notebook
//! (`PRL_ALL_NOTEBOOKS=1`: all of them).
//!
//! Needs an interpreter with `venv` (`PRL_PYTHON` names another than `python3`), and for the second
//! part a package index.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Folder of this crate.
const HERE: &str = env!("CARGO_MANIFEST_DIR");

fn run(command: &mut Command) -> Output {
    command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// Runs a command that must succeed; its standard output.
fn succeed(command: &mut Command) -> String {
    let output = run(command);
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{command:?}\n{out}\n{err}");
    out.trim().to_owned()
}

/// The extension module that this test's build has made.
fn extension() -> PathBuf {
    let test = std::env::current_exe().expect("a test is a file");
    let folder = test.parent().expect("a file has a folder");
    let name = format!(
        "{}_prl{}",
        std::env::consts::DLL_PREFIX,
        std::env::consts::DLL_SUFFIX
    );
    let found = [folder.join(&name), folder.with_file_name(&name)];
    let newest = found.into_iter().filter(|path| path.is_file());
    let modified = |path: &PathBuf| path.metadata().and_then(|meta| meta.modified()).ok();
    newest
        .max_by_key(modified)
        .expect("the build makes the extension module")
}

/// A virtual environment with the wheel; `None` without an interpreter that makes one.
fn environment(dir: &Path) -> Option<PathBuf> {
    let named = std::env::var_os("PRL_PYTHON").unwrap_or("python3".into());
    let made = Command::new(&named)
        .args(["-m", "venv"])
        .arg(dir.join("venv"))
        .output();
    if !made.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: {named:?} makes no virtual environment");
        return None;
    }
    let python = dir.join("venv/bin/python");
    let pack = format!("{HERE}/pack_wheel.py");
    let wheel = succeed(Command::new(&python).arg(pack).arg(extension()).arg(dir));
    let pip = ["-m", "pip", "install", "--quiet", "--no-index"];
    succeed(Command::new(&python).args(pip).arg(wheel));
    Some(python)
}

/// Runs a file of tests.
fn test(python: &Path, file: &str) {
    let folder = format!("{HERE}/tests/python");
    let mut command = Command::new(python);
    command.args([
        "-W",
        "error::DeprecationWarning:prl",
        "-m",
        "unittest",
        "-v",
        file,
    ]);
    succeed(
        command
            .current_dir(folder)
            .env("PYTHONDONTWRITEBYTECODE", "1"),
    );
}

#[test]
fn wheel_works_in_a_clean_environment() {
    let dir = tempfile::tempdir().expect("a directory");
    let Some(python) = environment(dir.path()) else {
        return;
    };
    test(&python, "test_package");
    let stubs = format!("{HERE}/stubs.py");
    succeed(Command::new(&python).arg(stubs).arg("--check"));
    let pip = [
        "-m", "pip", "install", "--quiet", "pandas", "polars", "pyarrow", "numpy",
    ];
    let installed = run(Command::new(&python).args(pip));
    if !installed.status.success() {
        eprintln!("skipped: frames; pip installs none of their libraries");
        return;
    }
    test(&python, "test_frames");
    let pip = ["-m", "pip", "install", "--quiet", "nbclient", "ipykernel"];
    let installed = run(Command::new(&python).args(pip));
    if !installed.status.success() {
        eprintln!("skipped: notebooks; pip does not install nbclient");
        return;
    }
    let all = std::env::var_os("PRL_ALL_NOTEBOOKS").is_some();
    let mut notebooks = Command::new(&python);
    notebooks.arg(format!("{HERE}/notebooks/run.py"));
    for number in 1..=if all { 4 } else { 1 } {
        notebooks.arg(notebook(number));
    }
    succeed(&mut notebooks);
}

/// The notebook whose name begins with a number.
fn notebook(number: u32) -> PathBuf {
    let folder = Path::new(HERE).join("notebooks");
    let prefix = format!("{number}-");
    for entry in folder.read_dir().expect("the notebooks' folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with(&prefix) {
            return path;
        }
    }
    panic!("no notebook {number} in {}", folder.display());
}
