//! `cargo xtask clean-root`: the first minutes of a user, in a Debian system that has nothing
//! beyond its minimum: the program is copied in, `prl demo` runs, and a browser outside opens its
//! page.
//!
//! With `--wheel` also those of a user of Python, in a system that has Python alone: the wheel is
//! installed, and the first notebook runs.
//!
//! The system is made by debootstrap and entered by chroot, so it needs root; without either the
//! task is skipped with a message.

mod image;
mod wheel;

use std::fs;
use std::io::{BufRead, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use prl_experiments::programs;

use crate::workspace;

/// Debian's release of the system: the oldest that the released program runs on.
const SUITE: &str = "bookworm";
/// Longest time from the start of the demo to its page.
const FIRST_MINUTE: Duration = Duration::from_secs(60);
/// Directory of the demo in the system.
const DEMO: &str = "/srv/demo";
/// Names of a browser that prints a page after its scripts have run.
const BROWSERS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];

/// Flags of `clean-root`.
#[derive(clap::Args)]
pub struct Args {
    /// The program [default: a release build]
    #[arg(long, value_name = "FILE")]
    prl: Option<PathBuf>,
    /// Directory of a system that an earlier call has made and kept, or for a new one [default: a
    /// temporary one]
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Also build the image of docs/deploy on the system, by buildah
    #[arg(long)]
    image: bool,
    /// A wheel of the Python package, to be installed in a system with Python alone
    #[arg(long, value_name = "FILE")]
    wheel: Option<PathBuf>,
    /// As --root, for the system with Python
    #[arg(long, value_name = "DIR", requires = "wheel")]
    python_root: Option<PathBuf>,
    /// Mirror of Debian [default: debootstrap's]
    #[arg(long, value_name = "URL")]
    mirror: Option<String>,
}

/// Runs the demo in a clean system and opens its page.
///
/// # Errors
/// If the demo fails, takes longer than a minute, or its page shows no list.
pub fn run(args: &Args) -> Result<()> {
    if let Some(missing) = missing() {
        println!("skipped: {missing}");
        return Ok(());
    }
    let temporary = tempfile::tempdir()?;
    let root = |given: &Option<PathBuf>, name: &str| match given {
        Some(root) => root.clone(),
        None => temporary.path().join(name),
    };
    if let Some(file) = &args.wheel {
        let root = root(&args.python_root, "python");
        wheel::check(&root, args.mirror.as_deref(), file)?;
    }
    let root = root(&args.root, "root");
    let system = System::open(&root, args.mirror.as_deref(), &[])?;
    ensure!(
        !root.join("usr/bin/python3").exists() && !root.join("usr/bin/cc").exists(),
        "{} is not clean: it has Python or a compiler; remove it",
        root.display()
    );
    let prl = match &args.prl {
        Some(prl) => prl.clone(),
        None => programs::prl(workspace(), "cpu")?,
    };
    let installed = root.join("usr/local/bin/prl");
    fs::copy(&prl, &installed).with_context(|| installed.display().to_string())?;
    let version = system.output(&["prl", "--version"])?;
    println!("{}: {}", prl.display(), version.trim_end());
    let mut demo = Demo::start(&system)?;
    let url = demo.url()?;
    let seconds = demo.start.elapsed().as_secs_f64();
    println!("prl demo: the page after {seconds:.1} s");
    ensure!(
        demo.start.elapsed() < FIRST_MINUTE,
        "prl demo took {seconds:.1} s; expected less than a minute"
    );
    if check_page(&url)? {
        println!("{url}: the page lists items and what the dial changes");
    }
    drop(demo);
    system.clear()?;
    if args.image {
        image::check(&root, &prl)?;
    }
    Ok(())
}

/// A need of the task that this machine lacks.
fn missing() -> Option<&'static str> {
    if !cfg!(target_os = "linux") {
        return Some("needs Linux");
    }
    let user = Command::new("id").arg("-u").output();
    if user.is_ok_and(|output| output.stdout != b"0\n") {
        return Some("needs root, for chroot");
    }
    if !is_there("debootstrap") {
        return Some("needs debootstrap");
    }
    None
}

fn is_there(program: &str) -> bool {
    let output = Command::new(program).arg("--version").output();
    output.is_ok_and(|output| output.status.success())
}

/// A minimal Debian system in a directory.
pub struct System {
    root: PathBuf,
}

impl System {
    /// The system in `root`, made by debootstrap if there is none, with `packages` beyond its
    /// minimum.
    ///
    /// # Errors
    /// If debootstrap fails.
    pub fn open(root: &Path, mirror: Option<&str>, packages: &[&str]) -> Result<Self> {
        let is_own = root.canonicalize().is_ok_and(|root| root == Path::new("/"));
        ensure!(
            !is_own,
            "the clean system cannot be this machine's own root"
        );
        if !root.join("etc/debian_version").exists() {
            let mut command = Command::new("debootstrap");
            command.arg("--variant=minbase");
            if !packages.is_empty() {
                command.arg(format!("--include={}", packages.join(",")));
            }
            command.arg(SUITE).arg(root);
            command.args(mirror).stdout(Stdio::null());
            let status = command.status().context("failed to run debootstrap")?;
            ensure!(status.success(), "debootstrap failed: {status}");
        }
        let system = Self {
            root: root.to_owned(),
        };
        system.clear()?;
        Ok(system)
    }

    /// Removes the directory of a demo.
    fn clear(&self) -> Result<()> {
        let demo = self.root.join(DEMO.trim_start_matches('/'));
        if demo.exists() {
            fs::remove_dir_all(&demo)?;
        }
        Ok(())
    }

    /// A command in the system, with an environment of its own.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("chroot");
        command.arg(&self.root).args(words);
        // chroot itself is found by this machine's PATH.
        command.env_clear();
        command.env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        );
        command.env("HOME", "/srv");
        command
    }

    /// Output of a command in the system.
    ///
    /// # Errors
    /// If it fails.
    pub fn output(&self, words: &[&str]) -> Result<String> {
        let output = self
            .command(words)
            .output()
            .context("failed to run chroot")?;
        ensure!(
            output.status.success(),
            "{} in the clean system: {}",
            words.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8(output.stdout)?)
    }
}

/// `prl demo` in the system; ended when dropped.
struct Demo {
    child: Child,
    /// Open until the end: the demo would stop at a closed pipe.
    lines: Lines<BufReader<ChildStdout>>,
    start: Instant,
}

impl Demo {
    fn start(system: &System) -> Result<Self> {
        let mut command = system.command(&["prl", "demo", "--dir", DEMO, "--port", "0"]);
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let start = Instant::now();
        let mut child = command.spawn().context("failed to run chroot")?;
        let stdout = child.stdout.take().context("no output of the demo")?;
        Ok(Self {
            child,
            lines: BufReader::new(stdout).lines(),
            start,
        })
    }

    /// The address that it prints, a line of its own.
    fn url(&mut self) -> Result<String> {
        for line in &mut self.lines {
            let line = line?;
            println!("  | {line}");
            if line.starts_with("http://") {
                return Ok(line);
            }
        }
        bail!("prl demo ended without the address of its page")
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // An error means that it has ended.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// Opens the page in a browser of this machine and checks that its list is there, with changes.
///
/// Returns false without a browser.
fn check_page(url: &str) -> Result<bool> {
    let Some(browser) = BROWSERS.into_iter().find(|name| is_there(name)) else {
        println!("skipped: no browser here to open the page");
        return Ok(false);
    };
    let profile = tempfile::tempdir()?;
    let mut command = Command::new(browser);
    command.args(["--headless", "--no-sandbox", "--disable-gpu"]);
    command.arg(format!("--user-data-dir={}", profile.path().display()));
    command.args(["--virtual-time-budget=8000", "--dump-dom", url]);
    let output = command
        .output()
        .with_context(|| format!("failed to run {browser}"))?;
    check_dom(&String::from_utf8_lossy(&output.stdout))?;
    Ok(true)
}

/// Fails unless a page has twenty items with titles, some of which the dial has moved.
fn check_dom(page: &str) -> Result<()> {
    let list = page.split("<tbody id=\"list\">").nth(1).unwrap_or_default();
    let list = list.split("</tbody>").next().unwrap_or_default();
    let (items, moved) = (
        list.matches("<tr>").count(),
        list.matches("class=\"up\"").count(),
    );
    ensure!(
        items == 20 && moved > 0 && list.contains(" mug"),
        "the page lists {items} items of which {moved} moved up; expected 20 with titles"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::check_dom;

    #[test]
    fn page_without_a_list_is_refused() {
        let row = "<tr><td>red mug</td><td class=\"up\">up 2</td></tr>";
        let page = |rows: usize| format!("<tbody id=\"list\">{}</tbody>", row.repeat(rows));
        check_dom(&page(20)).unwrap();
        assert!(check_dom(&page(19)).is_err());
        assert!(check_dom(&page(20).replace("class=\"up\"", "")).is_err());
        assert!(check_dom("").is_err());
    }
}
