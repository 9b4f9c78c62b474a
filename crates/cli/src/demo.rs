//! `prl demo`: a small synthetic shop, prepared, trained, evaluated and served.

mod dial;
mod items;

use std::io::IsTerminal;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use prl_model::SingleProcess;
use prl_serve::Server;
use prl_synth::{Like, Options, synth};
use prl_train::Outcome;

use crate::api::parse;
use crate::client::Client;
use crate::evaluate::{Evaluated, evaluated};
use crate::exit::{EXIT_INTERRUPTED, Interrupted, Usage};
use crate::output::outln;
use crate::prepare::quietly;
use crate::train::{Progress, train_observed};

/// Port of the page, unless it is in use.
const PORT: u16 = 8080;
/// Longest wait for the server.
const READY: Duration = Duration::from_secs(10);
/// Flags of the preparation, beside the directories.
const PREPARE: &str = "--source retailrocket";
/// Flags of the training, beside the directories: a few seconds.
const TRAIN: &str = "--encoder gru --epochs 6";
/// Prompts that are compared.
const CURVE: [&str; 2] = ["mu=4", "tilt=0.5,1"];
/// Tilt of the page's address.
const TILT: f64 = 1.0;

/// Show what this does: a synthetic shop, a training of seconds, and a page with the dial
///
/// Generates the log of a small shop, prepares it, trains on it, measures what the dial changes on
/// sessions that the training has not seen, and serves the page. Everything is in one directory;
/// nothing else is written.
#[derive(clap::Args)]
pub struct Args {
    /// Directory of the demo; one that a demo has left is used again [default: a new directory
    /// among the temporary ones]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Port of the page on this machine [default: 8080, or a free one if it is in use]
    #[arg(long)]
    port: Option<u16>,
    /// End after the measurements and print the command that serves the page
    #[arg(long)]
    no_serve: bool,
    /// Print the address of the page only; without this flag a browser opens if the output is a
    /// terminal
    #[arg(long)]
    no_browser: bool,
}

/// Whether the end of the demo was requested.
static STOP: AtomicBool = AtomicBool::new(false);

pub fn run(args: Args) -> anyhow::Result<()> {
    let start = Instant::now();
    let addr = address(&args)?;
    let (dir, is_new) = directory(args.dir.as_deref())?;
    outln!("The demo is in {}", dir.display())?;
    let session = make_shop(&dir.join("shop"))?;
    let (ids, titles): (Vec<String>, Vec<String>) = session.into_iter().unzip();
    prepare_log(&dir)?;
    train(&dir)?;
    measure(&dir)?;
    let seconds = start.elapsed().as_secs_f64();
    let run = dir.join("run");
    let place = format!("?items={}&mu=1&tilt={TILT}&from=1", ids.join(","));
    if args.no_serve {
        outln!(
            "\nDone in {seconds:.0} s. The page: prl serve --run {}, then \
             http://{addr}/{place}",
            quoted(&run)
        )?;
        return Ok(());
    }
    let server = serve(&run, addr, args.port.is_none())?;
    let url = format!("http://{}/{place}", server.addr());
    wait_until_ready(server.addr());
    outln!(
        "\nReady in {seconds:.0} s. The page, with the dial at its left (Ctrl-C ends the server):\n\
         {url}\n\n\
         The list at the right is for a visitor of the {}. Move tilt and mu and see what changes;\n\
         click items to make another session. The same by HTTP:\n\
         curl -s --json '{{\"items\": {}, \"tilt\": {TILT}}}' http://{}/v1/recommend\n\n\
         Remove the demo: rm -r {}",
        titles.join(" and the "),
        serde_json::to_string(&ids)?,
        server.addr(),
        removed(&dir, is_new)
    )?;
    if !args.no_browser && std::io::stdout().is_terminal() {
        // A machine without a browser is not an error: the address is printed.
        _ = open::that_detached(&url);
    }
    Ok(server.wait()?)
}

/// Address of the page. That of a given port is tried now, not after the training.
fn address(args: &Args) -> anyhow::Result<SocketAddr> {
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, args.port.unwrap_or(PORT)));
    if args.port.is_some() && !args.no_serve {
        TcpListener::bind(addr).with_context(|| in_use(addr))?;
    }
    Ok(addr)
}

fn in_use(addr: SocketAddr) -> String {
    format!("failed to listen on {addr}; name another --port, or leave it out for a free one")
}

/// Directory of the demo, absolute, and whether it is the demo's alone.
fn directory(given: Option<&Path>) -> anyhow::Result<(PathBuf, bool)> {
    let Some(dir) = given else {
        let made = tempfile::Builder::new().prefix("prl-demo-").tempdir();
        let place = std::env::temp_dir();
        let hint = || {
            format!(
                "{}: no directory for the demo; name one with --dir",
                place.display()
            )
        };
        return Ok((made.with_context(hint)?.keep(), true));
    };
    let hint = || {
        format!(
            "{}: no directory for the demo; name another --dir",
            dir.display()
        )
    };
    let is_new = !dir.exists();
    std::fs::create_dir_all(dir).with_context(hint)?;
    Ok((std::path::absolute(dir)?, is_new))
}

/// Arguments of `rm -r` that remove the demo and nothing else.
fn removed(dir: &Path, is_new: bool) -> String {
    if is_new {
        return quoted(dir);
    }
    let parts = ["shop", "data", "run"].map(|name| quoted(&dir.join(name)));
    parts.join(" ")
}

/// A path as a word of a shell.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+,:@%".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text;
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// Arguments as words of a shell.
fn shown(arguments: &[String]) -> String {
    let mut words = Vec::with_capacity(arguments.len());
    for argument in arguments {
        words.push(quoted(Path::new(argument)));
    }
    words.join(" ")
}

/// Generates the log and its items; returns ids and titles of two popular items of one category.
fn make_shop(dir: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let options = Options {
        like: Like::Tiny,
        sessions: None,
        seed: 0,
    };
    let summary = synth(&options, dir)?;
    let items = prl_synth::catalogue(&options)?;
    prl_fs::write_atomic(&dir.join("items.csv"), items::csv(&items))?;
    let expected = summary.expected;
    outln!(
        "\n1. A shop: {} visits, {} items, {} clicks, {} purchases (synthetic)\n   \
         $ prl synth --like tiny --out {}",
        expected.sessions,
        expected.items,
        expected.clicks,
        expected.purchases,
        quoted(dir)
    )?;
    Ok(items::session(&items))
}

fn prepare_log(dir: &Path) -> anyhow::Result<()> {
    let shop = dir.join("shop");
    let mut arguments = words(PREPARE);
    for (flag, path) in [
        ("--input", shop.join("events.csv")),
        ("--items", shop.join("items.csv")),
        ("--out", dir.join("data")),
    ] {
        arguments.extend([flag.to_owned(), path.display().to_string()]);
    }
    let mut tokens = vec!["prepare".into()];
    tokens.extend(arguments.iter().map(Into::into));
    let manifest = quietly(parsed("prepare", &arguments)?, &tokens)?;
    let counts = &manifest.input.counts;
    outln!(
        "2. Prepared: visits and items with too few events dropped, {} visits split into training,\n   \
         validation and test\n   $ prl prepare {}",
        counts.after_length_filter.sessions,
        shown(&arguments)
    )?;
    Ok(())
}

fn train(dir: &Path) -> anyhow::Result<()> {
    // The first signal requests a checkpoint, or ends the server; the second one exits at once.
    ctrlc::set_handler(|| {
        if STOP.swap(true, Ordering::Relaxed) {
            std::process::exit(EXIT_INTERRUPTED.into());
        }
    })?;
    let run = dir.join("run");
    let mut arguments = words(TRAIN);
    for (flag, path) in [("--data", dir.join("data")), ("--out", run.clone())] {
        arguments.extend([flag.to_owned(), path.display().to_string()]);
    }
    let shown = shown(&arguments);
    arguments.push("--resume".to_owned());
    let args: crate::train::Args = parsed("train", &arguments)?;
    let mut progress = Progress::new(None);
    let outcome = train_observed(&args, &group(), &STOP, &mut progress)?;
    let Outcome::Finished(manifest) = outcome else {
        return Err(interrupted("a part of the training", dir));
    };
    outln!(
        "3. Trained in {:.0} s: {} training steps, the best of them chosen on validation\n   \
         $ prl train {shown}",
        manifest.seconds,
        manifest.steps
    )?;
    Ok(())
}

/// The error of an interrupted demo.
fn interrupted(after: &str, dir: &Path) -> anyhow::Error {
    Interrupted {
        after: after.to_owned(),
        resume: format!("`prl demo --dir {}`", quoted(dir)),
    }
    .into()
}

fn group() -> Arc<dyn prl_model::ProcessGroup> {
    Arc::new(SingleProcess)
}

/// Prints what the dial changes on the test split.
fn measure(dir: &Path) -> anyhow::Result<()> {
    let run = dir.join("run").display().to_string();
    let mut arguments = vec!["--run".to_owned(), run, "--curve".to_owned()];
    arguments.extend(CURVE.map(str::to_owned));
    let args: crate::evaluate::Args = parsed("evaluate", &arguments)?;
    let Evaluated::Curve(curve) = evaluated(&args, &STOP)? else {
        return Ok(());
    };
    if STOP.load(Ordering::Relaxed) {
        return Err(interrupted("the training", dir));
    }
    outln!(
        "4. The dial, on visits that the training has not seen\n   $ prl evaluate {}\n\n{}",
        shown(&arguments),
        dial::table(&curve)
    )?;
    Ok(())
}

/// Starts the server, on a free port if the default one is in use.
fn serve(run: &Path, addr: SocketAddr, is_default: bool) -> anyhow::Result<Server> {
    let mut options = prl_serve::Options::new(run);
    options.addr = addr;
    match Server::start(options.clone()) {
        Err(prl_serve::Error::Bind { .. }) if is_default => {
            options.addr.set_port(0);
            Ok(Server::start(options)?)
        }
        Err(prl_serve::Error::Bind { source, .. }) => {
            Err(anyhow::Error::new(source).context(in_use(addr)))
        }
        server => Ok(server?),
    }
}

/// Waits until the server has loaded the model, at most a few seconds: the page would show that it
/// is not ready.
fn wait_until_ready(addr: SocketAddr) {
    let client = Client::new(&format!("http://{addr}"));
    let start = Instant::now();
    while client.get("/health/ready").is_err() && start.elapsed() < READY {
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

fn parsed<A: clap::Args>(command: &'static str, arguments: &[String]) -> Result<A, Usage> {
    parse(command, arguments).map_err(|error| Usage(error.message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directory_of_others_is_not_removed() {
        let dir = Path::new("/srv/a b");
        assert_eq!(removed(dir, true), "'/srv/a b'");
        let expected = "'/srv/a b/shop' '/srv/a b/data' '/srv/a b/run'";
        assert_eq!(removed(dir, false), expected);
        assert_eq!(quoted(Path::new("it's")), r"'it'\''s'");
        assert_eq!(quoted(Path::new("/a/demo-x_1.2")), "/a/demo-x_1.2");
    }
}
